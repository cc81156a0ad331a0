"""When a root introduces two nodes, and whom a node greets that has returned."""

from __future__ import annotations

from itertools import pairwise

from tests.support.switches import LATENCY_US, Host, VirtualNetwork, known_identities, planet_of
from ztstack.base.endpoint import Endpoint
from ztstack.base.timers import SECOND
from ztstack.vl1.keepalive import RETURN_GREETINGS
from ztstack.vl1.relay import UNITE_AGAIN_US, UNITE_US
from ztstack.wire.verbs import Verb

IDENTITIES = known_identities()
ROOT = Endpoint.parse("10.1.0.1/9993")
A, B = Endpoint.parse("10.1.0.2/9993"), Endpoint.parse("10.1.0.3/9993")
MOVED = Endpoint.parse("10.1.0.2/40000")
RENDEZVOUS_BYTES = 41
HELLO_BYTES = 137


def world_of() -> tuple[VirtualNetwork, Host, Host]:
    network = VirtualNetwork()
    planet = planet_of([(IDENTITIES[0], ROOT)])
    network.add(IDENTITIES[0], ROOT, planet)
    return network, network.add(IDENTITIES[1], A, planet), network.add(IDENTITIES[2], B, planet)


def test_a_pair_is_introduced_twice_and_then_every_30_seconds() -> None:
    """Who learns of the other by the first packet cannot use what came with it."""
    network, a, b = world_of()
    network.passes = lambda source, destination: ROOT in (source, destination)
    network.run(1 * SECOND)
    step = SECOND // 4
    for _ in range(280):
        a.switch.send(network.now, b.address, Verb.USER_MESSAGE, b"relayed")
        network.run(step)
    for to in (A, B):
        times = [
            at
            for at, source, destination, data in network.sent
            if (source, destination, len(data)) == (ROOT, to, RENDEZVOUS_BYTES)
        ]
        gaps = [later - sooner for sooner, later in pairwise(times)]
        assert len(gaps) == 3
        for gap, least in zip(gaps, (UNITE_AGAIN_US, UNITE_US, UNITE_US), strict=True):
            assert least <= gap <= least + step


def test_a_node_that_returns_says_where_it_is() -> None:
    """It has nothing to send, and yet is reached at its new port in the shortest time."""
    network, a, b = world_of()
    network.run(1 * SECOND)
    a.switch.send(network.now, b.address, Verb.USER_MESSAGE, b"one")
    network.run(1 * SECOND)
    records = list(a.switch.peer_records().values())
    del network.hosts[A]
    again = network.add(IDENTITIES[1], MOVED, a.switch.world)
    again.switch.load_peers(network.now, records)
    network.run(4 * LATENCY_US)
    network.sent.clear()
    b.switch.send(network.now, a.address, Verb.USER_MESSAGE, b"two")
    network.run(2 * LATENCY_US)
    assert again.payloads(Verb.USER_MESSAGE) == [b"two"]
    assert {to for _, source, to, _ in network.sent if source == B} == {MOVED}


def test_few_of_many_are_greeted_at_the_start() -> None:
    network, a, b = world_of()
    network.run(1 * SECOND)
    a.switch.send(network.now, b.address, Verb.USER_MESSAGE, b"one")
    network.run(1 * SECOND)
    record = a.switch.peer_records()[b.address]
    assert record[1:6] == b.address.packed
    many = [record[:1] + n.to_bytes(5, "big") + record[6:] for n in range(1, 100)]
    del network.hosts[A]
    again = network.add(IDENTITIES[1], MOVED, a.switch.world)
    again.switch.load_peers(network.now, many)
    network.sent.clear()
    network.run(10 * SECOND)
    hellos = [data for _, source, to, data in network.sent if (source, to) == (MOVED, B)]
    assert len(hellos) == RETURN_GREETINGS
    assert {len(data) for data in hellos} == {HELLO_BYTES}


def test_who_was_named_is_spoken_to_at_once() -> None:
    """Only the other has to ask the root who speaks to it."""
    network, a, b = world_of()
    network.run(1 * SECOND)
    a.switch.introduce(network.now, IDENTITIES[2].public)
    network.sent.clear()
    a.switch.send(network.now, b.address, Verb.USER_MESSAGE, b"first")
    network.run(4 * LATENCY_US)
    assert b.payloads(Verb.USER_MESSAGE) == [b"first"]
