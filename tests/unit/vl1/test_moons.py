"""Moons: what is taken and refused, what HELLO carries, and a recorded run of original nodes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.support.switches import (
    LATENCY_US,
    START_US,
    Host,
    SeededEntropy,
    VirtualNetwork,
    known_identities,
    planet_of,
)
from tests.support.vectors import cases, load
from ztstack.base.address import Address
from ztstack.base.codec import Reader
from ztstack.base.datagram import Datagram
from ztstack.base.endpoint import Endpoint
from ztstack.base.errors import InvalidConfig
from ztstack.base.timers import SECOND
from ztstack.base.trace import ListTracer
from ztstack.crypto.identity import Identity
from ztstack.root.world_builder import make_moon
from ztstack.vl1.armor import PeerKeys, open_packet
from ztstack.vl1.events import ValidateIdentity, WorldChanged
from ztstack.vl1.switch import PathPolicy, Switch
from ztstack.vl1.topology import Topology
from ztstack.vl1.worlds import MOONS_LIMIT, Worlds
from ztstack.wire.hello import Hello, HelloOk, encrypted_offset
from ztstack.wire.replies import Ok
from ztstack.wire.verbs import Verb
from ztstack.wire.world import Root, World

IDENTITIES = known_identities()
ROOT, MOON = Endpoint.parse("10.1.0.1/9993"), Endpoint.parse("10.1.0.2/9993")
A, B = Endpoint.parse("10.1.0.3/9993"), Endpoint.parse("10.1.0.4/9993")
PLANET = planet_of([(IDENTITIES[0], ROOT)])
SIGNER = IDENTITIES[5]


def moon_of(timestamp_ms: int = 1, *, index: int = 1, where: Endpoint = MOON) -> World:
    identity = IDENTITIES[index]
    return make_moon(timestamp_ms * 1000, [(identity, (where,))], SIGNER)


# The rules, against the original's decisions.

# What the original takes and we refuse: a first revision whose signature nobody could have made.
STRICTER = "expected moon with damaged signature (a first moon's signature is not verified)"


@pytest.mark.parametrize("case", cases("world.json", "add_world"))
def test_add_world(case: dict[str, Any]) -> None:
    topology = Topology(
        0,
        Identity.parse(case["node"]),
        World.parse(bytes.fromhex(case["planet"])),
        PathPolicy(),
    )
    if case["existing_moon"]:
        assert topology.load_moon(0, World.parse(bytes.fromhex(case["existing_moon"])))
    for seed in case["moon_seeds"]:
        topology.orbit(int(seed["moon_id"], 16), Address.parse(seed["seed_address"]))
    before = sorted(topology.roots)
    candidate = World.parse(bytes.fromhex(case["candidate"]))
    offer = topology.load_moon if case["always_accept_new_moon"] else topology.offer
    taken = offer(0, candidate)
    if case["what"] == STRICTER:
        assert case["accepted"]
        assert not taken
        assert sorted(topology.roots) == before
        return
    assert taken is case["accepted"]
    assert [str(a) for a in sorted(topology.roots)] == sorted(case["upstream_addresses_after"])
    assert topology.am_upstream is case["node_is_upstream_after"]
    planet = {root.identity.address for root in topology.world.roots}
    roles = {str(a): "planet" if a in planet else "moon" for a in topology.roots}
    assert roles == case["roles_after"]


def test_a_wanted_moon_is_wanted_once() -> None:
    worlds = Worlds(PLANET)
    moon = moon_of()
    seed = IDENTITIES[1].address
    assert not worlds.offer(moon)
    worlds.orbit(moon.id, seed)
    assert worlds.listed() == ((moon.id, 0),)
    assert worlds.offer(moon)
    assert worlds.listed() == ((moon.id, moon.timestamp),)
    assert worlds.wanted == {}
    assert not worlds.offer(moon)
    newer = moon_of(2)
    assert not worlds.offer(replace(newer, signature=moon.signature))
    assert worlds.offer(newer)
    assert worlds.moons == {moon.id: newer}
    assert worlds.deorbit(moon.id)
    assert not worlds.deorbit(moon.id)
    assert worlds.listed() == ()


def test_moons_are_bounded() -> None:
    worlds = Worlds(PLANET)
    seed = IDENTITIES[1].address
    for moon_id in range(1, MOONS_LIMIT + 1):
        worlds.orbit(moon_id, seed)
    worlds.orbit(MOONS_LIMIT, IDENTITIES[2].address)
    with pytest.raises(InvalidConfig, match=str(MOONS_LIMIT)):
        worlds.orbit(MOONS_LIMIT + 1, seed)
    with pytest.raises(InvalidConfig, match=str(MOONS_LIMIT)):
        worlds.load(moon_of())
    assert len(worlds.listed()) == MOONS_LIMIT


@pytest.mark.parametrize("moon_id", [0, -1, 1 << 64])
def test_an_id_has_64_bits(moon_id: int) -> None:
    with pytest.raises(InvalidConfig, match="64 bits"):
        Worlds(PLANET).orbit(moon_id, IDENTITIES[1].address)


def test_a_planet_is_no_moon() -> None:
    worlds = Worlds(PLANET)
    assert not worlds.load(PLANET)
    assert not worlds.load(replace(moon_of(), id=0))
    assert worlds.moons == {}


def test_news_are_what_was_asked_for_and_is_newer() -> None:
    worlds = Worlds(PLANET)
    moon, other = moon_of(7), moon_of(7, index=2)
    worlds.load(moon)
    worlds.load(other)
    planet = (PLANET.id, PLANET.timestamp)
    assert worlds.news_for(planet, (), 9000) == ()
    assert worlds.news_for(planet, ((moon.id, 7), (other.id, 0)), 9000) == (other,)
    asked = ((moon.id, 0), (other.id, 6), (99, 0))
    assert worlds.news_for((PLANET.id, 0), asked, 9000) == (PLANET, moon, other)
    assert worlds.news_for((0, 0), asked, 9000) == (moon, other)
    limit = len(moon.serialize()) + len(other.serialize()) - 1
    assert worlds.news_for((0, 0), asked, limit) == (moon,)


# Endpoints of upstreams (vl1 section 5.6).


def test_a_root_of_planet_and_moon_may_be_at_either_place() -> None:
    topology = Topology(START_US, IDENTITIES[2], PLANET, PathPolicy())
    root = IDENTITIES[0].address
    moon = make_moon(1000, [(IDENTITIES[0], (MOON,))], SIGNER)
    assert not topology.is_acceptable(root, MOON)
    topology.load_moon(START_US, moon)
    assert topology.roots[root].endpoints == (ROOT, MOON)
    assert topology.is_acceptable(root, Endpoint(MOON.ip, 1))
    assert topology.is_acceptable(root, ROOT)
    assert not topology.is_acceptable(root, A)
    assert topology.deorbit(START_US, moon.id)
    assert not topology.is_acceptable(root, MOON)


def test_a_root_without_endpoints_may_be_anywhere() -> None:
    topology = Topology(START_US, IDENTITIES[2], PLANET, PathPolicy())
    root = IDENTITIES[0]
    moon = replace(moon_of(), roots=(Root(root.public, ()),))
    topology.load_moon(START_US, moon)
    assert topology.roots[root.address].endpoints == (ROOT,)
    assert topology.is_acceptable(root.address, A)


# Whole switches.


def moon_world() -> tuple[VirtualNetwork, Host, Host, Host, World]:
    network = VirtualNetwork()
    root = network.add(IDENTITIES[0], ROOT, PLANET)
    keeper = network.add(IDENTITIES[1], MOON, PLANET)
    a = network.add(IDENTITIES[2], A, PLANET)
    moon = moon_of()
    assert keeper.switch.load_moon(network.now, moon)
    network.run(1 * SECOND)
    return network, root, keeper, a, moon


def test_a_moon_is_fetched_from_its_seed() -> None:
    network, _, keeper, a, moon = moon_world()
    a.switch.orbit(network.now, moon.id, keeper.address)
    assert a.switch.wanted_moons == {moon.id: keeper.address}
    network.run(20 * LATENCY_US)
    assert WorldChanged(moon) in a.events
    assert a.switch.moons == [moon]
    assert a.switch.wanted_moons == {}
    assert a.switch.is_upstream(keeper.address)
    assert a.switch.has_direct_path(network.now, keeper.address)
    assert a.tracer.drops == keeper.tracer.drops == []


def test_orbiting_before_being_online_works_too() -> None:
    network = VirtualNetwork()
    keeper = network.add(IDENTITIES[1], MOON, PLANET)
    a = network.add(IDENTITIES[2], A, PLANET)
    moon = moon_of()
    keeper.switch.load_moon(network.now, moon)
    a.switch.orbit(network.now, moon.id, keeper.address)
    network.run(12 * SECOND)
    assert a.switch.moons == []
    network.add(IDENTITIES[0], ROOT, PLANET)
    network.run(15 * SECOND)
    assert a.switch.moons == [moon]


def test_a_moon_relays_when_the_planet_is_gone() -> None:
    network, root, keeper, a, moon = moon_world()
    b = network.add(IDENTITIES[3], B, PLANET)
    network.passes = lambda source, destination: {source, destination} != {A, B}
    for host in (a, b):
        host.switch.orbit(network.now, moon.id, keeper.address)
    network.run(2 * SECOND)
    del network.hosts[root.endpoint]
    network.run(60 * SECOND)
    assert a.switch.is_online
    assert a.switch.best_upstream() == keeper.address
    a.switch.send(network.now, b.address, Verb.USER_MESSAGE, b"by the moon")
    network.run(1 * SECOND)
    assert b.payloads(Verb.USER_MESSAGE) == [b"by the moon"]
    a.switch.deorbit(network.now, moon.id)
    assert not a.switch.is_upstream(keeper.address)
    network.run(60 * SECOND)
    assert not a.switch.is_online


def test_a_newer_moon_spreads() -> None:
    network, _, keeper, a, moon = moon_world()
    a.switch.load_moon(network.now, moon)
    network.run(1 * SECOND)
    newer = moon_of(2)
    assert keeper.switch.load_moon(network.now, newer)
    network.run(300 * SECOND)
    assert a.switch.moons == [newer]
    assert WorldChanged(newer) in a.events


def test_a_forged_moon_is_refused() -> None:
    network, _, keeper, a, moon = moon_world()
    assert keeper.switch.deorbit(network.now, moon.id)
    forged = make_moon(2000, [(IDENTITIES[1], (MOON,))], IDENTITIES[6])
    assert keeper.switch.load_moon(network.now, replace(forged, signer_key=moon.signer_key))
    a.switch.orbit(network.now, moon.id, keeper.address)
    network.run(60 * SECOND)
    assert a.switch.moons == []
    assert not a.switch.is_upstream(keeper.address)


def test_a_leaf_that_is_no_seed_gives_no_moon() -> None:
    network, _, keeper, a, moon = moon_world()
    # It names the keeper as a root, but another node is to provide it.
    other = IDENTITIES[4].address
    a.switch.orbit(network.now, moon.id, other)
    a.switch.send(network.now, keeper.address, Verb.USER_MESSAGE, b"hello")
    network.run(30 * SECOND)
    assert a.switch.has_direct_path(network.now, keeper.address)
    assert a.switch.moons == []


# A recorded run of original nodes: "alice" asks "moonroot" for its moon by way of the root.

SESSION = load("session_misc.json")
NODES = {node["name"]: node for node in SESSION["nodes"]}
DATAGRAMS = {case["n"]: case for case in SESSION["cases"] if case["kind"] == "datagram"}
RELAYED_HELLO, RELAYED_OK = 50, 58


def recorded_identity(name: str) -> Identity:
    return Identity.parse(NODES[name]["secret"])


class RecordedEntropy:
    """Gives one packet id again and again, so that recorded answers fit."""

    def __init__(self, packet_id: bytes) -> None:
        self._packet_id = packet_id

    def take(self, length: int) -> bytes:
        return (self._packet_id * (length // 8 + 1))[:length]


def recorded_switch(name: str, now: int, entropy: RecordedEntropy | SeededEntropy) -> Switch:
    planet = World.parse(bytes.fromhex(SESSION["planet"]))
    return Switch(now, recorded_identity(name), planet, entropy, ListTracer(), PathPolicy())


def recorded_moon() -> World:
    return World.parse(bytes.fromhex(SESSION["moon"]))


def play(switch: Switch, case: dict[str, Any]) -> list[bytes]:
    now = (SESSION["time_base"] + case["t"]) * 1000
    source = Endpoint.parse(case["from_endpoint"])
    switch.receive(now, Datagram(0, source, bytes.fromhex(case["hex"])))
    for event in switch.take_events():
        if isinstance(event, ValidateIdentity):
            switch.identity_validated(now, event.identity, ok=True)
    return [datagram.data for datagram in switch.take_datagrams()]


def hello_of(packet: bytes, keys: PeerKeys) -> Hello:
    payload = open_packet(keys, packet)[1:]
    at = encrypted_offset(payload)
    return Hello.decode(Reader(payload[:at] + keys.crypt_field(packet[:8], payload[at:])))


def answer_of(packet: bytes, keys: PeerKeys) -> HelloOk:
    body = open_packet(keys, packet)
    assert body[0] == Verb.OK
    ok = Ok.decode(Reader(body[1:]))
    assert ok.in_re_verb == Verb.HELLO
    return HelloOk.decode(Reader(ok.body))


def test_the_recorded_question_gets_the_recorded_answer() -> None:
    alice, keeper = recorded_identity("alice"), recorded_identity("moonroot")
    keys = PeerKeys(alice.agree(keeper.public))
    question = DATAGRAMS[RELAYED_HELLO]
    now = (SESSION["time_base"] + question["t"]) * 1000
    switch = recorded_switch("moonroot", now, SeededEntropy(1))
    assert switch.load_moon(now, recorded_moon())
    packets = play(switch, question)
    ours = answer_of(packets[0], keys)
    theirs = answer_of(bytes.fromhex(DATAGRAMS[RELAYED_OK]["hex"]), keys)
    assert ours.worlds == theirs.worlds == (recorded_moon(),)
    assert (ours.endpoint, ours.timestamp_ms) == (theirs.endpoint, theirs.timestamp_ms)


def test_the_recorded_answer_brings_the_moon() -> None:
    alice, keeper = recorded_identity("alice"), recorded_identity("moonroot")
    keys = PeerKeys(alice.agree(keeper.public))
    question = bytes.fromhex(DATAGRAMS[RELAYED_HELLO]["hex"])
    reply = DATAGRAMS[RELAYED_OK]
    now = (SESSION["time_base"] + DATAGRAMS[RELAYED_HELLO]["t"]) * 1000
    switch = recorded_switch("alice", now, RecordedEntropy(question[:8]))
    moon = recorded_moon()
    # The seed becomes known, so that the switch asks it as soon as there is a way.
    play(switch, seed_hello())
    switch.orbit(now, moon.id, keeper.address)
    switch.take_datagrams()
    arrived = now + 10_000
    source = Endpoint.parse("198.51.100.10/9993")
    switch.receive(arrived, Datagram(0, source, bytes.fromhex(reply["hex"])))
    assert WorldChanged(moon) in switch.take_events()
    assert switch.moons == [moon]
    # From now on our HELLO lists what the original's lists that has the moon.
    root = recorded_identity("root")
    switch.handle_timer(arrived)
    hellos = [
        hello_of(datagram.data, PeerKeys(alice.agree(root.public)))
        for datagram in switch.take_datagrams()
        if datagram.data[8:13] == root.address.packed
    ]
    theirs = hello_of(bytes.fromhex(seed_hello()["hex"]), keys)
    assert {hello.moons for hello in hellos} == {theirs.moons} == {((moon.id, moon.timestamp),)}
    assert hello_of(question, keys).moons == ((moon.id, 0),)


def seed_hello() -> dict[str, Any]:
    """Return a HELLO of the seed to alice, as recorded."""
    case: dict[str, Any]
    for case in DATAGRAMS.values():
        packet = case.get("packet") or {}
        if (case["from"], case["to"]) == ("moonroot", "alice") and packet.get("verb") == Verb.HELLO:
            return case
    raise AssertionError("the recording lacks it")
