"""What is noted of packets, told of them, and learned from what the peer tells."""

from __future__ import annotations

import pytest

from ztstack.base.timers import MILLISECOND, SECOND
from ztstack.bonding.measurement import (
    INTERVAL_US,
    LEAST_PAUSE_US,
    LIFE_US,
    PENDING_LIMIT,
    Measured,
    Measurement,
)
from ztstack.wire.bonding import QOS_RECORDS, QosMeasurement

NOW = 1_700_000_000 * SECOND


def ids(*numbers: int) -> list[bytes]:
    return [number.to_bytes(8, "big") for number in numbers]


def odd(count: int, first: int = 0) -> list[int]:
    return [2 * (first + number) + 1 for number in range(count)]


def test_report_comes_after_the_interval_with_odd_ids_only() -> None:
    m = Measurement(NOW)
    m.came(NOW + SECOND, ids(1, 2, 3, 4))
    m.came(NOW + 2 * SECOND, ids(5))
    assert m.report(NOW + INTERVAL_US - 1) is None
    report = m.report(NOW + INTERVAL_US)
    assert report == QosMeasurement(((1, 9000), (3, 9000), (5, 8000)))
    assert m.report(NOW + 2 * INTERVAL_US) is None


def test_full_report_comes_at_once_but_not_too_often() -> None:
    m = Measurement(NOW)
    m.came(NOW, ids(*odd(2 * QOS_RECORDS)))
    assert m.report(NOW + LEAST_PAUSE_US - 1) is None
    first = m.report(NOW + LEAST_PAUSE_US)
    assert first is not None
    assert [packet_id for packet_id, _ in first.records] == odd(QOS_RECORDS)
    assert m.report(NOW + LEAST_PAUSE_US) is None
    second = m.report(NOW + 2 * LEAST_PAUSE_US)
    assert second is not None
    assert [packet_id for packet_id, _ in second.records] == odd(QOS_RECORDS, QOS_RECORDS)


def test_nothing_came_nothing_told() -> None:
    m = Measurement(NOW)
    m.came(NOW, ids(2, 4, 6))
    assert m.report(NOW + 5 * INTERVAL_US) is None


def test_what_comes_is_bounded() -> None:
    m = Measurement(NOW)
    m.came(NOW, ids(*odd(3 * PENDING_LIMIT)))
    told = 0
    for step in range(1, 10):
        report = m.report(NOW + step * INTERVAL_US // 4)
        told += len(report.records) if report is not None else 0
    assert told == PENDING_LIMIT


def test_old_packets_are_forgotten() -> None:
    m = Measurement(NOW)
    m.came(NOW, ids(1))
    m.sent(NOW, ids(7), 1)
    m.clean(NOW + LIFE_US)
    assert m.report(NOW + LIFE_US) is None
    assert m.receive(NOW + LIFE_US, QosMeasurement(((7, 0),))) == Measured((), 0, 0)


def test_one_way_time_is_half_of_the_round_trip_without_the_holding() -> None:
    m = Measurement(NOW)
    m.sent(NOW, ids(1, 3), 2)
    message = QosMeasurement(((1, 60), (3, 100)))
    measured = m.receive(NOW + 100 * MILLISECOND, message)
    assert measured == Measured((20 * MILLISECOND, 0), 2, 0)
    # Each is told of once.
    assert m.receive(NOW + 100 * MILLISECOND, message) == Measured((), 0, 0)


def test_a_peer_that_held_for_longer_than_possible_gives_zero() -> None:
    m = Measurement(NOW)
    m.sent(NOW, ids(1), 1)
    assert m.receive(NOW + 1000, QosMeasurement(((1, 500),))) == Measured((0,), 1, 0)


def test_what_was_overtaken_by_a_report_was_lost() -> None:
    m = Measurement(NOW)
    for number, packet_id in enumerate(odd(6)):
        m.sent(NOW + number * MILLISECOND, ids(packet_id), 1)
    measured = m.receive(NOW + SECOND, QosMeasurement(((1, 0), (7, 0))))
    # 3 and 5 were sent before 7; of 9 and 11 nothing can be said yet.
    assert (measured.came, measured.lost) == (2, 2)
    measured = m.receive(NOW + SECOND, QosMeasurement(((9, 0), (11, 0))))
    assert (measured.came, measured.lost) == (2, 0)


@pytest.mark.parametrize("count", [QOS_RECORDS, 1000])
def test_no_loss_is_seen_where_reports_have_no_room(count: int) -> None:
    m = Measurement(NOW)
    m.sent(NOW, ids(1), count)
    m.sent(NOW + 1, ids(3), 1)
    measured = m.receive(NOW + SECOND, QosMeasurement(((3, 0),)))
    assert (measured.came, measured.lost) == (1, 0)


def test_what_is_sent_is_bounded() -> None:
    m = Measurement(NOW)
    for packet_id in odd(PENDING_LIMIT + 1):
        m.sent(NOW, ids(packet_id), 1)
    assert m.receive(NOW + 1000, QosMeasurement(((1, 0),))).came == 0
    assert m.receive(NOW + 1000, QosMeasurement(((3, 0),))).came == 1


def test_unknown_ids_tell_nothing() -> None:
    m = Measurement(NOW)
    m.sent(NOW, ids(1), 1)
    assert m.receive(NOW + SECOND, QosMeasurement(((99, 0), (2, 0)))) == Measured((), 0, 0)
    assert m.receive(NOW + SECOND, QosMeasurement(((1, 0),))).came == 1
