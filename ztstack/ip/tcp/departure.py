"""The way out of a connection: which segments may go now, and their headers."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from ztstack.base.endpoint import Endpoint
from ztstack.base.timers import MILLISECOND
from ztstack.ip.packets.checksum import has_numpy, slot_sums, swap, word_sum
from ztstack.ip.packets.tcp import HEADER, HEADER_BYTES, PROTOCOL, Flags, TcpSegment
from ztstack.ip.tcp.control_block import (
    PERSIST,
    REPAIR,
    RETRANSMIT,
    WINDOW_SHIFT,
    ControlBlock,
)
from ztstack.ip.tcp.sequence import add
from ztstack.ip.tcp.state import SENDING, State

_ROWS: Final = 6
"""From here on one numpy call is cheaper than sums one by one."""
_IP4: Final = struct.Struct(">BBHIBBH")
_IP6: Final = struct.Struct(">IH")
_DF: Final = 0x4000
_HELD_BACK_US: Final = 200 * MILLISECOND
_TTL: Final = 64
# Plain integers: an operator of an IntFlag costs a microsecond.
_FIN: Final = int(Flags.FIN)
_PSH: Final = int(Flags.PSH)
_ACK: Final = int(Flags.ACK)
_PSH_ACK: Final = _PSH | _ACK
_OFFSET_BITS: Final = HEADER_BYTES // 4 << 12

Packet = tuple[bytes, bytes | memoryview]


class SegmentRun(NamedTuple):
    """Packets of one connection: IP and TCP header, and the payload that follows them."""

    local: Endpoint
    remote: Endpoint
    packets: list[Packet]


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
    if block.state is State.CLOSED or block.state is State.TIME_WAIT:
        if block.state is State.TIME_WAIT and block.ack_due:
            packets.append(_acknowledgement(block))
    elif block.state in (State.SYN_SENT, State.SYN_RECEIVED):
        if block.syn_due:
            packets.append(_syn(block, now))
    else:
        if block.state in SENDING:
            more = _send(block, now, limit, packets)
        if block.ack_due and not packets:
            _acknowledge(block, packets)
    block.ack_due = False
    block.acks_wanted = 0
    if not packets:
        return None, False
    return SegmentRun(block.local, block.remote, packets), more


def _syn(block: ControlBlock, now: int) -> Packet:
    block.syn_due = False
    flags = Flags.SYN
    acknowledgement = 0
    if block.state is State.SYN_RECEIVED:
        flags |= Flags.ACK
        acknowledgement = add(block.initial_receive, 1)
    offer = block.state is State.SYN_SENT
    if block.timed_offset is None and not block.retries:
        block.timed_offset, block.timed_at = -1, now
    block.window_edge = max(block.window_edge, min(block.received.free, 0xFFFF))
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
    )
    header = segment.encode(block.local.ip, block.remote.ip)
    block.arm(RETRANSMIT, now + block.rtt.timeout_us)
    return ip_header(block.fast_header, len(header)) + header, b""


def _header(
    block: ControlBlock, offset: int, length: int, data_sum: int, flags: int, window: int
) -> bytes:
    """Return IP and TCP header of a segment whose payload has the word sum `data_sum`."""
    sequence, acknowledgement = block.wire_sequence(offset), block.wire_acknowledgement()
    bits = _OFFSET_BITS | flags
    total = (
        block.pseudo
        + HEADER_BYTES
        + length
        + block.local.port
        + block.remote.port
        + (sequence >> 16)
        + (sequence & 0xFFFF)
        + (acknowledgement >> 16)
        + (acknowledgement & 0xFFFF)
        + bits
        + window
        + data_sum
    )
    return ip_header(block.fast_header, HEADER_BYTES + length) + HEADER.pack(
        block.local.port,
        block.remote.port,
        sequence,
        acknowledgement,
        bits,
        window,
        -total % 65_535,
        0,
    )


def _acknowledgement(block: ControlBlock) -> Packet:
    """Return a segment without data, with SACK where there is a gap."""
    sequence = block.send_next
    if not block.received.has_gap or not block.sack_ok:
        return _header(block, sequence, 0, 0, _ACK, block.window_field()), b""
    base = block.initial_receive
    segment = TcpSegment(
        source_port=block.local.port,
        destination_port=block.remote.port,
        sequence=block.wire_sequence(sequence),
        acknowledgement=block.wire_acknowledgement(),
        flags=_ACK,
        window=block.window_field(),
        sack=tuple(
            (add(base, 1 + left), add(base, 1 + right)) for left, right in block.received.blocks(3)
        ),
    )
    header = segment.encode(block.local.ip, block.remote.ip)
    return ip_header(block.fast_header, len(header)) + header, b""


def _acknowledge(block: ControlBlock, packets: list[Packet]) -> None:
    # A peer without SACK counts duplicates, so each early segment gets one of a few.
    count = 1 if block.sack_ok else min(max(block.acks_wanted, 1), 4)
    packets.extend(_acknowledgement(block) for _ in range(count))


# Data.


def pipe(block: ControlBlock) -> int:
    """Return how much is believed to be on its way (RFC 6675 section 4)."""
    amount = block.in_flight - block.board.total
    if block.recovery_point is not None:
        edge = min(block.lost_edge, block.send_next)
        for left, right in block.board.gaps(block.send_unacknowledged, edge):
            amount -= right - left
        for start, (_, end, _) in block.resent.items():
            if start >= block.send_unacknowledged:
                amount += end - start
    return amount


def _send(block: ControlBlock, now: int, limit: int, packets: list[Packet]) -> bool:
    """Add segments to `packets`; tell whether there are more that could go."""
    if not block.in_flight and now - block.last_sent > block.rtt.timeout_us and block.last_sent:
        block.congestion.idle()
    flying = pipe(block)
    more = False
    if block.probe_due:
        block.probe_due = False
        _probe(block, now, packets)
    if block.recovery_point is not None:
        flying, more = _repair(block, now, limit, packets, flying)
    room = limit - len(packets)
    if room > 0 and not more:
        more = _send_new(block, now, room, packets, flying)
    if packets:
        block.last_sent = now
        _rearm(block, now)
    elif (
        not block.in_flight
        and block.send_next < block.send_end
        and block.timers.get(PERSIST) is None
    ):
        # The window is closed, or too small to be worth a segment.
        block.arm(PERSIST, now + block.rtt.timeout_us)
    return more


def _rearm(block: ControlBlock, now: int) -> None:
    if not block.in_flight:
        return
    if block.timers.get(RETRANSMIT) is None:
        block.arm(RETRANSMIT, now + block.rtt.timeout_us)
    # The peer may hold back its acknowledgement of a single segment.
    block.arm_probe(now, _HELD_BACK_US if block.in_flight <= block.mss else 0)


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
    return _header(block, start, len(body), word_sum(body), flags, window), body


def _probe(block: ControlBlock, now: int, packets: list[Packet]) -> None:
    """Send the end of what is in flight again, or one byte into a closed window."""
    if block.in_flight:
        start = max(block.send_unacknowledged, block.send_next - block.mss)
        packet = _segment(block, start, block.send_next, _PSH_ACK)
    else:
        start = block.send_next
        if start >= block.send_end:
            return
        # A window that is open, but too small for the rule of half, takes what it can.
        size = max(1, min(block.mss, block.peer_window, block.buffer.end - start))
        packet = _segment(block, start, start + size, _PSH_ACK)
        block.send_next = start + max(1, len(packet[1]))
    block.timed_offset = None
    packets.append(packet)
    block.arm(RETRANSMIT, now + block.rtt.timeout_us)


def _repair(
    block: ControlBlock, now: int, limit: int, packets: list[Packet], flying: int
) -> tuple[int, bool]:
    """Send again what is lost; a piece that was sent again waits until it may be lost anew."""
    edge = min(block.lost_edge, block.send_next)
    patience = max(block.rtt.smoothed_us * 3 // 2 + 4 * block.rtt.variation_us, 10 * MILLISECOND)
    if block.retries or not block.peer_window:
        # After a timeout without an answer, or into a closed window, only the next timeout
        # repeats, which backs off.
        patience = max(patience, block.rtt.timeout_us)
    soonest: int | None = None
    for left, right in block.board.gaps(block.send_unacknowledged, edge):
        start = left
        while start < right:
            end = min(start + block.mss, right)
            known = block.resent.get(start)
            if known is not None and known[1] >= end and now - known[0] < patience:
                due = known[0] + patience
                soonest = due if soonest is None else min(soonest, due)
                start = known[1]
                continue
            if len(packets) >= limit:
                return flying, True
            if flying + (end - start) > block.congestion.window and flying > 0:
                _arm_repair(block, soonest)
                return flying, False
            packet = _segment(block, start, end, _ACK)
            packets.append(packet)
            sent = max(len(packet[1]), 1)
            if known is None:
                flying += sent
            block.resent[start] = (now, start + sent, block.send_next)
            block.timed_offset = None
            due = now + patience
            soonest = due if soonest is None else min(soonest, due)
            start += sent
    _arm_repair(block, soonest)
    return flying, False


def _arm_repair(block: ControlBlock, at: int | None) -> None:
    if at is not None:
        block.arm(REPAIR, at)


def _send_new(block: ControlBlock, now: int, room: int, packets: list[Packet], flying: int) -> bool:
    """Add new data, as much as both windows allow. Named by tests/bench/stream.py."""
    mss, start = block.mss, block.send_next
    end = block.buffer.end
    allowed = block.send_unacknowledged + block.peer_window - start
    usable = min(block.congestion.window - flying, allowed)
    waiting = end - start
    more = False
    if waiting > 0:
        full = min(usable, waiting) // mss
        if full > room:
            full, more = room, True
        if full > 0:
            start = _send_full(block, start, full, packets)
            room -= len(packets)
            usable -= start - block.send_next
            waiting = end - start
        if not more and room > 0 and 0 < waiting <= usable and waiting < mss:
            # The rest; a ring that ends here makes two segments of it.
            while start < end:
                packet = _segment(block, start, end, _PSH_ACK)
                packets.append(packet)
                start += max(1, len(packet[1]))
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
        if block.timed_offset is None and block.recovery_point is None:
            block.timed_offset, block.timed_at = start, now
        block.send_next = start
    return more


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
            head = _header(block, start, len(piece), word_sum(piece), flags, window)
            packets.append((head, piece))
            start += len(piece)
            count -= 1
            continue
        if rows >= _ROWS and not mss & 3 and has_numpy():
            sums = [swap(value) for value in slot_sums(region[: rows * mss], mss, 0)]
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
    ip = ip_header(block.fast_header, HEADER_BYTES + mss)
    source, destination = block.local.port, block.remote.port
    bits = _OFFSET_BITS | _ACK
    last = start + len(sums) * mss == block.buffer.end
    constant = (
        block.pseudo
        + HEADER_BYTES
        + mss
        + source
        + destination
        + (acknowledgement >> 16)
        + (acknowledgement & 0xFFFF)
        + bits
        + window
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
        packets.append((ip + head, region[at : at + mss]))
        sequence = sequence + mss & 0xFFFFFFFF
        at += mss
