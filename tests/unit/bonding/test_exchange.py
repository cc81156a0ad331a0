"""What two ends of a bond tell each other, when, and what comes of it."""

from __future__ import annotations

import pytest

from tests.support.switches import START_US as NOW, known_identities
from ztstack.base.codec import Reader
from ztstack.base.endpoint import Endpoint
from ztstack.base.timers import MILLISECOND, SECOND
from ztstack.bonding.bond import STAY_US, Bond
from ztstack.bonding.exchange import (
    GATE_LIMIT,
    NEGOTIATION_GATE_US,
    NEGOTIATION_US,
    WANTED_US,
    Exchange,
    Gate,
)
from ztstack.bonding.measurement import INTERVAL_US
from ztstack.bonding.settings import BondPolicy, PolicySettings
from ztstack.vl1.chooser import Note
from ztstack.vl1.path import Path, PathKey
from ztstack.vl1.peer import Peer
from ztstack.wire.bonding import PROTOCOL_BONDING, PathNegotiation, QosMeasurement
from ztstack.wire.verbs import Verb


class Nowhere:
    """Knows no interfaces."""

    def interface_to(self, socket: int, remote: Endpoint) -> str:
        del socket, remote
        return ""


def bond_of(
    policy: BondPolicy = BondPolicy.ACTIVE_BACKUP,
    *,
    links: int = 2,
    protocol: int = 12,
    rtts_ms: tuple[int, ...] = (10, 20),
    is_larger: bool = True,
) -> Bond:
    """Return a bond with a peer whose address is larger or smaller than ours."""
    small, large = sorted(known_identities()[:2], key=lambda identity: identity.address.packed)
    me, other = (small, large) if is_larger else (large, small)
    peer = Peer(NOW, me, other.public)
    peer.is_bonded = True
    peer.set_version(protocol, 1, 14, 1)
    for link in range(links):
        peer.learn(NOW, Path(PathKey(link, Endpoint(bytes((10, 0, link, 1)), 9993))))
    bond = Bond(NOW, peer, PolicySettings(policy), Nowhere(), warmup=False)
    bond.sync(NOW)
    for lane, rtt_ms in zip(bond.lanes, rtts_ms, strict=False):
        lane.rtt_us = float(rtt_ms * MILLISECOND)
    bond.route(NOW)
    return bond


def utilities(notes: list[Note]) -> list[tuple[PathKey, int]]:
    return [
        (note.key, PathNegotiation.decode(Reader(note.payload)).utility)
        for note in notes
        if note.verb == Verb.PATH_NEGOTIATION_REQUEST
    ]


def test_gate_refuses_a_flood_and_opens_after_a_pause() -> None:
    gate = Gate(1000)
    assert [gate.allow(NOW + n) for n in range(GATE_LIMIT + 1)] == [True] * GATE_LIMIT + [False]
    assert gate.allow(NOW + GATE_LIMIT + 1001)


def test_reports_go_on_the_path_they_are_about() -> None:
    bond = bond_of()
    exchange = Exchange(NOW, bond)
    exchange.tick(NOW)
    second = bond.lanes[1].path.key
    exchange.came(NOW, second, [b"\0" * 7 + b"\x01"])
    notes = [note for note in exchange.tick(NOW + INTERVAL_US) if note.verb == Verb.QOS_MEASUREMENT]
    assert [(note.key, note.peer) for note in notes] == [(second, bond.peer)]
    assert QosMeasurement.decode(Reader(notes[0].payload)).records == ((1, 10_000),)


@pytest.mark.parametrize(("protocol", "links"), [(PROTOCOL_BONDING - 1, 2), (12, 1)])
def test_nothing_is_said_to_who_has_no_use_for_it(protocol: int, links: int) -> None:
    bond = bond_of(protocol=protocol, links=links)
    exchange = Exchange(NOW, bond)
    for step in range(1, 6):
        exchange.came(NOW + step, bond.lanes[0].path.key, [b"\0" * 7 + b"\x01"])
        assert exchange.tick(NOW + step * INTERVAL_US) == []


