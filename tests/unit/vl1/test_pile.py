"""Packets opened from datagrams of any length, beside the same packets opened one by one."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, strategies as st

from ztstack.crypto.aes_gmac_siv import AesGmacSiv
from ztstack.vl1.armor import PeerKeys, open_packet
from ztstack.vl1.assembly import Assembly, cut
from ztstack.vl1.pile import open_pile
from ztstack.vl1.train import PREFIX_BYTES, TrainSealer, burst_of

KEY = bytes(range(48))
ADDRESSES = bytes.fromhex("7f65949b8d359bcfca0f")
PREFIX = b"\x06" + bytes.fromhex("8056c2e21c000001") + b"\x08\x00"


def keys() -> AesGmacSiv:
    return PeerKeys(KEY).aes


def whole(body: bytes, seed: int) -> bytes:
    """Return a packet as it is before it is cut; its flag says that it will be."""
    iv = random.Random(seed).randbytes(8)
    trains, _ = TrainSealer().seal(keys(), ADDRESSES, PREFIX, [(b"", body)], iv)
    data, segment = trains[0].data, trains[0].segment
    if not segment:
        return data
    pieces = [data[at : at + segment] for at in range(0, len(data), segment)]
    return pieces[0] + b"".join(piece[16:] for piece in pieces[1:])


def datagrams(bodies: list[bytes], segment: int = 1432) -> list[bytes]:
    """Cut as upstream does: full datagrams, and what is left."""
    found = []
    for seed, body in enumerate(bodies):
        packet = whole(body, seed)
        found += cut(packet, segment) if packet[18] & 0x40 else [packet]
    return found


def views(pieces: list[bytes]) -> list[memoryview]:
    return [memoryview(piece) for piece in pieces]


def opened_bodies(pieces: list[bytes]) -> tuple[list[bytes], int]:
    """Open a pile as the switch does; the second value counts datagrams for the slow way."""
    pile = views(pieces)
    bodies, slow, index = [], 0, 0
    while index < len(pile):
        head = pile[index]
        opened = None
        if len(head) > 38 and head[13] != 0xFF:
            opened = open_pile(keys(), pile, index)
        if opened is None or not opened.consumed:
            slow += 1
            index += 1
            continue
        burst = burst_of(opened, 0, len(opened.starts))
        for start, row, length in zip(opened.starts, burst.rows, burst.lengths, strict=True):
            assert opened.arena[start : start + PREFIX_BYTES] == PREFIX
            bodies.append(bytes(burst.view[row : row + length]))
            assert not any(burst.arena[row + length : row - 28 + burst.stride])
        index += opened.consumed
    return bodies, slow


def bodies_of(lengths: list[int]) -> list[bytes]:
    return [random.Random(number).randbytes(n) for number, n in enumerate(lengths)]


@pytest.mark.parametrize(
    "lengths",
    [[2800] * 20, [60], [52] * 30, [2800, 52, 2800, 1000, 2800], [9000] * 4, [1394, 1395, 1396]],
)
def test_opens_what_upstream_cuts(lengths: list[int]) -> None:
    bodies = bodies_of(lengths)
    assert opened_bodies(datagrams(bodies)) == (bodies, 0)


def test_the_last_packets_of_a_pile_may_be_shorter() -> None:
    bodies = bodies_of([2800] * 5 + [1500, 2000])
    pile = views(datagrams(bodies))
    opened = open_pile(keys(), pile, 0)
    assert opened.consumed == len(pile)
    assert [length - PREFIX_BYTES for length in opened.lengths] == [2800] * 5 + [1500, 2000]


@pytest.mark.parametrize("missing", range(8))
def test_a_missing_part_stops_only_its_packet(missing: int) -> None:
    bodies = bodies_of([2800] * 4)
    pieces = datagrams(bodies)
    del pieces[missing]
    left = [body for number, body in enumerate(bodies) if number != missing // 2]
    assert opened_bodies(pieces) == (left, 1)


def test_parts_in_another_order_go_the_slow_way() -> None:
    bodies = bodies_of([2800] * 3)
    pieces = datagrams(bodies)
    pieces[2], pieces[3] = pieces[3], pieces[2]
    assert opened_bodies(pieces) == ([bodies[0], bodies[2]], 2)


@given(st.integers(0, 9), st.integers(0, 1400), st.integers(1, 255))
def test_what_was_changed_is_refused_and_leaves_nothing(part: int, at: int, bits: int) -> None:
    bodies = bodies_of([2800] * 5)
    pieces = datagrams(bodies)
    spoiled = bytearray(pieces[part])
    spoiled[at] ^= bits
    pieces[part] = bytes(spoiled)
    found, _ = opened_bodies(pieces)
    # The count of hops is not authenticated.
    assert [body for body in bodies if body not in found] in ([bodies[part // 2]], [])
    assert all(body in bodies for body in found)


@given(st.lists(st.binary(max_size=100), min_size=1, max_size=6))
def test_noise_does_not_raise(pieces: list[bytes]) -> None:
    pile = views([piece or b"?" for piece in pieces])
    for index in range(len(pile)):
        opened = open_pile(keys(), pile, index)
        assert opened.starts == []


def test_the_same_as_one_by_one() -> None:
    pieces = datagrams(bodies_of([2800, 700, 2800]))
    assembly, rows = Assembly(), []
    for piece in pieces:
        fragment = piece[13] == 0xFF
        packet = assembly.add(0, piece) if fragment or piece[18] & 0x40 else piece
        if packet is not None:
            rows.append(open_packet(PeerKeys(KEY), packet)[PREFIX_BYTES:])
    assert opened_bodies(pieces) == (rows, 0)
