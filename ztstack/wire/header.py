"""Heads of packets and fragments: fields, flags, sizes and the hop counter (vl1 section 2)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from ztstack.base.address import Address
from ztstack.base.codec import Writer
from ztstack.base.errors import DecodeError

HEADER_BYTES: Final = 28
"""With the verb byte, which already belongs to the encrypted part."""
FRAGMENT_HEADER_BYTES: Final = 16
ENVELOPE_OFFSET: Final = 27
"""Where encryption and authentication begin: the verb byte."""
PAYLOAD_OFFSET: Final = 28
SOURCE_OFFSET: Final = 13
FLAGS_OFFSET: Final = 18
MAC_OFFSET: Final = 19
FRAGMENT_COUNT_OFFSET: Final = 14
FRAGMENT_HOPS_OFFSET: Final = 15

FRAGMENT_MARK: Final = 0xFF
"""In the place of the first byte of the source, which no address begins with."""

FLAG_ENCRYPTED: Final = 0x80
"""Set with suite 1 and with no other; receivers look at the suite only."""
FLAG_FRAGMENTED: Final = 0x40
SUITE_MASK: Final = 0x38
SUITE_SHIFT: Final = 3
HOPS_MASK: Final = 0x07
AUTHENTIC_MASK: Final = 0xF8
"""The part of the flags byte that no relay changes."""
COMPRESSED: Final = 0x80
"""In the verb byte: the payload is an LZ4 block."""

SUITE_POLY1305: Final = 0
SUITE_SALSA2012: Final = 1
SUITE_TRUSTED: Final = 2
SUITE_AES: Final = 3

DEFAULT_MTU: Final = 1432
MAX_PACKET: Final = 10_024
MAX_PAYLOAD: Final = MAX_PACKET - HEADER_BYTES
MAX_FRAGMENTS: Final = 7
"""With the head; a receiver refuses more (vl1 section 2.5)."""
MAX_HOPS: Final = 7

HEADER: Final = struct.Struct(">Q5s5sB8s")
FRAGMENT_HEADER: Final = struct.Struct(">Q5sBBB")


@dataclass(frozen=True, slots=True)
class Header:
    """The clear part of a packet: everything before the verb byte."""

    packet_id: int
    destination: Address
    source: Address
    flags: int
    mac: bytes = bytes(8)

    @property
    def suite(self) -> int:
        return (self.flags & SUITE_MASK) >> SUITE_SHIFT

    @property
    def hops(self) -> int:
        return self.flags & HOPS_MASK

    @property
    def is_fragmented(self) -> bool:
        """Whether this is the head of a packet that has more fragments."""
        return bool(self.flags & FLAG_FRAGMENTED)

    @property
    def trusted_path_id(self) -> int:
        """What suite 2 has in the place of the MAC."""
        return int.from_bytes(self.mac, "big")

    def encode(self, w: Writer) -> None:
        w.uint(self.packet_id, 8)
        self.destination.encode(w)
        self.source.encode(w)
        w.uint(self.flags, 1)
        w.put(self.mac)


@dataclass(frozen=True, slots=True)
class FragmentHeader:
    """The head of fragment `number` (1 and up) of `total`, which counts the head of the packet."""

    packet_id: int
    destination: Address
    number: int
    total: int
    hops: int = 0

    @property
    def is_acceptable(self) -> bool:
        """Whether the numbers are possible; the bound is the receiver's (vl1 section 2.8)."""
        return 2 <= self.total <= MAX_FRAGMENTS and 1 <= self.number < self.total

    def encode(self, w: Writer) -> None:
        w.uint(self.packet_id, 8)
        self.destination.encode(w)
        w.uint(FRAGMENT_MARK, 1)
        w.uint(self.total << 4 | self.number, 1)
        w.uint(self.hops, 1)


def is_fragment(data: bytes | memoryview) -> bool:
    """Tell whether a datagram is a fragment other than the head (vl1 section 2.1)."""
    return len(data) > FRAGMENT_HEADER_BYTES and data[SOURCE_OFFSET] == FRAGMENT_MARK


def decode_header(data: bytes | memoryview) -> Header:
    """Read the head of a packet; the caller has made sure that it is not a fragment."""
    if len(data) < HEADER_BYTES:
        raise DecodeError(f"a packet of {len(data)} bytes")
    packet_id, destination, source, flags, mac = HEADER.unpack_from(data)
    return Header(
        packet_id=packet_id,
        destination=Address(int.from_bytes(destination, "big")),
        source=Address(int.from_bytes(source, "big")),
        flags=flags,
        mac=mac,
    )


def decode_fragment(data: bytes | memoryview) -> FragmentHeader:
    """Read the head of a fragment; what follows its 16 bytes is the slice that it carries."""
    if not is_fragment(data):
        raise DecodeError("not a fragment")
    packet_id, destination, _, numbers, hops = FRAGMENT_HEADER.unpack_from(data)
    return FragmentHeader(
        packet_id=packet_id,
        destination=Address(int.from_bytes(destination, "big")),
        number=numbers & 0x0F,
        total=numbers >> 4,
        hops=hops,
    )


def increment_hops(data: bytes) -> bytes:
    """Return the datagram, packet or fragment, as a relay sends it on; 7 wraps to 0."""
    if is_fragment(data):
        at = FRAGMENT_HOPS_OFFSET
        byte = (data[at] + 1) & HOPS_MASK
    else:
        if len(data) < HEADER_BYTES:
            raise DecodeError(f"a packet of {len(data)} bytes")
        at = FLAGS_OFFSET
        byte = data[at] & AUTHENTIC_MASK | (data[at] + 1) & HOPS_MASK
    return b"%b%c%b" % (data[:at], byte, data[at + 1 :])