def test_told_loss_and_time_reach_the_path() -> None:
    bond = bond_of(rtts_ms=())
    exchange = Exchange(NOW, bond)
    exchange.tick(NOW)
    lane = bond.lanes[0]
    for number in range(10):
        packet_id = (2 * number + 1).to_bytes(8, "big")
        exchange.sent(NOW + number, lane.path.key, [packet_id], 1)
    # Every other one came, the last among them; all were held for 10 ms of 30 ms.
    records = tuple((2 * number + 1, 10) for number in range(1, 10, 2))
    message = QosMeasurement(records)
    assert exchange.receive_measurement(NOW + 30 * MILLISECOND, lane.path.key, message)
    assert lane.rtt_us == pytest.approx(20 * MILLISECOND, rel=0.01)
    assert 0.15 < lane.loss < 0.5
    assert bond.lanes[1].loss == 0.0


def test_reports_of_unknown_paths_change_nothing() -> None:
    exchange = Exchange(NOW, bond_of())
    exchange.tick(NOW)
    nowhere = PathKey(9, Endpoint(bytes((10, 9, 9, 9)), 1))
    exchange.sent(NOW, nowhere, [b"\0" * 7 + b"\x01"], 1)
    exchange.came(NOW, nowhere, [b"\0" * 7 + b"\x01"])
    assert exchange.receive_measurement(NOW, nowhere, QosMeasurement(((1, 0),)))
    assert exchange.tick(NOW + NEGOTIATION_US - 1) == []


def test_the_path_in_use_is_asked_for() -> None:
    bond = bond_of(rtts_ms=(10, 25))
    exchange = Exchange(NOW, bond)
    assert utilities(exchange.tick(NOW + NEGOTIATION_US - 1)) == []
    assert utilities(exchange.tick(NOW + NEGOTIATION_US)) == [(bond.lanes[0].path.key, 15)]
    assert utilities(exchange.tick(NOW + NEGOTIATION_US + 1)) == []


@pytest.mark.parametrize("policy", [p for p in BondPolicy if p is not BondPolicy.ACTIVE_BACKUP])
def test_other_policies_ask_for_nothing(policy: BondPolicy) -> None:
    exchange = Exchange(NOW, bond_of(policy))
    assert utilities(exchange.tick(NOW + NEGOTIATION_US)) == []


@pytest.mark.parametrize("is_larger", [True, False])
def test_the_smaller_address_follows(*, is_larger: bool) -> None:
    bond = bond_of(is_larger=is_larger)
    exchange = Exchange(NOW, bond)
    first, second = (lane.path for lane in bond.lanes)
    assert bond.route(NOW) is first
    assert exchange.receive_wish(NOW, second.key, PathNegotiation(1))
    assert bond.route(NOW + STAY_US) is (second if is_larger else first)


def test_a_wish_does_not_move_to_a_much_slower_path() -> None:
    bond = bond_of(rtts_ms=(10, 100))
    exchange = Exchange(NOW, bond)
    assert exchange.receive_wish(NOW, bond.lanes[1].path.key, PathNegotiation(1))
    assert bond.route(NOW + STAY_US) is bond.lanes[0].path


def test_a_negative_wish_is_none() -> None:
    bond = bond_of()
    exchange = Exchange(NOW, bond)
    assert exchange.receive_wish(NOW, bond.lanes[1].path.key, PathNegotiation(-1))
    assert bond.route(NOW + STAY_US) is bond.lanes[0].path


def test_a_wish_is_forgotten() -> None:
    bond = bond_of()
    exchange = Exchange(NOW, bond)
    exchange.receive_wish(NOW, bond.lanes[1].path.key, PathNegotiation(1))
    exchange.tick(NOW + WANTED_US - SECOND)
    assert bond.lanes[1].is_wanted
    exchange.tick(NOW + WANTED_US)
    assert not bond.lanes[1].is_wanted


def test_floods_are_refused() -> None:
    bond = bond_of()
    exchange = Exchange(NOW, bond)
    key = bond.lanes[0].path.key
    wishes = [exchange.receive_wish(NOW, key, PathNegotiation(0)) for _ in range(GATE_LIMIT + 1)]
    reports = [
        exchange.receive_measurement(NOW, key, QosMeasurement(((1, 0),)))
        for _ in range(GATE_LIMIT + 1)
    ]
    assert wishes == reports == [True] * GATE_LIMIT + [False]
    assert exchange.receive_wish(NOW + NEGOTIATION_GATE_US + 1, key, PathNegotiation(0))
