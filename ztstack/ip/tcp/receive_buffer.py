"""What arrived and was not read: pieces in order, and those that wait for a gap to be filled."""

from __future__ import annotations

from collections import deque
from typing import Final

LIMIT: Final = 4 << 20
MAX_GAPS: Final = 4096
"""Pieces out of order; the sender sends again what is not kept."""
_OVERHEAD: Final = 64
_COPY_BYTES: Final = 512
_BLOCK_BYTES: Final = 4096


class ReceiveBuffer:
    """The stream from the peer; offsets count from its first byte."""

    __slots__ = (
        "_block",
        "_block_used",
        "_charge",
        "_early",
        "_early_charge",
        "_is_tail_small",
        "_pieces",
        "next",
        "recent",
        "size",
    )

    def __init__(self) -> None:
        self.next = 0
        self.size = 0
        self.recent = 0
        self._pieces: deque[memoryview] = deque()
        self._early: list[tuple[int, memoryview]] = []
        self._charge = 0
        self._early_charge = 0
        # Where small pieces are put side by side, and whether the last piece is a small one.
        self._block: memoryview | None = None
        self._block_used = 0
        self._is_tail_small = False

    @property
    def free(self) -> int:
        """How much more may come; small pieces cost more than their bytes."""
        return max(0, LIMIT - self._charge)

    @property
    def has_gap(self) -> bool:
        return bool(self._early)

    def append(self, view: memoryview) -> None:
        """Take the next bytes of the stream; the caller knows that they are the next."""
        self._store(view)
        if self._early:
            self._fill()

    def _store(self, view: memoryview) -> None:
        size = len(view)
        self.next += size
        self.size += size
        self._charge += size
        if size >= _COPY_BYTES:
            self._is_tail_small = False
        elif self._is_tail_small and self._pieces and self._join(view, size):
            return
        else:
            # A small piece must not keep a large arena alive.
            view = memoryview(bytes(view))
            self._is_tail_small = True
        self._block = None
        self._pieces.append(view)
        self._charge += _OVERHEAD

    def _join(self, view: memoryview, size: int) -> bool:
        """Put a small piece behind the small one before it: an object costs more than a byte."""
        tail = self._pieces[-1]
        if self._block is None:
            self._block = memoryview(bytearray(_BLOCK_BYTES))
            self._block[: len(tail)] = tail
            self._block_used = len(tail)
        used = self._block_used
        if used + size > _BLOCK_BYTES:
            return False
        self._block[used : used + size] = view
        self._block_used = used + size
        # Views that were read end before this piece, and the block is never moved.
        self._pieces[-1] = self._block[used - len(tail) : used + size]
        return True

    def insert(self, offset: int, view: memoryview) -> None:
        """Keep bytes that came early; `offset` is beyond `next`."""
        if self._early_charge + len(view) > LIMIT or len(self._early) >= MAX_GAPS:
            return
        self.recent = offset
        early = self._early
        at = len(early)
        while at and early[at - 1][0] > offset:
            at -= 1
        if at:
            before_offset, before = early[at - 1]
            overlap = before_offset + len(before) - offset
            if overlap > 0:
                offset, view = offset + overlap, view[overlap:]
        while view and at < len(early):
            after_offset, after = early[at]
            if offset + len(view) <= after_offset:
                break
            if offset + len(view) >= after_offset + len(after):
                self._early_charge -= len(after) + _OVERHEAD
                del early[at]
            else:
                view = view[: after_offset - offset]
        if view:
            early.insert(at, (offset, memoryview(bytes(view))))
            self._early_charge += len(view) + _OVERHEAD

    def _fill(self) -> None:
        early = self._early
        done = 0
        for offset, view in early:
            if offset > self.next:
                break
            done += 1
            self._early_charge -= len(view) + _OVERHEAD
            rest = view[self.next - offset :]
            if rest:
                self._store(rest)
        if done:
            del early[:done]

    def blocks(self, limit: int) -> list[tuple[int, int]]:
        """Return what came early as (left, right), the most recent first (RFC 2018 section 4)."""
        merged: list[tuple[int, int]] = []
        for offset, view in self._early:
            end = offset + len(view)
            if merged and merged[-1][1] == offset:
                merged[-1] = (merged[-1][0], end)
            else:
                merged.append((offset, end))
        for i, (left, right) in enumerate(merged):
            if left <= self.recent < right:
                merged.insert(0, merged.pop(i))
                break
        return merged[:limit]

    def read(self, limit: int) -> list[memoryview]:
        """Return pieces of at most `limit` bytes together."""
        views: list[memoryview] = []
        while self._pieces and limit > 0:
            piece = self._pieces[0]
            size = len(piece)
            if size <= limit:
                self._pieces.popleft()
                views.append(piece)
                self._charge -= size + _OVERHEAD
            else:
                views.append(piece[:limit])
                self._pieces[0] = piece[limit:]
                self._charge -= limit
                size = limit
            limit -= size
            self.size -= size
        if not self._pieces:
            self._block = None
        return views

    def clear(self) -> None:
        self._pieces.clear()
        self._early.clear()
        self._block = None
        self._is_tail_small = False
        self.size = self._charge = self._early_charge = 0
