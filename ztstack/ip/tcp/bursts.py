"""Segments that arrived together: one look at each, one step of the connection for all."""

from __future__ import annotations

import struct
from typing import Final

from ztstack.base.frame import Burst, EtherType
from ztstack.ip.packets.checksum import has_numpy, slot_sums, word_sum
from ztstack.ip.packets.tcp import HEADER_BYTES, PROTOCOL, STAMPS, Flags
from ztstack.ip.tcp.arrival import may_acknowledge, receive_acknowledgement, receive_run
from ztstack.ip.tcp.connection import Connection
from ztstack.ip.tcp.control_block import STAMP_BYTES
from ztstack.ip.tcp.sequence import MASK, distance
from ztstack.ip.tcp.state import SENDING

_ROWS: Final = 4
_FIELDS: Final = struct.Struct(">IIHH")
_STAMPED_FIELDS: Final = struct.Struct(">I8s4x12s")
"""The sequence number; what the middle and the options are is for those below."""
_MIDDLE: Final = struct.Struct(">IHH")
_OPTIONS: Final = struct.Struct(">III")
_FAST_FLAGS: Final = HEADER_BYTES // 4 << 12 | int(Flags.ACK)
_STAMPED_FLAGS: Final = (HEADER_BYTES + STAMP_BYTES) // 4 << 12 | int(Flags.ACK)
_STAMP_KIND: Final = int.from_bytes(STAMPS, "big")
_PSH: Final = int(Flags.PSH)
_NEWER: Final = 0x7FFFFFFF


def take_leading(
    now: int, connection: Connection, burst: Burst, header: int, flow_at: int, flow: bytes
) -> int:
    """Take what short ways take of the leading rows; return how many, or -1 if any row is unusual.

    The first and the last row are of this flow.
    """
    is_sending = connection.state in SENDING
    if (
        is_sending
        and len(burst.rows) > 1
        and take_last_acknowledgement(now, connection, burst, header, flow_at, flow)
    ):
        return len(burst.rows)
    if not is_usual(connection, burst, flow, header, flow_at + len(flow)):
        return -1
    begin = header + HEADER_BYTES + (STAMP_BYTES if connection.stamps else 0)
    taken = 0
    if burst.lengths[0] > begin and connection.takes_runs:
        taken = take_run(now, connection, burst, header)
    if not taken and is_sending:
        taken = take_acknowledgements(now, connection, burst, header)
    return taken


def take_run(now: int, connection: Connection, burst: Burst, header: int) -> int:
    """Take rows in order as one run; return how many. Named by tests/bench/stream.py."""
    if connection.closed_by_user:
        return 0
    views: list[memoryview] = []
    gather = _gather_stamped if connection.stamps else _gather
    last, stamps, size = gather(connection, burst, header, views)
    ahead = distance(last[1], connection.wire_sequence(connection.send_unacknowledged))
    if not views or not may_acknowledge(connection, ahead):
        return 0
    taken = len(views)
    if 2 * size < len(burst.arena):
        # A little data must not keep a large arena alive.
        views = [memoryview(bytes(piece)) for piece in views]
    receive_run(connection, now, views, size, (*last, ahead), stamps)
    return taken


def _gather(
    connection: Connection, burst: Burst, header: int, views: list[memoryview]
) -> tuple[tuple[int, int, int], tuple[int, int] | None, int]:
    """Add payloads that follow each other to `views`.

    Returns the last's numbers and window, the time stamps that there are not, and the size of all.
    """
    view = burst.view
    expected = connection.wire_acknowledgement()
    room = left = connection.window_edge - connection.received.next
    fields = _FIELDS.unpack_from
    last = (0, 0, 0)
    for row, length in zip(burst.rows, burst.lengths, strict=True):
        at = row + header
        sequence, acknowledgement, bits, window = fields(view, at + 4)
        size = length - header - HEADER_BYTES
        if sequence != expected or not 0 < size <= left or bits & ~_PSH != _FAST_FLAGS:
            break
        views.append(view[at + HEADER_BYTES : row + length])
        expected = expected + size & MASK
        left -= size
        last = sequence, acknowledgement, window
    return last, None, room - left


