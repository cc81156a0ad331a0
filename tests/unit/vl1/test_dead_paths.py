"""Direct paths that die: the relay takes over, in whatever direction nothing comes through."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.switches import LATENCY_US, Host, VirtualNetwork, known_identities, planet_of
from ztstack.base.endpoint import Endpoint
from ztstack.base.timers import SECOND
from ztstack.vl1.contact import SILENT_US, UNANSWERED_US
from ztstack.vl1.events import UpstreamHeard
from ztstack.wire.verbs import Verb

IDENTITIES = known_identities()
ROOT = Endpoint.parse("10.1.0.1/9993")
A, B = Endpoint.parse("10.1.0.3/9993"), Endpoint.parse("10.1.0.4/9993")
TENTH = SECOND // 10

Passes = Callable[[Endpoint, Endpoint], bool]


def neither(source: Endpoint, destination: Endpoint) -> bool:
    return {source, destination} != {A, B}


def not_from_a(source: Endpoint, destination: Endpoint) -> bool:
    return (source, destination) != (A, B)


def not_from_b(source: Endpoint, destination: Endpoint) -> bool:
    return (source, destination) != (B, A)


def direct_pair() -> tuple[VirtualNetwork, Host, Host, Host]:
    network = VirtualNetwork()
    planet = planet_of([(IDENTITIES[0], ROOT)])
    root = network.add(IDENTITIES[0], ROOT, planet)
    a = network.add(IDENTITIES[2], A, planet)
    b = network.add(IDENTITIES[3], B, planet)
    network.run(2 * SECOND)
    talk(network, a, b, 5 * SECOND)
    assert a.switch.has_direct_path(network.now, b.address)
    assert b.switch.has_direct_path(network.now, a.address)
    return network, root, a, b


def talk(network: VirtualNetwork, a: Host, b: Host, duration_us: int) -> None:
    """Let both send ten messages a second, as the two ends of a stream do."""
    end = network.now + duration_us
    while network.now < end:
        a.switch.send(network.now, b.address, Verb.USER_MESSAGE, b"a")
        b.switch.send(network.now, a.address, Verb.USER_MESSAGE, b"b")
        network.run(TENTH)


def silence(network: VirtualNetwork, a: Host, b: Host, limit_us: int) -> int:
    """Send from A only; return how long it was until something arrived."""
    before = len(b.payloads(Verb.USER_MESSAGE))
    start = network.now
    while network.now - start < limit_us:
        a.switch.send(network.now, b.address, Verb.USER_MESSAGE, b"are you there?")
        network.run(TENTH)
        if len(b.payloads(Verb.USER_MESSAGE)) > before:
            return network.now - start
    raise AssertionError(f"nothing arrived in {limit_us / 1e6:.1f} s")


@pytest.mark.parametrize("passes", [neither, not_from_a, not_from_b])
def test_the_relay_takes_over(passes: Passes) -> None:
    network, _, a, b = direct_pair()
    network.passes = passes
    worst = SILENT_US + UNANSWERED_US + 3 * TENTH
    if passes is not not_from_b:
        assert silence(network, a, b, 10 * SECOND) <= worst
    # One who only hears goes the long way as well once his answers do not arrive.
    talk(network, a, b, worst)
    heard = len(a.payloads(Verb.USER_MESSAGE)), len(b.payloads(Verb.USER_MESSAGE))
    talk(network, a, b, 10 * SECOND)
    # A handful may be lost while a way that half works is tried again.
    assert len(a.payloads(Verb.USER_MESSAGE)) - heard[0] >= 95
    assert len(b.payloads(Verb.USER_MESSAGE)) - heard[1] >= 95


def test_the_direct_path_comes_back() -> None:
    network, _, a, b = direct_pair()
    network.passes = neither
    talk(network, a, b, 20 * SECOND)
    assert not a.switch.has_direct_path(network.now, b.address)
    network.passes = lambda source, destination: True
    talk(network, a, b, 40 * SECOND)
    assert a.switch.has_direct_path(network.now, b.address)
    assert b.switch.has_direct_path(network.now, a.address)


def test_a_peer_that_answers_is_not_asked() -> None:
    network, _, a, b = direct_pair()
    for _ in range(20):
        network.run(2 * SECOND)
        a.switch.send(network.now, b.address, Verb.USER_MESSAGE, b"question")
        network.run(2 * LATENCY_US)
        b.switch.send(network.now, a.address, Verb.USER_MESSAGE, b"answer")
    network.run(SECOND)
    asked_before = len(network.sent)
    a.switch.send(network.now, b.address, Verb.USER_MESSAGE, b"question")
    network.run(2 * LATENCY_US)
    b.switch.send(network.now, a.address, Verb.USER_MESSAGE, b"answer")
    network.run(2 * UNANSWERED_US)
    between = [s for s in network.sent[asked_before:] if {s[1], s[2]} == {A, B}]
    assert len(between) == 2


def test_a_peer_that_only_listens_is_asked_once_in_a_while() -> None:
    network, _, a, b = direct_pair()
    for _ in range(100):
        a.switch.send(network.now, b.address, Verb.USER_MESSAGE, b"news")
        network.run(TENTH)
    start = len(network.sent)
    for _ in range(100):
        a.switch.send(network.now, b.address, Verb.USER_MESSAGE, b"news")
        network.run(TENTH)
    answers = [s for s in network.sent[start:] if (s[1], s[2]) == (B, A)]
    assert 5 <= len(answers) <= 12
    assert a.switch.has_direct_path(network.now, b.address)


def test_a_root_that_was_silent_is_told_when_it_speaks_again() -> None:
    network, root, a, _ = direct_pair()
    assert a.events.count(UpstreamHeard(root.address)) == 1
    del network.hosts[ROOT]
    network.run(10 * SECOND)
    network.hosts[ROOT] = root
    network.run(10 * SECOND)
    assert a.events.count(UpstreamHeard(root.address)) == 2
