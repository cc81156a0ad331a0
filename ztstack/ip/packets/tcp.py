"""The TCP segment: header and options (RFC 9293 section 3.1, RFC 7323, RFC 2018)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Self

from ztstack.base.codec import Reader, Writer
from ztstack.base.errors import DecodeError
from ztstack.ip.packets.checksum import checksum, pseudo_header, word_sum

HEADER_BYTES: Final = 20
PROTOCOL: Final = 6
HEADER: Final = struct.Struct(">HHIIHHHH")
MAX_WINDOW_SHIFT: Final = 14
MAX_SACK_BLOCKS: Final = 4

_END, _NOP, _MSS, _WINDOW, _SACK_PERMITTED, _SACK, _STAMPS = 0, 1, 2, 3, 4, 5, 8
_LENGTHS: Final = {_MSS: 4, _WINDOW: 3, _SACK_PERMITTED: 2, _STAMPS: 10}
_EDGES: Final = struct.Struct(">II")
STAMPS: Final = bytes((_NOP, _NOP, _STAMPS, 10))
"""How time stamps begin in nearly all segments that have them (RFC 7323 appendix A)."""
_STAMPED_BYTES: Final = HEADER_BYTES + 12


class Flags(IntEnum):
    """The control bits; together they are plain integers, as an IntFlag's cost a microsecond."""

    FIN = 1
    SYN = 2
    RST = 4
    PSH = 8
    ACK = 16
    URG = 32
    ECE = 64
    CWR = 128


@dataclass(frozen=True, slots=True)
class TcpSegment:
    """One segment, decoded.

    `sack` has (left, right) edges, `stamps` value and echo, `payload` is a view of the packet.
    """

    source_port: int
    destination_port: int
    sequence: int
    acknowledgement: int
    flags: int
    window: int
    payload: bytes | memoryview = b""
    mss: int | None = None
    window_shift: int | None = None
    sack_permitted: bool = False
    sack: tuple[tuple[int, int], ...] = ()
    stamps: tuple[int, int] | None = None

    @classmethod
    def decode(cls, data: memoryview) -> Self:
        """Read a segment whose checksum was verified; bad options are a DecodeError."""
        if len(data) < HEADER_BYTES:
            raise DecodeError(f"a TCP segment of {len(data)} bytes")
        source, destination, sequence, ack, bits, window, _, _ = HEADER.unpack_from(data)
        offset = (bits >> 12) * 4
        if not HEADER_BYTES <= offset <= len(data):
            raise DecodeError(f"a TCP header of {offset} bytes in a segment of {len(data)}")
        if offset == HEADER_BYTES:
            return cls(source, destination, sequence, ack, bits & 0xFF, window, data[offset:])
        if offset == _STAMPED_BYTES and data[HEADER_BYTES : HEADER_BYTES + 4] == STAMPS:
            # Nearly all segments are of these two kinds.
            stamps = _EDGES.unpack_from(data, HEADER_BYTES + 4)
            return cls(
                *(source, destination, sequence, ack, bits & 0xFF, window, data[offset:]),
                stamps=stamps,
            )
        options = dict(_options(bytes(data[HEADER_BYTES:offset])))
        both = options.get(_STAMPS)
        mss, shift, sack = options.get(_MSS), options.get(_WINDOW), options.get(_SACK, b"")
        return cls(
            source_port=source,
            destination_port=destination,
            sequence=sequence,
            acknowledgement=ack,
            flags=bits & 0xFF,
            window=window,
            payload=data[offset:],
            mss=None if mss is None else int.from_bytes(mss, "big"),
            window_shift=None if shift is None else min(shift[0], MAX_WINDOW_SHIFT),
            sack_permitted=_SACK_PERMITTED in options,
            sack=tuple(_EDGES.iter_unpack(sack)),
            stamps=None if both is None else _EDGES.unpack(both),
        )

    def options(self) -> bytes:
        w = Writer()
        if self.mss is not None:
            w.put(bytes((_MSS, 4)))
            w.uint(self.mss, 2)
        if self.sack_permitted:
            w.put(bytes((_NOP, _NOP, _SACK_PERMITTED, 2)))
        if self.stamps is not None:
            w.put(STAMPS + _EDGES.pack(*self.stamps))
        if self.window_shift is not None:
            w.put(bytes((_NOP, _WINDOW, 3, self.window_shift)))
        if self.sack:
            w.put(bytes((_NOP, _NOP, _SACK, 2 + 8 * len(self.sack))))
            for left, right in self.sack:
                w.uint(left, 4)
                w.uint(right, 4)
        return w.getvalue()

    def encode(self, source: bytes, destination: bytes) -> bytes:
        """Return the header with options and checksum; the payload follows it."""
        options = self.options()
        offset = HEADER_BYTES + len(options)
        fields = (
            self.source_port,
            self.destination_port,
            self.sequence,
            self.acknowledgement,
            offset // 4 << 12 | self.flags,
            self.window,
        )
        blank = HEADER.pack(*fields, 0, 0) + options
        pseudo = pseudo_header(source, destination, PROTOCOL, offset + len(self.payload))
        total = word_sum(pseudo) + word_sum(blank) + word_sum(self.payload)
        return HEADER.pack(*fields, -total % 65_535, 0) + options

    @property
    def length(self) -> int:
        """The sequence numbers that the segment takes."""
        control = bool(self.flags & Flags.SYN) + bool(self.flags & Flags.FIN)
        return len(self.payload) + control


def _options(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield kind and content of each option."""
    r = Reader(data)
    while r.remaining:
        kind = r.uint(1)
        if kind == _END:
            return
        if kind == _NOP:
            continue
        length = r.uint(1)
        if length < 2 or _LENGTHS.get(kind, length) != length:
            raise DecodeError(f"TCP option {kind} of {length} bytes")
        if kind == _SACK and (length - 2) % _EDGES.size:
            raise DecodeError(f"a SACK option of {length} bytes")
        yield kind, r.take(length - 2)


def verify(source: bytes, destination: bytes, data: memoryview) -> bool:
    """Tell whether the checksum of a segment is right."""
    pseudo = pseudo_header(source, destination, PROTOCOL, len(data))
    return checksum(pseudo + bytes(data)) == 0
