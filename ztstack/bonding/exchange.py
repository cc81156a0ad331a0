"""What the two ends of a bond tell each other: what came, and which path they would like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ztstack.base.codec import Writer
from ztstack.base.timers import SECOND
from ztstack.bonding.bond import Bond
from ztstack.bonding.lane import Lane
from ztstack.bonding.measurement import Measurement
from ztstack.bonding.settings import BondPolicy
from ztstack.vl1.chooser import Note
from ztstack.vl1.path import NEVER, PathKey
from ztstack.wire.bonding import PROTOCOL_BONDING, PathNegotiation, QosMeasurement
from ztstack.wire.verbs import Verb

NEGOTIATION_US: Final = 10 * SECOND
WANTED_US: Final = 300 * SECOND
"""How long a path stays the one that the other end would like."""
QOS_GATE_US: Final = 156_000
NEGOTIATION_GATE_US: Final = 937_000
GATE_LIMIT: Final = 128
_BEST_SCORE: Final = 32_767
_MS: Final = 1000


class Gate:
    """Refuses messages that come one on the other for too long (bonding section 1.6)."""

    __slots__ = ("_count", "_gap_us", "_last")

    def __init__(self, gap_us: int) -> None:
        self._gap_us = gap_us
        self._last = NEVER
        self._count = 0

    def allow(self, now: int) -> bool:
        self._count = self._count + 1 if now - self._last <= self._gap_us else 0
        self._last = now
        return self._count < GATE_LIMIT


class Exchange:
    """Measures and negotiates with one peer; nothing is said to one that does not know of it."""

    def __init__(self, now: int, bond: Bond) -> None:
        self._bond = bond
        self._paths: dict[PathKey, Measurement] = {}
        self._qos_gate = Gate(QOS_GATE_US)
        self._negotiation_gate = Gate(NEGOTIATION_GATE_US)
        self._asked_at = now
        self._wanted: PathKey | None = None
        self._wanted_at = NEVER

    def sent(self, now: int, key: PathKey, packet_ids: Sequence[bytes], count: int) -> None:
        """Note `count` packets that left, of which some ids are known."""
        measurement = self._paths.get(key)
        if measurement is not None:
            measurement.sent(now, packet_ids, count)

    def came(self, now: int, key: PathKey, packet_ids: Sequence[bytes]) -> None:
        measurement = self._paths.get(key)
        if measurement is not None:
            measurement.came(now, packet_ids)

    def tick(self, now: int) -> list[Note]:
        """Return what is to be told now."""
        bond = self._bond
        if bond.peer.protocol < PROTOCOL_BONDING or len(bond.lanes) < 2:
            self._paths.clear()
            return []
        keys = [lane.path.key for lane in bond.lanes]
        self._paths = {key: self._paths.get(key) or Measurement(now) for key in keys}
        notes = []
        for key, measurement in self._paths.items():
            measurement.clean(now)
            report = measurement.report(now)
            if report is not None:
                notes.append(_note(bond, key, Verb.QOS_MEASUREMENT, report))
        if self._wanted is not None and now - self._wanted_at >= WANTED_US:
            self._want(now, None)
        wish = self._wish(now)
        if wish is not None:
            notes.append(wish)
        return notes

    def _wish(self, now: int) -> Note | None:
        """Return the wish to have the answers where we send."""
        bond = self._bond
        current = bond.current
        if (
            bond.settings.policy is not BondPolicy.ACTIVE_BACKUP
            or current is None
            or len(bond.usable) < 2
            or now - self._asked_at < NEGOTIATION_US
        ):
            return None
        self._asked_at = now
        others = [_score(lane) for lane in bond.usable if lane is not current]
        utility = _score(current) - max(max(others, default=0), 0)
        clamped = min(max(utility, -_BEST_SCORE - 1), _BEST_SCORE)
        message = PathNegotiation(clamped)
        return _note(bond, current.path.key, Verb.PATH_NEGOTIATION_REQUEST, message)

    def receive_measurement(self, now: int, key: PathKey, message: QosMeasurement) -> bool:
        """Take a report; False if too many come."""
        if not self._qos_gate.allow(now):
            return False
        measurement = self._paths.get(key)
        lane = self._lane(key)
        if measurement is not None and lane is not None:
            measured = measurement.receive(now, message)
            lane.told(measured.one_way_us, measured.came, measured.lost)
        return True

    def receive_wish(self, now: int, key: PathKey, message: PathNegotiation) -> bool:
        """Take the wish for a path; False if too many come.

        The end with the smaller address follows, so that the two do not change places for ever.
        """
        if not self._negotiation_gate.allow(now):
            return False
        theirs, mine = self._bond.peer.addresses_out[:5], self._bond.peer.addresses_out[5:]
        if message.utility >= 0 and theirs > mine and self._lane(key) is not None:
            self._want(now, key)
        return True

    def _want(self, now: int, key: PathKey | None) -> None:
        self._wanted, self._wanted_at = key, now
        for lane in self._bond.lanes:
            lane.is_wanted = lane.path.key == key

    def _lane(self, key: PathKey) -> Lane | None:
        return next((lane for lane in self._bond.lanes if lane.path.key == key), None)


def _score(lane: Lane) -> int:
    return _BEST_SCORE - int(lane.rtt_us / _MS) if lane.rtt_us is not None else 0


def _note(bond: Bond, key: PathKey, verb: Verb, message: QosMeasurement | PathNegotiation) -> Note:
    w = Writer()
    message.encode(w)
    return Note(bond.peer, key, verb, w.getvalue())
