"""Roots that die and return, and nodes that move: how long anybody is out of reach."""

from __future__ import annotations

import pytest

from tests.support.switches import LATENCY_US, Host, VirtualNetwork, known_identities, planet_of
from ztstack.base.endpoint import Endpoint
from ztstack.base.timers import SECOND
from ztstack.vl1.keepalive import ANSWER_US, BEST_ECHO_US
from ztstack.vl1.switch import Switch
from ztstack.wire.verbs import Verb

IDENTITIES = known_identities()
ROOT1, ROOT2 = Endpoint.parse("10.1.0.1/9993"), Endpoint.parse("10.1.0.2/9993")
A, B = Endpoint.parse("10.1.0.3/9993"), Endpoint.parse("10.1.0.4/9993")
TENTH = SECOND // 10


def two_roots() -> tuple[VirtualNetwork, list[Host], Host, Host]:
    network = VirtualNetwork()
    planet = planet_of([(IDENTITIES[0], ROOT1), (IDENTITIES[1], ROOT2)])
    roots = [network.add(IDENTITIES[0], ROOT1, planet), network.add(IDENTITIES[1], ROOT2, planet)]
    a = network.add(IDENTITIES[2], A, planet)
    b = network.add(IDENTITIES[3], B, planet)
    network.run(2 * SECOND)
    return network, roots, a, b


def delay_until_heard(network: VirtualNetwork, a: Host, b: Host, limit_us: int) -> int:
    """Send a message every tenth of a second; return how long it was until one arrived."""
    before = len(b.payloads(Verb.USER_MESSAGE))
    start = network.now
    while network.now - start < limit_us:
        a.switch.send(network.now, b.address, Verb.USER_MESSAGE, b"are you there?")
        network.run(TENTH)
        if len(b.payloads(Verb.USER_MESSAGE)) > before:
            return network.now - start
    raise AssertionError(f"nothing arrived in {limit_us / 1e6:.1f} s")


def best(host: Host) -> int | None:
    return host.switch.best_upstream()


def test_a_dead_root_is_passed_over() -> None:
    network, roots, a, b = two_roots()
    network.passes = lambda source, destination: {source, destination} != {A, B}
    assert delay_until_heard(network, a, b, SECOND) <= 2 * TENTH
    used = next(root for root in roots if root.address == best(a))
    del network.hosts[used.endpoint]
    start = network.now
    network.run(BEST_ECHO_US + ANSWER_US + 2 * TENTH)
    assert best(a) not in (None, used.address)
    assert best(b) not in (None, used.address)
    assert delay_until_heard(network, a, b, 5 * SECOND) + (network.now - start) < 5 * SECOND
    assert a.switch.is_online


def test_a_root_that_returns_is_used_again() -> None:
    network, roots, a, _ = two_roots()
    used = next(root for root in roots if root.address == best(a))
    other = next(root for root in roots if root is not used)
    del network.hosts[used.endpoint]
    network.run(30 * SECOND)
    assert best(a) == other.address
    network.hosts[used.endpoint] = used
    del network.hosts[other.endpoint]
    network.run(12 * SECOND)
    assert best(a) == used.address
    assert a.switch.is_online


@pytest.mark.parametrize("phase_us", [0, SECOND, 2 * SECOND, 2 * SECOND + 9 * TENTH])
def test_a_restarted_root_without_its_cache_is_usable_soon(phase_us: int) -> None:
    network = VirtualNetwork()
    planet = planet_of([(IDENTITIES[0], ROOT1)])
    network.add(IDENTITIES[0], ROOT1, planet)
    a = network.add(IDENTITIES[2], A, planet)
    b = network.add(IDENTITIES[3], B, planet)
    network.passes = lambda source, destination: {source, destination} != {A, B}
    network.run(20 * SECOND + phase_us)
    network.add(IDENTITIES[0], ROOT1, planet)
    # Both were idle, and the root knows nobody.
    assert delay_until_heard(network, a, b, 10 * SECOND) < 5 * SECOND


def test_a_node_with_a_new_address_is_heard_at_once() -> None:
    network, _, a, b = two_roots()
    assert delay_until_heard(network, a, b, SECOND) <= 2 * TENTH
    network.run(3 * SECOND)
    assert delay_until_heard(network, b, a, SECOND) <= 2 * TENTH
    network.move(a, Endpoint.parse("10.7.7.7/9993"))
    a.switch.interfaces_changed(network.now)
    assert delay_until_heard(network, b, a, 5 * SECOND) < SECOND
    assert b.switch.has_direct_path(network.now, a.address)


def test_a_mapping_that_changed_is_noticed_without_being_told() -> None:
    """A NAT gives the node another port; it speaks, and the answer finds it."""
    network, _, a, b = two_roots()
    delay_until_heard(network, a, b, SECOND)
    network.run(3 * SECOND)
    network.move(a, Endpoint(A.ip, 55_555))
    delay_until_heard(network, a, b, SECOND)
    assert delay_until_heard(network, b, a, 5 * SECOND) < SECOND


def test_idle_cost_of_watching() -> None:
    """What an idle node sends to two roots in ten minutes."""
    network, _, a, _ = two_roots()
    network.run(30 * SECOND)
    network.sent.clear()
    network.run(600 * SECOND)
    mine = [data for _, source, _, data in network.sent if source == a.endpoint]
    # A sign of life every three seconds to one root, every ten to the other, and HELLO.
    assert len(mine) < 600 // 3 + 600 // 10 + 60
    assert sum(map(len, mine)) < 600 * 25
    assert isinstance(a.switch, Switch)


def test_first_contact_takes_two_round_trips() -> None:
    """WHOIS, the message by a relay, WHOIS of its sender, the answer: no timer is waited for."""
    network, _, a, b = two_roots()
    network.passes = lambda source, destination: {source, destination} != {A, B}
    start = network.now
    messages = [b"%d" % n for n in range(30)]
    for message in messages:
        a.switch.send(network.now, b.address, Verb.USER_MESSAGE, message)
    round_trip_us = 4 * LATENCY_US  # through a root
    while not b.payloads(Verb.USER_MESSAGE):
        network.run(LATENCY_US // 10)
        assert network.now - start <= 2 * round_trip_us
    b.switch.send(network.now, a.address, Verb.USER_MESSAGE, b"answer")
    while not a.payloads(Verb.USER_MESSAGE):
        network.run(LATENCY_US // 10)
        assert network.now - start <= 2 * round_trip_us + LATENCY_US
    # None of those that had to wait was lost, and their order is kept.
    assert b.payloads(Verb.USER_MESSAGE) == messages
