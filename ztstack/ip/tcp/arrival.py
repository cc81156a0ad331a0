"""The way in to a connection: RFC 9293 section 3.10.7, with SACK and RFC 5961's checks."""

from __future__ import annotations

from typing import Final

from ztstack.base.errors import ConnectRefused, ConnectReset, Drop
from ztstack.base.timers import MILLISECOND, SECOND
from ztstack.base.trace import Tracer
from ztstack.ip.events import Ended, Established, Readable, Writable
from ztstack.ip.packets.tcp import Flags, TcpSegment
from ztstack.ip.tcp.control_block import (
    DELAY,
    IDLE,
    KEEPALIVE,
    LINGER,
    ORPHAN_US,
    PACE,
    PERSIST,
    PROBE_TAIL,
    QUICK_ACKS,
    REORDER,
    RETRANSMIT,
    TIME_WAIT_US,
    ControlBlock,
)
from ztstack.ip.tcp.recovery import learn
from ztstack.ip.tcp.sequence import MASK, distance
from ztstack.ip.tcp.state import RECEIVING, State

_OLDEST_ECHO_MS: Final = 600_000
_PAWS_US: Final = 24 * 86_400 * SECOND
"""A time stamp that was echoed so long ago says nothing (RFC 7323 section 5.5)."""
CHALLENGE_US: Final = 100 * MILLISECOND
"""Two hosts that disagree about a connection must not answer each other for ever."""


def receive(block: ControlBlock, now: int, segment: TcpSegment, tracer: Tracer) -> None:
    """Take a segment whose checksum is right."""
    block.heard_at = now
    if block.keepalive_probes:
        block.revive(now)
    if block.state is State.SYN_SENT:
        _receive_opening(block, now, segment, tracer)
        return
    flags = segment.flags
    if block.state is State.SYN_RECEIVED and flags & Flags.SYN and not flags & Flags.RST:
        if flags & Flags.ACK and segment.sequence == block.initial_receive:
            # Both opened at once, and this answers our SYN (RFC 9293 figure 7).
            _receive_acknowledgement(block, now, segment, tracer)
            return
        # Our SYN and ACK was lost.
        block.syn_due = True
        block.want_output()
    elif _is_outdated(block, now, segment):
        tracer.drop(Drop.NOT_ACCEPTABLE, "tcp")
        _challenge(block, now)
    elif not _is_acceptable(block, segment):
        tracer.drop(Drop.NOT_ACCEPTABLE, "tcp")
        _receive_unacceptable(block, now, segment)
    elif flags & Flags.RST:
        _receive_reset(block, now, segment, tracer)
    elif flags & Flags.SYN:
        tracer.drop(Drop.NOT_ACCEPTABLE, "tcp")
        _challenge(block, now)
    elif not flags & Flags.ACK:
        tracer.drop(Drop.NOT_ACCEPTABLE, "tcp")
    elif _receive_acknowledgement(block, now, segment, tracer):
        _note_stamp(block, now, segment)
        taken = segment.payload or flags & Flags.FIN
        if taken and block.state is not State.CLOSED:
            _receive_data(block, now, segment)


def _offset(block: ControlBlock, sequence: int) -> int:
    """Return the stream offset of a received sequence number, near what is expected."""
    expected = block.wire_acknowledgement()
    return block.received.next + _fin_counted(block) + distance(sequence, expected)


def _shift(block: ControlBlock, segment: TcpSegment) -> int:
    """Return the scale of a segment's window; that of a SYN has none (RFC 7323 section 2.2)."""
    return 0 if segment.flags & Flags.SYN else block.peer_window_shift


def _fin_counted(block: ControlBlock) -> int:
    received = block.fin_received
    return 1 if received is not None and block.received.next >= received else 0


