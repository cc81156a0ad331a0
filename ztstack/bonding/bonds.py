"""The bonds of a node: made when a peer shows a direct path, watched, and asked for ways."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ztstack.base.address import Address
from ztstack.base.timers import SECOND
from ztstack.bonding.bond import Bond, Locator
from ztstack.bonding.exchange import Exchange
from ztstack.bonding.report import BondReport
from ztstack.bonding.settings import BondSettings
from ztstack.vl1.chooser import Note, Packets, Question, Share
from ztstack.vl1.path import Path, PathKey
from ztstack.vl1.peer import Peer
from ztstack.wire.bonding import PathNegotiation, QosMeasurement

TICK_US: Final = SECOND // 4


class Bonds:
    """Chooses the paths to all peers but the upstreams, which VL1 looks after itself."""

    def __init__(self, now: int, settings: BondSettings, locator: Locator) -> None:
        self.settings = settings
        self._bonds: dict[Address, Bond] = {}
        self._locator = locator
        self._exchanges: dict[Address, Exchange] = {}
        self._questions: list[tuple[Peer, PathKey, Question]] = []
        self._notes: list[Note] = []
        self._tick_at = now + TICK_US
        self._ask_at: int | None = None

    # What VL1 tells.

    def attend(self, now: int, peer: Peer) -> None:
        bond = self._bonds.get(peer.address)
        if bond is None:
            if not peer.entries:
                return
            bond = Bond(
                now,
                peer,
                self.settings.of(peer.address),
                self._locator,
                warmup=self.settings.warmup_root,
                unused=self.settings.unused_interfaces,
            )
            self._bonds[peer.address] = bond
            self._exchanges[peer.address] = Exchange(now, bond)
        elif len(bond.lanes) == len(peer.entries):
            return
        before = len(bond.lanes)
        bond.sync(now)
        if len(bond.lanes) != before:
            self._ask_at = now

    def answered(self, now: int, peer: Peer, key: PathKey, sent_at: int) -> None:
        bond = self._bonds.get(peer.address)
        if bond is None:
            return
        for lane in bond.lanes:
            if lane.path.key == key:
                lane.answered(now, sent_at)
                bond.review()
                self._ask_at = now

    def sent(
        self, now: int, peer: Peer, path: Path, packet_ids: Sequence[bytes], count: int
    ) -> None:
        exchange = self._exchanges.get(peer.address)
        if exchange is not None:
            exchange.sent(now, path.key, packet_ids, count)

    def came(self, now: int, peer: Peer, path: Path, packet_ids: Sequence[bytes]) -> None:
        exchange = self._exchanges.get(peer.address)
        if exchange is not None:
            exchange.came(now, path.key, packet_ids)

    def receive_measurement(
        self, now: int, peer: Peer, key: PathKey, message: QosMeasurement
    ) -> bool:
        exchange = self._exchanges.get(peer.address)
        return exchange is None or exchange.receive_measurement(now, key, message)

    def receive_wish(self, now: int, peer: Peer, key: PathKey, message: PathNegotiation) -> bool:
        exchange = self._exchanges.get(peer.address)
        return exchange is None or exchange.receive_wish(now, key, message)

    def interfaces_changed(self, now: int) -> None:
        for bond in self._bonds.values():
            bond.interfaces_changed(now)
        self._ask_at = now

    # Time.

    def handle_timer(self, now: int) -> None:
        if now >= self._tick_at:
            self._tick_at = now + TICK_US
            for address, bond in list(self._bonds.items()):
                bond.tick(now)
                if bond.lanes:
                    self._notes.extend(self._exchanges[address].tick(now))
                else:
                    del self._bonds[address], self._exchanges[address]
            self._ask_at = now
        if self._ask_at is not None and now >= self._ask_at:
            self._ask(now)

    def _ask(self, now: int) -> None:
        soonest: int | None = None
        for bond in self._bonds.values():
            active = bond.is_active(now)
            for lane in bond.lanes:
                question = lane.next_probe(now, active=active)
                if question is not None:
                    self._questions.append((bond.peer, lane.path.key, question))
                if soonest is None or lane.due < soonest:
                    soonest = lane.due
            bond.review()
        self._ask_at = soonest

    def next_timer(self) -> int | None:
        if not self._bonds:
            return None
        return self._tick_at if self._ask_at is None else min(self._tick_at, self._ask_at)

    def take_questions(self) -> list[tuple[Peer, PathKey, Question]]:
        questions, self._questions = self._questions, []
        return questions

    def take_notes(self) -> list[Note]:
        notes, self._notes = self._notes, []
        return notes

    # Ways.

    def _of(self, now: int, peer: Peer) -> Bond | None:
        bond = self._bonds.get(peer.address)
        if bond is not None and not bond.is_active(now):
            bond.last_used = now
            for lane in bond.lanes:
                lane.due = now
            self._ask_at = now
        return bond

    def has(self, peer: Peer) -> bool:
        bond = self._bonds.get(peer.address)
        return bond is not None and bool(bond.lanes)

    def is_direct(self, peer: Peer) -> bool:
        bond = self._bonds.get(peer.address)
        return bond is not None and bool(bond.usable)

    def route(self, now: int, peer: Peer) -> Path | None:
        bond = self._of(now, peer)
        return bond.route(now) if bond is not None else None

    def shares(self, now: int, peer: Peer, packets: Packets) -> Sequence[Share]:
        bond = self._of(now, peer)
        return bond.shares(now, packets) if bond is not None else ()

    def reports(self) -> tuple[BondReport, ...]:
        return tuple(bond.report() for bond in self._bonds.values())
