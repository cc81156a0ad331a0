"""Puts IP fragments together again, for both families, within bounds."""

from __future__ import annotations

from typing import Final, NamedTuple

from ztstack.base.errors import Drop
from ztstack.base.limits import BoundedMap
from ztstack.base.timers import SECOND
from ztstack.base.trace import Tracer

MAX_DATAGRAMS: Final = 64
MAX_FRAGMENTS: Final = 256
MAX_BYTES: Final = 65535
LIFE_US: Final = 30 * SECOND


class FragmentKey(NamedTuple):
    """What fragments of one packet have in common; `protocol` is 0 for IPv6."""

    source: bytes
    destination: bytes
    protocol: int
    identification: int


class Incomplete(NamedTuple):
    """A packet of which only a part has come in time, its beginning among it."""

    key: FragmentKey
    protocol: int
    beginning: bytes


class _Partial:
    __slots__ = ("expires", "pieces", "protocol", "received", "total")

    def __init__(self, expires: int) -> None:
        self.expires = expires
        self.pieces: dict[int, bytes] = {}
        self.protocol = 0
        self.received = 0
        self.total = -1


class Reassembly:
    """Packets of which some fragments have arrived."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._partials: BoundedMap[FragmentKey, _Partial] = BoundedMap(MAX_DATAGRAMS)

    def add(
        self, now: int, key: FragmentKey, offset: int, piece: bytes, *, more: bool, protocol: int
    ) -> tuple[int, bytes] | None:
        """Take a fragment; return (protocol, payload) when it was the last one missing."""
        end = offset + len(piece)
        if end > MAX_BYTES or not piece or (more and len(piece) % 8):
            self._tracer.drop(Drop.BAD_FRAGMENT, "ip")
            return None
        partial = self._find(now, key)
        if partial.pieces.get(offset) == piece:
            return None  # The network made a copy.
        if not self._fits(partial, offset, end, more=more):
            # An overlap is never innocent: the whole packet goes (RFC 5722, and here for IPv4 too).
            self._partials.pop(key)
            self._tracer.drop(Drop.BAD_FRAGMENT, "ip")
            return None
        partial.pieces[offset] = piece
        partial.received += len(piece)
        if offset == 0:
            partial.protocol = protocol
        if not more:
            partial.total = end
        if partial.received != partial.total:
            return None
        self._partials.pop(key)
        return partial.protocol, b"".join(data for _, data in sorted(partial.pieces.items()))

    def handle_timer(self, now: int) -> list[Incomplete]:
        """Forget what is too old; return that of which the sender can be told."""
        found: list[Incomplete] = []
        for key, partial in self._partials.items():
            if partial.expires > now:
                break
            self._partials.pop(key)
            self._tracer.drop(Drop.QUEUE_TIMEOUT, "ip")
            if 0 in partial.pieces:
                found.append(Incomplete(key, partial.protocol, partial.pieces[0]))
        return found

    def next_timer(self) -> int | None:
        if not len(self._partials):
            return None
        # Entries are never set again, so the first is the oldest.
        for key in self._partials:
            partial = self._partials.get(key)
            return partial.expires if partial is not None else None
        return None

    def _find(self, now: int, key: FragmentKey) -> _Partial:
        partial = self._partials.get(key)
        if partial is not None and partial.expires > now:
            return partial
        self._partials.pop(key)
        partial = _Partial(now + LIFE_US)
        if self._partials.set(key, partial) is not None:
            self._tracer.drop(Drop.FRAGMENT_TABLE_FULL, "ip")
        return partial

    @staticmethod
    def _fits(partial: _Partial, offset: int, end: int, *, more: bool) -> bool:
        if len(partial.pieces) >= MAX_FRAGMENTS:
            return False
        if partial.total >= 0 and (end > partial.total or not more):
            return False
        for start, piece in partial.pieces.items():
            if offset < start + len(piece) and start < end:
                return False
            if not more and start + len(piece) > end:
                return False
        return True
