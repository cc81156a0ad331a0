"""The UDP datagram (RFC 768)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from ztstack.base.codec import Reader, Writer
from ztstack.base.errors import DecodeError
from ztstack.ip.packets.checksum import checksum, pseudo_header
from ztstack.ip.packets.ipv4 import UDP, BadChecksum

HEADER_BYTES: Final = 8
MAX_PAYLOAD: Final = 65507


@dataclass(frozen=True, slots=True)
class UdpDatagram:
    """Two ports and the data; the checksum covers the IP addresses too."""

    source_port: int
    destination_port: int
    payload: bytes

    @classmethod
    def decode(cls, r: Reader, source: bytes, destination: bytes) -> Self:
        start = r.offset
        source_port, destination_port, length = r.uint(2), r.uint(2), r.uint(2)
        if length < HEADER_BYTES:
            raise DecodeError(f"a UDP datagram of {length} bytes")
        expected = r.uint(2)
        payload = r.take(length - HEADER_BYTES)
        if expected == 0:
            # Zero means that the sender made no checksum, which only IPv4 allows.
            if len(source) != 4:
                raise BadChecksum("a UDP datagram over IPv6 has no checksum")
        else:
            pseudo = pseudo_header(source, destination, UDP, length)
            if checksum(pseudo + r.data[start : start + length]) != 0:
                raise BadChecksum("the UDP checksum is wrong")
        return cls(source_port, destination_port, payload)

    def encode(self, w: Writer, source: bytes, destination: bytes) -> None:
        length = HEADER_BYTES + len(self.payload)
        ports = self.source_port.to_bytes(2, "big") + self.destination_port.to_bytes(2, "big")
        before = ports + length.to_bytes(2, "big")
        pseudo = pseudo_header(source, destination, UDP, length)
        # A sum of zero is sent as its other form, because zero means that there is none.
        value = checksum(pseudo + before + bytes(2) + self.payload) or 0xFFFF
        w.put(before)
        w.uint(value, 2)
        w.put(self.payload)
