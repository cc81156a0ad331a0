"""The simulated internet: what links do to datagrams, and who hears whom."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ztstack.base.endpoint import Endpoint
from ztstack.base.timers import MILLISECOND, SECOND
from ztstack.sim.nat import Nat, NatKind
from ztstack.sim.network import LAN_LATENCY_US, Conditions, Machine, Network

A, B, C = (bytes((80, 0, 0, n)) for n in (1, 2, 3))
PORT = 9993


class Ear:
    """Notes what arrives, and when."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.heard: list[tuple[int, Endpoint, bytes]] = []

    def receive(self, local: Endpoint, remote: Endpoint, data: bytes) -> None:
        assert local.port == PORT
        self.heard.append((self.network.now, remote, data))


def machine(network: Network, ip: bytes, router: Nat | None = None) -> tuple[Machine, Ear]:
    found = Machine(str(ip[-1]), (ip,), router)
    network.attach(found)
    ear = Ear(network)
    found.receiver = ear
    return found, ear


def rough(conditions: Conditions, count: int = 1000) -> list[tuple[int, Endpoint, bytes]]:
    network = Network(7, 0)
    a, _ = machine(network, A)
    _, ear = machine(network, B)
    a.conditions = conditions
    for number in range(count):
        network.send(a, PORT, Endpoint(B, PORT), number.to_bytes(2, "big"))
    network.run(10 * SECOND)
    return ear.heard


def numbers(heard: list[tuple[int, Endpoint, bytes]]) -> list[int]:
    return [int.from_bytes(data, "big") for _, _, data in heard]


def test_a_plain_link_takes_time_and_nothing_else() -> None:
    heard = rough(Conditions(latency_us=3 * MILLISECOND))
    assert numbers(heard) == list(range(1000))
    assert {at for at, _, _ in heard} == {13 * MILLISECOND}


def test_loss() -> None:
    assert 650 < len(rough(Conditions(loss=0.3))) < 750


def test_duplicates() -> None:
    heard = numbers(rough(Conditions(duplicate=0.2)))
    assert 1150 < len(heard) < 1250
    assert set(heard) == set(range(1000))


def test_disorder() -> None:
    heard = numbers(rough(Conditions(reorder=0.1)))
    assert sorted(heard) == list(range(1000))
    assert heard != sorted(heard)


def test_jitter() -> None:
    times = {at for at, _, _ in rough(Conditions(jitter_us=5 * MILLISECOND))}
    assert min(times) >= 20 * MILLISECOND
    assert max(times) < 25 * MILLISECOND
    assert len(times) > 100


def test_damage_is_one_bit() -> None:
    heard = rough(Conditions(corrupt=0.3))
    bits = [(int.from_bytes(d, "big") ^ n).bit_count() for n, (_, _, d) in enumerate(heard)]
    assert set(bits) == {0, 1}
    assert 250 < sum(bits) < 350


def test_what_is_too_long_is_lost() -> None:
    network = Network(1, 0)
    a, _ = machine(network, A)
    _, ear = machine(network, B)
    a.conditions = Conditions(mtu=1500)
    for size in (1472, 1473):
        network.send(a, PORT, Endpoint(B, PORT), bytes(size))
    network.run(SECOND)
    assert [len(data) for _, _, data in ear.heard] == [1472]
    assert network.lost == 1


def test_a_cut_is_for_one_direction() -> None:
    network = Network(1, 0)
    a, ear_a = machine(network, A)
    b, ear_b = machine(network, B)
    network.cut(a, b)
    network.send(a, PORT, Endpoint(B, PORT), b"to b")
    network.send(b, PORT, Endpoint(A, PORT), b"to a")
    network.run(SECOND)
    assert (len(ear_a.heard), len(ear_b.heard)) == (1, 0)
    network.heal(a, b)
    network.send(a, PORT, Endpoint(B, PORT), b"to b")
    network.run(2 * SECOND)
    assert len(ear_b.heard) == 1


