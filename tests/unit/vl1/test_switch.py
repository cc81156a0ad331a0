from __future__ import annotations

import random

import pytest
from hypothesis import given, strategies as st

from tests.support.switches import (
    LATENCY_US,
    START_US,
    Host,
    SeededEntropy,
    VirtualNetwork,
    known_identities,
    planet_of,
)
from ztstack.base.datagram import Datagram
from ztstack.base.endpoint import Endpoint
from ztstack.base.errors import Drop
from ztstack.base.timers import SECOND
from ztstack.base.trace import ListTracer
from ztstack.crypto.identity import Identity
from ztstack.vl1.events import (
    IdentityCollision,
    InboundBurst,
    OnlineChanged,
    PathLearned,
    WorldChanged,
)
from ztstack.vl1.switch import PathPolicy, Switch
from ztstack.wire.verbs import Verb

ROOT = Endpoint.parse("10.1.0.1/9993")
A = Endpoint.parse("10.1.0.2/9993")
B = Endpoint.parse("10.1.0.3/9993")
PREFIX = b"\x06" + bytes(8) + b"\x08\x00"


@pytest.fixture(scope="module")
def identities() -> list[Identity]:
    return known_identities()


def world_of(identities: list[Identity]) -> tuple[VirtualNetwork, Host, Host, Host]:
    network = VirtualNetwork()
    planet = planet_of([(identities[0], ROOT)])
    root = network.add(identities[0], ROOT, planet)
    a = network.add(identities[1], A, planet)
    b = network.add(identities[2], B, planet)
    return network, root, a, b


def test_online_after_one_round_trip(identities: list[Identity]) -> None:
    network, root, a, _ = world_of(identities)
    network.run(2 * LATENCY_US)
    assert OnlineChanged(online=True) in a.events
    assert PathLearned(root.address, ROOT) in a.events
    network.run(2 * LATENCY_US)
    assert root.switch.has_direct_path(network.now, a.address)
    assert a.tracer.drops == []
    assert root.tracer.drops == []


def test_first_message_is_relayed_and_then_direct(identities: list[Identity]) -> None:
    network, _, a, b = world_of(identities)
    network.run(1 * SECOND)
    a.switch.send(network.now, b.address, Verb.USER_MESSAGE, b"first" * 4)
    network.run(20 * LATENCY_US)
    assert b.payloads(Verb.USER_MESSAGE) == [b"first" * 4]
    assert a.switch.has_direct_path(network.now, b.address)
    assert b.switch.has_direct_path(network.now, a.address)
    network.sent.clear()
    b.switch.send(network.now, a.address, Verb.USER_MESSAGE, b"second")
    network.run(2 * LATENCY_US)
    assert a.payloads(Verb.USER_MESSAGE) == [b"second"]
    assert [(s, d) for _, s, d, data in network.sent if len(data) == 34] == [(B, A)]


def test_without_a_direct_path_the_root_relays(identities: list[Identity]) -> None:
    network, _, a, b = world_of(identities)
    network.passes = lambda source, destination: {source, destination} != {A, B}
    network.run(1 * SECOND)
    for n in range(5):
        a.switch.send(network.now, b.address, Verb.USER_MESSAGE, bytes((n,)) * 3000)
        network.run(1 * SECOND)
    assert b.payloads(Verb.USER_MESSAGE) == [bytes((n,)) * 3000 for n in range(5)]
    assert not a.switch.has_direct_path(network.now, b.address)


def test_frames_arrive_as_bursts(identities: list[Identity]) -> None:
    network, _, a, b = world_of(identities)
    network.run(1 * SECOND)
    source = random.Random(1)
    packets = [(source.randbytes(40), source.randbytes(2760)) for _ in range(50)]
    a.switch.send_frames(network.now, b.address, PREFIX, packets[:3])
    network.run(1 * SECOND)
    # The first ones waited for the identity of b.
    first = b.payloads(Verb.FRAME)
    assert first == [PREFIX[1:] + header + body for header, body in packets[:3]]
    a.switch.send_frames(network.now, b.address, PREFIX, packets[3:])
    network.run(1 * SECOND)
    bursts = [m for m in b.inbound if isinstance(m, InboundBurst)]
    rows = [
        bytes(m.burst.view[r : r + n])
        for m in bursts
        for r, n in zip(m.burst.rows, m.burst.lengths, strict=True)
    ]
    assert rows == [header + body for header, body in packets[3:]]
    assert len(bursts) == 3
    assert all(m.prefix == PREFIX and m.source == a.address for m in bursts)


