"""Segments that arrived together: one look at each, one step of the connection for all."""

from __future__ import annotations

import struct
from typing import Final

from ztstack.base.frame import Burst, EtherType
from ztstack.ip.packets.checksum import has_numpy, slot_sums, swap, word_sum
from ztstack.ip.packets.tcp import HEADER_BYTES, PROTOCOL, STAMPS, Flags
from ztstack.ip.tcp.arrival import may_acknowledge, receive_run
from ztstack.ip.tcp.connection import Connection
from ztstack.ip.tcp.control_block import STAMP_BYTES
from ztstack.ip.tcp.sequence import MASK, distance

_ROWS: Final = 4
_FIELDS: Final = struct.Struct(">IIHH")
_STAMPED_FIELDS: Final = struct.Struct(">IIHH4xIII")
_FAST_FLAGS: Final = HEADER_BYTES // 4 << 12 | int(Flags.ACK)
_STAMPED_FLAGS: Final = (HEADER_BYTES + STAMP_BYTES) // 4 << 12 | int(Flags.ACK)
_STAMP_KIND: Final = int.from_bytes(STAMPS, "big")
_PSH: Final = int(Flags.PSH)
_NEWER: Final = 0x7FFFFFFF


def take_run(now: int, connection: Connection, burst: Burst, header: int) -> int:
    """Take rows in order as one run; return how many. Named by tests/bench/stream.py."""
    header_bytes = HEADER_BYTES + STAMP_BYTES if connection.stamps else HEADER_BYTES
    views: list[memoryview] = []
    if connection.closed_by_user or min(burst.lengths) < header + header_bytes:
        return 0
    if connection.stamps:
        last, stamps = _gather_stamped(connection, burst, header, views)
    else:
        last, stamps = _gather(connection, burst, header, views), None
    ahead = distance(last[1], connection.wire_sequence(connection.send_unacknowledged))
    if not views or not may_acknowledge(connection, ahead):
        return 0
    taken = len(views)
    if 2 * sum(map(len, views)) < len(burst.arena):
        # A little data must not keep a large arena alive.
        views = [memoryview(bytes(piece)) for piece in views]
    receive_run(connection, now, views, last, stamps)
    return taken


def _gather(
    connection: Connection, burst: Burst, header: int, views: list[memoryview]
) -> tuple[int, int, int]:
    """Add payloads that follow each other to `views`; return the last's numbers and window."""
    view = burst.view
    expected = connection.wire_acknowledgement()
    room = connection.window_edge - connection.received.next
    fields = _FIELDS.unpack_from
    last = (0, 0, 0)
    for row, length in zip(burst.rows, burst.lengths, strict=True):
        at = row + header
        sequence, acknowledgement, bits, window = fields(view, at + 4)
        size = length - header - HEADER_BYTES
        if sequence != expected or not size or size > room or bits & ~_PSH != _FAST_FLAGS:
            break
        views.append(view[at + HEADER_BYTES : row + length])
        expected = expected + size & MASK
        room -= size
        last = sequence, acknowledgement, window
    return last


def _gather_stamped(
    connection: Connection, burst: Burst, header: int, views: list[memoryview]
) -> tuple[tuple[int, int, int], tuple[int, int]]:
    """Do the same where time stamps are used; return the first's stamp and the last's echo too."""
    view = burst.view
    expected = connection.wire_acknowledgement()
    room = connection.window_edge - connection.received.next
    fields = _STAMPED_FIELDS.unpack_from
    behind = HEADER_BYTES + STAMP_BYTES
    first = known = -1
    last = (0, 0, 0)
    final = 0
    for row, length in zip(burst.rows, burst.lengths, strict=True):
        at = row + header
        sequence, acknowledgement, bits, window, kind, value, echo = fields(view, at + 4)
        size = length - header - behind
        if (
            sequence != expected
            or not size
            or size > room
            or bits & ~_PSH != _STAMPED_FLAGS
            or kind != _STAMP_KIND
        ):
            break
        if value != known:
            # Those of one train are the same; an old one is for PAWS to judge.
            if value - connection.stamp_recent & MASK > _NEWER:
                break
            known = value
            first = value if first < 0 else first
        views.append(view[at + behind : row + length])
        expected = expected + size & MASK
        room -= size
        last = sequence, acknowledgement, window
        final = echo
    return last, (first, final)


def flow_ends(burst: Burst, ethertype: int) -> list[int]:
    """Return the index behind each group of neighbouring rows with the same ends."""
    if ethertype == EtherType.IPV4:
        left, right = 12, 24
    else:
        left, right = 8, 44
    view, ends = burst.view, list[int]()
    known: memoryview | None = None
    for i, row in enumerate(burst.rows):
        flow = view[row + left : row + right]
        if known is not None and flow != known:
            ends.append(i)
        known = flow
    return [*ends, len(burst.rows)]


def is_usual(burst: Burst, flow: bytes, header: int, flow_end: int) -> bool:
    """Tell whether all rows are whole plain TCP packets of one flow with right checksums."""
    arena, stride = burst.arena, burst.stride
    is_batch = len(burst.rows) >= _ROWS and has_numpy()
    # A slot holds 28 bytes, then the IP packet, then zeros: one sum for each.
    sums = slot_sums(arena, stride, 28) if is_batch else []
    known, size, wanted = bytearray(), 0, 0
    for row, length in zip(burst.rows, burst.lengths, strict=True):
        head = arena[row : row + flow_end]
        if head != known:
            # Headers of one size are mostly the same bytes, and need no second look.
            if not _is_plain(head, flow, header, length):
                return False
            known, size = head, length
            pseudo = word_sum(flow[:-4]) + PROTOCOL + length - header
            wanted = (word_sum(head[:header]) - pseudo) % 65_535
            if is_batch:
                # Sums of little-endian words are the others' with their bytes swapped.
                wanted = swap(wanted)
        slot = (row - 28) // stride
        total = sums[slot] if is_batch else word_sum(burst.view[row : row + length])
        if total != wanted or length != size:
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
