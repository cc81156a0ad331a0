"""Ephemeral ports."""

from __future__ import annotations

import pytest

from ztstack.base.errors import PortInUse
from ztstack.ip.ports import EPHEMERAL_FIRST, EPHEMERAL_LAST, choose_port


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
