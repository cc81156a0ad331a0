"""SYN cookies: under a flood, the answer to a SYN is all that is remembered of it (RFC 4987 3.6).

The sequence number of the answer holds the segment size and proves that it is ours; the low bits of
its time stamp hold what else the SYN said.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from typing import Final

from ztstack.base.endpoint import Endpoint
from ztstack.base.timers import MILLISECOND, SECOND
from ztstack.ip.packets.tcp import Flags, TcpSegment
from ztstack.ip.tcp.sequence import MASK, add

TICK_US: Final = 64 * SECOND
LIFE_US: Final = 2 * TICK_US
"""An answer to a cookie is taken for this long after the last one left."""
SIZES: Final = (536, 1220, 1340, 1440, 2740, 4312, 8940, 9940)
"""Segment sizes that a cookie can hold; the next lower stands for the others."""
_TICKS: Final = 32
_HASH_BYTES: Final = 3
_NO_SHIFT: Final = 15
_SACK_BIT: Final = 16
_BITS: Final = 63


class Cookies:
    """Makes and checks them; `secret` gives the key, `clock` where a peer sees our time stamps."""

    __slots__ = ("_clock", "_secret", "_sent_at")

    def __init__(
        self, secret: Callable[[], bytes], clock: Callable[[Endpoint, Endpoint], int]
    ) -> None:
        self._secret = secret
        self._clock = clock
        self._sent_at: int | None = None

    def _hash(self, tick: int, size: int, local: Endpoint, remote: Endpoint, theirs: int) -> int:
        ports = struct.pack(">HHIIB", local.port, remote.port, theirs, tick & MASK, size)
        ends = b"cookie" + local.ip + remote.ip + ports
        hashed = hashlib.blake2b(ends, digest_size=_HASH_BYTES, key=self._secret()).digest()
        return int.from_bytes(hashed, "big")

    def answer(
        self, now: int, local: Endpoint, remote: Endpoint, syn: TcpSegment, own_mss: int, shift: int
    ) -> TcpSegment:
        """Return the SYN and ACK that answers a SYN of which nothing is kept."""
        self._sent_at = now
        wanted = min(syn.mss or SIZES[0], own_mss)
        size = max((i for i, mss in enumerate(SIZES) if mss <= wanted), default=0)
        tick = now // TICK_US
        number = self._hash(tick, size, local, remote, syn.sequence)
        stamps = None
        if syn.stamps is not None:
            value = now // MILLISECOND + self._clock(local, remote) & MASK
            told = _NO_SHIFT if syn.window_shift is None else syn.window_shift
            told |= _SACK_BIT if syn.sack_permitted else 0
            # Our clock never seems to run ahead of itself.
            stamped = (value & ~_BITS | told) - (64 if told > value & _BITS else 0)
            stamps = (stamped & MASK, syn.stamps[0])
        return TcpSegment(
            source_port=local.port,
            destination_port=remote.port,
            sequence=tick % _TICKS << 27 | size << 24 | number,
            acknowledgement=add(syn.sequence, 1),
            flags=Flags.SYN | Flags.ACK,
            window=0xFFFF,
            mss=own_mss,
            # Without time stamps there is no place to remember more.
            window_shift=shift if stamps and syn.window_shift is not None else None,
            sack_permitted=bool(stamps) and syn.sack_permitted,
            stamps=stamps,
        )

    def recover(
        self, now: int, local: Endpoint, remote: Endpoint, segment: TcpSegment
    ) -> TcpSegment | None:
        """Return the SYN whose answer this segment acknowledges, None if it is no proof of one."""
        if self._sent_at is None or now - self._sent_at > LIFE_US:
            return None
        theirs, ours = add(segment.sequence, -1), add(segment.acknowledgement, -1)
        size = ours >> 24 & 7
        tick = now // TICK_US
        for then in (tick, tick - 1):
            number = self._hash(then, size, local, remote, theirs)
            if ours == then % _TICKS << 27 | size << 24 | number:
                break
        else:
            return None
        told = _NO_SHIFT if segment.stamps is None else segment.stamps[1] & _BITS
        shift = told & _NO_SHIFT
        return TcpSegment(
            source_port=remote.port,
            destination_port=local.port,
            sequence=theirs,
            acknowledgement=0,
            flags=Flags.SYN,
            window=min(segment.window, 0xFFFF),
            mss=SIZES[size],
            window_shift=None if shift == _NO_SHIFT else shift,
            sack_permitted=bool(told & _SACK_BIT),
            stamps=segment.stamps,
        )
