"""The protocol's table of constants (vl1 section 8): ours is the same, or a reason is given."""

from __future__ import annotations

import pytest

from tests.support.switches import START_US, known_identities
from ztstack.base.endpoint import Endpoint
from ztstack.base.limits import RateGate
from ztstack.base.timers import MILLISECOND, SECOND
from ztstack.crypto import identity_work
from ztstack.vl1 import (
    assembly,
    contact,
    hello,
    hints,
    intake,
    keepalive,
    path,
    peer,
    policy,
    relay,
    surface,
    switch,
    whois,
)
from ztstack.wire import header, rendezvous, verbs, world
from ztstack.wire.compression import compress

SAME: list[tuple[str, int, int]] = [
    ("protocol version", verbs.PROTOCOL_VERSION, 12),
    ("minimum protocol accepted", verbs.PROTOCOL_MIN, 4),
    ("suite 3 used from peer protocol", verbs.PROTOCOL_AES, 12),
    ("default physical MTU", header.DEFAULT_MTU, 1432),
    ("least configured MTU", policy.MTU_MIN, 1400),
    ("largest configured MTU", policy.MTU_MAX, 10_324),
    ("configurable physical networks", policy.NETWORKS_LIMIT, 32),
    ("packet buffer", header.MAX_PACKET, 10_024),
    ("max fragments, head included", header.MAX_FRAGMENTS, 7),
    ("header", header.HEADER_BYTES, 28),
    ("fragment header", header.FRAGMENT_HEADER_BYTES, 16),
    ("relay hop limit", relay.HOP_LIMIT, 3),
    ("hop field", header.MAX_HOPS, 7),
    ("TX queue", whois.QUEUE_LIMIT, 32),
    ("packets that wait for an identity", whois.HELD_LIMIT, 32),
    ("queue timeout", whois.QUEUE_US, 5 * SECOND),
    ("queue tick and WHOIS retry", whois.RETRY_US, 500 * MILLISECOND),
    ("ping check", keepalive.TICK_US, 5 * SECOND),
    ("housekeeping", switch.HOUSEKEEPING_US, 30 * SECOND),
    ("path heartbeat", path.HEARTBEAT_US, 14 * SECOND),
    ("path alive", path.ALIVE_US, 19 * SECOND),
    ("full HELLO to active peers", contact.FULL_HELLO_US, 60 * SECOND),
    ("upstream contact scale", keepalive.UPSTREAM_HELLO_US, 224 * SECOND),
    ("other always-contact peers", keepalive.ALWAYS_CONTACT_US, 28 * SECOND),
    ("path entry expiry", peer.PATH_EXPIRY_US, 243 * SECOND),
    ("peer activity", peer.ACTIVITY_US, 500 * SECOND),
    ("relay quality penalty step", peer.RELAY_PENALTY_US, 61 * SECOND),
    ("trust window of a peer", peer.TRUST_US, 600 * SECOND),
    ("trust window of a path", path.TRUST_US, 600 * SECOND),
    ("lifetime of an external address", surface.ENTRY_LIFETIME_US, 600 * SECOND),
    ("direct path push, relayed", contact.PUSH_RELAYED_US, 15 * SECOND),
    ("direct path push, direct", contact.PUSH_DIRECT_US, 120 * SECOND),
    ("addresses per scope and family of a push", contact.PER_SCOPE, 8),
    ("confirm-HELLO per path", contact.CONFIRM_US, 1 * SECOND),
    ("ECHO reply per path", path.ECHO_GATE_US, 166 * MILLISECOND),
    ("identity verification per prefix", hello.PREFIX_REFILL_US, 2 * SECOND),
    ("identity verification table", hello.PREFIXES_LIMIT, 16_384),
    ("RENDEZVOUS per pair", relay.UNITE_US, 30 * SECOND),
    ("configured hint", hints.HINT_US, 30 * SECOND),
    ("beacon reply", intake.BEACON_US, 2500 * MILLISECOND),
    ("TTL of a NAT-opening datagram", contact.HOLE_TTL, 2),
    ("paths per peer", peer.MAX_PATHS, 64),
    ("roots per world", world.MAX_ROOTS, 4),
    ("endpoints per root", world.MAX_ENDPOINTS, 32),
    ("size of a world", world.MAX_WORLD_BYTES, 8480),
    ("identity hashcash", identity_work.FIRST_BYTE_LIMIT, 17),
    ("LZ4 output limit", header.MAX_PAYLOAD, 9996),
]

