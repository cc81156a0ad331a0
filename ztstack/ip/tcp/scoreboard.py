"""What came beyond a gap, as ranges (RFC 2018)."""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

MAX_RANGES: Final = 4096


class Scoreboard:
    """Disjoint ranges of stream offsets, sorted."""

    __slots__ = ("_ends", "_starts", "total")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        self.total = 0

    def __bool__(self) -> bool:
        return bool(self._starts)

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def highest(self) -> int:
        return self._ends[-1]

    def add(self, start: int, end: int) -> int:
        """Add a range; return how many bytes are new."""
        starts, ends = self._starts, self._ends
        # Ranges first to last (exclusive) touch the new one.
        first = bisect_right(starts, start) - 1
        if first < 0 or ends[first] < start:
            first += 1
        last = bisect_right(starts, end)
        before = self.total
        if first < last:
            start, end = min(start, starts[first]), max(end, ends[last - 1])
            self.total -= sum(ends[i] - starts[i] for i in range(first, last))
        elif len(starts) >= MAX_RANGES:
            return 0
        starts[first:last] = [start]
        ends[first:last] = [end]
        self.total += end - start
        return self.total - before

    def around(self, offset: int) -> tuple[int, int] | None:
        """Return the range that holds `offset`."""
        i = bisect_right(self._starts, offset) - 1
        if i < 0 or self._ends[i] <= offset:
            return None
        return self._starts[i], self._ends[i]

    def release(self, offset: int) -> None:
        """Forget what is before `offset`."""
        starts, ends = self._starts, self._ends
        done = 0
        while done < len(starts) and ends[done] <= offset:
            self.total -= ends[done] - starts[done]
            done += 1
        del starts[:done], ends[:done]
        if starts and starts[0] < offset:
            self.total -= offset - starts[0]
            starts[0] = offset

    def clear(self) -> None:
        self._starts.clear()
        self._ends.clear()
        self.total = 0

    def gaps(self, start: int, end: int) -> list[tuple[int, int]]:
        """Return the ranges between `start` and `end` that are not here."""
        found = []
        at = start
        first = max(0, bisect_right(self._starts, start) - 1)
        for i in range(first, len(self._starts)):
            left, right = self._starts[i], self._ends[i]
            if left >= end:
                break
            if left > at:
                found.append((at, left))
            at = max(at, right)
        if at < end:
            found.append((at, end))
        return found
