"""What acknowledgements tell about losses, and what follows (RFC 8985, RFC 6675, RFC 3522)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ztstack.base.timers import SECOND
from ztstack.ip.tcp.control_block import (
    IDLE,
    IDLE_US,
    PROBE_TAIL,
    REORDER,
    RETRANSMIT,
    ControlBlock,
)

DUPLICATES: Final = 3
_KEEP_RECOVERIES: Final = 16
_MAX_STEPS: Final = 64
RAISE_US: Final = 600 * SECOND
"""When to see whether the path takes more than a router said (RFC 1191 section 6.3)."""

Ranges = Sequence[tuple[int, int]]


def learn(
    block: ControlBlock,
    now: int,
    offset: int,
    reports: Ranges = (),
    echoed_ms: int | None = None,
    *,
    is_duplicate: bool = False,
) -> None:
    """Advance to `offset`, take reports of what is beyond, and grow or shrink the window.

    `echoed_ms` is when that left which the peer answers, if it told.
    """
    flight, rtt = block.flight, block.rtt
    advanced = offset - block.send_unacknowledged
    limited = _is_limited(block)
    flight.acknowledge(now, offset, echoed_ms, rtt.least_us)
    block.send_unacknowledged = offset
    if reports:
        for left, right in _without_duplicate(block, offset, reports):
            if offset < left < right <= block.send_next:
                flight.report(now, left, right, rtt.least_us)
    if flight.delivered:
        _measure(block, now, offset, advanced, echoed_ms)
    if block.may_undo:
        _undo_if_needless(block, offset, advanced, echoed_ms)
    _judge(block, offset, advanced, is_duplicate=is_duplicate)
    known = flight.lost
    if flight.is_disturbed or is_duplicate or block.recovery_point is not None:
        find_losses(block, now, advanced)
    if block.recovery_point is not None and not block.in_loss:
        is_safe = advanced > 0 and flight.lost <= known
        block.congestion.proportion(flight.delivered, block.pipe, is_safe=is_safe)
    elif advanced and limited:
        block.congestion.acknowledged(now, advanced, rtt.smoothed_us)
    if flight.is_disturbed:
        flight.settle()
    if advanced:
        _progress(block, now, offset)
    block.arm_probe(now)
    if block.recovery_point is not None or block.send_next < block.send_end:
        block.want_output()


def _judge(block: ControlBlock, offset: int, advanced: int, *, is_duplicate: bool) -> None:
    """See whether this is a duplicate that counts, or ends a probe or a recovery."""
    if not block.sack_ok:
        _count_duplicates(block, advanced, is_duplicate=is_duplicate)
    if block.recovery_point is not None:
        # Whatever comes answers a probe.
        block.tail_end = None
        if advanced and offset >= block.recovery_point:
            _end_recovery(block)
    elif block.tail_end is not None:
        _end_probe(block, offset, is_duplicate=is_duplicate)


def _undo_if_needless(
    block: ControlBlock, offset: int, advanced: int, echoed_ms: int | None
) -> None:
    """Go on as before if all that was sent again had arrived (RFC 3522, RFC 3708)."""
    flight = block.flight
    if flight.was_needless:
        _undo(block)
    elif advanced and echoed_ms is not None and flight.first_resent_at is not None:
        # The peer answers what left before anything was sent again. While other repetitions are
        # under way, that says nothing of them.
        end = block.recovery_point
        is_all = end is not None and (block.in_loss or not flight.repeated or offset >= end)
        if is_all and echoed_ms < flight.first_resent_at // 1000:
            _undo(block)


def _progress(block: ControlBlock, now: int, offset: int) -> None:
    block.retries = 0
    block.complaint = None
    block.progress_at = now
    if block.mss_trial is not None and offset >= block.mss_trial:
        # A large segment came through.
        block.set_mss(block.mss_before)
        block.mss_trial = None
        block.mss_before = 0
    block.rtt.reset_backoff()
    block.buffer.release(min(offset, block.buffer.end))
    if block.send_next > offset:
        block.arm_retransmit(now)
    else:
        block.timers.stop(RETRANSMIT)
        block.arm(IDLE, now + IDLE_US)


def _is_limited(block: ControlBlock) -> bool:
    """Tell whether the window, and not the application, holds sending back."""
    congestion, in_flight = block.congestion, block.send_next - block.send_unacknowledged
    window = congestion.window
    if window < congestion.threshold:
        return in_flight * 2 >= window
    return in_flight + max(window // 4, 3 * block.mss) >= window


def _measure(
    block: ControlBlock, now: int, offset: int, advanced: int, echoed_ms: int | None
) -> None:
    flight, rtt = block.flight, block.rtt
    if flight.least_us:
        rtt.note(now, flight.least_us)
        block.congestion.sample(flight.least_us, offset, block.send_next)
    if advanced and offset >= block.round_end:
        # One sample for each round trip, as the factors of RFC 6298 suppose.
        sample = flight.sample
        if not sample and echoed_ms is not None:
            sample = now - echoed_ms * 1000
        if sample:
            rtt.add(sample)
            block.round_end = block.send_next


def _without_duplicate(block: ControlBlock, offset: int, reports: Ranges) -> Ranges:
    """Take out a report of what arrived twice (RFC 2883 section 4): it is the first."""
    left, right = reports[0]
    inside = len(reports) > 1 and reports[1][0] <= left and right <= reports[1][1]
    if not 0 < right - left <= block.peer_window_max or not (right <= offset or inside):
        return sorted(reports)
    flight = block.flight
    flight.duplicated_total += right - left
    if block.tail_end is not None and block.tail_repeated and right == block.tail_end:
        # The probe was needless: nothing was lost (RFC 8985 section 7.4.2).
        block.tail_end = None
    elif flight.patience_round is None or offset >= flight.patience_round:
        flight.patience_round = block.send_next
        flight.patience_steps = min(flight.patience_steps + 1, _MAX_STEPS)
        flight.patience_keep = _KEEP_RECOVERIES
    return sorted(reports[1:])


def _count_duplicates(block: ControlBlock, advanced: int, *, is_duplicate: bool) -> None:
    """Let duplicates stand for reports where the peer cannot make any (RFC 5681 section 3.2)."""
    flight = block.flight
    if advanced:
        block.duplicates = 0
        counted = min(block.assumed, max(0, advanced - block.mss))
        flight.delivered -= min(counted, flight.delivered)
        block.assumed -= counted
        if block.recovery_point is None or not block.in_flight:
            block.assumed = 0
    elif is_duplicate:
        block.duplicates += 1
        free = block.in_flight - flight.lost - block.assumed
        more = max(0, min(block.mss, free - block.mss))
        block.assumed += more
        flight.delivered += more


def patience_us(block: ControlBlock) -> int:
    """Return how much later than others a segment may come (RFC 8985 section 6.2 step 4)."""
    flight, rtt = block.flight, block.rtt
    if not flight.is_reordered and (
        block.recovery_point is not None or flight.sacked >= DUPLICATES * block.mss
    ):
        return 0
    return min(flight.patience_steps * rtt.least_us // 4, rtt.smoothed_us)


def find_losses(block: ControlBlock, now: int, advanced: int = 0) -> None:
    """Mark what is lost, and begin a recovery if this is the first of it."""
    flight = block.flight
    if block.sack_ok:
        due = flight.find_lost(now, patience_us(block))
        if due is None:
            block.timers.stop(REORDER)
        else:
            block.arm(REORDER, due)
    elif block.recovery_point is None:
        if block.duplicates >= DUPLICATES:
            flight.lose_first(block.mss)
    elif advanced and not block.in_loss:
        # A partial acknowledgement: the next segment is lost too (RFC 6582 section 3.2).
        flight.lose_first(block.mss)
    block.assumed = min(block.assumed, max(0, block.in_flight - flight.lost))
    if flight.lost and block.recovery_point is None:
        _begin_recovery(block)


def _begin_recovery(block: ControlBlock) -> None:
    block.recovery_point = block.send_next
    block.in_loss = False
    block.may_undo = True
    flight = block.flight
    flight.begin_episode()
    block.congestion.lost(block.in_flight - flight.sacked + flight.delivered)
    block.congestion.proportion(0, block.pipe, is_safe=False)
    block.want_output()


def _end_recovery(block: ControlBlock) -> None:
    flight = block.flight
    block.recovery_point = None
    if not block.in_loss:
        block.congestion.recovered()
    block.in_loss = False
    block.assumed = 0
    flight.patience_keep -= 1
    if flight.patience_keep <= 0:
        flight.patience_steps = 1


def _undo(block: ControlBlock) -> None:
    block.may_undo = False
    block.flight.pardon()
    block.congestion.undo()
    block.recovery_point = None
    block.in_loss = False


# Probes and timeouts.


def _end_probe(block: ControlBlock, offset: int, *, is_duplicate: bool) -> None:
    """See what became of a probe of the tail (RFC 8985 section 7.4.2)."""
    assert block.tail_end is not None
    if offset < block.tail_end:
        return
    needless = block.flight.needless_total > block.tail_needless
    if not block.tail_repeated or needless:
        block.tail_end = None
    elif offset > block.tail_end or block.stamps:
        block.tail_end = None
        if block.recovery_point is None:
            # It was lost, and the probe repaired it: that is congestion all the same.
            block.congestion.lost(max(block.in_flight, block.mss))
            block.congestion.recovered()
            block.may_undo = False
    elif is_duplicate:
        block.tail_end = None


def time_out(block: ControlBlock, now: int) -> None:
    """Take what is old for lost, and begin again with one segment (RFC 8985 section 6.3)."""
    flight = block.flight
    if block.recovery_point is None or (block.retries == 1 and not block.in_loss):
        block.may_undo = block.recovery_point is None
        flight.begin_episode()
        block.congestion.timed_out(block.pipe)
    elif block.in_loss:
        block.congestion.window = block.mss
    if block.retries > 1 or flight.is_first_reported:
        flight.distrust()
    aged = flight.rtt_us or block.rtt.smoothed_us
    flight.lose_until(now - aged - patience_us(block))
    block.recovery_point = block.send_next
    block.in_loss = True
    block.must_resend = True
    block.duplicates = 0
    block.assumed = 0
    block.tail_end = None
    block.timers.stop(PROBE_TAIL)
    block.timers.stop(REORDER)


def shrink(block: ControlBlock, now: int, mss: int) -> None:
    """Use smaller segments; what left in larger ones goes again, which is no congestion."""
    block.mss_before = max(block.mss_before, block.full_mss)
    block.mss_trial = None
    block.mss_trial_at = now + RAISE_US
    block.set_mss(mss)
    block.flight.lose_until(now)
    block.assumed = 0
    if block.recovery_point is None:
        block.recovery_point = block.send_next
        block.in_loss = True
        block.may_undo = False
    block.must_resend = True
    block.want_output()
