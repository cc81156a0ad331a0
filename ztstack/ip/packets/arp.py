"""ARP for IPv4 over Ethernet (RFC 826)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from ztstack.base.codec import Reader, Writer
from ztstack.base.errors import DecodeError
from ztstack.base.mac import Mac

ARP_BYTES: Final = 28
REQUEST: Final = 1
REPLY: Final = 2
# Hardware type Ethernet, protocol IPv4, addresses of 6 and 4 bytes.
_PREFIX: Final = b"\x00\x01\x08\x00\x06\x04"


@dataclass(frozen=True, slots=True)
class ArpPacket:
    """Who has `target_ip`? or: `sender_ip` is at `sender_mac`."""

    operation: int
    sender_mac: Mac
    sender_ip: bytes
    target_mac: Mac
    target_ip: bytes

    @classmethod
    def decode(cls, r: Reader) -> Self:
        if r.take(6) != _PREFIX:
            raise DecodeError("ARP about something else than IPv4 over Ethernet")
        operation = r.uint(2)
        if operation not in (REQUEST, REPLY):
            raise DecodeError(f"ARP operation {operation}")
        # What follows in the frame is padding.
        return cls(operation, Mac.decode(r), r.take(4), Mac.decode(r), r.take(4))

    def encode(self, w: Writer) -> None:
        w.put(_PREFIX)
        w.uint(self.operation, 2)
        self.sender_mac.encode(w)
        w.put(self.sender_ip)
        self.target_mac.encode(w)
        w.put(self.target_ip)
