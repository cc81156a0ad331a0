"""Microseconds that never go back."""

from __future__ import annotations

import time


class Clock:
    """Wall clock at the start plus monotonic progress since."""

    __slots__ = ("_offset",)

    def __init__(self) -> None:
        self._offset = time.time_ns() - time.monotonic_ns()

    def now(self) -> int:
        """Return microseconds since the Unix epoch."""
        return (time.monotonic_ns() + self._offset) // 1000