def _is_acceptable(block: ControlBlock, segment: TcpSegment) -> bool:
    """Tell whether any of the segment lies in the window (RFC 9293 section 3.10.7.4)."""
    start = _offset(block, segment.sequence)
    expected = block.received.next + _fin_counted(block)
    edge = max(block.window_edge, expected)
    length = segment.length
    if not length:
        # Some acknowledge behind the byte with which they probe a closed window.
        return expected <= start <= max(edge, expected + 1)
    return start < max(edge, expected + 1) and start + length > expected


def _is_outdated(block: ControlBlock, now: int, segment: TcpSegment) -> bool:
    """Tell by its time stamp whether a segment is an old duplicate (RFC 7323 section 5.3)."""
    if segment.stamps is None or not block.stamps or segment.flags & Flags.RST:
        # Some peers leave them out now and then; such a segment is judged by its number.
        return False
    if distance(segment.stamps[0], block.stamp_recent) >= 0:
        return False
    return now - block.stamp_recent_at < _PAWS_US


def _note_stamp(block: ControlBlock, now: int, segment: TcpSegment) -> None:
    """Keep a time stamp to be echoed: of what begins before the last acknowledgement ended."""
    stamps = segment.stamps if block.stamps else None
    if stamps is not None and _offset(block, segment.sequence) <= block.acknowledged_to:
        block.stamp_recent, block.stamp_recent_at = stamps[0], now


def _receive_unacceptable(block: ControlBlock, now: int, segment: TcpSegment) -> None:
    """Tell the peer of what is outside the window where we are; a reset gets no answer."""
    if segment.flags & Flags.RST:
        return
    if not segment.payload and not segment.flags & Flags.FIN:
        _challenge(block, now)
        return
    # The peer sends again what it believes is lost: our acknowledgement was.
    start = _offset(block, segment.sequence)
    if segment.payload and start < block.received.next:
        block.received.duplicate = (start, start + len(segment.payload))
    if block.state is State.TIME_WAIT and segment.flags & Flags.FIN:
        block.arm(LINGER, now + TIME_WAIT_US)
    _answer(block)


def _challenge(block: ControlBlock, now: int) -> None:
    """Say what is expected, but not to everything that is wrong (RFC 5961 section 7)."""
    if block.challenged_at is None or now - block.challenged_at >= CHALLENGE_US:
        block.challenged_at = now
        _answer(block)


def _answer(block: ControlBlock) -> None:
    """Acknowledge what has arrived so far; one a wake-up."""
    block.ack_due = block.ack_now = True
    block.want_output()


# Opening.


def _receive_opening(block: ControlBlock, now: int, segment: TcpSegment, tracer: Tracer) -> None:
    flags = segment.flags
    acknowledges = bool(flags & Flags.ACK)
    if acknowledges and segment.acknowledgement != block.wire_sequence(0):
        # An old connection's; the host answers with a reset.
        tracer.drop(Drop.NOT_ACCEPTABLE, "tcp")
        if not flags & Flags.RST:
            block.reset_due = True
        return
    if flags & Flags.RST:
        if acknowledges:
            block.fail(ConnectRefused(f"{block.remote.host} port {block.remote.port}: refused"))
        else:
            tracer.drop(Drop.NOT_ACCEPTABLE, "tcp")
        return
    if not flags & Flags.SYN:
        tracer.drop(Drop.NOT_ACCEPTABLE, "tcp")
        return
    take_syn(block, now, segment)
    if not acknowledges:
        # Both opened at once (RFC 9293 figure 7).
        block.state = State.SYN_RECEIVED
        block.syn_due = True
        block.want_output()
        return
    _establish(block, now, segment)
    _answer(block)


def take_syn(block: ControlBlock, now: int, segment: TcpSegment) -> None:
    """Note what the peer's SYN says."""
    block.initial_receive = segment.sequence
    block.stamps = segment.stamps is not None and (block.is_passive or block.stamps)
    if segment.stamps is not None:
        block.stamp_recent, block.stamp_recent_at = segment.stamps[0], now
    if not block.stamps:
        block.options, block.option_sum = b"", 0
    if segment.mss is not None:
        block.set_mss(min(segment.mss, block.own_mss))
    else:
        block.set_mss(block.mss)
    block.scaled = segment.window_shift is not None
    block.peer_window_shift = segment.window_shift or 0
    block.sack_ok = segment.sack_permitted
    block.peer_window = block.peer_window_max = segment.window
    block.window_from = (segment.sequence, segment.acknowledgement)


