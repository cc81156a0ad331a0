"""The addresses of this machine that peers may be told about."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Final

from ztstack.base.endpoint import Endpoint, Scope
from ztstack.vl1.policy import Subnet, in_subnet

# Names of interfaces that lead into virtual networks (vl1 section 6.15).
_EXCLUDED: Final = ("zt", "tun", "tap")
_LIMIT: Final = 32


def _addresses() -> Iterator[tuple[str, bytes, int]]:
    """Name each interface with each of its addresses and the length of the prefix."""
    import ifaddr  # noqa: PLC0415 - pulls in ctypes, which short commands need not pay for

    for adapter in ifaddr.get_adapters():
        for address in adapter.ips:
            text = address.ip[0] if isinstance(address.ip, tuple) else address.ip
            yield str(adapter.name), ipaddress.ip_address(text).packed, address.network_prefix


def interface_of(ip: bytes) -> str:
    """Return the name of the interface that has an address; empty if none has it."""
    return next((name for name, one, _ in _addresses() if one == ip), "")


def local_addresses(*, loopback: bool, unused: tuple[str, ...] = ()) -> list[bytes]:
    """Return the IP addresses, 4 or 16 bytes each; loopback ones only on request.

    Interfaces whose names begin with one of `unused` are left out.
    """
    found: list[bytes] = []
    for name, ip, _ in _addresses():
        if name.startswith((*_EXCLUDED, *unused)):
            continue
        scope = Endpoint(ip, 0).scope
        wanted = scope in (Scope.PSEUDO_PRIVATE, Scope.GLOBAL, Scope.SHARED, Scope.PRIVATE)
        if wanted or (loopback and scope is Scope.LOOPBACK):
            found.append(ip)
    return found[:_LIMIT]


def subnets_of(prefixes: tuple[str, ...]) -> tuple[Subnet, ...]:
    """Return the subnets that only interfaces have whose names begin with one of these."""
    all_of_them = list(_addresses())
    others = [ip for name, ip, _ in all_of_them if not name.startswith(prefixes)]
    found = [
        (ip, bits)
        for name, ip, bits in all_of_them
        if name.startswith(prefixes) and not any(in_subnet(one, ip, bits) for one in others)
    ]
    return tuple(found[:_LIMIT])
