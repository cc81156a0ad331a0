"""How much may be in flight: HyStart++, CUBIC and proportional reduction.

Slow start is left by RFC 9406, the window grows by RFC 9438 and shrinks by RFC 6937.
"""

from __future__ import annotations

from typing import Final

from ztstack.base.timers import MILLISECOND

INITIAL_SEGMENTS: Final = 10
_BETA: Final = 0.7
_C: Final = 0.4
_ALPHA: Final = 3 * (1 - _BETA) / (1 + _BETA)
_NO_THRESHOLD: Final = 1 << 62
# HyStart++ (RFC 9406 section 4.2).
_SAMPLES: Final = 8
_LEAST_RISE_US: Final = 4 * MILLISECOND
_MOST_RISE_US: Final = 16 * MILLISECOND
_CAREFUL_ROUNDS: Final = 5
_CAREFUL_DIVISOR: Final = 4
_INFINITE: Final = 1 << 62


class Congestion:
    """One connection's congestion window, in bytes."""

    __slots__ = (
        "_careful_base",
        "_careful_rounds",
        "_delivered",
        "_epoch_us",
        "_estimate",
        "_flight",
        "_k_s",
        "_mss",
        "_origin",
        "_out",
        "_prior",
        "_round_end",
        "_round_last",
        "_round_least",
        "_round_samples",
        "_saved",
        "limit",
        "threshold",
        "window",
    )

    def __init__(self, mss: int, limit: int) -> None:
        self._mss = mss
        self.limit = limit
        self.window = INITIAL_SEGMENTS * mss
        self.threshold = _NO_THRESHOLD
        # CUBIC: the window before the last reduction, and what Reno would have now.
        self._origin = 0.0
        self._prior = 0.0
        self._estimate = 0.0
        self._k_s = 0.0
        self._epoch_us: int | None = None
        # HyStart++: the shortest round trips of this round and the last.
        self._round_end = 0
        self._round_least = self._round_last = _INFINITE
        self._round_samples = 0
        self._careful_base = _INFINITE
        self._careful_rounds = 0
        # Proportional reduction: since the recovery began.
        self._flight = 0
        self._delivered = 0
        self._out = 0
        # Window, threshold and origin before the last reduction, should it prove wrong.
        self._saved: tuple[int, int, float] | None = None

    @property
    def in_slow_start(self) -> bool:
        return self.window < self.threshold

    def set_mss(self, mss: int) -> None:
        if self.window == INITIAL_SEGMENTS * self._mss:
            self.window = INITIAL_SEGMENTS * mss
        self._mss = mss

    # Growth.

    def sample(self, rtt_us: int, acknowledged: int, sent: int) -> None:
        """Watch the round trips of the first slow start; offsets tell rounds apart."""
        if self.threshold != _NO_THRESHOLD:
            return
        if acknowledged > self._round_end:
            self._begin_round(sent)
        self._round_least = min(self._round_least, rtt_us)
        self._round_samples += 1
        if self._round_samples < _SAMPLES:
            return
        if self._careful_base != _INFINITE:
            if self._round_least < self._careful_base:
                # It was a passing delay.
                self._careful_base = _INFINITE
        elif self._round_last != _INFINITE:
            rise = min(max(self._round_last // 8, _LEAST_RISE_US), _MOST_RISE_US)
            if self._round_least >= self._round_last + rise:
                self._careful_base = self._round_least
                self._careful_rounds = 0

    def _begin_round(self, sent: int) -> None:
        self._round_end = sent
        self._round_last = self._round_least if self._round_samples else self._round_last
        self._round_least = _INFINITE
        self._round_samples = 0
        if self._careful_base != _INFINITE:
            self._careful_rounds += 1
            if self._careful_rounds > _CAREFUL_ROUNDS:
                self.threshold = self.window

    def acknowledged(self, now: int, count: int, rtt_us: int) -> None:
        """Grow for `count` bytes that arrived while the window was in use."""
        if self.window >= self.limit:
            return
        if self.window < self.threshold:
            # Bytes count and not acknowledgements, since one stands for a whole burst; RFC 9406's
            # limit for a single one is left out for the same reason.
            if self._careful_base != _INFINITE:
                count = max(1, count // _CAREFUL_DIVISOR)
            grown = min(self.window + count, self.threshold, self.limit)
            count -= grown - self.window
            self.window = grown
            if not count or grown == self.limit:
                return
        if self._epoch_us is None:
            self._begin_epoch(now)
        assert self._epoch_us is not None
        elapsed_s = (now - self._epoch_us) / 1e6
        # What Reno would have: slower, until it is where the last loss was (section 4.3).
        alpha = 1.0 if self._estimate >= self._prior else _ALPHA
        self._estimate += alpha * self._mss * count / self.window
        if self._cubic(elapsed_s) < self._estimate:
            grown = max(self.window, int(self._estimate))
        else:
            target = min(self._cubic(elapsed_s + rtt_us / 1e6), 1.5 * self.window)
            grown = self.window + max(1, int((target - self.window) * count / self.window))
        self.window = min(grown, self.window + max(1, count // 2), self.limit)

    def _begin_epoch(self, now: int) -> None:
        self._epoch_us = now
        self._origin = max(self._origin, float(self.window))
        self._estimate = float(self.window)
        self._k_s = ((self._origin - self.window) / self._mss / _C) ** (1 / 3)

    def _cubic(self, at_s: float) -> float:
        return self._origin + _C * (at_s - self._k_s) ** 3 * self._mss

    # Reduction.

    def lost(self, flight: int) -> None:
        """Begin a recovery with `flight` bytes out: the window comes down by what is delivered."""
        self._reduce()
        self._flight = max(flight, 1)
        self._delivered = self._out = 0
        self.window = self.threshold

    def _reduce(self) -> None:
        self._saved = (self.window, self.threshold, self._origin)
        # Others want a share if the window did not come as far as before (RFC 9438 section 4.7).
        before = float(self.window)
        self._prior = before
        self._origin = before * (1 + _BETA) / 2 if before < self._origin else before
        self.threshold = max(2 * self._mss, int(self.window * _BETA))
        self._epoch_us = None

    def proportion(self, delivered: int, pipe: int, *, is_safe: bool) -> None:
        """Set the window after an acknowledgement in a recovery (RFC 6937 section 3).

        `is_safe`: it moved the edge and told of no new loss.
        """
        self._delivered += delivered
        if pipe > self.threshold:
            count = -(-self._delivered * self.threshold // self._flight) - self._out
        else:
            room = max(self._delivered - self._out, delivered)
            count = min(self.threshold - pipe, room + self._mss if is_safe else room)
        if not self._out:
            count = max(count, self._mss)
        self.window = max(pipe + max(count, 0), self._mss)

    def sent(self, count: int) -> None:
        """Count what goes out in a recovery."""
        self._out += count

    def recovered(self) -> None:
        self.window = max(self.threshold, 2 * self._mss)

    def timed_out(self, in_flight: int) -> None:
        """Begin again with one segment."""
        self._reduce()
        self.threshold = max(2 * self._mss, int(min(self.window, max(in_flight, 1)) * _BETA))
        # RFC 9438 section 4.8: what comes then begins where slow start ends.
        self._origin = self._prior = 0.0
        self.window = self._mss

    def undo(self) -> None:
        """Take the last reduction back: nothing was lost."""
        if self._saved is None:
            return
        window, threshold, origin = self._saved
        self.window = max(self.window, window)
        self.threshold = max(self.threshold, threshold)
        self._origin = origin
        self._epoch_us = None
        self._saved = None

    def idle(self, timeouts: int) -> None:
        """Forget half of the window for each timeout that a pause lasted (RFC 5681 section 4.1)."""
        left = self.window >> min(timeouts, 32)
        self.window = min(self.window, max(INITIAL_SEGMENTS * self._mss, left))
        self._epoch_us = None
