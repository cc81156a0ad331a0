from __future__ import annotations

from hypothesis import given, settings, strategies as st

from ztstack.ip.tcp.send_buffer import FIRST, FIRST_LIMIT, LIMIT, SendBuffer


def content(buffer: SendBuffer) -> bytes:
    """Return all that is not acknowledged; a ring gives it in pieces."""
    found = bytearray()
    while buffer.start + len(found) < buffer.end:
        at = buffer.start + len(found)
        found += buffer.contiguous(at, buffer.end - at)
    return bytes(found)


def test_an_idle_buffer_holds_no_ring() -> None:
    buffer = SendBuffer()
    assert len(buffer.view) == 0
    assert buffer.room == FIRST_LIMIT
    buffer.write(b"x")
    assert len(buffer.view) == FIRST
    buffer.clear()
    assert len(buffer.view) == 0


def test_full_and_free_again() -> None:
    buffer = SendBuffer()
    buffer.limit = LIMIT
    assert buffer.write(bytes(LIMIT + 5)) == LIMIT
    assert buffer.write(b"x") == 0
    buffer.release(3)
    assert buffer.write(b"abcde") == 3
    assert bytes(buffer.contiguous(LIMIT, 3)) == b"abc"


def test_growing_leaves_views_of_the_old_ring_alone() -> None:
    buffer = SendBuffer()
    buffer.write(b"a" * FIRST)
    view = buffer.contiguous(0, 10)
    buffer.write(b"b" * FIRST)
    buffer.release(FIRST)
    buffer.write(b"c" * FIRST)
    assert bytes(view) == b"a" * 10


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 200_000), st.integers(0, 100)), max_size=20))
def test_as_plain_bytes(steps: list[tuple[int, int]]) -> None:
    buffer, plain, written = SendBuffer(), b"", 0
    for size, percent in steps:
        data = bytes((written + i) % 251 for i in range(min(size, 3000))) * (size // 3000 + 1)
        count = buffer.write(data)
        plain += data[:count]
        written += count
        freed = len(plain) * percent // 100
        buffer.release(buffer.start + freed)
        plain = plain[freed:]
        assert content(buffer) == plain
        assert buffer.room == FIRST_LIMIT - len(plain)


def test_an_empty_ring_is_given_back() -> None:
    buffer = SendBuffer()
    buffer.write(b"abc")
    buffer.trim()
    assert content(buffer) == b"abc"
    buffer.release(3)
    buffer.trim()
    assert len(buffer.view) == 0
    buffer.write(b"defg")
    assert content(buffer) == b"defg"
