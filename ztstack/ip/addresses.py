"""The IP addresses of an interface, and which packets are meant for it."""

from __future__ import annotations

from typing import Final

from ztstack.base.mac import BROADCAST, Mac, MulticastGroup

ALL_HOSTS: Final = b"\xe0\x00\x00\x01"
ALL_NODES: Final = b"\xff\x02" + bytes(13) + b"\x01"
LIMITED_BROADCAST: Final = b"\xff\xff\xff\xff"
ANY4: Final = bytes(4)
UNSPECIFIED: Final = frozenset((bytes(4), bytes(16)))
_SOLICITED: Final = b"\xff\x02" + bytes(9) + b"\x01\xff"


def is_multicast(ip: bytes) -> bool:
    return ip[0] >> 4 == 14 if len(ip) == 4 else ip[0] == 0xFF


def solicited_node(ip: bytes) -> bytes:
    """Return the IPv6 multicast address on which the owner of `ip` is asked for its MAC."""
    return _SOLICITED + ip[13:]


def multicast_mac(ip: bytes) -> Mac:
    """Map a multicast IP address to Ethernet (RFC 1112 and RFC 2464)."""
    if len(ip) == 4:
        return Mac(0x01005E000000 | int.from_bytes(ip, "big") & 0x7FFFFF)
    return Mac(0x333300000000 | int.from_bytes(ip[12:], "big"))


def _broadcast_of(ip: bytes, bits: int) -> bytes:
    return (int.from_bytes(ip, "big") | (1 << 32 - bits) - 1).to_bytes(4, "big")


def _common_bits(a: bytes, b: bytes) -> int:
    differing = int.from_bytes(a, "big") ^ int.from_bytes(b, "big")
    return len(a) * 8 - differing.bit_length()


class Addresses:
    """The addresses of one interface with their prefix lengths."""

    __slots__ = ("_broadcasts", "_joined", "_local", "groups", "items")

    def __init__(self, items: list[tuple[bytes, int]]) -> None:
        self.items = [
            (ip, bits) for ip, bits in items if len(ip) in (4, 16) and 0 <= bits <= len(ip) * 8
        ]
        self._local = frozenset(ip for ip, _ in self.items)
        # A /31 and a /32 have no broadcast address (RFC 3021).
        self._broadcasts = frozenset(
            _broadcast_of(ip, bits) for ip, bits in self.items if len(ip) == 4 and bits < 31
        ) | {LIMITED_BROADCAST}
        joined = {solicited_node(ip) for ip in self._local if len(ip) == 16}
        groups = {MulticastGroup.for_address_resolution(ip) for ip in self._local}
        for size, everyone in ((4, ALL_HOSTS), (16, ALL_NODES)):
            if any(len(ip) == size for ip in self._local):
                joined.add(everyone)
                groups.add(MulticastGroup(multicast_mac(everyone)))
        self._joined = frozenset(joined)
        self.groups = frozenset(groups)

    def is_local(self, ip: bytes) -> bool:
        return ip in self._local

    def is_broadcast(self, ip: bytes) -> bool:
        return ip in self._broadcasts

    def is_joined(self, ip: bytes) -> bool:
        """Tell whether `ip` is a broadcast or multicast address that this interface hears."""
        return ip in self._joined or ip in self._broadcasts

    def group_mac(self, ip: bytes) -> Mac | None:
        """Return the Ethernet group for a multicast or broadcast address, None for others."""
        if ip in self._broadcasts:
            return BROADCAST
        return multicast_mac(ip) if is_multicast(ip) else None

    def has_family(self, size: int) -> bool:
        return any(len(ip) == size for ip in self._local)

    def source_for(self, ip: bytes) -> bytes | None:
        """Choose the own address that shares the longest prefix with `ip`, the first of equals."""
        if ip in self._local:
            return ip
        best, best_bits = None, -1
        for own, bits in self.items:
            if len(own) == len(ip):
                common = min(_common_bits(own, ip), bits)
                if common > best_bits:
                    best, best_bits = own, common
        return best


def overlaps(one: bytes | None, other: bytes | None) -> bool:
    """Tell whether two sockets bound to these could get the same packet.

    None is every address of both families, ANY4 every one of IPv4.
    """
    if one is None or other is None or one == other:
        return True
    return ANY4 in (one, other) and len(one) == len(other)