DIFFERENT = {
    "RX ring: 32 for reassembly and waiting": "two tables, of 64 and of 32 entries",
    "RX queue timeout of incomplete packets": "10 s; the original keeps them until overwritten",
    "minimum scheduler step 60 ms": "one timer fires when something is due",
    "WHOIS record lifetime 1000 ms": "a question lives as long as something waits for its answer",
    "ping check with low bandwidth": "that mode is optional and not built (vl1 6.17)",
    "expected-reply table 256 x 32": "8192 whole packet ids, each for 60 s; the oldest goes first",
    "use of a path that is silent, up to 243 s": "0.9 s after something was sent there that nobody"
    " answered, packets go by way of a relay until somebody does (tests/unit/vl1/test_dead_paths)",
    "first RENDEZVOUS of a pair": "said again after 1 s, as stock nodes drop what is about a peer"
    " whose identity they have not learned yet",
    "peers of an earlier run": "32 of them are greeted at the start, for stock nodes stay with the"
    " old port for up to a minute",
    "confirm-HELLO sent once": "once more after 0.5 s, as either way may lose it",
    "upstream keep-alive by WHOIS every 5 s": "ECHO every 3 s to the best, every 10 s to others",
    "RENDEZVOUS record lifetime 240 000 ms": "the gate of 30 s is bounded by its size",
    "interface rescan 30 000 ms": "the system tells of changes; elsewhere a look every 2 s",
    "secondary port": "one port for each family, the same as in the last run",
    "port-mapping refresh": "portmap.REFRESH_S of the shell, checked by tests/aio/test_portmap.py",
    "TCP fallback after / close / connect window": "60 s once UDP was heard, 3 s if it never was;"
    " closed at the first sign of UDP; attempts keep 2.5 s and more (tests/aio/test_tcp_relay.py)",
    "local.conf re-read check 10 000 ms": "the file is read at the start",
    "remote trace string 10 000 bytes": "remote traces are ignored",
    "QoS packet": "belongs to bonding",
}


@pytest.mark.parametrize(("name", "ours", "protocol"), SAME, ids=[name for name, _, _ in SAME])
def test_constant(name: str, ours: int, protocol: int) -> None:
    assert ours == protocol, name


def test_a_reason_is_a_sentence() -> None:
    assert all(len(reason.split()) >= 3 for reason in DIFFERENT.values())
    assert len(SAME) + len(DIFFERENT) > 55


def test_lz4_is_tried_from_65_bytes() -> None:
    assert compress(bytes(64)) is None
    assert compress(bytes(65)) is not None


def test_pushes_are_cut_off_after_eight_in_a_row() -> None:
    me, other = known_identities()[:2]
    one = peer.Peer(START_US, me, other.public)
    allowed = [one.allow_push(START_US + n * SECOND) for n in range(12)]
    assert allowed == [True] * 8 + [False] * 4
    assert not one.allow_push(START_US + 40 * SECOND)
    assert one.allow_push(START_US + 71 * SECOND)


def test_whois_gate_of_a_leaf() -> None:
    me, other = known_identities()[:2]
    one = peer.Peer(START_US, me, other.public)
    times = (0, 99, 100, 199, 200)
    allowed = [one.allow_whois(START_US + at * MILLISECOND) for at in times]
    assert allowed == [True, False, True, False, True]


def test_pushed_paths_stop_at_1200_bytes() -> None:
    endpoints = [Endpoint(n.to_bytes(16, "big"), 1) for n in range(1, 100)]
    messages = rendezvous.PushDirectPaths.split(endpoints)
    sizes = [30 + sum(7 + 16 for _ in message.paths) for message in messages]
    assert sum(len(message.paths) for message in messages) == 99
    assert all(size <= 1200 for size in sizes)


def test_paths_age_up_to_140_seconds() -> None:
    one = path.Path(path.PathKey(0, Endpoint(bytes((8, 8, 8, 8)), 1)))
    one.last_in = 0
    one.add_latency(20)
    assert one.quality(18 * SECOND) == 20 * 4
    assert one.quality(140 * SECOND) == one.quality(1000 * SECOND) == (20 + 65_535 + 140_000) * 4


def test_a_gate_forgets_nothing_it_needs() -> None:
    gate: RateGate[str] = RateGate(assembly.TIMEOUT_US, 2)
    assert [gate.allow(0, key) for key in "aab"] == [True, False, True]
