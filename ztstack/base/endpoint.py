"""Physical IP and port: scope, text and wire form."""

from __future__ import annotations

import ipaddress
from enum import IntEnum
from typing import Final, NamedTuple, Self

from ztstack.base.codec import Reader, Writer
from ztstack.base.errors import DecodeError, InvalidConfig


class Scope(IntEnum):
    """Reach of an IP address; a larger value is preferred as a path (vl1 section 6.1)."""

    NONE = 0
    MULTICAST = 1
    LOOPBACK = 2
    PSEUDO_PRIVATE = 3
    GLOBAL = 4
    LINK_LOCAL = 5
    SHARED = 6
    PRIVATE = 7


_PSEUDO_PRIVATE: Final = frozenset((6, 11, 21, 22, 25, 26, 28, 29, 30, 51, 55, 56))
_MAPPED: Final = bytes(10) + b"\xff\xff"
_LOOPBACK6: Final = bytes(15) + b"\x01"
# Mapped loopback addresses, and those that stock nodes take for them.
_LOOPBACKS: Final = (_MAPPED + b"\x7f", bytes(9) + b"\x01\xff\xff\x7f")
_FE80_1: Final = b"\xfe\x80" + bytes(13) + b"\x01"
_PRIVATE4: Final = (
    (0x0A000000, 0xFF000000),
    (0xAC100000, 0xFFF00000),
    (0xC0A80000, 0xFFFF0000),
    (0x64400000, 0xFFC00000),
    (0xC0000200, 0xFFFFFF00),
    (0xC6120000, 0xFFFE0000),
    (0xC6336400, 0xFFFFFF00),
    (0xCB007100, 0xFFFFFF00),
)


def _scope4(ip: bytes) -> Scope:
    first, value = ip[0], int.from_bytes(ip, "big")
    if first in (0, 255):
        return Scope.NONE
    if first == 127:
        return Scope.LOOPBACK
    if 224 <= first < 240:
        return Scope.MULTICAST
    if first >= 240 or first in _PSEUDO_PRIVATE:
        return Scope.PSEUDO_PRIVATE
    if value >> 16 == 0xA9FE:
        return Scope.LINK_LOCAL
    if any(value & mask == net for net, mask in _PRIVATE4):
        return Scope.PRIVATE
    return Scope.GLOBAL


def _scope6(ip: bytes) -> Scope:
    if ip == bytes(16):
        return Scope.NONE
    if ip[0] == 0xFF:
        return Scope.MULTICAST
    if ip in (_LOOPBACK6, _FE80_1) or ip.startswith(_LOOPBACKS):
        return Scope.LOOPBACK
    if ip[0] == 0xFE and ip[1] & 0xC0 == 0x80:
        return Scope.LINK_LOCAL
    if ip[0] & 0xFE == 0xFC:
        return Scope.PRIVATE
    return Scope.GLOBAL


class Endpoint(NamedTuple):
    """An IP address, 4 or 16 bytes, and a port; inside network configs a prefix length."""

    ip: bytes
    port: int

    @classmethod
    def of(cls, ip: bytes, port: int) -> Self:
        """Check both; an IPv4-mapped IPv6 address becomes IPv4."""
        if len(ip) == 16 and ip.startswith(_MAPPED):
            ip = ip[12:]
        if len(ip) not in (4, 16) or not 0 <= port <= 0xFFFF:
            raise InvalidConfig(f"not an endpoint: {len(ip)} bytes of address, port {port}")
        return cls(ip, port)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `IP/PORT`, `V4:PORT` or `[V6]:PORT`; anything else is InvalidConfig."""
        if "/" in text:
            host, _, port = text.rpartition("/")
        elif text.startswith("["):
            host, _, port = text[1:].rpartition("]:")
        else:
            host, _, port = text.rpartition(":")
        try:
            if not port.isascii() or not port.isdigit():
                raise ValueError
            return cls.of(ipaddress.ip_address(host).packed, int(port))
        except ValueError:
            raise InvalidConfig(f"an endpoint is IP/PORT or IP:PORT, not {text!r}") from None

    @property
    def scope(self) -> Scope:
        return _scope4(self.ip) if len(self.ip) == 4 else _scope6(self.ip)

    @property
    def is_ipv4(self) -> bool:
        return len(self.ip) == 4

    @property
    def host(self) -> str:
        return str(ipaddress.ip_address(self.ip))

    def __str__(self) -> str:
        return f"{self.host}/{self.port}"


def decode_endpoint(r: Reader) -> Endpoint | None:
    """Read the InetAddress form (vl1 section 4.0); the null address is None."""
    kind = r.uint(1)
    if kind == 0:
        return None
    if kind in (4, 6):
        ip = r.take(4 if kind == 4 else 16)
        return Endpoint(ip, r.uint(2))
    if kind in (1, 2):
        r.skip(6)
        return None
    if kind == 3:
        r.skip(r.uint(2))
        return None
    raise DecodeError(f"an InetAddress of type {kind}")


def encode_endpoint(w: Writer, endpoint: Endpoint | None) -> None:
    """Write the InetAddress form (vl1 section 4.0)."""
    if endpoint is None:
        w.uint(0, 1)
        return
    w.uint(4 if len(endpoint.ip) == 4 else 6, 1)
    w.put(endpoint.ip)
    w.uint(endpoint.port, 2)
