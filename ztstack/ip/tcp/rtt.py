"""Round-trip time and retransmission timeout (RFC 6298)."""

from __future__ import annotations

from typing import Final

from ztstack.base.timers import MILLISECOND, SECOND

INITIAL_US: Final = 1 * SECOND
MIN_US: Final = 200 * MILLISECOND
"""Below the RFC's second, as all present systems have it; beyond the round trip, so that an
acknowledgement may be held back however steady the path is."""
MAX_US: Final = 60 * SECOND
MEMORY_US: Final = 60 * SECOND
"""How long the shortest round trip counts; up to twice that."""


class RttEstimator:
    """Smooths samples and backs off."""

    __slots__ = (
        "_backoff",
        "_earlier_us",
        "_recent_us",
        "_since",
        "least_us",
        "smoothed_us",
        "variation_us",
    )

    def __init__(self) -> None:
        self.smoothed_us = 0
        self.variation_us = 0
        self._backoff = 0
        # The shortest round trip, of this span of time and the one before; 0 is unknown.
        self.least_us = 0
        self._recent_us = 0
        self._earlier_us = 0
        self._since = 0

    def add(self, sample_us: int) -> None:
        sample_us = max(sample_us, 1)
        if not self.smoothed_us:
            self.smoothed_us = sample_us
            self.variation_us = sample_us // 2
        else:
            error = abs(self.smoothed_us - sample_us)
            self.variation_us += (error - self.variation_us) // 4
            self.smoothed_us = max(1, self.smoothed_us + (sample_us - self.smoothed_us) // 8)

    def note(self, now: int, sample_us: int) -> None:
        """Keep the shortest for a while."""
        if now - self._since > MEMORY_US or not self._recent_us:
            self._earlier_us = self._recent_us or sample_us
            self._recent_us = sample_us
            self._since = now
            self.least_us = min(self._earlier_us, sample_us)
        elif sample_us < self._recent_us:
            self._recent_us = sample_us
            self.least_us = min(self._earlier_us, sample_us)

    @property
    def timeout_us(self) -> int:
        if not self.smoothed_us:
            base = INITIAL_US
        else:
            base = self.smoothed_us + max(MIN_US, 4 * self.variation_us)
        return min(base << self._backoff, MAX_US)

    def back_off(self) -> None:
        self._backoff = min(self._backoff + 1, 10)

    def reset_backoff(self) -> None:
        self._backoff = 0

    @property
    def probe_us(self) -> int:
        """How long to wait for an acknowledgement before the tail is probed (RFC 8985 7.2)."""
        return max(2 * self.smoothed_us, 10 * MILLISECOND) if self.smoothed_us else INITIAL_US
