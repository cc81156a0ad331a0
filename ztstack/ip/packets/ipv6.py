"""The IPv6 packet (RFC 8200), its extension headers and its fragments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple, Self

from ztstack.base.codec import Reader, Writer
from ztstack.base.errors import DecodeError

HEADER_BYTES: Final = 40
FRAGMENT_BYTES: Final = 8
DEFAULT_HOP_LIMIT: Final = 64
FRAGMENT: Final = 44
ICMPV6: Final = 58
MAX_EXTENSIONS: Final = 8


@dataclass(frozen=True, slots=True)
class Ipv6Packet:
    """The fixed header and all that follows it, extension headers included."""

    source: bytes
    destination: bytes
    next_header: int
    payload: bytes
    hop_limit: int = DEFAULT_HOP_LIMIT
    traffic_class: int = 0
    flow_label: int = 0

    @classmethod
    def decode(cls, r: Reader) -> Self:
        """Read a packet; bytes after its length are padding of the frame."""
        return cls._decode(r, quoted=False)

    @classmethod
    def decode_quoted(cls, r: Reader) -> Self:
        """Read the beginning of a packet inside an ICMP error, which may be cut."""
        return cls._decode(r, quoted=True)

    @classmethod
    def _decode(cls, r: Reader, *, quoted: bool) -> Self:
        first = r.uint(4)
        if first >> 28 != 6:
            raise DecodeError(f"IP version {first >> 28} in an IPv6 packet")
        length = r.uint(2)
        next_header = r.uint(1)
        hop_limit = r.uint(1)
        source, destination = r.take(16), r.take(16)
        payload = r.rest() if quoted else r.take(length)
        return cls(
            source=source,
            destination=destination,
            next_header=next_header,
            payload=payload,
            hop_limit=hop_limit,
            traffic_class=first >> 20 & 0xFF,
            flow_label=first & 0xFFFFF,
        )

    def header(self, payload_bytes: int | None = None) -> bytes:
        """Return the fixed header for a payload of that length, by default of `payload`."""
        length = len(self.payload) if payload_bytes is None else payload_bytes
        w = Writer()
        w.uint(6 << 28 | self.traffic_class << 20 | self.flow_label, 4)
        w.uint(length, 2)
        w.uint(self.next_header, 1)
        w.uint(self.hop_limit, 1)
        w.put(self.source)
        w.put(self.destination)
        return w.getvalue()

    def encode(self, w: Writer) -> None:
        w.put(self.header())
        w.put(self.payload)


@dataclass(frozen=True, slots=True)
class FragmentHeader:
    """The fragment extension header; `offset` counts bytes and is a multiple of eight."""

    next_header: int
    offset: int
    more_fragments: bool
    identification: int

    @classmethod
    def decode(cls, r: Reader) -> Self:
        next_header = r.uint(1)
        r.skip(1)
        field = r.uint(2)
        return cls(next_header, field & 0xFFF8, bool(field & 1), r.uint(4))

    def encode(self, w: Writer) -> None:
        w.uint(self.next_header, 1)
        w.uint(0, 1)
        w.uint(self.offset | self.more_fragments, 2)
        w.uint(self.identification, 4)


class Upper(NamedTuple):
    """What the extension headers lead to: a protocol and its bytes, or a fragment of them."""

    protocol: int
    payload: bytes
    fragment: FragmentHeader | None


def upper_layer(protocol: int, payload: bytes) -> Upper:
    """Walk over the extension headers up to the first that is none, or to a fragment header."""
    r = Reader(payload)
    for _ in range(MAX_EXTENSIONS):
        match protocol:
            case 0 | 60:  # hop-by-hop and destination options
                protocol = _skip_options(r)
            case 43:  # routing
                protocol = _skip_routing(r)
            case 44:  # fragment
                fragment = FragmentHeader.decode(r)
                return Upper(fragment.next_header, r.rest(), fragment)
            case _:
                return Upper(protocol, r.rest(), None)
    raise DecodeError("too many IPv6 extension headers")


def _skip_options(r: Reader) -> int:
    next_header = r.uint(1)
    options = Reader(r.take(r.uint(1) * 8 + 6))
    while options.remaining:
        kind = options.uint(1)
        if kind == 0:  # Pad1 has no length.
            continue
        # The two highest bits say what to do with an option that is not known: 00 is skip it.
        if kind >> 6:
            raise DecodeError(f"IPv6 option {kind}")
        options.skip(options.uint(1))
    return next_header


def _skip_routing(r: Reader) -> int:
    next_header = r.uint(1)
    rest = Reader(r.take(r.uint(1) * 8 + 6))
    rest.skip(1)
    if rest.uint(1) != 0:
        raise DecodeError("an IPv6 routing header with segments left")
    return next_header