def _gather_stamped(
    connection: Connection, burst: Burst, header: int, views: list[memoryview]
) -> tuple[tuple[int, int, int], tuple[int, int] | None, int]:
    """Do the same where time stamps are used: the first's stamp and the last's echo are told too.

    Segments of one train differ in their numbers and data only, so the rest is looked at once.
    """
    view = burst.view
    expected = connection.wire_acknowledgement()
    room = left = connection.window_edge - connection.received.next
    skip, begin = header + 4, header + HEADER_BYTES + STAMP_BYTES
    fields = _STAMPED_FIELDS.unpack_from
    first = -1
    sequence = acknowledgement = window = echo = 0
    known = known_options = b""
    for row, length in zip(burst.rows, burst.lengths, strict=True):
        size = length - begin
        if not 0 < size <= left:
            break
        number, middle, options = fields(view, row + skip)
        if number != expected:
            break
        if middle != known or options != known_options:
            answered, bits, granted = _MIDDLE.unpack(middle)
            kind, value, echoed = _OPTIONS.unpack(options)
            if bits & ~_PSH != _STAMPED_FLAGS or kind != _STAMP_KIND:
                break
            # An old stamp is for PAWS to judge.
            if value - connection.stamp_recent & MASK > _NEWER:
                break
            known, known_options = middle, options
            acknowledgement, window, echo = answered, granted, echoed
            first = value if first < 0 else first
        views.append(view[row + begin : row + length])
        sequence = number
        expected = expected + size & MASK
        left -= size
    return (sequence, acknowledgement, window), (first, echo), room - left


def take_acknowledgements(now: int, connection: Connection, burst: Burst, header: int) -> int:
    """Take leading rows that acknowledge new data and hold none; return how many.

    On a steady connection the last says all that the others do, as if these had been lost.
    """
    found = _acknowledgements(connection, burst, header)
    for numbers, stamps in found[-1:] if connection.is_steady else found:
        receive_acknowledgement(connection, now, numbers, stamps)
    return len(found)


def take_last_acknowledgement(
    now: int, connection: Connection, burst: Burst, header: int, flow_at: int, flow: bytes
) -> bool:
    """Take the last of rows that acknowledge more and more; False, and nothing done, if they don't.

    A window that changes is news too, and no duplicate (RFC 5681 section 2). Of the others not even
    the sums are looked at: a steady connection does as if they were lost.
    """
    view, rows = burst.view, burst.rows
    length, flags = header + HEADER_BYTES, _FAST_FLAGS
    if connection.stamps:
        length, flags = length + STAMP_BYTES, _STAMPED_FLAGS
    if burst.lengths.count(length) < len(rows) or not connection.is_steady:
        return False
    base, edge, known = connection.wire_sequence(connection.send_unacknowledged), 0, -1
    begins = burst.arena.startswith
    for row in rows:
        _, acknowledgement, bits, window = _FIELDS.unpack_from(view, row + header + 4)
        ahead = acknowledgement - base & MASK
        if ahead <= edge and (ahead < edge or not edge or window == known):
            return False
        if bits != flags or not begins(flow, row + flow_at):
            return False
        edge, known = ahead, window
    last = Burst(burst.arena, burst.stride, rows[-1:], burst.lengths[-1:])
    return (
        is_usual(connection, last, flow, header, flow_at + len(flow))
        and take_acknowledgements(now, connection, last, header) == 1
    )


