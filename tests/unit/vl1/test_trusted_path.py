"""Physical networks with rules of their own: trusted paths, MTUs, refused addresses, hints."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from tests.support.switches import (
    START_US,
    Host,
    SeededEntropy,
    VirtualNetwork,
    known_identities,
    planet_of,
)
from tests.support.vectors import load
from ztstack.base.datagram import Datagram
from ztstack.base.endpoint import Endpoint
from ztstack.base.errors import Drop, InvalidConfig
from ztstack.base.timers import SECOND
from ztstack.base.trace import ListTracer
from ztstack.crypto.identity import Identity
from ztstack.vl1.armor import mark_trusted
from ztstack.vl1.assembly import cut
from ztstack.vl1.events import Inbound, InboundBurst, ValidateIdentity
from ztstack.vl1.hints import HINT_US
from ztstack.vl1.policy import PhysicalNetwork, PhysicalPolicy, clamp_mtu
from ztstack.vl1.switch import PathPolicy, Switch
from ztstack.wire.compression import compress
from ztstack.wire.header import (
    ENVELOPE_OFFSET,
    FRAGMENT_HEADER_BYTES,
    MAX_FRAGMENTS,
    SUITE_TRUSTED,
    decode_header,
    is_fragment,
)
from ztstack.wire.verbs import Verb
from ztstack.wire.world import World

IDENTITIES = known_identities()
ROOT = Endpoint.parse("10.2.0.1/9993")
A, B = Endpoint.parse("10.1.0.2/9993"), Endpoint.parse("10.1.0.3/9993")
PREFIX = b"\x06" + bytes(8) + b"\x08\x00"
SHARED = 0x1122334455667788
LAN = PhysicalNetwork(bytes((10, 1, 0, 0)), 24, trusted_path_id=SHARED, mtu=1500)


def neighbours(
    a_rule: PhysicalNetwork | None, b_rule: PhysicalNetwork | None
) -> tuple[VirtualNetwork, Host, Host, Host]:
    """Return two nodes that have a direct path, and their root."""
    network = VirtualNetwork()
    planet = planet_of([(IDENTITIES[0], ROOT)])
    root = network.add(IDENTITIES[0], ROOT, planet)
    a = network.add(IDENTITIES[1], A, planet)
    b = network.add(IDENTITIES[2], B, planet)
    for host, rule in ((a, a_rule), (b, b_rule)):
        if rule is not None:
            host.switch.set_physical(PhysicalPolicy(networks=(rule,)))
    network.run(1 * SECOND)
    a.switch.send(network.now, b.address, Verb.USER_MESSAGE, b"first contact")
    network.run(1 * SECOND)
    assert a.switch.has_direct_path(network.now, b.address)
    network.sent.clear()
    return network, root, a, b


def heads(network: VirtualNetwork, source: Endpoint) -> list[bytes]:
    """Return the packets, or their first parts, that a node sent."""
    return [d for _, s, _, d in network.sent if s == source and not is_fragment(d) and len(d) > 27]


# Sending and receiving.


def test_messages_go_in_clear_and_arrive() -> None:
    network, _, a, b = neighbours(LAN, LAN)
    a.switch.send(network.now, b.address, Verb.USER_MESSAGE, b"plain words")
    network.run(1 * SECOND)
    assert b.payloads(Verb.USER_MESSAGE)[-1] == b"plain words"
    packet = next(data for data in heads(network, A) if data.endswith(b"plain words"))
    header = decode_header(packet)
    assert (header.suite, header.trusted_path_id, header.flags) == (SUITE_TRUSTED, SHARED, 0x10)
    assert packet[ENVELOPE_OFFSET] == Verb.USER_MESSAGE
    assert b.tracer.drops == []


def test_frames_go_in_clear_and_arrive() -> None:
    network, _, a, b = neighbours(LAN, LAN)
    packets = [(b"head", bytes((n,)) * 2700) for n in range(5)]
    a.switch.send_frames(network.now, b.address, PREFIX, packets)
    network.run(1 * SECOND)
    assert b.payloads(Verb.FRAME) == [PREFIX[1:] + head + body for head, body in packets]
    assert not any(isinstance(message, InboundBurst) for message in b.inbound)


def test_a_receiver_without_the_rule_refuses() -> None:
    network, _, a, b = neighbours(LAN, None)
    a.switch.send(network.now, b.address, Verb.USER_MESSAGE, b"plain words")
    network.run(1 * SECOND)
    assert b"plain words" not in b.payloads(Verb.USER_MESSAGE)
    assert b.tracer.drops == [Drop.UNTRUSTED_PATH]


@pytest.mark.parametrize(
    "rule",
    [
        replace(LAN, trusted_path_id=SHARED ^ 1),
        replace(LAN, ip=bytes((10, 9, 0, 0))),
        replace(LAN, trusted_path_id=0),
    ],
    ids=["another id", "another network", "no id"],
)
def test_a_receiver_with_another_rule_refuses(rule: PhysicalNetwork) -> None:
    network, _, a, b = neighbours(LAN, rule)
    a.switch.send(network.now, b.address, Verb.USER_MESSAGE, b"plain words")
    network.run(1 * SECOND)
    assert b"plain words" not in b.payloads(Verb.USER_MESSAGE)
    assert b.tracer.drops == [Drop.UNTRUSTED_PATH]


def test_the_id_zero_is_never_trusted() -> None:
    policy = PhysicalPolicy(networks=(replace(LAN, trusted_path_id=0),))
    assert not policy.trusts(A, 0)


def test_a_question_over_a_trusted_path_gets_its_answer() -> None:
    """The original drops these answers; a root in the trusted network must answer WHOIS."""
    network = VirtualNetwork()
    planet = planet_of([(IDENTITIES[0], ROOT)])
    hosts = [network.add(IDENTITIES[n], e, planet) for n, e in enumerate((ROOT, A, B))]
    wide = replace(LAN, ip=bytes((10, 0, 0, 0)), bits=8)
    for host in hosts:
        host.switch.set_physical(PhysicalPolicy(networks=(wide,)))
    network.run(1 * SECOND)
    hosts[1].switch.send(network.now, hosts[2].address, Verb.USER_MESSAGE, b"found")
    network.run(1 * SECOND)
    assert hosts[2].payloads(Verb.USER_MESSAGE) == [b"found"]
    questions = [d for d in heads(network, A) if d[ENVELOPE_OFFSET] == Verb.WHOIS]
    assert [decode_header(d).suite for d in questions] == [SUITE_TRUSTED]


def test_what_a_relay_carries_is_sealed() -> None:
    network = VirtualNetwork()
    planet = planet_of([(IDENTITIES[0], ROOT)])
    hosts = [network.add(IDENTITIES[n], e, planet) for n, e in enumerate((ROOT, A, B))]
    wide = replace(LAN, ip=bytes((10, 0, 0, 0)), bits=8)
    hosts[1].switch.set_physical(PhysicalPolicy(networks=(wide,)))
    hosts[0].switch.set_physical(PhysicalPolicy(networks=(wide,)))
    network.passes = lambda source, destination: {source, destination} != {A, B}
    network.run(1 * SECOND)
    hosts[1].switch.send(network.now, hosts[2].address, Verb.USER_MESSAGE, b"not for all")
    network.run(1 * SECOND)
    assert hosts[2].payloads(Verb.USER_MESSAGE) == [b"not for all"]
    assert not any(b"not for all" in data for _, _, _, data in network.sent)


# MTU.


@pytest.mark.parametrize(("mtu", "parts"), [(1400, 3), (1432, 3), (1500, 2), (9000, 1)])
def test_the_mtu_of_a_network_decides_how_packets_are_cut(mtu: int, parts: int) -> None:
    rule = replace(LAN, trusted_path_id=0, mtu=mtu)
    network, _, a, b = neighbours(rule, None)
    a.switch.send(network.now, b.address, Verb.USER_MESSAGE, bytes(2860))
    network.run(1 * SECOND)
    assert b.payloads(Verb.USER_MESSAGE)[-1] == bytes(2860)
    largest = max(network.sent, key=lambda sent: len(sent[3]))[3]
    assert -(-len(largest) // parts) <= mtu
    assert len(largest) == 28 + 2860 + FRAGMENT_HEADER_BYTES * (parts - 1)


@pytest.mark.parametrize("mtu", [1400, 9000])
def test_frames_are_cut_for_the_mtu_and_back(mtu: int) -> None:
    network, _, a, b = neighbours(replace(LAN, trusted_path_id=0, mtu=mtu), None)
    packets = [(b"head", bytes((n,)) * 2800) for n in range(4)]
    a.switch.send_frames(network.now, b.address, PREFIX, packets)
    a.switch.set_physical(PhysicalPolicy())
    a.switch.send_frames(network.now, b.address, PREFIX, packets)
    network.run(1 * SECOND)
    bursts = [m.burst for m in b.inbound if isinstance(m, InboundBurst)]
    lengths = [length for burst in bursts for length in burst.lengths]
    assert lengths == [2804] * 8


def test_a_packet_of_eight_parts_is_not_sent() -> None:
    network, _, a, b = neighbours(replace(LAN, trusted_path_id=0, mtu=1400), None)
    longest = 1400 + (MAX_FRAGMENTS - 1) * (1400 - FRAGMENT_HEADER_BYTES) - 28
    a.switch.send(network.now, b.address, Verb.USER_MESSAGE, bytes(longest))
    a.switch.send(network.now, b.address, Verb.USER_MESSAGE, bytes(longest + 1))
    network.run(1 * SECOND)
    assert [len(p) for p in b.payloads(Verb.USER_MESSAGE)[1:]] == [longest]
    assert a.tracer.drops == [Drop.TOO_LONG]


# Refused addresses and hints.


def test_a_blacklisted_network_is_no_path() -> None:
    rule = replace(LAN, trusted_path_id=0, blacklisted=True)
    network = VirtualNetwork()
    planet = planet_of([(IDENTITIES[0], ROOT)])
    network.add(IDENTITIES[0], ROOT, planet)
    a = network.add(IDENTITIES[1], A, planet)
    b = network.add(IDENTITIES[2], B, planet)
    a.switch.set_physical(PhysicalPolicy(networks=(rule,)))
    network.run(1 * SECOND)
    a.switch.send(network.now, b.address, Verb.USER_MESSAGE, b"by the root")
    network.run(5 * SECOND)
    assert b.payloads(Verb.USER_MESSAGE) == [b"by the root"]
    assert not a.switch.has_direct_path(network.now, b.address)


def test_a_peer_is_refused_in_its_own_networks_only() -> None:
    policy = PhysicalPolicy(refused={IDENTITIES[2].address: ((B.ip, 32),)})
    assert policy.refuses(IDENTITIES[2].address, B)
    assert not policy.refuses(IDENTITIES[2].address, A)
    assert not policy.refuses(IDENTITIES[3].address, B)


def test_a_hint_leads_to_a_peer_that_nobody_introduces() -> None:
    network = VirtualNetwork()
    planet = planet_of([(IDENTITIES[0], ROOT)])
    network.add(IDENTITIES[0], ROOT, planet)
    a = network.add(IDENTITIES[1], A, planet)
    b = network.add(IDENTITIES[2], B, planet)
    # What the root's introduction leads to is lost, and the next comes after 30 s.
    network.passes = lambda source, destination: ROOT in (source, destination)
    network.run(1 * SECOND)
    a.switch.send(network.now, b.address, Verb.USER_MESSAGE, b"relayed")
    network.run(1 * SECOND)
    network.passes = lambda source, destination: True
    a.switch.send(network.now, b.address, Verb.USER_MESSAGE, b"relayed")
    network.run(5 * SECOND)
    assert not a.switch.has_direct_path(network.now, b.address)
    a.switch.set_physical(PhysicalPolicy(hints={b.address: (B,)}))
    a.switch.send(network.now, b.address, Verb.USER_MESSAGE, b"relayed")
    network.run(1 * SECOND)
    assert a.switch.has_direct_path(network.now, b.address)


def test_hints_are_tried_every_30_seconds() -> None:
    network = VirtualNetwork()
    planet = planet_of([(IDENTITIES[0], ROOT)])
    network.add(IDENTITIES[0], ROOT, planet)
    a = network.add(IDENTITIES[1], A, planet)
    b = network.add(IDENTITIES[2], B, planet)
    wrong = (Endpoint.parse("10.1.0.77/9993"), Endpoint.parse("[fd00::77]:9993"))
    a.switch.set_physical(PhysicalPolicy(hints={b.address: wrong}))
    network.passes = lambda source, destination: ROOT in (source, destination)
    network.run(1 * SECOND)
    for _ in range(90):
        a.switch.send(network.now, b.address, Verb.USER_MESSAGE, b"again")
        network.run(1 * SECOND)
    tried = [(at, to) for at, source, to, _ in network.sent if source == A and to in wrong]
    assert len(tried) == 3
    gaps = [later[0] - sooner[0] for sooner, later in pairwise(tried)]
    assert all(HINT_US <= gap <= HINT_US + SECOND for gap in gaps)


# The values.


def test_the_first_network_by_address_counts() -> None:
    narrow = PhysicalNetwork(bytes((10, 1, 0, 0)), 24, mtu=1500)
    wide = PhysicalNetwork(bytes((10, 0, 0, 0)), 8, mtu=1400)
    six = PhysicalNetwork(bytes(16), 0, mtu=9000)
    policy = PhysicalPolicy(networks=(six, narrow, wide))
    assert policy.networks == (wide, narrow, six)
    assert policy.rule(A) is wide
    assert policy.rule(Endpoint(bytes(15) + b"\x02", 1)) is six
    assert policy.rule(Endpoint(bytes((11, 0, 0, 1)), 1)) is None


@pytest.mark.parametrize(
    ("given", "meant"), [(0, 1432), (-5, 1432), (1, 1400), (1500, 1500), (99_999, 10_324)]
)
def test_an_mtu_is_clamped(given: int, meant: int) -> None:
    assert clamp_mtu(given) == meant


def test_values_are_checked() -> None:
    with pytest.raises(InvalidConfig, match="not a network"):
        PhysicalNetwork(bytes(4), 33)
    with pytest.raises(InvalidConfig, match="not a network"):
        PhysicalNetwork(bytes(5), 3)
    with pytest.raises(InvalidConfig, match="64 bits"):
        PhysicalNetwork(bytes(4), 8, trusted_path_id=1 << 64)
    with pytest.raises(InvalidConfig, match="MTU"):
        PhysicalNetwork(bytes(4), 8, mtu=1399)
    with pytest.raises(InvalidConfig, match="32"):
        PhysicalPolicy(networks=(LAN,) * 33)


# The recorded run of two original nodes.

SESSION = load("session_trusted_path.json")
SECRETS = {node["name"]: Identity.parse(node["secret"]) for node in SESSION["nodes"]}
DATAGRAMS = {case["n"]: case for case in SESSION["cases"] if case["kind"] == "datagram"}
RECORDED_ID = int(SESSION["trusted_path_id"], 16)
RECORDED_LAN = PhysicalNetwork(bytes((10, 77, 0, 0)), 24, trusted_path_id=RECORDED_ID, mtu=1500)
HELLO, CUT, COMPRESSED_ONE = 32, (41, 42, 43), 44


def wire(n: int) -> bytes:
    return bytes.fromhex(DATAGRAMS[n]["hex"])


def play(switch: Switch, case: dict[str, Any]) -> None:
    now = (SESSION["time_base"] + case["t"]) * 1000
    source = Endpoint.parse(case["from_endpoint"])
    switch.receive(now, Datagram(0, source, bytes.fromhex(case["hex"])))
    for event in switch.take_events():
        if isinstance(event, ValidateIdentity):
            switch.identity_validated(now, event.identity, ok=True)


def recorded_bob(policy: PhysicalPolicy) -> tuple[Switch, ListTracer]:
    tracer = ListTracer()
    planet = World.parse(bytes.fromhex(SESSION["planet"]))
    bob = Switch(START_US, SECRETS["bob"], planet, SeededEntropy(1), tracer, PathPolicy())
    bob.set_physical(policy)
    play(bob, DATAGRAMS[HELLO])
    return bob, tracer


def test_the_recorded_packets_are_taken() -> None:
    bob, tracer = recorded_bob(PhysicalPolicy(networks=(RECORDED_LAN,)))
    for n in (*CUT, COMPRESSED_ONE):
        play(bob, DATAGRAMS[n])
    got = [m.payload.hex() for m in bob.take_inbound() if isinstance(m, Inbound)]
    assert got == [DATAGRAMS[n]["packet"]["payload"] for n in (CUT[-1], COMPRESSED_ONE)]
    assert tracer.drops == []


def test_the_recorded_packets_are_refused_elsewhere() -> None:
    bob, tracer = recorded_bob(PhysicalPolicy())
    for n in (*CUT, COMPRESSED_ONE):
        play(bob, DATAGRAMS[n])
    assert bob.take_inbound() == []
    assert tracer.drops == [Drop.UNTRUSTED_PATH] * 2


@pytest.mark.parametrize("n", [CUT[-1], COMPRESSED_ONE])
def test_the_recorded_packets_are_built(n: int) -> None:
    packet = DATAGRAMS[n]["packet"]
    payload = bytes.fromhex(packet["payload"])
    verb = packet["verb"]
    if packet["compressed"]:
        smaller = compress(payload)
        assert smaller is not None
        verb, payload = verb | 0x80, smaller
    cut_up = n == CUT[-1]
    addresses = SECRETS["bob"].address.packed + SECRETS["alice"].address.packed
    made = mark_trusted(
        RECORDED_ID,
        bytes.fromhex(packet["packet_id"]),
        addresses,
        bytes((verb,)) + payload,
        fragmented=cut_up,
    )
    parts = cut(made, RECORDED_LAN.mtu) if cut_up else [made]
    assert parts == [wire(number) for number in (CUT if cut_up else (n,))]
