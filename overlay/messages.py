"""The framing of the overlay: one frame in one UDP datagram, all numbers big-endian.

Version 2, what we send:

    0   3  the letters ZO2
    3   1  kind
    4   8  network
    12  5  source node, not zero
    17  5  destination node, which is us, or the frame is dropped
    22     payload

    HELLO 1        nonce (8), endpoint, zeros up to 64 bytes: are you there, and here I am
    HELLO_REPLY 2  the nonce of the HELLO, endpoint: an answer proves that its sender is there
    DATAGRAM 3     source port (2), port (2), data
    TCP 5          a TCP segment with its header, as between the IPv6 addresses fd, network, 00 00,
                   node; its checksum covers them
    FIND 6         node (5), zeros up to 64 bytes: where is it
    FOUND 7        node (5), endpoint

An endpoint is one byte, 0, 4 or 6, and then the IP address (4 or 16) and the port (2); after 0
there is neither. Questions are so long that no answer is longer than what asked for it, and whoever
speaks up in fewer bytes is seldom asked back.

Version 1 is still understood: the letters ZO1, kind (1), network, source and destination of 8
bytes each, where destination 0 is whoever gets it. Its HELLO and HELLO_REPLY have no nonce, and an
address and a port as text or nothing; DATAGRAM is the same. Whoever spoke it last is answered in
it. Its streams (kind 4) are not carried any more; such frames are dropped.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass
from enum import IntEnum, unique
from typing import Final

from overlay.errors import DecodeError

Place = tuple[str, int]
"""An IP address as text, and a port."""

_HEAD1: Final = struct.Struct("!3sBQQQ")
_HEAD2: Final = struct.Struct("!3sBQBIBI")
_PORTS: Final = struct.Struct("!HH")
_MAGICS: Final = {b"ZO1": 1, b"ZO2": 2}
_LETTERS: Final = {1: b"ZO1", 2: b"ZO2"}
HEAD_BYTES: Final = _HEAD2.size
MAX_FRAME: Final = 65_507
MAX_DATAGRAM: Final = MAX_FRAME - _HEAD1.size - _PORTS.size
QUESTION_BYTES: Final = 64
NONCE_BYTES: Final = 8
NODE_BYTES: Final = 5
MAX_NODE: Final = (1 << 40) - 1


@unique
class Kind(IntEnum):
    """What a frame carries."""

    HELLO = 1
    HELLO_REPLY = 2
    DATAGRAM = 3
    TCP = 5
    FIND = 6
    FOUND = 7


_VERSION_1: Final = frozenset((Kind.HELLO, Kind.HELLO_REPLY, Kind.DATAGRAM))


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame between two nodes of one network."""

    kind: Kind
    network: int
    source: int
    destination: int
    payload: bytes | memoryview
    version: int = 2

    @classmethod
    def decode(cls, data: bytes) -> Frame:
        version = _MAGICS.get(data[:3])
        if version is None:
            raise DecodeError("no frame of the overlay")
        if version == 2:
            if len(data) < HEAD_BYTES:
                raise DecodeError("a short head")
            _, kind, network, s1, s4, d1, d4 = _HEAD2.unpack_from(data)
            source, destination = s1 << 32 | s4, d1 << 32 | d4
            payload = memoryview(data)[HEAD_BYTES:]
        else:
            if len(data) < _HEAD1.size:
                raise DecodeError("a short head")
            _, kind, network, source, destination = _HEAD1.unpack_from(data)
            payload = memoryview(data)[_HEAD1.size :]
        try:
            known = Kind(kind)
        except ValueError:
            raise DecodeError(f"kind {kind}") from None
        if version == 1 and known not in _VERSION_1:
            raise DecodeError(f"kind {kind} of version 1")
        if not 0 < source <= MAX_NODE or destination > MAX_NODE:
            raise DecodeError("a node id has 40 bits")
        return cls(known, network, source, destination, payload, version)

    def encode(self) -> bytes:
        return frame_head(
            self.kind, self.network, self.source, self.destination, self.version
        ) + bytes(self.payload)


def frame_head(kind: Kind, network: int, source: int, destination: int, version: int = 2) -> bytes:
    """Return what stands before a payload."""
    if version == 1:
        return _HEAD1.pack(_LETTERS[1], kind, network, source, destination)
    return _HEAD2.pack(
        _LETTERS[2],
        kind,
        network,
        source >> 32,
        source & 0xFFFFFFFF,
        destination >> 32,
        destination & 0xFFFFFFFF,
    )


@dataclass(frozen=True, slots=True)
class Datagram:
    """A datagram and its ports."""

    source_port: int
    port: int
    data: bytes

    @classmethod
    def decode(cls, payload: memoryview | bytes) -> Datagram:
        if len(payload) < _PORTS.size:
            raise DecodeError("a short datagram")
        source_port, port = _PORTS.unpack_from(payload)
        return cls(source_port, port, bytes(payload[_PORTS.size :]))

    def encode(self) -> bytes:
        return _PORTS.pack(self.source_port, self.port) + self.data


def encode_place(place: Place | None) -> bytes:
    """Write an endpoint; the byte 0 is none, as of who is on a link in memory: its port is 0."""
    if place is None or not place[1]:
        return b"\0"
    ip = ipaddress.ip_address(place[0].partition("%")[0])
    return bytes((ip.version,)) + ip.packed + place[1].to_bytes(2, "big")


def decode_place(data: memoryview | bytes) -> Place | None:
    """Read an endpoint; what stands behind it is padding."""
    data = bytes(data[:19])
    size = {b"\0": 0, b"\4": 4, b"\6": 16}.get(data[:1])
    if size == 0:
        return None
    if size is None or len(data) < 3 + size:
        raise DecodeError("not an endpoint")
    ip = ipaddress.ip_address(data[1 : 1 + size])
    port = int.from_bytes(data[1 + size : 3 + size], "big")
    if not port or ip.is_multicast or ip.is_unspecified:
        raise DecodeError("nobody is there")
    return str(ip), port


def place_of_text(payload: memoryview | bytes) -> Place | None:
    """Read the endpoint of a version 1 greeting: address and port with a space between them."""
    host, _, port = bytes(payload[:64]).decode("ascii", "replace").partition(" ")
    if not host:
        return None
    try:
        if not (port.isascii() and port.isdigit()):
            raise ValueError
        ip = ipaddress.ip_address(host)
        data = bytes((ip.version,)) + ip.packed + int(port).to_bytes(2, "big")
    except (ValueError, OverflowError):
        raise DecodeError("not an address and a port") from None
    return decode_place(data)


def node_text(node: int) -> str:
    return f"{node:010x}"