def test_push_makes_a_path_when_rendezvous_is_lost(identities: list[Identity]) -> None:
    network, root, a, b = world_of(identities)
    a.trusted = b.trusted = True
    network.run(1 * SECOND)
    # Nothing of this size but RENDEZVOUS leaves the root.
    network.passes = lambda source, destination: True
    a.switch.send(network.now, b.address, Verb.USER_MESSAGE, b"hi")
    network.run(1 * SECOND)
    assert a.switch.has_direct_path(network.now, b.address)
    assert any(m == root.address for m in a.switch.upstreams())


def test_an_unknown_destination_is_given_up(identities: list[Identity]) -> None:
    network, _, a, _ = world_of(identities)
    network.run(1 * SECOND)
    a.switch.send(network.now, identities[5].address, Verb.USER_MESSAGE, b"nobody")
    network.run(12 * SECOND)
    assert a.tracer.drops == [Drop.QUEUE_TIMEOUT]


def test_the_queue_is_bounded(identities: list[Identity]) -> None:
    network, _, a, _ = world_of(identities)
    for n in range(100):
        a.switch.send(network.now, identities[5].address, Verb.USER_MESSAGE, bytes((n,)))
    assert a.tracer.drops == [Drop.QUEUE_FULL] * 68


def test_a_restarted_node_on_another_port_is_found(identities: list[Identity]) -> None:
    network, _, a, b = world_of(identities)
    network.run(1 * SECOND)
    a.switch.send(network.now, b.address, Verb.USER_MESSAGE, b"one")
    network.run(3 * SECOND)
    del network.hosts[A]
    moved = Endpoint(A.ip, 40_000)
    again = network.add(identities[1], moved, a.switch.world)
    network.run(1 * SECOND)
    again.switch.send(network.now, b.address, Verb.USER_MESSAGE, b"two")
    network.run(1 * SECOND)
    b.switch.send(network.now, a.address, Verb.USER_MESSAGE, b"back")
    network.run(1 * SECOND)
    assert again.payloads(Verb.USER_MESSAGE) == [b"back"]


def test_peers_are_remembered(identities: list[Identity]) -> None:
    network, _, a, b = world_of(identities)
    network.run(1 * SECOND)
    a.switch.send(network.now, b.address, Verb.USER_MESSAGE, b"one")
    network.run(1 * SECOND)
    records = a.switch.peer_records()
    assert set(records) == {identities[0].address, identities[2].address}
    del network.hosts[A]
    again = network.add(identities[1], A, a.switch.world)
    again.switch.load_peers(network.now, list(records.values()))
    assert again.switch.identity_of(b.address) == b.identity.public
    again.switch.send(network.now, b.address, Verb.USER_MESSAGE, b"two")
    network.run(5 * LATENCY_US)
    assert b.payloads(Verb.USER_MESSAGE)[-1] == b"two"


def test_a_bad_peer_record_is_skipped(identities: list[Identity]) -> None:
    _, _, a, _ = world_of(identities)
    a.switch.load_peers(START_US, [b"", b"\x02junk", bytes(200)])
    assert a.tracer.drops == [Drop.MALFORMED] * 3


def test_a_newer_planet_spreads(identities: list[Identity]) -> None:
    network, root, a, _ = world_of(identities)
    network.run(1 * SECOND)
    newer = planet_of([(identities[0], ROOT)], timestamp=2)
    assert root.switch.offer_world(network.now, newer)
    a.switch.set_sockets(network.now + 1, [(0, A)])
    network.run(300 * SECOND)
    assert a.switch.world.timestamp == 2
    assert WorldChanged(newer) in a.events


def test_a_root_that_dies_is_noticed(identities: list[Identity]) -> None:
    network, _, a, _ = world_of(identities)
    network.run(1 * SECOND)
    network.passes = lambda source, destination: ROOT not in (source, destination)
    network.run(60 * SECOND)
    assert not a.switch.is_online
    network.passes = lambda source, destination: True
    network.run(10 * SECOND)
    assert a.switch.is_online