def _establish(block: ControlBlock, now: int, segment: TcpSegment) -> None:
    if block.syn_at is not None:
        block.rtt.add(now - block.syn_at)
        block.rtt.note(now, now - block.syn_at)
    if block.retries > 1:
        # The path loses much: begin with one segment (RFC 6928 section 2).
        block.congestion.window = block.mss
    block.retries = 0
    block.rtt.reset_backoff()
    block.timers.stop(RETRANSMIT)
    block.state = State.ESTABLISHED
    block.was_established = True
    if block.keepalive is not None:
        block.arm(KEEPALIVE, now + block.keepalive[0])
    block.peer_window = segment.window << _shift(block, segment)
    block.peer_window_max = max(block.peer_window_max, block.peer_window)
    if not block.is_passive:
        # Of a passive one the host tells its listener.
        block.shared.events.append(Established(block))
    if block.send_end > block.send_next:
        block.want_output()
        if block.fin_offset is not None:
            block.state = State.FIN_WAIT_1


# Resets.


def _receive_reset(block: ControlBlock, now: int, segment: TcpSegment, tracer: Tracer) -> None:
    if segment.sequence != block.wire_acknowledgement():
        # Near, but not exact: RFC 5961 section 3.2 asks the peer to say it again.
        tracer.drop(Drop.NOT_ACCEPTABLE, "tcp")
        _challenge(block, now)
        return
    if block.state in (State.TIME_WAIT, State.CLOSING, State.LAST_ACK):
        block.finish()
        return
    if block.state is State.SYN_RECEIVED:
        block.fail(ConnectRefused(f"{block.remote.host} port {block.remote.port}: refused"))
        return
    reset(block)


def reset(block: ControlBlock) -> None:
    block.fail(ConnectReset(f"{block.remote.host} port {block.remote.port}: the peer broke it off"))


# Acknowledgements.


def _receive_acknowledgement(
    block: ControlBlock, now: int, segment: TcpSegment, tracer: Tracer
) -> bool:
    """Process the ACK field; False if the segment is to be dropped."""
    base = block.wire_sequence(block.send_unacknowledged)
    ahead = distance(segment.acknowledgement, base)
    if block.state is State.SYN_RECEIVED:
        if ahead < 0 or ahead > block.in_flight:
            tracer.drop(Drop.NOT_ACCEPTABLE, "tcp")
            block.reset_due = True
            return False
        _establish(block, now, segment)
    elif not may_acknowledge(block, ahead):
        # What was never sent, or is too old to be from this peer (RFC 5961 section 5.2).
        tracer.drop(Drop.NOT_ACCEPTABLE, "tcp")
        _challenge(block, now)
        return False
    if ahead < 0:
        return True
    window = segment.window << _shift(block, segment)
    duplicate = (
        not ahead and block.in_flight > 0 and not segment.length and window == block.peer_window
    )
    offset = block.send_unacknowledged + ahead
    reports: list[tuple[int, int]] = []
    if block.sack_ok and segment.sack:
        for left, right in segment.sack:
            start = block.send_unacknowledged + distance(left, base)
            reports.append((start, start + distance(right, left)))
    echoed_ms = None
    if segment.stamps is not None and block.stamps:
        echoed_ms = echo_time(block, now, segment.stamps[1])
    acknowledge(block, now, offset, reports, echoed_ms, duplicate=duplicate)
    if block.state is not State.CLOSED:
        update_window(block, now, segment.sequence, segment.acknowledgement, window)
    return True


