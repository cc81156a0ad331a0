"""What rules can see of the payload of a frame (vl2 sections 5.4 to 5.8)."""

from __future__ import annotations

from typing import Final

from ztstack.base.frame import EtherType

_ICMP: Final = 1
_TCP: Final = 6
_ICMPV6: Final = 58
_WITH_PORTS: Final = frozenset((6, 17, 132, 136))
_EXTENSIONS: Final = frozenset((0, 43, 60, 135))
_SOLICITATION: Final = 135
_ADVERTISEMENT: Final = 136
_IPV4_BYTES: Final = 20
_IPV6_BYTES: Final = 40
_ARP_BYTES: Final = 28
_NEIGHBOR_BYTES: Final = 64


def walk_ipv6(payload: bytes) -> tuple[int, int] | None:
    """Go through the extension headers (section 5.5); None if they lead nowhere."""
    if len(payload) < _IPV6_BYTES:
        return None
    position, protocol = _IPV6_BYTES, payload[6]
    while position <= len(payload):
        if protocol not in _EXTENSIONS:
            return position, protocol
        if position + 8 > len(payload):
            return None
        protocol = payload[position]
        position += 8 * payload[position + 1] + 8
    return None


class PacketView:
    """One payload; `version` is 4, 6, or 0 if it is no IP packet.

    `protocol` is what the packet carries, which begins at `at`; None if it is no IP packet, or one
    whose headers lead nowhere.
    """

    __slots__ = ("at", "ethertype", "payload", "protocol", "version")

    def __init__(self, ethertype: int, payload: bytes) -> None:
        self.ethertype = ethertype
        self.payload = payload
        self.version = 0
        self.at = 0
        self.protocol: int | None = None
        if ethertype == EtherType.IPV4 and len(payload) >= _IPV4_BYTES:
            self.version = 4
            self.at, self.protocol = (payload[0] & 0x0F) * 4, payload[9]
        elif ethertype == EtherType.IPV6 and len(payload) >= _IPV6_BYTES:
            self.version = 6
            if payload[6] not in _EXTENSIONS:
                self.at, self.protocol = _IPV6_BYTES, payload[6]
            elif (walked := walk_ipv6(payload)) is not None:
                self.at, self.protocol = walked

    def tos(self) -> int | None:
        """Return the type of service or traffic class, None if there is none."""
        payload = self.payload
        if self.version == 4:
            return payload[1]
        if self.version == 6:
            return (payload[0] << 8 | payload[1]) >> 4 & 0xFF
        return None

    def ips(self) -> bytes:
        """Return the addresses of an IP packet, its source first."""
        if self.version == 4:
            return self.payload[12:20]
        return self.payload[8:40] if self.version == 6 else b""

    def ports(self) -> tuple[int, int] | None:
        """Return source and destination; None if there are none."""
        at, payload = self.at, self.payload
        if self.protocol not in _WITH_PORTS or len(payload) <= at + 4:
            return None
        return payload[at] << 8 | payload[at + 1], payload[at + 2] << 8 | payload[at + 3]

    def icmp(self) -> tuple[int, int] | None:
        """Return type and code; None if there are none."""
        at, payload = self.at, self.payload
        wanted = _ICMP if self.version == 4 else _ICMPV6
        if self.protocol != wanted or len(payload) < at + 2:
            return None
        return payload[at], payload[at + 1]

    def tcp_bits(self) -> int:
        """Return twelve bits, FIN the lowest; zero if it is no TCP."""
        at, payload = self.at, self.payload
        if self.protocol != _TCP or (self.version == 6 and len(payload) <= at + 14):
            return 0
        flags = payload[at + 12 : at + 14].ljust(2, b"\0")
        return (flags[0] & 0x0F) << 8 | flags[1]

    def sender_ip(self) -> bytes | bool:
        """Return the address that the sender says it has; a bool is the verdict already."""
        payload = self.payload
        if self.version == 4:
            return payload[12:16]
        if self.ethertype == EtherType.ARP and len(payload) >= _ARP_BYTES:
            return payload[14:18]
        if self.version != 6:
            return False
        if payload[6] == _ICMPV6 and len(payload) >= _NEIGHBOR_BYTES:
            if payload[40] == _SOLICITATION:
                return True
            if payload[40] == _ADVERTISEMENT:
                return payload[48:64]
        return payload[8:24]

    def integer(self, index: int, width_bits: int, *, little_endian: bool) -> int:
        """Return the number at a place; zero if the payload ends before it does."""
        payload, size = self.payload, (width_bits + 7) // 8
        # Big-endian integers are read at the end of a window of eight bytes.
        at = index if little_endian else index + 8 - size
        if at + size > len(payload):
            return 0
        data = payload[at : at + size]
        if little_endian:
            return int.from_bytes(data, "little") >> 8 * size - width_bits
        return int.from_bytes(data, "big") & (1 << width_bits) - 1
