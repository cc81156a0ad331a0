"""The addresses of this machine that peers may be told about."""

from __future__ import annotations

import ipaddress
from typing import Final

from ztstack.base.endpoint import Endpoint, Scope

# Names of interfaces that lead into virtual networks (vl1 section 6.15).
_EXCLUDED: Final = ("zt", "tun", "tap")
_LIMIT: Final = 32


def interface_of(ip: bytes) -> str:
    """Return the name of the interface that has an address; empty if none has it."""
    import ifaddr  # noqa: PLC0415 - pulls in ctypes, which short commands need not pay for

    for adapter in ifaddr.get_adapters():
        for address in adapter.ips:
            text = address.ip[0] if isinstance(address.ip, tuple) else address.ip
            if ipaddress.ip_address(text).packed == ip:
                return str(adapter.name)
    return ""


def local_addresses(*, loopback: bool) -> list[bytes]:
    """Return the IP addresses, 4 or 16 bytes each; loopback ones only on request."""
    import ifaddr  # noqa: PLC0415 - pulls in ctypes, which short commands need not pay for

    found: list[bytes] = []
    for adapter in ifaddr.get_adapters():
        if adapter.name.startswith(_EXCLUDED):
            continue
        for address in adapter.ips:
            text = address.ip[0] if isinstance(address.ip, tuple) else address.ip
            ip = ipaddress.ip_address(text).packed
            scope = Endpoint(ip, 0).scope
            wanted = scope in (Scope.PSEUDO_PRIVATE, Scope.GLOBAL, Scope.SHARED, Scope.PRIVATE)
            if wanted or (loopback and scope is Scope.LOOPBACK):
                found.append(ip)
    return found[:_LIMIT]
