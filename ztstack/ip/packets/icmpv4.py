"""ICMP for IPv4 (RFC 792)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from ztstack.base.codec import Reader, Writer
from ztstack.ip.packets.checksum import checksum
from ztstack.ip.packets.ipv4 import BadChecksum

ECHO_REPLY: Final = 0
UNREACHABLE: Final = 3
ECHO_REQUEST: Final = 8
TIME_EXCEEDED: Final = 11
PARAMETER_PROBLEM: Final = 12

CODE_PROTOCOL: Final = 2
CODE_PORT: Final = 3
CODE_TOO_BIG: Final = 4
CODE_FRAGMENTS: Final = 1  # of TIME_EXCEEDED


@dataclass(frozen=True, slots=True)
class Icmpv4Message:
    """Type, code, the four bytes whose meaning depends on them, and the rest."""

    type: int
    code: int
    word: int
    body: bytes

    @classmethod
    def decode(cls, r: Reader) -> Self:
        start = r.offset
        kind, code = r.uint(1), r.uint(1)
        r.skip(2)
        word = r.uint(4)
        body = r.rest()
        if checksum(r.data[start:]) != 0:
            raise BadChecksum("the ICMP checksum is wrong")
        return cls(kind, code, word, body)

    def encode(self, w: Writer) -> None:
        before = bytes((self.type, self.code))
        after = self.word.to_bytes(4, "big") + self.body
        w.put(before)
        w.uint(checksum(before + bytes(2) + after), 2)
        w.put(after)
