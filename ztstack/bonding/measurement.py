"""What two ends of a path tell each other of the packets that came (bonding sections 1.2, 1.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from ztstack.base.limits import BoundedMap
from ztstack.base.timers import SECOND
from ztstack.wire.bonding import QOS_RECORDS, QosMeasurement

PENDING_LIMIT: Final = 420
INTERVAL_US: Final = 10 * SECOND
"""A report is due after so long, or as soon as it is full."""
LEAST_PAUSE_US: Final = SECOND // 2
"""Official nodes refuse reports that come one on the other."""
LIFE_US: Final = 30 * SECOND
_MS: Final = 1000


class Measured(NamedTuple):
    """What a report has told: one-way times, how many packets came, and how many did not."""

    one_way_us: tuple[int, ...]
    came: int
    lost: int


class Measurement:
    """The sampled packets of one path: those with an odd id, as both ends see it."""

    __slots__ = ("_came", "_reported_at", "_sent", "_sent_count")

    def __init__(self, now: int) -> None:
        self._sent: BoundedMap[int, int] = BoundedMap(PENDING_LIMIT)
        self._came: dict[int, int] = {}
        self._sent_count = 0
        self._reported_at = now

    def sent(self, now: int, packet_ids: Sequence[bytes], count: int) -> None:
        """Note `count` packets that were sent; some of their ids, as on the wire, are enough."""
        self._sent_count += count
        for packet_id in packet_ids:
            if packet_id[7] & 1:
                self._sent.set(int.from_bytes(packet_id, "big"), now)

    def came(self, now: int, packet_ids: Sequence[bytes]) -> None:
        """Note what came; more than there is room for is not noted."""
        came = self._came
        if len(came) < PENDING_LIMIT:
            for packet_id in packet_ids:
                if packet_id[7] & 1 and len(came) < PENDING_LIMIT:
                    came.setdefault(int.from_bytes(packet_id, "big"), now)

    def report(self, now: int) -> QosMeasurement | None:
        """Return what is to be told now, the oldest first."""
        passed = now - self._reported_at
        is_due = passed >= INTERVAL_US or len(self._came) >= QOS_RECORDS
        if not self._came or not is_due or passed < LEAST_PAUSE_US:
            return None
        self._reported_at = now
        told = list(self._came)[:QOS_RECORDS]
        records = tuple((packet_id, (now - self._came.pop(packet_id)) // _MS) for packet_id in told)
        return QosMeasurement(records)

    def receive(self, now: int, message: QosMeasurement) -> Measured:
        """Compare a report with what was sent.

        What was sent before something that came, and is not told of, was lost. That holds only
        if there was room for all of it in the report and in what the peer remembers.
        """
        one_way = []
        newest = -1
        for packet_id, holding_ms in message.records:
            sent_at = self._sent.pop(packet_id)
            if sent_at is not None:
                newest = max(newest, sent_at)
                one_way.append(max(0, now - sent_at - holding_ms * _MS) // 2)
        is_whole = len(message.records) < QOS_RECORDS and self._sent_count < QOS_RECORDS
        lost = 0
        for packet_id, sent_at in self._sent.items():
            if sent_at >= newest:
                break
            self._sent.pop(packet_id)
            lost += is_whole
        if one_way:
            self._sent_count = len(self._sent)
        return Measured(tuple(one_way), len(one_way), lost)

    def clean(self, now: int) -> None:
        """Forget what is too old to be told, or to be told of."""
        for packet_id, sent_at in self._sent.items():
            if now - sent_at < LIFE_US:
                break
            self._sent.pop(packet_id)
        for packet_id, came_at in list(self._came.items()):
            if now - came_at < LIFE_US:
                break
            del self._came[packet_id]
