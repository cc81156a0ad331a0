"""Which addresses a member gets (vl2 section 7.4)."""

from __future__ import annotations

import ipaddress
from collections.abc import Container
from typing import Final

from ztstack.base.address import Address
from ztstack.base.network_id import NetworkId
from ztstack.controller.model import NetworkRecord

TRIALS: Final = 1000


def rfc4193(network: NetworkId, address: Address) -> bytes:
    """Return the member's address in the network's /88 (vl2 section 1.4)."""
    return b"\xfd" + network.packed + b"\x99\x93" + address.packed


def sixplane(network: NetworkId, address: Address) -> bytes:
    """Return the member's address in the network's /40 (vl2 section 1.5)."""
    prefix = (network ^ network >> 32) & 0xFFFFFFFF
    return b"\xfc" + prefix.to_bytes(4, "big") + address.packed + bytes(5) + b"\x01"


def prefix_length(record: NetworkRecord, ip: bytes) -> int | None:
    """Return the length of the longest route that covers an address, None if none does."""
    address = ipaddress.ip_address(ip)
    covering = [
        route.network.prefixlen
        for route in record.routes
        if route.network.version == address.version and address in route.network
    ]
    return max(covering, default=None)


def assign_ipv4(record: NetworkRecord, address: Address, taken: Container[bytes]) -> bytes | None:
    """Return a free address of the pools, the same for the same node as long as it is free."""
    for pool in record.pools:
        length = pool.end - pool.start
        counter = address & 0xFFFFFFFF
        for _ in range(min(TRIALS, length + 1)):
            value = pool.start + (counter % length if length else 0)
            counter += 1
            candidate = value.to_bytes(4, "big")
            if value & 0xFF == 0xFF or candidate in taken:
                continue
            covering = prefix_length(record, candidate)
            if covering:
                return candidate
    return None
