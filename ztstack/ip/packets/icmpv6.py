"""ICMP for IPv6 (RFC 4443) and neighbour discovery in it (RFC 4861)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from ztstack.base.codec import Reader, Writer
from ztstack.base.errors import DecodeError
from ztstack.base.mac import MAC_BYTES, Mac
from ztstack.ip.packets.checksum import checksum, pseudo_header
from ztstack.ip.packets.ipv4 import BadChecksum
from ztstack.ip.packets.ipv6 import ICMPV6

UNREACHABLE: Final = 1
TOO_BIG: Final = 2
TIME_EXCEEDED: Final = 3
PARAMETER_PROBLEM: Final = 4
ECHO_REQUEST: Final = 128
ECHO_REPLY: Final = 129
SOLICITATION: Final = 135
ADVERTISEMENT: Final = 136

CODE_PROHIBITED: Final = 1
CODE_PORT: Final = 4
CODE_NEXT_HEADER: Final = 1  # of PARAMETER_PROBLEM
CODE_FRAGMENTS: Final = 1  # of TIME_EXCEEDED

# Neighbour discovery is believed only if no router can have forwarded it.
NDP_HOP_LIMIT: Final = 255
_SOURCE_MAC: Final = 1
_TARGET_MAC: Final = 2
_ROUTER: Final = 1 << 31
_SOLICITED: Final = 1 << 30
_OVERRIDE: Final = 1 << 29


@dataclass(frozen=True, slots=True)
class Icmpv6Message:
    """Type, code, the four bytes whose meaning depends on them, and the rest."""

    type: int
    code: int
    word: int
    body: bytes

    @classmethod
    def decode(cls, r: Reader, source: bytes, destination: bytes) -> Self:
        start = r.offset
        kind, code = r.uint(1), r.uint(1)
        r.skip(2)
        word = r.uint(4)
        body = r.rest()
        message = r.data[start:]
        if checksum(pseudo_header(source, destination, ICMPV6, len(message)) + message) != 0:
            raise BadChecksum("the ICMPv6 checksum is wrong")
        return cls(kind, code, word, body)

    def encode(self, w: Writer, source: bytes, destination: bytes) -> None:
        before = bytes((self.type, self.code))
        after = self.word.to_bytes(4, "big") + self.body
        pseudo = pseudo_header(source, destination, ICMPV6, 4 + len(after))
        w.put(before)
        w.uint(checksum(pseudo + before + bytes(2) + after), 2)
        w.put(after)


@dataclass(frozen=True, slots=True)
class Solicitation:
    """Neighbour solicitation: who has `target`? The asker's MAC is absent in address probing."""

    target: bytes
    mac: Mac | None

    @classmethod
    def of(cls, message: Icmpv6Message) -> Self:
        if message.code != 0:
            raise DecodeError(f"a neighbour solicitation with code {message.code}")
        r = Reader(message.body)
        return cls(r.take(16), _find_mac(r, _SOURCE_MAC))

    def message(self) -> Icmpv6Message:
        return Icmpv6Message(SOLICITATION, 0, 0, self.target + _option(_SOURCE_MAC, self.mac))


@dataclass(frozen=True, slots=True)
class Advertisement:
    """Neighbour advertisement: `target` is at `mac`, or where the frame came from."""

    target: bytes
    mac: Mac | None
    solicited: bool
    override: bool
    router: bool = False

    @classmethod
    def of(cls, message: Icmpv6Message) -> Self:
        if message.code != 0:
            raise DecodeError(f"a neighbour advertisement with code {message.code}")
        r = Reader(message.body)
        target = r.take(16)
        flags = message.word
        return cls(
            target=target,
            mac=_find_mac(r, _TARGET_MAC),
            solicited=bool(flags & _SOLICITED),
            override=bool(flags & _OVERRIDE),
            router=bool(flags & _ROUTER),
        )

    def message(self) -> Icmpv6Message:
        flags = self.router * _ROUTER | self.solicited * _SOLICITED | self.override * _OVERRIDE
        return Icmpv6Message(ADVERTISEMENT, 0, flags, self.target + _option(_TARGET_MAC, self.mac))


def _option(kind: int, mac: Mac | None) -> bytes:
    # The length counts units of eight bytes.
    return bytes((kind, 1)) + mac.packed if mac is not None else b""


def _find_mac(r: Reader, kind: int) -> Mac | None:
    found = None
    while r.remaining:
        option, units = r.uint(1), r.uint(1)
        if units == 0:
            raise DecodeError("a neighbour discovery option of no length")
        data = r.take(units * 8 - 2)
        if option == kind and units == 1:
            found = Mac(int.from_bytes(data[:MAC_BYTES], "big"))
    return found