def may_acknowledge(block: ControlBlock, ahead: int) -> bool:
    """Tell whether a peer may acknowledge so far: neither too old nor never sent (RFC 5961 5.2)."""
    return -block.peer_window_max <= ahead <= block.send_next - block.send_unacknowledged


def echo_time(block: ControlBlock, now: int, echo: int) -> int | None:
    """Return when that left which the peer answers, in milliseconds; None if it cannot be."""
    clock = now // MILLISECOND
    age = distance(clock + block.stamp_offset & MASK, echo)
    return clock - age if 0 <= age <= _OLDEST_ECHO_MS else None


def update_window(
    block: ControlBlock, now: int, sequence: int, acknowledgement: int, window: int
) -> None:
    """Take the peer's window unless the segment is an old one (RFC 9293 3.10.7.4)."""
    last_sequence, last_acknowledgement = block.window_from
    newer = distance(sequence, last_sequence)
    if newer < 0 or (not newer and distance(acknowledgement, last_acknowledgement) < 0):
        return
    block.window_from = (sequence, acknowledgement)
    if window != block.peer_window:
        before, block.peer_window = block.peer_window, window
        block.peer_window_max = max(block.peer_window_max, window)
        if window > before:
            block.timers.stop(PERSIST)
            block.retries = 0
            block.progress_at = now
            if not before:
                _reopen(block, now)
            if block.send_next < block.send_end:
                block.want_output()
    elif not window and not block.closed_by_user:
        # The peer lives, and its window is still closed: wait on (RFC 9293 section 3.8.6.1), unless
        # nobody else does (RFC 6429).
        block.retries = 0
        block.progress_at = now


def _reopen(block: ControlBlock, now: int) -> None:
    """Go on where a window was closed: what probed it was refused, and timeouts begin anew."""
    block.rtt.reset_backoff()
    if block.in_flight:
        if block.in_flight == 1:
            block.flight.lose_until(now)
            block.must_resend = True
        block.arm_retransmit(now)
        block.want_output()


def acknowledge(
    block: ControlBlock,
    now: int,
    offset: int,
    reports: list[tuple[int, int]],
    echoed_ms: int | None,
    *,
    duplicate: bool = False,
) -> None:
    """Advance to `offset` and do what follows."""
    advanced = offset > block.send_unacknowledged
    learn(block, now, offset, reports, echoed_ms, is_duplicate=duplicate)
    if advanced:
        buffer = block.buffer
        if block.room_wanted and buffer.room >= buffer.limit >> 2 and not block.closed_by_user:
            # Who waits is woken for a part that is worth it.
            block.room_wanted = False
            block.shared.events.append(Writable(block))
        if block.fin_offset is not None and offset > block.fin_offset:
            _fin_acknowledged(block, now)


def _fin_acknowledged(block: ControlBlock, now: int) -> None:
    if not block.closed_by_user:
        block.shared.events.append(Writable(block))
    match block.state:
        case State.FIN_WAIT_1:
            block.state = State.FIN_WAIT_2
            if block.closed_by_user:
                block.arm(LINGER, now + ORPHAN_US)
        case State.CLOSING:
            wait(block, now)
        case State.LAST_ACK:
            block.finish()
        case _:
            pass


def wait(block: ControlBlock, now: int) -> None:
    """Enter TIME-WAIT."""
    block.state = State.TIME_WAIT
    block.buffer.clear()
    for timer in (RETRANSMIT, PROBE_TAIL, PERSIST, REORDER, DELAY, KEEPALIVE, IDLE, PACE):
        block.timers.stop(timer)
    block.arm(LINGER, now + TIME_WAIT_US)
    block.shared.waiting[block] = None
    block.shared.events.append(Ended(block))


# Data.


