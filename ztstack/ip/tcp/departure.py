"""The way out of a connection: which segments may go now, and their headers."""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Final, NamedTuple

from ztstack.base.endpoint import Endpoint
from ztstack.base.timers import MILLISECOND, SECOND
from ztstack.ip.packets.checksum import has_numpy, slot_sums, word_sum
from ztstack.ip.packets.tcp import HEADER, HEADER_BYTES, PROTOCOL, Flags, TcpSegment
from ztstack.ip.tcp.control_block import (
    DELAY,
    PACE,
    PACE_US,
    PERSIST,
    PROBE_TAIL,
    RETRANSMIT,
    WINDOW_SHIFT,
    ControlBlock,
)
from ztstack.ip.tcp.rtt import MIN_US
from ztstack.ip.tcp.sequence import MASK, add
from ztstack.ip.tcp.state import OPENING, SENDING, State

_ROWS: Final = 6
"""From here on one numpy call is cheaper than sums one by one."""
_IP4: Final = struct.Struct(">BBHIBBH")
_IP6: Final = struct.Struct(">IH")
_DF: Final = 0x4000
_TTL: Final = 64
# Plain integers: an operator of an IntFlag costs a microsecond.
_FIN: Final = int(Flags.FIN)
_PSH: Final = int(Flags.PSH)
_ACK: Final = int(Flags.ACK)
_PSH_ACK: Final = _PSH | _ACK
_OFFSET_BITS: Final = HEADER_BYTES // 4 << 12
_EDGES: Final = struct.Struct(">II")
_SACK_ROOM: Final = 4
_STAMPED_SACK_ROOM: Final = 3
_MAX_DUPLICATES: Final = 4
TRIAL_US: Final = 60 * SECOND
"""How long after a large segment was lost the next one is tried."""

Packet = tuple[bytes, bytes | memoryview]


class SegmentRun(NamedTuple):
    """Packets of one connection: IP and TCP header, and the payload that follows them."""

    local: Endpoint
    remote: Endpoint
    packets: list[Packet]


@lru_cache(maxsize=1024)
def ip_header(block_header: bytes, length: int) -> bytes:
    """Return the IP header of a segment of `length` bytes (its TCP header included)."""
    if len(block_header) == 8:
        total = length + 20
        head = _IP4.pack(0x45, 0, total, _DF, _TTL, PROTOCOL, 0)
        value = word_sum(head + block_header)
        return _IP4.pack(0x45, 0, total, _DF, _TTL, PROTOCOL, -value % 65_535) + block_header
    return _IP6.pack(0x60000000, length) + block_header


def take(block: ControlBlock, now: int, limit: int) -> tuple[SegmentRun | None, bool]:
    """Return what may go now, about `limit` segments, and whether there is more."""
    packets: list[Packet] = []
    more = False
    if block.stamps:
        block.stamp(now)
    if block.state is State.CLOSED or block.state is State.TIME_WAIT:
        if block.state is State.TIME_WAIT and block.ack_due:
            packets.append(_acknowledgement(block))
    elif block.state in OPENING:
        if block.syn_due or block.ack_now:
            packets.append(_syn(block, now) if block.syn_due else _acknowledgement(block))
    else:
        if block.state in SENDING:
            send = _send_spread if block.is_paced else _send
            more = send(block, now, limit, packets)
        if block.ping_due:
            block.ping_due = False
            if not packets:
                # What the peer has had already makes it answer.
                head = _header(block, block.send_next - 1, b"", _ACK, block.window_field())
                packets.append((head, b""))
        if block.ack_due and (block.ack_now if not packets else block.has_reports):
            _acknowledge(block, packets)
    if not packets:
        return None, False
    if block.ack_due:
        block.ack_due = block.ack_now = False
        block.timers.stop(DELAY)
    block.acks_wanted = 0
    block.acknowledged_to = block.received.next
    return SegmentRun(block.local, block.remote, packets), more


