"""The messages of the overlay: one head for all, then ports and numbers of streams."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag, unique
from typing import Final

from overlay.errors import MalformedMessage

MAGIC: Final = b"ZO1"
_HEAD: Final = struct.Struct("!3sBQQQ")
_DATAGRAM: Final = struct.Struct("!HH")
_SEGMENT: Final = struct.Struct("!HHBIII")
MAX_DATAGRAM: Final = 65507 - _HEAD.size - _DATAGRAM.size
SEGMENT_BYTES: Final = 1200


@unique
class Kind(IntEnum):
    """What a message carries."""

    HELLO = 1
    HELLO_REPLY = 2
    DATAGRAM = 3
    SEGMENT = 4


class Flag(IntFlag):
    """Flags of a segment."""

    SYN = 1
    ACK = 2
    FIN = 4
    RST = 8


@dataclass(frozen=True, slots=True)
class Message:
    """One message between two nodes of one network; destination 0 is whoever gets it."""

    kind: Kind
    network: int
    source: int
    destination: int
    payload: bytes

    def encode(self) -> bytes:
        head = _HEAD.pack(MAGIC, self.kind, self.network, self.source, self.destination)
        return head + self.payload

    @classmethod
    def decode(cls, data: bytes) -> Message:
        if len(data) < _HEAD.size:
            raise MalformedMessage("too short")
        magic, kind, network, source, destination = _HEAD.unpack_from(data)
        if magic != MAGIC or not source:
            raise MalformedMessage("not a message")
        try:
            return cls(Kind(kind), network, source, destination, data[_HEAD.size :])
        except ValueError:
            raise MalformedMessage(f"kind {kind}") from None


@dataclass(frozen=True, slots=True)
class Datagram:
    """A datagram and its ports."""

    source_port: int
    port: int
    data: bytes

    def encode(self) -> bytes:
        return _DATAGRAM.pack(self.source_port, self.port) + self.data

    @classmethod
    def decode(cls, payload: bytes) -> Datagram:
        if len(payload) < _DATAGRAM.size:
            raise MalformedMessage("a short datagram")
        source_port, port = _DATAGRAM.unpack_from(payload)
        return cls(source_port, port, payload[_DATAGRAM.size :])


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a stream: `sequence` counts bytes, SYN and FIN take one number each."""

    source_port: int
    port: int
    flags: Flag
    sequence: int
    acknowledged: int
    window: int
    data: bytes = b""

    @property
    def length(self) -> int:
        return len(self.data) + bool(self.flags & Flag.SYN) + bool(self.flags & Flag.FIN)

    def encode(self) -> bytes:
        head = _SEGMENT.pack(
            self.source_port,
            self.port,
            self.flags,
            self.sequence & 0xFFFFFFFF,
            self.acknowledged & 0xFFFFFFFF,
            self.window,
        )
        return head + self.data

    @classmethod
    def decode(cls, payload: bytes) -> Segment:
        if len(payload) < _SEGMENT.size:
            raise MalformedMessage("a short segment")
        source_port, port, flags, sequence, acknowledged, window = _SEGMENT.unpack_from(payload)
        if flags > 15:
            raise MalformedMessage("unknown flags")
        return cls(
            source_port,
            port,
            Flag(flags),
            sequence,
            acknowledged,
            window,
            payload[_SEGMENT.size :],
        )


def difference(a: int, b: int) -> int:
    """Return a - b for numbers that wrap at 2**32."""
    return (a - b + 0x80000000 & 0xFFFFFFFF) - 0x80000000
