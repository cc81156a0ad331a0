"""Ephemeral ports."""

from __future__ import annotations

import pytest

from tests.support.switches import SeededEntropy
from ztstack.base.errors import PortInUse
from ztstack.ip.ports import EPHEMERAL_FIRST, EPHEMERAL_LAST, EphemeralPorts, choose_port


class Fixed:
    """Entropy that always gives the same."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def take(self, length: int) -> bytes:
        return self.data[:length]


def test_a_free_port_of_the_range() -> None:
    assert choose_port(Fixed(b"\x00\x00"), lambda port: False) == EPHEMERAL_FIRST
    assert choose_port(Fixed(b"\xff\xff"), lambda port: False) == EPHEMERAL_LAST


def test_used_ports_are_passed_over_in_a_circle() -> None:
    used = {EPHEMERAL_LAST, EPHEMERAL_FIRST}
    assert choose_port(Fixed(b"\xff\xff"), used.__contains__) == EPHEMERAL_FIRST + 1


def test_no_port_left() -> None:
    with pytest.raises(PortInUse):
        choose_port(Fixed(b"\x12\x34"), lambda port: True)


PEER, OTHER = bytes((10, 0, 0, 2)), bytes((10, 0, 0, 3))
OWN = bytes((10, 0, 0, 1))


def ports(seed: int = 1) -> EphemeralPorts:
    return EphemeralPorts(SeededEntropy(seed))


def test_no_port_comes_again_before_all_others_were_used() -> None:
    chosen = ports()
    count = EPHEMERAL_LAST - EPHEMERAL_FIRST + 1
    found = [chosen.choose(OWN, PEER, 80, lambda port: False) for _ in range(count + 1)]
    assert set(found) == set(range(EPHEMERAL_FIRST, EPHEMERAL_LAST + 1))
    assert found[0] == found[-1]
    assert (found[1] - found[0]) % count == 1


def test_each_peer_begins_somewhere_else_and_nobody_can_guess_where() -> None:
    chosen = ports()
    firsts = {
        chosen.choose(OWN, bytes((10, 1, *divmod(number, 256))), 80, lambda port: False)
        for number in range(200)
    }
    # Some meet by chance: 200 of 16384.
    assert len(firsts) > 190
    secrets = {ports(seed).choose(OWN, PEER, 80, lambda port: False) for seed in range(200)}
    assert len(secrets) > 190


def test_ports_for_one_peer_say_little_of_those_for_another() -> None:
    chosen = ports()
    first = chosen.choose(OWN, PEER, 80, lambda port: False)
    for number in range(200):
        chosen.choose(OWN, OTHER, 1024 + number, lambda port: False)
    steps = chosen.choose(OWN, PEER, 80, lambda port: False) - first
    # One counter of 256 is shared with few of the others.
    assert 0 < steps % (EPHEMERAL_LAST - EPHEMERAL_FIRST + 1) < 20


def test_used_ports_are_passed_over_for_each_peer() -> None:
    first, second = (ports().choose(OWN, PEER, 80, lambda port: False) for _ in range(2))
    assert first == second
    assert ports().choose(OWN, PEER, 80, lambda port: port == first) != first
    with pytest.raises(PortInUse):
        ports().choose(OWN, PEER, 80, lambda port: True)