def test_a_forbidden_subnet_is_no_path(identities: list[Identity]) -> None:
    network, _, a, b = world_of(identities)
    a.switch.set_forbidden([(B.ip, 32)])
    network.run(1 * SECOND)
    a.switch.send(network.now, b.address, Verb.USER_MESSAGE, b"one")
    network.run(5 * SECOND)
    assert b.payloads(Verb.USER_MESSAGE) == [b"one"]
    assert not a.switch.has_direct_path(network.now, b.address)


def test_a_copied_address_is_a_collision(identities: list[Identity]) -> None:
    network, root, _, _ = world_of(identities)
    network.run(1 * SECOND)
    thief_keys = identities[3]
    thief = Identity(identities[1].address, thief_keys.public_key, thief_keys.private_key)
    host = network.add(thief, Endpoint.parse("10.1.0.9/9993"), root.switch.world)
    network.run(1 * SECOND)
    assert IdentityCollision(root.address) in host.events
    assert Drop.IDENTITY_COLLISION in root.tracer.drops


def test_a_direct_reply_is_refused_unless_expected(identities: list[Identity]) -> None:
    network, _, a, b = world_of(identities)
    network.run(1 * SECOND)
    a.switch.send(network.now, b.address, Verb.OK, b"\x08" + bytes(7) + b"\x01" + b"junk")
    network.run(1 * SECOND)
    assert b.tracer.drops == [Drop.UNEXPECTED_REPLY]


@given(st.binary(max_size=200), st.integers(0, 1 << 20))
def test_noise_never_raises(noise: bytes, seed: int) -> None:
    identities = NOISE_IDENTITIES
    tracer = ListTracer()
    planet = planet_of([(identities[0], ROOT)])
    switch = Switch(START_US, identities[1], planet, SeededEntropy(seed), tracer, PathPolicy())
    me = identities[1].address.packed
    for data in (noise, noise[:8] + me + noise[8:]):
        switch.receive(START_US, Datagram(0, ROOT, data))
    view = memoryview(noise[:8] + me + noise[8:])
    switch.receive_train(START_US, 0, ROOT, view, max(1, len(view) // 3))
    for first in range(1, len(view)):
        switch.receive_pile(START_US, 0, ROOT, [view[:first], view[first:]])
    assert tracer.drops or len(noise) > 16
    assert switch.take_inbound() == []


NOISE_IDENTITIES = known_identities()


def test_packets_for_others_are_not_relayed_by_a_leaf(identities: list[Identity]) -> None:
    network, _, a, _ = world_of(identities)
    network.run(1 * SECOND)
    packet = bytes(8) + identities[2].address.packed + identities[0].address.packed + bytes(20)
    a.switch.receive(network.now, Datagram(0, ROOT, packet))
    assert a.tracer.drops == [Drop.NO_RELAY]


def test_single_datagrams_side_by_side(identities: list[Identity]) -> None:
    """Frames, a message between them, and a stranger's packet: each comes out once, in order."""
    network, _, a, b = world_of(identities)
    network.run(1 * SECOND)
    a.switch.send(network.now, b.address, Verb.USER_MESSAGE, b"first")
    network.run(1 * SECOND)
    b.inbound.clear()
    rows = [bytes((number,)) * 2800 for number in range(4)]
    stranger = bytes(8) + b.address.packed + bytes(5) + bytes(40)
    pieces = []
    for number, row in enumerate(rows):
        a.switch.send_frames(network.now, b.address, PREFIX, [(b"", row)])
        if number == 1:
            a.switch.send(network.now, b.address, Verb.USER_MESSAGE, b"between")
            pieces.append(stranger)
        for sent in a.switch.take_datagrams():
            step = sent.segment or len(sent.data)
            pieces += [sent.data[at : at + step] for at in range(0, len(sent.data), step)]
    b.switch.receive_pile(network.now, 0, a.endpoint, [memoryview(piece) for piece in pieces])
    b.drain(network.now)
    found: list[bytes] = []
    for one in b.inbound:
        if isinstance(one, InboundBurst):
            burst = one.burst
            found += [
                bytes(burst.view[row : row + length])
                for row, length in zip(burst.rows, burst.lengths, strict=True)
            ]
        else:
            found.append(one.payload)
    assert found == [*rows[:2], b"between", *rows[2:]]
