"""Packets cut into fragments and put together again (vl1 sections 2.6 to 2.8)."""

from __future__ import annotations

from typing import Final

from ztstack.base.errors import DecodeError
from ztstack.base.limits import BoundedMap
from ztstack.base.timers import SECOND
from ztstack.wire.header import (
    DEFAULT_MTU,
    FLAG_FRAGMENTED,
    FLAGS_OFFSET,
    FRAGMENT_HEADER_BYTES,
    FRAGMENT_MARK,
    MAX_FRAGMENTS,
    MAX_PACKET,
    decode_fragment,
)

TABLE_LIMIT: Final = 64
"""Packets that wait for their other parts; upstream's ring has 32."""
TIMEOUT_US: Final = 10 * SECOND


def fragments_needed(length: int, mtu: int = DEFAULT_MTU) -> int:
    """Return how many datagrams a packet of `length` bytes becomes."""
    if length <= mtu:
        return 1
    return 1 - (mtu - length) // (mtu - FRAGMENT_HEADER_BYTES)


def segment_bytes(length: int, count: int) -> int:
    """Return the datagram size with which a packet is cut into `count` equal parts, rounded up.

    Equal parts let the kernel batch (the natural cut makes the second part shorter).
    """
    return -(-(length + FRAGMENT_HEADER_BYTES * (count - 1)) // count)


def cut(packet: bytes, segment: int) -> list[bytes]:
    """Cut a sealed packet, whose fragment flag is set, into datagrams of `segment` bytes."""
    step = segment - FRAGMENT_HEADER_BYTES
    starts = range(segment, len(packet), step)
    total = 1 + len(starts)
    head = packet[:13]
    datagrams = [packet[:segment]]
    for number, start in enumerate(starts, 1):
        numbers = bytes((FRAGMENT_MARK, total << 4 | number, 0))
        datagrams.append(head + numbers + packet[start : start + step])
    return datagrams


class _Entry:
    __slots__ = ("created", "head", "parts", "total")

    def __init__(self, now: int) -> None:
        self.created = now
        self.head: bytes | None = None
        self.parts: dict[int, bytes] = {}
        self.total = 0


class Assembly:
    """Collects heads and fragments until a packet is whole."""

    def __init__(self) -> None:
        self._entries: BoundedMap[bytes, _Entry] = BoundedMap(TABLE_LIMIT)

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, now: int, data: bytes) -> bytes | None:
        """Take a head or a fragment; return the whole packet if this was the last part."""
        key = data[:8]
        entry = self._entries.get(key)
        if entry is None or now - entry.created >= TIMEOUT_US:
            entry = _Entry(now)
            self._entries.set(key, entry)
        if data[13] == FRAGMENT_MARK:
            header = decode_fragment(data)
            if not header.is_acceptable:
                raise DecodeError(f"fragment {header.number} of {header.total}")
            if header.number in entry.parts:
                return None
            entry.parts[header.number] = data[FRAGMENT_HEADER_BYTES:]
            entry.total = header.total
        elif entry.head is None:
            entry.head = data
        if entry.head is None or not entry.total or len(entry.parts) < entry.total - 1:
            return None
        self._entries.pop(key)
        try:
            packet = entry.head + b"".join(entry.parts[n] for n in range(1, entry.total))
        except KeyError:
            raise DecodeError("fragments of two different totals") from None
        if len(packet) > MAX_PACKET:
            raise DecodeError(f"a packet of {len(packet)} bytes")
        return packet


def is_head(data: bytes) -> bool:
    """Tell whether a packet's datagram is only its first part."""
    return bool(data[FLAGS_OFFSET] & FLAG_FRAGMENTED)


def may_send(length: int, mtu: int = DEFAULT_MTU) -> bool:
    """Tell whether a receiver would accept a packet of this length cut for an MTU."""
    return length <= MAX_PACKET and fragments_needed(length, mtu) <= MAX_FRAGMENTS
