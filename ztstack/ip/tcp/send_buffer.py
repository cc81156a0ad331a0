"""What was written and is not acknowledged: a ring that grows with its use."""

from __future__ import annotations

from typing import Final

LIMIT: Final = 4 << 20
FIRST_LIMIT: Final = 1 << 20
FIRST: Final = 64 << 10
LEAST_LIMIT: Final = 4 << 10


class SendBuffer:
    """Bytes from stream offset `start` to `end`; the ring is made at the first write.

    `limit` is how much may be in it: its owner raises it where the path takes more.
    """

    __slots__ = ("_ring", "_size", "ceiling", "end", "limit", "start", "view")

    def __init__(self) -> None:
        self.start = 0
        self.end = 0
        self.limit = FIRST_LIMIT
        self.ceiling = LIMIT
        self._size = 0
        self._ring = bytearray()
        self.view = memoryview(self._ring)

    def bound(self, limit: int) -> None:
        """Take no more than `limit` bytes from now on, as far as that is reasonable."""
        self.limit = self.ceiling = min(max(limit, LEAST_LIMIT), LIMIT)

    @property
    def room(self) -> int:
        return max(0, self.limit - (self.end - self.start))

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Take as much as there is room for and return how much that was."""
        count = min(len(data), self.limit - (self.end - self.start))
        if count <= 0:
            return 0
        if self.end - self.start + count > self._size:
            self._grow(self.end - self.start + count)
        view = memoryview(data)
        at = self.end % self._size
        first = min(count, self._size - at)
        self.view[at : at + first] = view[:first]
        if count > first:
            self.view[: count - first] = view[first:count]
        self.end += count
        return count

    def _grow(self, wanted: int) -> None:
        size = max(self._size, FIRST)
        while size < wanted:
            size *= 2
        # A new ring: views of the old one may still be on their way.
        ring = bytearray(size)
        at = self.start
        while at < self.end:
            piece = self.contiguous(at, self.end - at)
            to = at % size
            piece = piece[: size - to]
            ring[to : to + len(piece)] = piece
            at += len(piece)
        self._ring, self._size, self.view = ring, size, memoryview(ring)

    def contiguous(self, offset: int, count: int) -> memoryview:
        """Return at most `count` bytes from `offset` on: less where the ring ends."""
        at = offset % self._size
        return self.view[at : min(at + count, self._size)]

    def release(self, offset: int) -> None:
        """Forget what is before `offset`."""
        self.start = offset

    def trim(self) -> None:
        """Give the ring back if nothing is in it."""
        if self.start == self.end and self._size:
            self._size = 0
            self._ring = bytearray()
            self.view = memoryview(self._ring)

    def clear(self) -> None:
        self.start = self.end
        self._size = 0
        self._ring = bytearray()
        self.view = memoryview(self._ring)
