"""Microseconds that never go back."""

from __future__ import annotations

import time


class Clock:
    """Wall clock at the start plus monotonic progress since, time asleep included."""

    __slots__ = ("_clock", "_offset")

    def __init__(self) -> None:
        # Where there is a choice: the usual monotonic clock stands still while Linux sleeps.
        self._clock: int = getattr(time, "CLOCK_BOOTTIME", 0)
        self._offset = time.time_ns() - self._progress()

    def _progress(self) -> int:
        return time.clock_gettime_ns(self._clock) if self._clock else time.monotonic_ns()

    def now(self) -> int:
        """Return microseconds since the Unix epoch."""
        return (self._progress() + self._offset) // 1000