def _acknowledgements(
    connection: Connection, burst: Burst, header: int
) -> list[tuple[tuple[int, int, int], tuple[int, int] | None]]:
    """Return numbers, window and time stamps of what `take_acknowledgements` takes."""
    stamped = connection.stamps
    length_wanted = header + HEADER_BYTES + (STAMP_BYTES if stamped else 0)
    flags_wanted = _STAMPED_FLAGS if stamped else _FAST_FLAGS
    expected, view = connection.wire_acknowledgement(), burst.view
    base, edge = connection.wire_sequence(connection.send_unacknowledged), 0
    newest = connection.stamp_recent
    found: list[tuple[tuple[int, int, int], tuple[int, int] | None]] = []
    for row, length in zip(burst.rows, burst.lengths, strict=True):
        if length != length_wanted:
            break
        sequence, acknowledgement, bits, window = _FIELDS.unpack_from(view, row + header + 4)
        ahead = distance(acknowledgement, base)
        if sequence != expected or bits != flags_wanted or not edge < ahead <= connection.in_flight:
            break
        stamps = None
        if stamped:
            kind, value, echo = _OPTIONS.unpack_from(view, row + header + HEADER_BYTES)
            if kind != _STAMP_KIND or value - newest & MASK > _NEWER:
                break
            stamps, newest = (value, echo), value
        edge = ahead
        found.append(((sequence, acknowledgement, window), stamps))
    return found


def flow_ends(burst: Burst, ethertype: int) -> list[int]:
    """Return the index behind each group of neighbouring rows with the same ends."""
    if ethertype == EtherType.IPV4:
        left, right = 12, 24
    else:
        left, right = 8, 44
    arena, rows, ends = burst.arena, burst.rows, list[int]()
    known = arena[rows[0] + left : rows[0] + right] if rows else b""
    is_known = arena.startswith
    for i, row in enumerate(rows):
        if not is_known(known, row + left):
            ends.append(i)
            known = arena[row + left : row + right]
    return [*ends, len(rows)]


def is_usual(connection: Connection, burst: Burst, flow: bytes, header: int, flow_end: int) -> bool:
    """Tell whether all rows are whole plain TCP packets of a connection with right checksums."""
    arena, stride, rows = burst.arena, burst.stride, burst.rows
    is_batch = len(rows) >= _ROWS and has_numpy()
    # A slot holds 28 bytes, then the IP packet, then zeros: one sum for each.
    sums = slot_sums(arena, stride, 28) if is_batch else []
    if is_batch:
        sums = [sums[row // stride] for row in rows]
    else:
        view = burst.view
        for row, length in zip(rows, burst.lengths, strict=True):
            sums.append(word_sum(view[row : row + length]))
    known, size, wanted = connection.plain_head
    is_known = arena.startswith
    for row, length, total in zip(rows, burst.lengths, sums, strict=True):
        if length != size or not is_known(known, row):
            # Headers of one size are mostly the same bytes, and need no second look.
            head = arena[row : row + flow_end]
            if not _is_plain(head, flow, header, length):
                return False
            known, size = bytes(head), length
            # The sum of a right IPv4 header is zero.
            own = 0 if header == 20 else word_sum(head[:header])
            wanted = (own - connection.pseudo - length + header) % 65_535
            connection.plain_head = known, size, wanted
        if total != wanted:
            return False
    return True


def _is_plain(head: bytes | bytearray, flow: bytes, header: int, length: int) -> bool:
    """Tell whether an IP header and the ports behind it are the flow's, with nothing special."""
    if not head.endswith(flow):
        return False
    if header == 20:
        # No options, TCP, a hop limit that is not zero, the whole frame, no fragment.
        return (
            head[0] == 0x45
            and head[9] == PROTOCOL
            and head[8] > 0
            and head[2] << 8 | head[3] == length
            and not head[6] & 0x3F
            and not head[7]
            and not word_sum(head[:20])
        )
    return (
        head[0] >> 4 == 6
        and head[6] == PROTOCOL
        and head[7] > 0
        and (head[4] << 8 | head[5]) + 40 == length
    )
