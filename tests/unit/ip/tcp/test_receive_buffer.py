from __future__ import annotations

import random
import tracemalloc

from hypothesis import given, settings, strategies as st

from ztstack.ip.tcp.receive_buffer import FIRST_LIMIT, LIMIT, MAX_GAPS, ReceiveBuffer

STREAM = random.Random(5).randbytes(20_000)


def take(buffer: ReceiveBuffer, start: int, end: int) -> None:
    """Hand over a part of the stream as a connection does."""
    start = max(start, buffer.next)
    if start >= end:
        return
    view = memoryview(STREAM)[start:end]
    if start > buffer.next:
        buffer.insert(start, view)
    else:
        buffer.append(view)


PART = st.tuples(st.integers(0, 6000), st.sampled_from([1, 20, 300, 600, 3000]))


@settings(max_examples=50)
@given(st.lists(st.tuples(PART, st.integers(0, 2000)), max_size=30))
def test_parts_in_any_order_make_the_stream(steps: list[tuple[tuple[int, int], int]]) -> None:
    buffer = ReceiveBuffer()
    read: list[memoryview] = []
    for (start, size), limit in steps:
        take(buffer, start, start + size)
        read += buffer.read(limit)
        assert sum(map(len, read)) + buffer.size == buffer.next
        for left, right in buffer.reports(100):
            assert left < right
    # Views that were read long ago show what they showed then.
    read += buffer.read(LIMIT)
    assert b"".join(read) == STREAM[: buffer.next]
    take(buffer, 0, len(STREAM))
    read += buffer.read(LIMIT)
    assert b"".join(read) == STREAM
    assert not buffer.has_gap
    assert buffer.free == FIRST_LIMIT


def test_large_pieces_are_handed_on_without_a_copy() -> None:
    buffer, arena = ReceiveBuffer(), bytearray(2000)
    buffer.append(memoryview(arena))
    arena[0] = 7
    assert buffer.read(1)[0][0] == 7


def test_small_pieces_leave_their_arena() -> None:
    buffer, arena = ReceiveBuffer(), bytearray(2000)
    buffer.append(memoryview(arena)[:100])
    arena[0] = 7
    assert buffer.read(1)[0][0] == 0


def test_small_pieces_are_read_as_one() -> None:
    buffer = ReceiveBuffer()
    for i in range(100):
        buffer.append(memoryview(bytes([i])))
    assert [bytes(view) for view in buffer.read(LIMIT)] == [bytes(range(100))]


def test_a_small_piece_that_is_half_read_goes_on() -> None:
    buffer = ReceiveBuffer()
    for part in (b"abc", b"def"):
        buffer.append(memoryview(part))
    first = buffer.read(4)
    buffer.append(memoryview(b"ghi"))
    second = buffer.read(2)
    buffer.append(memoryview(b"jkl"))
    assert [bytes(view) for view in first + second] == [b"abcd", b"ef"]
    assert [bytes(view) for view in buffer.read(LIMIT)] == [b"ghijkl"]


def test_a_byte_at_a_time_costs_about_a_byte() -> None:
    """A peer may not fill the memory with objects while it fills the window with bytes."""
    buffer = ReceiveBuffer()
    tracemalloc.start()
    try:
        for _ in range(20_000):
            buffer.append(memoryview(b"x"))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 100_000
    assert FIRST_LIMIT - buffer.free < 30_000


def test_the_most_recent_block_comes_first() -> None:
    """RFC 2018 section 4."""
    buffer = ReceiveBuffer()
    for start in (100, 300, 200):
        take(buffer, start, start + 10)
    assert buffer.reports(3) == [(200, 210), (300, 310), (100, 110)]
    assert buffer.reports(1) == [(200, 210)]
    take(buffer, 110, 200)
    assert buffer.reports(3) == [(100, 210), (300, 310)]


def test_what_came_twice_is_reported_once_and_first() -> None:
    """RFC 2883 section 4: then comes the range around it."""
    buffer = ReceiveBuffer()
    take(buffer, 100, 200)
    take(buffer, 300, 400)
    take(buffer, 120, 150)
    assert buffer.reports(4) == [(120, 150), (100, 200), (300, 400)]
    assert buffer.reports(4) == [(100, 200), (300, 400)]


def test_gaps_are_bounded() -> None:
    buffer = ReceiveBuffer()
    for at in range(MAX_GAPS + 10):
        take(buffer, 2 + 2 * at, 3 + 2 * at)
    assert buffer.gaps == MAX_GAPS
    take(buffer, 0, len(STREAM))
    assert b"".join(buffer.read(LIMIT)) == STREAM


def test_clear() -> None:
    buffer = ReceiveBuffer()
    take(buffer, 0, 100)
    take(buffer, 200, 300)
    buffer.clear()
    assert (buffer.size, buffer.free, buffer.has_gap) == (0, FIRST_LIMIT, False)
    assert buffer.read(LIMIT) == []
