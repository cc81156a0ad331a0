"""Microseconds that never go back."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial


class Clock:
    """Wall clock at the start plus monotonic progress since, time asleep included."""

    __slots__ = ("_offset", "_progress")

    def __init__(self) -> None:
        # Where there is a choice: the usual monotonic clock stands still while Linux sleeps.
        clock: int = getattr(time, "CLOCK_BOOTTIME", 0)
        self._progress: Callable[[], int] = (
            partial(time.clock_gettime_ns, clock) if clock else time.monotonic_ns
        )
        self._offset = time.time_ns() - self._progress()

    def now(self) -> int:
        """Return microseconds since the Unix epoch."""
        return (self._progress() + self._offset) // 1000
