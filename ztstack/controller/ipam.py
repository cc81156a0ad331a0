"""Which addresses a member gets (vl2 section 7.4)."""

from __future__ import annotations

import ipaddress
from collections.abc import Container
from typing import Final, NamedTuple

from ztstack.base.address import Address
from ztstack.base.entropy import Entropy
from ztstack.base.network_id import NetworkId
from ztstack.controller.model import MemberRecord, NetworkRecord
from ztstack.controller.pools import Pool

TRIALS: Final = 1000
RFC4193_BITS: Final = 88
SIXPLANE_BITS: Final = 40
_HALF: Final = 64
_LOW_HALF: Final = (1 << _HALF) - 1
# A pool whose low halves are this far apart has room for every node's own address.
_ROOM_FOR_NODES: Final = (1 << 40) - 1


class Assigned(NamedTuple):
    """An address and the length of its prefix."""

    ip: bytes
    bits: int


def rfc4193(network: NetworkId, address: Address) -> bytes:
    """Return the member's address in the network's /88 (vl2 section 1.4)."""
    return b"\xfd" + network.packed + b"\x99\x93" + address.packed


def sixplane(network: NetworkId, address: Address) -> bytes:
    """Return the member's address in the network's /40 (vl2 section 1.5)."""
    prefix = (network ^ network >> 32) & 0xFFFFFFFF
    return b"\xfc" + prefix.to_bytes(4, "big") + address.packed + bytes(5) + b"\x01"


def derived(record: NetworkRecord, member: MemberRecord) -> list[Assigned]:
    """Return the addresses that follow from the node's own."""
    found = []
    if record.rfc4193:
        found.append(Assigned(rfc4193(record.id, member.address), RFC4193_BITS))
    if record.sixplane:
        found.append(Assigned(sixplane(record.id, member.address), SIXPLANE_BITS))
    return found


def prefix_length(record: NetworkRecord, ip: bytes) -> int | None:
    """Return the length of the longest route that covers an address, None if none does."""
    return max(_covering(record, ip, on_link=False), default=None)


def _covering(record: NetworkRecord, ip: bytes, *, on_link: bool) -> list[int]:
    """Return the lengths of the routes that cover an address, in the order of the record."""
    address = ipaddress.ip_address(ip)
    return [
        route.network.prefixlen
        for route in record.routes
        if route.network.version == address.version
        and address in route.network
        and not (on_link and route.via is not None)
    ]


def assign_ipv4(
    record: NetworkRecord, address: Address, taken: Container[bytes]
) -> Assigned | None:
    """Return a free address of the pools, the same for the same node as long as it is free."""
    for pool in record.pools:
        if pool.version != 4:
            continue
        length = pool.end - pool.start
        counter = address & 0xFFFFFFFF
        for _ in range(min(TRIALS, length + 1)):
            # Thus the end of a pool is never given, unless it is its start.
            value = pool.start + (counter % length if length else 0)
            counter += 1
            candidate = value.to_bytes(4, "big")
            if value & 0xFF == 0xFF or candidate in taken:
                continue
            bits = next(iter(_covering(record, candidate, on_link=False)), 0)
            if bits > 0:
                return Assigned(candidate, bits)
    return None


def assign_ipv6(
    record: NetworkRecord, address: Address, taken: Container[bytes], entropy: Entropy
) -> Assigned | None:
    """Return a free address of the pools: the node's own number in a wide one, else any."""
    for pool in record.pools:
        if pool.version != 6:
            continue
        for trial in range(min(TRIALS, pool.end - pool.start + 1)):
            own = trial == 0 and _has_room_for_nodes(pool)
            value = pool.start + address if own else _random(pool, entropy)
            if not pool.start <= value <= pool.end:
                continue
            candidate = value.to_bytes(16, "big")
            if candidate in taken:
                continue
            covering = _covering(record, candidate, on_link=True)
            if not covering:
                break  # No route is on the link here; further trials are in vain.
            return Assigned(candidate, covering[-1])
    return None


def _has_room_for_nodes(pool: Pool) -> bool:
    return (pool.end & _LOW_HALF) - (pool.start & _LOW_HALF) >= _ROOM_FOR_NODES


def _random(pool: Pool, entropy: Entropy) -> int:
    high = _between(pool.start >> _HALF, pool.end >> _HALF, entropy)
    return high << _HALF | _between(pool.start & _LOW_HALF, pool.end & _LOW_HALF, entropy)


def _between(low: int, high: int, entropy: Entropy) -> int:
    if high <= low:
        return low
    return low + int.from_bytes(entropy.take(8), "big") % (high - low + 1)
