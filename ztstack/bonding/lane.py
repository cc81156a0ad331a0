"""One path of a bond: whether it answers, how fast, how surely, and how much waits before it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from enum import Enum
from typing import Final, NamedTuple

from ztstack.base.timers import SECOND
from ztstack.bonding.settings import BondPolicy, PolicySettings
from ztstack.vl1.chooser import Question
from ztstack.vl1.path import NEVER, Path

PROBE_US: Final = SECOND // 5
"""Official nodes answer an echo 166 ms after the last one on the same path."""
IDLE_PROBE_US: Final = 5 * SECOND
OLD_PROBE_US: Final = SECOND
OLD_US: Final = 30 * SECOND
"""A path that was dead for so long is asked less often."""
CONFIRM_US: Final = SECOND // 20
LATE_US: Final = SECOND // 100
LEAST_TIMEOUT_US: Final = SECOND * 8 // 100
MOST_TIMEOUT_US: Final = SECOND
FIRST_TIMEOUT_US: Final = SECOND // 2
DEAD_US: Final = SECOND // 2
ANSWERS_TO_RETURN: Final = 3
LEAST_HOLD_US: Final = 8 * SECOND
MOST_HOLD_US: Final = 600 * SECOND
LOSS_WEIGHT: Final = 1 - 0.9608
"""Of one probe in five a second, so that five seconds weigh as much as all before (e^-1)."""
AVOID_LOSS: Final = 0.15
TAKE_LOSS: Final = 0.08
"""A busy link loses some questions in its own queue, which is no reason to leave it."""
MOST_TOLD_WEIGHT: Final = 0.5
_ERRORS_WEIGHT: Final = 0.2
"""Of one look in a second, so that five seconds count about as much as all before."""
_USUAL: Final = PolicySettings()
_OPEN_PROBES: Final = 16
_BASE_WINDOW_US: Final = 10 * SECOND
_RATE_WINDOW_US: Final = 10 * SECOND
_LEAST_SAMPLE: Final = 30_000
_FULL_US: Final = 8_000
_CROWDED_US: Final = SECOND
_CROWDED_DISCOUNT: Final = 4
_MOST_GROWTH: Final = 0.25
_MOST_TIMES: Final = 8
_SLACK_US: Final = 500
_GUESS_GROWTH: Final = 1.05
_GUESS_DECAY: Final = 0.9
_FIRST_RATE: Final = 125.0
"""Bytes in a microsecond that are believed until something was measured: 1 Gbit/s."""
_FIRST_SAMPLES: Final = 3
_SAMPLES: Final = 8
_LEAST_RATE: Final = 0.0125


class LaneState(Enum):
    """What is to be expected of a path."""

    UP = "up"
    SUSPECT = "suspect"
    DEAD = "dead"
    RETURNING = "returning"


class Probe(NamedTuple):
    """A question that was sent: when, after how many bytes, behind how long a queue."""

    sent_at: int
    sent_bytes: int
    queue_us: float


class Lane:
    """A path with its own opinion of itself; `now` is in microseconds everywhere."""

    __slots__ = (
        "_answers",
        "_asked_at",
        "_base",
        "_base_next",
        "_base_since",
        "_carried",
        "_down_delay_us",
        "_failover_us",
        "_full_samples",
        "_hold_us",
        "_is_measuring",
        "_last_sample",
        "_least",
        "_open",
        "_queue_at",
        "_queues",
        "_refractory_at",
        "_refractory_us",
        "_silent_since",
        "_stage",
        "_surpluses",
        "_times_short",
        "_up_delay_us",
        "avoided",
        "busy_until",
        "capacity",
        "changed_at",
        "due",
        "errors",
        "flows",
        "interface",
        "is_measured",
        "is_wanted",
        "last_answer",
        "loss",
        "one_way_us",
        "path",
        "rate",
        "rtt_us",
        "seen_bad",
        "seen_in",
        "seen_out",
        "share",
        "state",
        "variance_us",
    )

    def __init__(
        self, now: int, path: Path, interface: str = "", settings: PolicySettings = _USUAL
    ) -> None:
        self._up_delay_us, self._down_delay_us = settings.up_delay_us, settings.down_delay_us
        self._is_measuring = settings.policy is BondPolicy.BALANCE_AWARE
        # What a path carries is learned from the answers, so they have to come often.
        self._failover_us = 0 if self._is_measuring else settings.failover_us
        self._silent_since: int | None = None
        self._carried = 0.0
        self.path = path
        self.interface = interface
        self.state = LaneState.UP
        self.changed_at = now
        self.rtt_us: float | None = None
        self.variance_us = 0.0
        self.one_way_us = 0.0
        self.loss = 0.0
        self.errors = 0.0
        """What part of what comes is not authentic."""
        self.avoided = False
        self.capacity = settings.relative_capacity(interface)
        self.rate = _FIRST_RATE * self.capacity
        self.busy_until = float(now)
        self.flows = 0
        self.share = 0.0
        self.seen_out = path.bytes_out
        self.seen_in, self.seen_bad = path.bytes_in, path.bad_bytes_in
        self.last_answer = NEVER
        self.due = now
        self._asked_at = NEVER
        self.is_measured = False
        self.is_wanted = False
        """The peer would like to have its packets on this path."""
        self._open: deque[Probe] = deque(maxlen=_OPEN_PROBES)
        self._stage = 0
        self._answers = 0
        self._base: float | None = None
        self._base_next: float | None = None
        self._base_since = now
        self._last_sample: Probe | None = None
        self._full_samples = 0
        self._least: deque[float] = deque(maxlen=_SAMPLES)
        self._queues: deque[float] = deque((0.0, 0.0, 0.0), maxlen=3)
        self._times_short = 0
        self._surpluses: deque[float] = deque((0.0, 0.0, 0.0), maxlen=3)
        self._queue_at = NEVER
        self._refractory_us = 0
        self._refractory_at = NEVER
        self._hold_us = 0

    # What is known.

    @property
    def is_up(self) -> bool:
        return self.state is LaneState.UP

    @property
    def answers(self) -> bool:
        return self.state in (LaneState.UP, LaneState.RETURNING)

    @property
    def is_confirmed(self) -> bool:
        """Tell whether it has answered, and has not fallen silent since."""
        return self.rtt_us is not None and self.state is not LaneState.SUSPECT

    def queue_us(self, now: int) -> float:
        return max(0.0, self.busy_until - now)

    def timeout_us(self) -> int:
        if self.rtt_us is None:
            return FIRST_TIMEOUT_US
        wanted = int(2 * self.rtt_us + 4 * self.variance_us)
        return min(max(wanted, LEAST_TIMEOUT_US), MOST_TIMEOUT_US)

    # Probes.

    def next_probe(self, now: int, *, active: bool) -> Question | None:
        """Return which question is due now; `due` tells when to ask again."""
        if now < self.due:
            return None
        if now - self.due > LATE_US and self._asked_at > self.last_answer:
            # This process was held up: the answer may be there, and not have been looked at.
            self.due = now + LATE_US
            return None
        if self._stage == 1:
            self._stage = 2
            return self._ask(now, Question.HELLO, self.timeout_us())
        is_open = self._asked_at > self.last_answer
        timed_out = is_open and now - self._asked_at >= self.timeout_us()
        if self._stage == 2:
            self._stage = 0
            silent = now - (self._silent_since if self._silent_since is not None else now)
            if timed_out and silent >= self._down_delay_us:
                self._lost(now)
        elif timed_out and self.answers:
            # It may have been this one question only: two more decide.
            self._stage = 1
            if self._silent_since is None:
                self._silent_since = self._asked_at
            return self._ask(now, Question.HELLO, CONFIRM_US)
        pause = self._pause(now, active=active)
        if is_open and self.answers and not timed_out:
            self.due = self._asked_at + self.timeout_us()
            return None
        if now - self._asked_at < pause:
            self.due = self._asked_at + pause
            return None
        # Official nodes answer an echo only so often, but every HELLO.
        question = Question.ECHO if pause >= PROBE_US else Question.HELLO
        return self._ask(now, question, self.timeout_us() if self.answers else pause)

    def _pause(self, now: int, *, active: bool) -> int:
        if self._is_filling:
            return CONFIRM_US
        if self.state is LaneState.UP and self._failover_us:
            # A question that is lost, and the two that decide then, still fit in.
            seldom = max(self._failover_us - 2 * self.timeout_us() - CONFIRM_US, PROBE_US)
            return seldom if active else max(seldom, IDLE_PROBE_US)
        if not active:
            return IDLE_PROBE_US
        is_old = self.state is LaneState.DEAD and now - self.changed_at > OLD_US
        return OLD_PROBE_US if is_old else PROBE_US

    @property
    def _is_filling(self) -> bool:
        """Tell whether a queue was seen for the first time: what it carries is to be known soon."""
        is_known = self._full_samples >= _FIRST_SAMPLES
        if not self._is_measuring or is_known or self.state is not LaneState.UP:
            return False
        return self._last_sample is not None and self._last_sample.queue_us > _FULL_US

    def _ask(self, now: int, question: Question, wait_us: int) -> Question:
        self._asked_at = now
        self._open.append(Probe(now, self.path.bytes_out, self.queue_us(now)))
        self.due = now + wait_us
        return question

    def doubt(self, now: int) -> None:
        """Ask at once: something about the interfaces has changed."""
        if self.answers:
            self._stage = 1
        self.due = now

    def answered(self, now: int, sent_at: int) -> None:
        """Take the answer to the question that was sent then."""
        rtt = float(max(now - sent_at, 1))
        probe = None
        while self._open and self._open[0].sent_at <= sent_at:
            probe = self._open.popleft()
            is_lost = probe.sent_at < sent_at
            # What was lost with a path that died says nothing of it now that it is back.
            if not is_lost or self.state is not LaneState.DEAD:
                self._count_loss(now, is_lost=is_lost)
        self.last_answer = max(self.last_answer, sent_at)
        self._stage = 0
        self._silent_since = None
        self.due = now
        if probe is not None and probe.sent_at == sent_at:
            self._learn_rtt(now, rtt, probe.queue_us)
            self._learn_rate(now, rtt, probe)
        else:
            self._learn_rtt(now, rtt, 0.0)
        if self.state is LaneState.UP:
            self._drain(now)
            return
        if self.state is not LaneState.RETURNING:
            self._enter(now, LaneState.RETURNING)
            self._answers = 0
        self._answers += 1
        if self._answers >= ANSWERS_TO_RETURN and now - self.changed_at >= max(
            self._hold_us, self._up_delay_us
        ):
            self._enter(now, LaneState.UP)
            self.busy_until = float(now)

    def fail(self, now: int) -> None:
        """Know that nothing passes: the way there leaves by another interface, or by none."""
        if self.answers:
            self._stage = 0
            self._lost(now)
            self._enter(now, LaneState.DEAD)
            self.due = now

    def _lost(self, now: int) -> None:
        if self.state is LaneState.RETURNING:
            self._enter(now, LaneState.DEAD)
            return
        # Whoever fails again soon after is trusted later, and later each time (bonding 2.4).
        self._drain(now)
        if self._refractory_us:
            self._hold_us = self._refractory_us
            self._refractory_us = min(LEAST_HOLD_US + 2 * self._refractory_us, MOST_HOLD_US)
        else:
            self._hold_us, self._refractory_us = 0, LEAST_HOLD_US
        self._refractory_at = now
        self._enter(now, LaneState.SUSPECT)

    def _drain(self, now: int) -> None:
        if self._refractory_us:
            self._refractory_us = max(0, self._refractory_us - (now - self._refractory_at))
            self._refractory_at = now

    def tick(self, now: int) -> None:
        """Give up a path that stays silent."""
        if self.state is LaneState.SUSPECT and now - self.changed_at >= DEAD_US:
            self._enter(now, LaneState.DEAD)

    def _count_loss(self, now: int, *, is_lost: bool) -> None:
        weight = LOSS_WEIGHT
        if is_lost and now - self._queue_at < _CROWDED_US:
            # It may have been lost in a queue of our own making.
            weight /= _CROWDED_DISCOUNT
        self.loss += weight * (is_lost - self.loss)
        self.avoided = self.loss > (TAKE_LOSS if self.avoided else AVOID_LOSS)

    def count_errors(self) -> None:
        """Look at what came since the last time."""
        came = self.path.bytes_in - self.seen_in
        bad = self.path.bad_bytes_in - self.seen_bad
        self.seen_in, self.seen_bad = self.path.bytes_in, self.path.bad_bytes_in
        if came:
            self.errors += (min(bad / came, 1.0) - self.errors) * _ERRORS_WEIGHT

    def _enter(self, now: int, state: LaneState) -> None:
        self.state = state
        self.changed_at = now

    # Estimates.

    def told(self, one_way_us: Sequence[int], came: int, lost: int) -> None:
        """Take what the peer says of the packets that were sent to it on this path."""
        if one_way_us and self.rtt_us is None:
            self.rtt_us = 2.0 * sum(one_way_us) / len(one_way_us)
        total = came + lost
        if total:
            weight = min(total * LOSS_WEIGHT, MOST_TOLD_WEIGHT)
            self.loss += weight * (lost / total - self.loss)

    def _learn_rtt(self, now: int, rtt: float, queue_us: float) -> None:
        """Learn from an answer; the question is thought to have waited so long in a queue."""
        if self.rtt_us is None:
            self.rtt_us, self.variance_us = rtt, rtt / 4
        else:
            self.variance_us += (abs(rtt - self.rtt_us) - self.variance_us) / 4
            self.rtt_us += (rtt - self.rtt_us) / 8
        self._base = rtt if self._base is None else min(self._base, rtt)
        # A queue that stays is not to become a part of the way.
        alone = max(self._base, rtt - queue_us)
        self._base_next = alone if self._base_next is None else min(self._base_next, alone)
        if now - self._base_since >= _BASE_WINDOW_US:
            self._base, self._base_next, self._base_since = self._base_next, alone, now
        self.one_way_us = self._base / 2

    def _learn_rate(self, now: int, rtt: float, probe: Probe) -> None:
        """Learn from two questions: what was sent between them came in the time between them."""
        assert self._base is not None
        queue = max(0.0, rtt - self._base)
        if queue > _FULL_US:
            self._queue_at = now
        self._queues.append(queue)
        before = self._last_sample
        self._last_sample = Probe(probe.sent_at, probe.sent_bytes, queue)
        # What the queue has been, against what the model thought it was.
        surplus = queue - probe.queue_us
        self._surpluses.append(surplus)
        self.busy_until = max(float(now), self.busy_until + surplus)
        if before is None or probe.sent_at - before.sent_at > _RATE_WINDOW_US:
            return
        carried = probe.sent_bytes - before.sent_bytes
        pause = max(probe.sent_at - before.sent_at, 1)
        spacing = pause + queue - before.queue_us
        if carried < _LEAST_SAMPLE or spacing <= 0:
            return
        # An answer that was held up must not make it more; that it was idle in between may be.
        self._least.append(max(carried / max(spacing, pause), _LEAST_RATE))
        full = max(_FULL_US, self._base / 5)
        self._full_samples += queue > full
        if not self.is_measured:
            has_queue = queue > full or min(queue, _usual(self._queues)) > full / 2
            self._guess_rate(self._least[-1], has_queue=has_queue)
            return
        if min(queue, before.queue_us) > full:
            # It was never idle in between, so this is what it carries.
            self.rate += max((carried / spacing - self.rate) / 3, -self.rate / 5)
        else:
            self._correct_rate(carried, pause, surplus)
        self.rate = max(self.rate, self._least[-1])

    def _guess_rate(self, rate: float, *, has_queue: bool) -> None:
        """Begin with what was carried when a queue is seen; before, more might have been."""
        if has_queue:
            self.rate = max(self._least)
            self.is_measured = True
            self._surpluses.extend((0.0, 0.0, 0.0))
        else:
            self._carried = max(self._carried * _GUESS_DECAY, rate * _GUESS_GROWTH)

    def _correct_rate(self, carried: int, pause: int, surplus: float) -> None:
        """Move to where the model would have been right.

        If a queue is longer than it was thought to be, the path carries less than was thought,
        however long it was idle; if it is shorter, more. An answer that was held up makes a queue
        seem longer once, and shorter the next time, so what is usual counts, the more the longer
        it is so; and all that says little where little was sent.
        """
        assert self._base is not None
        needed = carried / self.rate
        share = min(needed / pause, 1.0)
        usual = _usual(self._surpluses)
        slack = max(_SLACK_US, self._base / 20)
        self._times_short = min(self._times_short + 1, _MOST_TIMES) if usual < -slack else 0
        if usual > slack:
            # Single ones may count what a queue had no room for.
            beyond = self.rate - sorted(self._least)[-3:][0]
            self.rate -= min(max(beyond, 0.0) / 3, self.rate / 5) * share
        elif surplus < 0:
            left = needed + min(surplus, self._times_short * usual)
            growth = needed / left - 1 if left > 0 else 1.0
            self.rate *= 1 + min(growth * share, _MOST_GROWTH)

    def assume(self, rate: float) -> None:
        """Take the rate of other paths for that of this one, as long as no queue was seen here."""
        if not self.is_measured:
            self.rate = max(rate * self.capacity, self._carried)


def _usual(last: deque[float]) -> float:
    """Return the middle one of the last three: one that was held up does not count."""
    return sorted(last)[1]