def _syn(block: ControlBlock, now: int) -> Packet:
    block.syn_due = False
    flags = int(Flags.SYN)
    acknowledgement = 0
    if block.state is State.SYN_RECEIVED:
        flags |= Flags.ACK
        acknowledgement = add(block.initial_receive, 1)
    offer = block.state is State.SYN_SENT
    if not block.retries:
        block.syn_at = block.progress_at = now
    block.window_edge = max(block.window_edge, min(block.received.free, 0xFFFF))
    stamps = None
    if block.stamps:
        stamps = (now // MILLISECOND + block.stamp_offset & MASK, block.stamp_recent)
    segment = TcpSegment(
        source_port=block.local.port,
        destination_port=block.remote.port,
        sequence=block.initial_send,
        acknowledgement=acknowledgement,
        flags=flags,
        window=min(block.received.free, 0xFFFF),
        mss=block.own_mss,
        window_shift=WINDOW_SHIFT if offer or block.scaled else None,
        sack_permitted=offer or block.sack_ok,
        stamps=stamps,
    )
    header = segment.encode(block.local.ip, block.remote.ip)
    block.arm_retransmit(now)
    return ip_header(block.fast_header, len(header)) + header, b""


def _header(
    block: ControlBlock,
    offset: int,
    body: bytes | memoryview,
    flags: int,
    window: int,
    extra: bytes = b"",
) -> bytes:
    """Return IP and TCP header of a segment; `extra` are options behind the time stamp."""
    sequence = (block.initial_send + 1 + offset) & MASK
    acknowledgement = block.wire_acknowledgement()
    options = block.options + extra if extra else block.options
    bits = _OFFSET_BITS + (len(options) << 10) | flags
    size = HEADER_BYTES + len(options) + len(body)
    source, destination = block.local.port, block.remote.port
    total = (
        block.pseudo
        + size
        + source
        + destination
        + (sequence >> 16)
        + (sequence & 0xFFFF)
        + (acknowledgement >> 16)
        + (acknowledgement & 0xFFFF)
        + bits
        + window
        + block.option_sum
    )
    if body:
        total += word_sum(body)
    if extra:
        total += word_sum(extra)
    value = -total % 65_535
    head = HEADER.pack(source, destination, sequence, acknowledgement, bits, window, value, 0)
    return ip_header(block.fast_header, size) + head + options


def _acknowledgement(block: ControlBlock) -> Packet:
    """Return a segment without data, with SACK where there is a gap."""
    extra = b""
    if block.has_reports:
        room = _STAMPED_SACK_ROOM if block.stamps else _SACK_ROOM
        ranges = block.received.reports(room)
        base = block.initial_receive + 1
        edges = [_EDGES.pack(left + base & MASK, right + base & MASK) for left, right in ranges]
        extra = b"".join((bytes((1, 1, 5, 2 + 8 * len(edges))), *edges))
    return _header(block, block.empty_at, b"", _ACK, block.window_field(), extra), b""


def _acknowledge(block: ControlBlock, packets: list[Packet]) -> None:
    # A peer without SACK counts duplicates, so each early segment gets one of a few.
    count = 1 if block.sack_ok else min(max(block.acks_wanted, 1), _MAX_DUPLICATES)
    packets.extend(_acknowledgement(block) for _ in range(count))
    if block.quick_acks:
        block.quick_acks -= 1


# Data.


def _send_spread(block: ControlBlock, now: int, limit: int, packets: list[Packet]) -> bool:
    """Do as `_send`, but no faster than in proportion to the round trip."""
    allowed = block.allowance(now)
    more = True
    if allowed or block.probe_due:
        more = _send(block, now, min(limit, max(allowed, 1)), packets)
        block.spend(sum(len(body) for _, body in packets))
        allowed = block.allowance(now)
    if more and not allowed:
        block.arm(PACE, max(block.pace_at, now + PACE_US))
        return False
    return more


def _send(block: ControlBlock, now: int, limit: int, packets: list[Packet]) -> bool:
    """Add segments to `packets`; tell whether there are more that could go."""
    was_idle = block.send_next == block.send_unacknowledged
    if was_idle and block.last_sent and now - block.last_sent >= MIN_US:
        timeouts = (now - block.last_sent) // block.rtt.timeout_us
        if timeouts:
            block.congestion.idle(timeouts)
    is_counted = block.recovery_point is not None and not block.in_loss
    before = block.pipe if is_counted else 0
    more = False
    if block.probe_due:
        block.probe_due = False
        _probe(block, now, packets)
    if block.flight.lost:
        more = _repair(block, now, limit, packets)
    room = limit - len(packets)
    if room > 0 and not more:
        more = _send_new(block, now, room, packets)
    if packets:
        block.last_sent = now
        if was_idle:
            block.progress_at = now
        if is_counted:
            block.congestion.sent(block.pipe - before)
        if block.send_next > block.send_unacknowledged:
            if RETRANSMIT not in block.timers:
                block.arm_retransmit(now)
            block.arm_probe(now)
    elif not block.in_flight and block.send_next < block.send_end and PERSIST not in block.timers:
        # The window is closed, or too small to be worth a segment.
        block.arm(PERSIST, now + block.rtt.timeout_us)
    return more


def _segment(block: ControlBlock, start: int, end: int, flags: int) -> Packet:
    """Return one segment with the data from `start` to `end`, and our FIN if it reaches there."""
    length = min(end, block.buffer.end) - start
    body: bytes | memoryview = b""
    if length > 0:
        body = block.buffer.contiguous(start, length)
    fin = block.fin_offset is not None and end > block.fin_offset and len(body) == max(length, 0)
    if fin:
        flags |= _FIN
    window = block.window_field()
    return _header(block, start, body, flags, window), body


def _segments(block: ControlBlock, start: int, end: int, packets: list[Packet]) -> None:
    """Add what is from `start` to `end`; a ring that ends there makes two segments of it."""
    last = block.buffer.end
    flags = _PSH_ACK if end >= last else _ACK
    while True:
        packet = _segment(block, start, end, flags)
        packets.append(packet)
        start += len(packet[1])
        if start >= min(end, last):
            # Our FIN, if it is part of the range, was in the last one.
            return


def _probe(block: ControlBlock, now: int, packets: list[Packet]) -> None:
    """Probe the tail of what is in flight, or a closed window with one byte."""
    start = block.send_next
    if block.in_flight:
        if not _probe_flight(block, now, packets):
            return
        block.tail_end = block.send_next
        block.timers.stop(PROBE_TAIL)
    elif start < block.send_end:
        # A window that is open, but too small for the rule of half, takes what it can; and half of
        # it is enough from now on.
        block.peer_window_max = block.peer_window or block.peer_window_max
        size = max(1, min(block.mss, block.peer_window, block.buffer.end - start))
        _advance(block, now, start, start + size, packets)
    else:
        return
    block.arm_retransmit(now)


def _probe_flight(block: ControlBlock, now: int, packets: list[Packet]) -> bool:
    """Send one segment that must be answered; False if there is none."""
    flight, start = block.flight, block.send_next
    size = min(block.mss, block.buffer.end - start)
    block.tail_needless = flight.needless_total
    if block.recovery_point is not None or flight.sacked:
        # The last acknowledgement was lost, or all of the repair.
        chosen = flight.repeat_head(now, block.mss)
    elif 0 < size <= block.send_unacknowledged + block.peer_window - start:
        # New data tells as much as old (RFC 8985 section 7.3).
        block.tail_repeated = False
        _advance(block, now, start, start + size, packets)
        return True
    else:
        chosen = flight.repeat_tail(now, block.mss)
    if chosen is None:
        return False
    block.tail_repeated = True
    _segments(block, *chosen, packets)
    return True


def _advance(block: ControlBlock, now: int, start: int, end: int, packets: list[Packet]) -> None:
    """Send one new segment, or less where the ring ends."""
    packet = _segment(block, start, end, _PSH_ACK)
    packets.append(packet)
    block.send_next = start + max(1, len(packet[1]))
    block.flight.sent(now, start, block.send_next)


def _repair(block: ControlBlock, now: int, limit: int, packets: list[Packet]) -> bool:
    """Send again what is lost, as far as the window allows; tell whether there is more."""
    allowed = block.congestion.window - block.pipe
    if block.must_resend:
        block.must_resend = False
        allowed = max(allowed, block.mss)
    room = limit - len(packets)
    chosen = block.flight.resend(now, block.mss, room, allowed)
    for start, end in chosen:
        _segments(block, start, end, packets)
    if chosen:
        if block.mss_trial is not None and chosen[0][0] < block.mss_trial:
            block.mss_trial = None
            block.mss_trial_at = now + TRIAL_US
        block.arm_retransmit(now)
    return len(chosen) == room and block.flight.lost > 0


def _send_new(block: ControlBlock, now: int, room: int, packets: list[Packet]) -> bool:
    """Add new data, as much as both windows allow. Named by tests/bench/stream.py."""
    mss, start = block.mss, block.send_next
    end = block.buffer.end
    allowed = block.send_unacknowledged + block.peer_window - start
    usable = min(block.congestion.window - block.pipe, allowed)
    waiting = end - start
    more = False
    if block.mss_before and min(usable, waiting) >= block.mss_before:
        start = _try_size(block, now, packets)
        room -= len(packets)
        usable -= start - block.send_next
        waiting = end - start
    if waiting > 0:
        full = min(usable, waiting) // mss
        if full > room:
            full, more = room, True
        if full > 0:
            start = _send_full(block, start, full, packets)
            room -= full
            usable -= start - block.send_next
            waiting = end - start
        if not more and room > 0 and 0 < waiting <= usable and waiting < mss:
            # Nagle: what is under way will be answered, and there may be more by then.
            held = start > block.send_unacknowledged and block.fin_offset is None
            if block.nodelay or not held:
                # Our FIN comes with the last data.
                stop = end + (block.fin_offset == end)
                _segments(block, start, stop, packets)
                start = stop
        elif not more and room > 0 and waiting > 0 and usable >= block.peer_window_max // 2 > 0:
            # Half of the peer's largest window is worth a segment (RFC 9293 3.8.6.2.1).
            packet = _segment(block, start, start + min(usable, mss, waiting), _PSH_ACK)
            packets.append(packet)
            start += len(packet[1])
    fin = block.fin_offset
    if fin is not None and start == fin and not more:
        packets.append(_segment(block, start, start + 1, _ACK))
        start += 1
    if start > block.send_next:
        block.flight.sent(now, block.send_next, start)
        block.send_next = start
    return more


def _try_size(block: ControlBlock, now: int, packets: list[Packet]) -> int:
    """Send one segment of the size that seemed too large, now and then; return where it ends."""
    start = block.send_next
    if block.mss_trial is None and block.recovery_point is None and now >= block.mss_trial_at:
        size = block.mss_before - block.full_mss + block.mss
        if len(block.buffer.contiguous(start, size)) == size:
            packets.append(_segment(block, start, start + size, _ACK))
            block.mss_trial = start + size
            return start + size
    return start


def _send_full(block: ControlBlock, start: int, count: int, packets: list[Packet]) -> int:
    """Add `count` full segments; where the ring ends, a segment is cut."""
    mss, buffer = block.mss, block.buffer
    window = block.window_field()
    while count:
        region = buffer.contiguous(start, count * mss)
        rows = len(region) // mss
        if not rows:
            piece = region
            flags = _PSH_ACK if start + len(piece) == buffer.end else _ACK
            head = _header(block, start, piece, flags, window)
            packets.append((head, piece))
            start += len(piece)
            count -= 1
            continue
        if rows >= _ROWS and not mss & 3 and has_numpy():
            sums = slot_sums(region[: rows * mss], mss, 0)
        else:
            sums = [word_sum(region[i : i + mss]) for i in range(0, rows * mss, mss)]
        _add_rows(block, start, region, sums, packets, window)
        start += rows * mss
        count -= rows
    return start


def _add_rows(
    block: ControlBlock,
    start: int,
    region: memoryview,
    sums: list[int],
    packets: list[Packet],
    window: int,
) -> None:
    """Add full segments that differ only in sequence number and data."""
    mss = block.mss
    acknowledgement = block.wire_acknowledgement()
    options = block.options
    header_bytes = HEADER_BYTES + len(options)
    ip = ip_header(block.fast_header, header_bytes + mss)
    source, destination = block.local.port, block.remote.port
    bits = _OFFSET_BITS + (len(options) << 10) | _ACK
    last = start + len(sums) * mss == block.buffer.end
    constant = (
        block.pseudo
        + header_bytes
        + mss
        + source
        + destination
        + (acknowledgement >> 16)
        + (acknowledgement & 0xFFFF)
        + bits
        + window
        + block.option_sum
    )
    pack = HEADER.pack
    sequence = block.wire_sequence(start)
    at = 0
    for left, data_sum in enumerate(sums, 1 - len(sums)):
        if last and not left:
            # Nothing waits behind this one.
            bits |= _PSH
            constant += _PSH
        value = -(constant + (sequence >> 16) + (sequence & 0xFFFF) + data_sum) % 65_535
        head = pack(source, destination, sequence, acknowledgement, bits, window, value, 0)
        packets.append((ip + head + options, region[at : at + mss]))
        sequence = sequence + mss & 0xFFFFFFFF
        at += mss