def test_a_partition() -> None:
    network = Network(1, 0)
    a, _ = machine(network, A)
    b, ear_b = machine(network, B)
    _, ear_c = machine(network, C)
    a.group = b.group = 1
    for ip in (B, C):
        network.send(a, PORT, Endpoint(ip, PORT), b"hello")
    network.run(SECOND)
    assert (len(ear_b.heard), len(ear_c.heard)) == (1, 0)


def test_neighbours_behind_a_router_talk_without_it() -> None:
    network = Network(1, 0)
    router = Nat(NatKind.SYMMETRIC, bytes((90, 0, 0, 1)), 1)
    inside = [bytes((192, 168, 0, n)) for n in (2, 3)]
    one, _ = machine(network, inside[0], router)
    _, ear = machine(network, inside[1], router)
    _, far = machine(network, A)
    network.send(one, PORT, Endpoint(inside[1], PORT), b"near")
    network.send(one, PORT, Endpoint(A, PORT), b"far")
    network.run(SECOND)
    assert ear.heard == [(LAN_LATENCY_US, Endpoint(inside[0], PORT), b"near")]
    (heard,) = far.heard
    assert heard[1].ip == router.ip
    # Nobody else has a way to a private address.
    stranger, _ = machine(network, B)
    network.send(stranger, PORT, Endpoint(inside[0], PORT), b"lost")
    network.run(2 * SECOND)
    assert len(ear.heard) == 1


@pytest.mark.parametrize("router", [None, Nat(NatKind.FULL_CONE, bytes((90, 0, 0, 1)), 1)])
def test_a_short_lived_datagram_opens_the_router_and_dies(router: Nat | None) -> None:
    network = Network(1, 0)
    ip = A if router is None else bytes((192, 168, 0, 2))
    a, ear_a = machine(network, ip, router)
    b, ear_b = machine(network, B)
    network.send(a, PORT, Endpoint(B, PORT), b"hole", ttl=2)
    network.run(SECOND)
    assert ear_b.heard == []
    network.send(b, PORT, Endpoint(A if router is None else router.ip, PORT), b"through")
    network.run(2 * SECOND)
    assert len(ear_a.heard) == 1


def test_a_machine_moves() -> None:
    network = Network(1, 0)
    a, ear = machine(network, A)
    b, _ = machine(network, B)
    network.move(a, (C,), None)
    for ip in (A, C):
        network.send(b, PORT, Endpoint(ip, PORT), ip)
    network.run(SECOND)
    assert [data for _, _, data in ear.heard] == [C]


def test_the_digest_tells_runs_apart() -> None:
    def run(seed: int, loss: float) -> str:
        network = Network(seed, 0)
        a, _ = machine(network, A)
        machine(network, B)
        a.conditions = replace(a.conditions, loss=loss, jitter_us=100)
        for number in range(50):
            network.send(a, PORT, Endpoint(B, PORT), bytes((number,)))
        network.run(SECOND)
        return network.digest.hexdigest()

    assert run(1, 0.1) == run(1, 0.1)
    assert run(1, 0.1) != run(2, 0.1)
    assert run(1, 0.1) != run(1, 0.2)


def test_a_wire_with_a_rate_lets_datagrams_wait_and_loses_what_would_wait_too_long() -> None:
    network = Network(7, 0)
    a, near = machine(network, A)
    b, far = machine(network, B)
    network.lay(A, B, Conditions(latency_us=0, rate_mbit=8.0, queue_us=5 * MILLISECOND))
    for number in range(9):
        # With headers of 28 bytes that is a thousand, of which each takes a microsecond.
        network.send(a, PORT, Endpoint(B, PORT), bytes((number,)) * 972)
    network.send(b, PORT, Endpoint(A, PORT), bytes(472))
    network.run(10 * MILLISECOND)
    network.send(a, PORT, Endpoint(B, PORT), bytes(472))
    network.run(SECOND)
    assert [at for at, _, _ in far.heard] == [1000, 2000, 3000, 4000, 5000, 10_500]
    assert [at for at, _, _ in near.heard] == [500]
    assert network.lost == 4
