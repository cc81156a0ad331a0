"""How much may be in flight: slow start and CUBIC (RFC 5681, RFC 9438)."""

from __future__ import annotations

from typing import Final

INITIAL_SEGMENTS: Final = 10
_BETA: Final = 0.7
_C: Final = 0.4
_NO_THRESHOLD: Final = 1 << 62


class Congestion:
    """One connection's congestion window, in bytes."""

    __slots__ = ("_epoch_us", "_k_s", "_mss", "_origin", "limit", "threshold", "window")

    def __init__(self, mss: int, limit: int) -> None:
        self._mss = mss
        self.limit = limit
        self.window = INITIAL_SEGMENTS * mss
        self.threshold = _NO_THRESHOLD
        self._origin = 0.0
        self._k_s = 0.0
        self._epoch_us: int | None = None

    def set_mss(self, mss: int) -> None:
        if self.window == INITIAL_SEGMENTS * self._mss:
            self.window = INITIAL_SEGMENTS * mss
        self._mss = mss

    def acknowledged(self, now: int, count: int, rtt_us: int) -> None:
        """Grow for `count` bytes that arrived while the window was in use."""
        if self.window >= self.limit:
            return
        if self.window < self.threshold:
            # Bytes count and not acknowledgements, since one stands for a whole burst.
            self.window = min(self.window + count, self.limit)
            return
        if self._epoch_us is None:
            self._epoch_us = now
            self._origin = max(self._origin, float(self.window))
            segments = (self._origin - self.window) / self._mss
            self._k_s = (segments / _C) ** (1 / 3) if segments > 0 else 0.0
        elapsed_s = (now - self._epoch_us + rtt_us) / 1e6
        target = self._origin + _C * (elapsed_s - self._k_s) ** 3 * self._mss
        # At least as fast as Reno, whose growth is one segment a window.
        reno = self._mss * count / self.window
        cubic = (target - self.window) * count / self.window
        growth = min(max(reno, cubic), count / 2)
        self.window = min(self.window + max(1, int(growth)), self.limit)

    def lost(self) -> None:
        """Shrink at the beginning of a recovery."""
        self._origin = float(self.window)
        self.window = max(2 * self._mss, int(self.window * _BETA))
        self.threshold = self.window
        self._epoch_us = None

    def timed_out(self, in_flight: int) -> None:
        """Begin again with one segment."""
        self._origin = float(self.window)
        self.threshold = max(2 * self._mss, int(min(self.window, max(in_flight, 1)) * _BETA))
        self.window = self._mss
        self._epoch_us = None

    def idle(self) -> None:
        """Forget what the path could carry before a pause (RFC 5681 section 4.1)."""
        self.window = min(self.window, max(INITIAL_SEGMENTS * self._mss, self.window // 2))
        self._epoch_us = None
