"""The IPv4 packet (RFC 791), whole or a fragment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from ztstack.base.codec import Reader, Writer
from ztstack.base.errors import DecodeError
from ztstack.ip.packets.checksum import checksum

HEADER_BYTES: Final = 20
ICMP: Final = 1
TCP: Final = 6
UDP: Final = 17
DEFAULT_TTL: Final = 64
_DONT_FRAGMENT: Final = 0x4000
_MORE_FRAGMENTS: Final = 0x2000


class BadChecksum(DecodeError):
    """The sum over a header or a message is wrong."""


@dataclass(frozen=True, slots=True)
class Ipv4Packet:
    """A header and its payload; `offset` counts bytes and is a multiple of eight."""

    source: bytes
    destination: bytes
    protocol: int
    payload: bytes
    ttl: int = DEFAULT_TTL
    identification: int = 0
    dont_fragment: bool = False
    more_fragments: bool = False
    offset: int = 0
    traffic_class: int = 0
    options: bytes = b""

    @property
    def is_fragment(self) -> bool:
        return self.more_fragments or self.offset != 0

    @classmethod
    def decode(cls, r: Reader) -> Self:
        """Read a packet; bytes after its total length are padding of the frame."""
        return cls._decode(r, quoted=False)

    @classmethod
    def decode_quoted(cls, r: Reader) -> Self:
        """Read the beginning of a packet inside an ICMP error: it is cut, and routers change it."""
        return cls._decode(r, quoted=True)

    @classmethod
    def _decode(cls, r: Reader, *, quoted: bool) -> Self:
        start = r.offset
        first = r.uint(1)
        if first >> 4 != 4:
            raise DecodeError(f"IP version {first >> 4} in an IPv4 packet")
        header_bytes = (first & 15) * 4
        if header_bytes < HEADER_BYTES:
            raise DecodeError(f"an IPv4 header of {header_bytes} bytes")
        traffic_class = r.uint(1)
        total = r.uint(2)
        identification = r.uint(2)
        fragment = r.uint(2)
        ttl = r.uint(1)
        protocol = r.uint(1)
        r.skip(2)
        source, destination = r.take(4), r.take(4)
        options = r.take(header_bytes - HEADER_BYTES)
        if quoted:
            payload = r.rest()
        else:
            # A right header sums to zero with its checksum in it.
            if checksum(r.data[start : start + header_bytes]) != 0:
                raise BadChecksum("the IPv4 header checksum is wrong")
            if total < header_bytes:
                raise DecodeError(f"an IPv4 packet of {total} bytes")
            payload = r.take(total - header_bytes)
        return cls(
            source=source,
            destination=destination,
            protocol=protocol,
            payload=payload,
            ttl=ttl,
            identification=identification,
            dont_fragment=bool(fragment & _DONT_FRAGMENT),
            more_fragments=bool(fragment & _MORE_FRAGMENTS),
            offset=(fragment & 0x1FFF) * 8,
            traffic_class=traffic_class,
            options=options,
        )

    def header(self, payload_bytes: int | None = None) -> bytes:
        """Return the header for a payload of that length, by default of `payload`."""
        size = HEADER_BYTES + len(self.options)
        total = size + (len(self.payload) if payload_bytes is None else payload_bytes)
        flags = self.dont_fragment * _DONT_FRAGMENT | self.more_fragments * _MORE_FRAGMENTS
        w = Writer()
        w.uint(0x40 | size // 4, 1)
        w.uint(self.traffic_class, 1)
        w.uint(total, 2)
        w.uint(self.identification, 2)
        w.uint(flags | self.offset // 8, 2)
        w.uint(self.ttl, 1)
        w.uint(self.protocol, 1)
        before = w.getvalue()
        after = self.source + self.destination + self.options
        return before + checksum(before + bytes(2) + after).to_bytes(2, "big") + after

    def encode(self, w: Writer) -> None:
        w.put(self.header())
        w.put(self.payload)