def _receive_data(block: ControlBlock, now: int, segment: TcpSegment) -> None:
    if block.state not in RECEIVING:
        # After the peer's FIN there is nothing more; it may be sending the end again.
        _answer(block)
        return
    start = _offset(block, segment.sequence)
    data = memoryview(segment.payload)
    fin = bool(segment.flags & Flags.FIN)
    end = start + len(data)
    received = block.received
    block.largest = max(block.largest, len(data))
    if start < received.next:
        if data:
            received.duplicate = (start, min(end, received.next))
        data = data[received.next - start :]
        start = received.next
    if end > block.window_edge:
        data = data[: max(0, block.window_edge - start)]
        fin = False
    if fin:
        block.fin_received = end
    block.acks_wanted += 1
    block.ack_due = True
    block.shared.touched[block] = None
    if fin or start > received.next or received.has_gap or received.duplicate is not None:
        # What is out of order, or fills a gap, is told at once (RFC 5681 section 4.2).
        block.ack_now = True
        block.quick_acks = QUICK_ACKS
    if data:
        if block.closed_by_user:
            # Nobody will read it (RFC 9293 section 3.10.7.4, RFC 2525 section 2.17).
            block.reset_due = True
            block.finish()
            return
        if start > received.next:
            received.insert(start, data)
        else:
            received.append(data)
            block.shared.events.append(Readable(block))
    if block.fin_received is not None and received.next >= block.fin_received:
        _take_fin(block, now)


def receive_acknowledgement(
    block: ControlBlock, now: int, numbers: tuple[int, int, int], stamps: tuple[int, int] | None
) -> None:
    """Take a segment without data that is what is expected, and acknowledges new data.

    `numbers` are its sequence, acknowledgement and window, `stamps` its time stamp and its echo.
    """
    sequence, acknowledgement, window = numbers
    block.heard_at = now
    if block.keepalive_probes:
        block.revive(now)
    base = block.wire_sequence(block.send_unacknowledged)
    offset = block.send_unacknowledged + distance(acknowledgement, base)
    echoed_ms = None if stamps is None else echo_time(block, now, stamps[1])
    acknowledge(block, now, offset, [], echoed_ms)
    if block.state is not State.CLOSED:
        update_window(block, now, sequence, acknowledgement, window << block.peer_window_shift)
    if stamps is not None and _offset(block, sequence) <= block.acknowledged_to:
        block.stamp_recent, block.stamp_recent_at = stamps[0], now


def receive_run(
    block: ControlBlock,
    now: int,
    views: list[memoryview],
    size: int,
    last: tuple[int, int, int, int],
    stamps: tuple[int, int] | None,
) -> None:
    """Take payloads that follow one another and begin at what is expected.

    The caller made sure that the connection takes runs, and that all lies in the window. `size` is
    that of all, `last` the last segment's sequence, acknowledgement and window, and how much it
    acknowledges; `stamps` are the first segment's time stamp and the last one's echo. Named by
    tests/bench/stream.py.
    """
    sequence, acknowledgement, window, ahead = last
    received = block.received
    block.heard_at = now
    if block.keepalive_probes:
        block.revive(now)
    echoed_ms = None
    if stamps is not None:
        if received.next <= block.acknowledged_to:
            block.stamp_recent, block.stamp_recent_at = stamps[0], now
        echoed_ms = echo_time(block, now, stamps[1])
    received.extend(views, size)
    block.largest = max(block.largest, len(views[0]))
    block.ack_due = True
    block.acks_wanted += 1
    block.shared.touched[block] = None
    block.shared.events.append(Readable(block))
    if 0 < ahead <= block.send_next - block.send_unacknowledged:
        acknowledge(block, now, block.send_unacknowledged + ahead, [], echoed_ms)
    if block.state is not State.CLOSED and ahead >= 0:
        update_window(block, now, sequence, acknowledgement, window << block.peer_window_shift)


def _take_fin(block: ControlBlock, now: int) -> None:
    """Enter the state that the peer's FIN leads to."""
    block.shared.events.append(Readable(block))
    match block.state:
        case State.ESTABLISHED:
            block.state = State.CLOSE_WAIT
        case State.FIN_WAIT_1:
            block.state = State.CLOSING
        case State.FIN_WAIT_2:
            wait(block, now)
        case _:
            pass
