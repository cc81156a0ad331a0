"""QOS_MEASUREMENT and PATH_NEGOTIATION_REQUEST as bytes."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from tests.support.codec import check_cuts_fail, check_fails_in_one_way, check_round_trip, encoded
from ztstack.base.codec import Reader
from ztstack.base.errors import DecodeError
from ztstack.wire.bonding import QOS_RECORDS, PathNegotiation, QosMeasurement

RECORDS = st.lists(
    st.tuples(st.integers(0, (1 << 64) - 1), st.integers(0, 0xFFFF)),
    min_size=1,
    max_size=QOS_RECORDS,
)


def test_qos_bytes_are_little_endian() -> None:
    message = QosMeasurement(((0x0102030405060708, 0x0A0B), (1, 2)))
    data = bytes.fromhex("0807060504030201 0b0a 0100000000000000 0200")
    assert encoded(message) == data
    assert QosMeasurement.decode(Reader(data)) == message


@given(RECORDS)
def test_qos_round_trip(records: list[tuple[int, int]]) -> None:
    check_round_trip(QosMeasurement(tuple(records)))


def test_ragged_tail_is_no_record() -> None:
    data = encoded(QosMeasurement(((7, 8),)))
    for tail in range(1, 10):
        assert QosMeasurement.decode(Reader(data + bytes(tail))).records == ((7, 8),)


def test_qos_needs_one_record() -> None:
    for length in range(10):
        with pytest.raises(DecodeError):
            QosMeasurement.decode(Reader(bytes(length)))


def test_qos_has_an_upper_limit() -> None:
    assert len(QosMeasurement.decode(Reader(bytes(1400))).records) == QOS_RECORDS
    with pytest.raises(DecodeError):
        QosMeasurement.decode(Reader(bytes(1410)))


@pytest.mark.parametrize(("held", "told"), [(70_000, 0xFFFF), (-1, 0), (65_535, 65_535)])
def test_holding_time_is_clamped(held: int, told: int) -> None:
    data = encoded(QosMeasurement(((1, held),)))
    assert QosMeasurement.decode(Reader(data)).records == ((1, told),)


@pytest.mark.parametrize(
    ("utility", "data"),
    [(0, "0000"), (1, "0001"), (-1, "ffff"), (32_767, "7fff"), (-32_768, "8000")],
)
def test_utility_bytes(utility: int, data: str) -> None:
    message = PathNegotiation(utility)
    assert encoded(message) == bytes.fromhex(data)
    check_round_trip(message)
    check_cuts_fail(PathNegotiation, bytes.fromhex(data))


def test_utility_of_another_length() -> None:
    with pytest.raises(DecodeError):
        PathNegotiation.decode(Reader(bytes(3)))


@pytest.mark.parametrize("utility", [32_768, -32_769])
def test_utility_out_of_range(utility: int) -> None:
    with pytest.raises(DecodeError):
        PathNegotiation(utility)


@given(st.binary(max_size=64))
def test_noise(noise: bytes) -> None:
    check_fails_in_one_way(QosMeasurement, noise)
    check_fails_in_one_way(PathNegotiation, noise)
