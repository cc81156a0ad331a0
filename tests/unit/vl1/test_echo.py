"""Echoes between switches: by way of the root, then directly; and how peers look to people."""

from __future__ import annotations

import pytest

from tests.support.switches import (
    LATENCY_US,
    Host,
    VirtualNetwork,
    known_identities,
    planet_of,
)
from ztstack.base.endpoint import Endpoint
from ztstack.base.errors import Drop
from ztstack.base.timers import SECOND
from ztstack.crypto.identity import Identity
from ztstack.vl1.events import EchoReply
from ztstack.vl1.path import ECHO_GATE_US, PathKey
from ztstack.vl1.surface import Sighting
from ztstack.wire.verbs import Verb

ROOT = Endpoint.parse("10.1.0.1/9993")
A = Endpoint.parse("10.1.0.2/9993")
B = Endpoint.parse("10.1.0.3/9993")


@pytest.fixture(scope="module")
def identities() -> list[Identity]:
    return known_identities()


@pytest.fixture
def world(identities: list[Identity]) -> tuple[VirtualNetwork, Host, Host, Host]:
    network = VirtualNetwork()
    planet = planet_of([(identities[0], ROOT)])
    hosts = [
        network.add(identity, endpoint, planet)
        for identity, endpoint in zip(identities, (ROOT, A, B), strict=False)
    ]
    network.run(1 * SECOND)
    return network, *hosts[:3]  # type: ignore[return-value]


def answers(host: Host) -> list[EchoReply]:
    return [event for event in host.events if isinstance(event, EchoReply)]


def test_the_first_echo_is_relayed_and_the_second_direct(
    world: tuple[VirtualNetwork, Host, Host, Host],
) -> None:
    network, root, a, b = world
    a.switch.echo(network.now, b.address, b"one")
    network.run(1 * SECOND)
    a.switch.echo(network.now, b.address, b"two")
    network.run(2 * LATENCY_US)
    first, second = answers(a)
    # Four ways by the root, and the time in which B finds out who asks.
    assert 4 * LATENCY_US < first.rtt_us <= 6 * LATENCY_US
    assert first[2:] == (PathKey(0, ROOT), 1, root.address, b"one")
    assert second == EchoReply(b.address, 2 * LATENCY_US, PathKey(0, B), 0, None, b"two")


def test_probes_of_the_switch_itself_are_not_told(
    world: tuple[VirtualNetwork, Host, Host, Host],
) -> None:
    network, _, a, b = world
    a.switch.send(network.now, b.address, Verb.USER_MESSAGE, b"hello")
    network.run(60 * SECOND)
    assert a.switch.has_direct_path(network.now, b.address)
    assert answers(a) == []


def test_a_second_echo_at_once_meets_the_gate(
    world: tuple[VirtualNetwork, Host, Host, Host],
) -> None:
    network, root, a, _ = world
    network.run(ECHO_GATE_US)
    for data in (b"one", b"two"):
        a.switch.echo(network.now, root.address, data)
    network.run(2 * LATENCY_US)
    assert [answer.data for answer in answers(a)] == [b"one"]
    assert root.tracer.drops == [Drop.RATE_LIMITED]
    network.run(ECHO_GATE_US)
    a.switch.echo(network.now, root.address, b"three")
    network.run(2 * LATENCY_US)
    assert [answer.data for answer in answers(a)] == [b"one", b"three"]


def test_what_people_see_of_a_root(world: tuple[VirtualNetwork, Host, Host, Host]) -> None:
    network, root, a, _ = world
    a.switch.echo(network.now, root.address, b"now")
    network.run(2 * LATENCY_US)
    network.run(3 * SECOND // 2)
    (status,) = [peer for peer in a.switch.peers(network.now) if peer.address == root.address]
    assert status.paths == (ROOT,)
    assert status.latency_ms == 2 * LATENCY_US // 1000
    assert status.silence_us is not None
    assert status.silence_us <= 3 * SECOND // 2
    assert not status.is_tunnelled
    assert status.sightings == (Sighting(0, ROOT, A),)
    # The root's HELLO was on its way for a while: that is how wrong this is.
    assert status.clock_ahead_ms == -LATENCY_US // 1000


def test_a_root_that_never_spoke(identities: list[Identity]) -> None:
    network = VirtualNetwork()
    a = network.add(identities[1], A, planet_of([(identities[0], ROOT)]))
    network.run(10 * SECOND)
    (status,) = a.switch.peers(network.now)
    assert (status.address, status.silence_us) == (identities[0].address, None)
    assert (status.paths, status.sightings) == ((), ())
