"""What arrived and was not read: pieces in order, and those that wait for a gap to be filled."""

from __future__ import annotations

from collections import deque
from typing import Final

from ztstack.base.timers import MILLISECOND
from ztstack.ip.tcp.scoreboard import Scoreboard

LIMIT: Final = 4 << 20
FIRST_LIMIT: Final = 256 << 10
LEAST_LIMIT: Final = 4 << 10
_INTERVAL_US: Final = 10 * MILLISECOND
"""A round trip is not taken for shorter: wake-ups are of this kind."""
MAX_GAPS: Final = 4096
"""Pieces out of order; the sender sends again what is not kept."""
_OVERHEAD: Final = 64
_COPY_BYTES: Final = 512
_BLOCK_BYTES: Final = 4096
_REMEMBERED: Final = 4
"""Places where something came early: each acknowledgement repeats those before."""


class ReceiveBuffer:
    """The stream from the peer; offsets count from its first byte."""

    __slots__ = (
        "_block",
        "_block_used",
        "_ceiling",
        "_charge",
        "_early",
        "_early_charge",
        "_is_tail_small",
        "_pieces",
        "_places",
        "_ranges",
        "_since",
        "_taken",
        "duplicate",
        "limit",
        "next",
        "size",
    )

    def __init__(self) -> None:
        self.next = 0
        self.size = 0
        # How much may wait, and what was read since when: a reader that is fast gets more.
        self.limit = FIRST_LIMIT
        self._ceiling = LIMIT
        self._taken = 0
        self._since = 0
        # What came twice and was not reported yet (RFC 2883).
        self.duplicate: tuple[int, int] | None = None
        self._pieces: deque[memoryview] = deque()
        self._early: list[tuple[int, memoryview]] = []
        self._ranges = Scoreboard()
        self._places: list[int] = []
        self._charge = 0
        self._early_charge = 0
        # Where small pieces are put side by side, and whether the last piece is a small one.
        self._block: memoryview | None = None
        self._block_used = 0
        self._is_tail_small = False

    @property
    def free(self) -> int:
        """How much more may come; small pieces cost more than their bytes."""
        return max(0, self.limit - self._charge)

    @property
    def has_gap(self) -> bool:
        return bool(self._early)

    @property
    def gaps(self) -> int:
        """How many ranges came early."""
        return len(self._ranges)

    def append(self, view: memoryview) -> None:
        """Take the next bytes of the stream; the caller knows that they are the next."""
        self._store(view)
        if self._early:
            self._fill()

    def extend(self, views: list[memoryview], size: int) -> None:
        """Append pieces of `size` bytes together; nothing came early before."""
        if min(map(len, views)) < _COPY_BYTES:
            for view in views:
                self._store(view)
            return
        self.next += size
        self.size += size
        self._charge += size + _OVERHEAD * len(views)
        self._is_tail_small = False
        self._block = None
        self._pieces += views

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
        size = len(view)
        if self._ranges.add(offset, offset + size) < size:
            self.duplicate = offset, offset + size
        place = self._ranges.around(offset)
        self._places = [
            offset,
            *(at for at in self._places[:_REMEMBERED] if self._ranges.around(at) != place),
        ]
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
            self._ranges.release(self.next)

    def reports(self, limit: int) -> list[tuple[int, int]]:
        """Return what to report: what came twice, then what came early, the most recent first."""
        found: list[tuple[int, int]] = []
        if self.duplicate is not None:
            found.append(self.duplicate)
            self.duplicate = None
        for place in self._places:
            around = self._ranges.around(place)
            if around is not None:
                found.append(around)
        return found[:limit]

    def read(self, limit: int) -> list[memoryview]:
        """Return pieces of at most `limit` bytes together."""
        if self.size <= limit:
            views = list(self._pieces)
            self._pieces.clear()
            self._charge -= self.size + _OVERHEAD * len(views)
            self.size = 0
            self._block = None
            return views
        views = list[memoryview]()
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

    def bound(self, limit: int) -> None:
        """Let no more than `limit` bytes wait from now on, as far as that is reasonable."""
        self.limit = self._ceiling = min(max(limit, LEAST_LIMIT), LIMIT)

    def tune(self, now: int, count: int, rtt_us: int) -> None:
        """Let twice as much wait if `count` bytes more, half of it a round trip, were read."""
        self._taken += count
        elapsed = now - self._since
        interval = max(rtt_us, _INTERVAL_US)
        if elapsed < interval or self.limit >= self._ceiling:
            return
        if 2 * self._taken * interval >= self.limit * elapsed:
            self.limit = min(2 * self.limit, self._ceiling)
        self._taken = 0
        self._since = now

    def clear(self) -> None:
        self._pieces.clear()
        self._early.clear()
        self._ranges.clear()
        self._places.clear()
        self.duplicate = None
        self._block = None
        self._is_tail_small = False
        self.size = self._charge = self._early_charge = 0
