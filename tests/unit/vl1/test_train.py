from __future__ import annotations

import random

import pytest
from hypothesis import given, settings, strategies as st

from ztstack.crypto.aes_gmac_siv import AesGmacSiv
from ztstack.vl1.armor import PeerKeys, open_packet
from ztstack.vl1.assembly import Assembly
from ztstack.vl1.train import TrainSealer, burst_of, even_packet, may_open, open_train

KEY = bytes(range(48))
ADDRESSES = bytes.fromhex("7f65949b8d359bcfca0f")
PREFIX = b"\x06" + bytes.fromhex("8056c2e21c000001") + b"\x08\x00"


def keys() -> AesGmacSiv:
    return PeerKeys(KEY).aes


def packets_of(lengths: list[int], seed: int = 0) -> list[tuple[bytes, bytes]]:
    source = random.Random(seed)
    return [(source.randbytes(min(40, n)), source.randbytes(max(0, n - 40))) for n in lengths]


def sealed(packets: list[tuple[bytes, bytes]], seed: int = 1) -> list[tuple[bytes, int]]:
    rand = random.Random(seed).randbytes(8 * len(packets))
    trains, refused = TrainSealer().seal(keys(), ADDRESSES, PREFIX, list(packets), rand)
    assert refused == 0
    return [(train.data, train.segment or len(train.data)) for train in trains]


def opened_rows(data: bytes, step: int) -> list[bytes]:
    view = memoryview(data)
    assert may_open(view, step)
    opened = open_train(keys(), view, step)
    assert opened.refused == 0
    burst = burst_of(opened, 0, len(opened.starts))
    for start in opened.starts:
        assert opened.arena[start : start + 11] == PREFIX
    for row, length in zip(burst.rows, burst.lengths, strict=True):
        slot = (row - 28) % burst.stride
        assert slot == 0
        end = row - 28 + burst.stride
        assert not any(burst.arena[row + length : end])
    rows = [bytes(burst.view[r : r + n]) for r, n in zip(burst.rows, burst.lengths, strict=True)]
    # A shorter packet of another number of parts may end the train: it goes the slow way.
    assert len(data) - opened.consumed <= step
    return rows + slow_rows(data[opened.consumed :], step)


def slow_rows(data: bytes, step: int) -> list[bytes]:
    """Open the same datagrams one by one."""
    assembly = Assembly()
    rows = []
    for at in range(0, len(data), step):
        piece = data[at : at + step]
        fragment = piece[13] == 0xFF
        packet = assembly.add(0, piece) if fragment or piece[18] & 0x40 else piece
        if packet is not None:
            body = open_packet(PeerKeys(KEY), packet)
            assert body[:11] == PREFIX
            rows.append(body[11:])
    return rows


@pytest.mark.parametrize(
    "lengths", [[2800] * 22, [2800] * 30 + [1000], [60], [40, 52, 40], [2800, 900, 2800], [9850]]
)
def test_fast_and_slow_agree(lengths: list[int]) -> None:
    packets = packets_of(lengths)
    rows: list[bytes] = []
    for data, step in sealed(packets):
        assert len(data) <= 65507
        assert -(-len(data) // step) <= 64
        train = opened_rows(data, step)
        assert train == slow_rows(data, step)
        rows += train
    assert rows == [header + body for header, body in packets]


@settings(max_examples=30)
@given(st.lists(st.integers(1, 9000), min_size=1, max_size=12))
def test_any_lengths(lengths: list[int]) -> None:
    packets = packets_of(lengths)
    rows: list[bytes] = []
    for data, step in sealed(packets):
        view, at = memoryview(data), 0
        while at < len(data):
            opened = open_train(keys(), view[at:], step)
            assert opened.consumed
            burst = burst_of(opened, 0, len(opened.starts))
            rows += [
                bytes(burst.view[r : r + n]) for r, n in zip(burst.rows, burst.lengths, strict=True)
            ]
            at += opened.consumed
    assert rows == [header + body for header, body in packets]


def test_full_packets_fill_trains() -> None:
    trains = sealed(packets_of([2800] * 44))
    assert [(len(data), step) for data, step in trains] == [(44 * 1427, 1427)] * 2


def test_a_changed_packet_is_refused_and_the_others_stay() -> None:
    packets = packets_of([2800] * 4)
    ((data, step),) = sealed(packets)
    damaged = bytearray(data)
    damaged[2 * step + 100] ^= 1
    opened = open_train(keys(), memoryview(damaged), step)
    assert (opened.consumed, opened.refused, len(opened.starts)) == (len(data), 1, 3)
    burst = burst_of(opened, 0, 3)
    rows = [bytes(burst.view[r : r + n]) for r, n in zip(burst.rows, burst.lengths, strict=True)]
    assert rows == [header + body for i, (header, body) in enumerate(packets) if i != 1]


def test_the_natural_cut_is_opened_too() -> None:
    """An official node cuts at 1432 and lets the second part be shorter."""
    packets = packets_of([2800])
    ((data, step),) = sealed(packets)
    packet = data[:step] + data[step + 16 :]
    cut = packet[:1432] + data[step : step + 16] + packet[1432:]
    assert opened_rows(cut, 1432) == [packets[0][0] + packets[0][1]]


@given(st.binary(min_size=40, max_size=300), st.integers(39, 120))
def test_noise_never_raises(noise: bytes, step: int) -> None:
    view = memoryview(noise)
    if may_open(view, step):
        opened = open_train(keys(), view, step)
        assert opened.starts == []


@pytest.mark.parametrize("limit", [1280, 1393, 1394, 1500, 2799, 2800, 4000, 9000, 10000])
def test_even_packets_go_side_by_side(limit: int) -> None:
    length = even_packet(limit)
    assert limit - 4 * 32 < length <= limit
    assert limit <= 1394 or length % 4 == 0
    trains = sealed(packets_of([length] * 4))
    assert len(trains) == 1
    data, step = trains[0]
    assert len(data) % (4 * step) == 0
