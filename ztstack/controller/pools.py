"""Pools of addresses and the routes to them, as people and as the controller's files write them."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ztstack.base.errors import InvalidConfig
from ztstack.controller import fields
from ztstack.controller.fields import Ip, Json

# The longest prefix that a range of addresses is given as its route.
_LONGEST_PREFIX: Final = {4: 24, 6: 64}
_LONGEST_POOL: Final = {4: 30, 6: 126}
_BITS: Final = {4: 32, 6: 128}
_EXAMPLE: Final = "a pool is like 10.147.20.0/24, fd77::/64 or 10.147.20.10-10.147.20.99"


@dataclass(frozen=True, slots=True)
class Pool:
    """Addresses that are given to members: from `start` to `end`, inclusive."""

    start: int
    end: int
    version: int = 4

    @classmethod
    def between(cls, start: Ip, end: Ip) -> Pool:
        if start.version != end.version or not 0 < int(start) <= int(end):
            raise InvalidConfig(
                f"a pool goes from the lower to the higher address, not {start}-{end}"
            )
        return cls(int(start), int(end), start.version)

    def texts(self) -> tuple[str, str]:
        return str(self._ip(self.start)), str(self._ip(self.end))

    def overlaps(self, other: Pool) -> bool:
        return self.version == other.version and self.start <= other.end and other.start <= self.end

    def _ip(self, value: int) -> Ip:
        if self.version == 4:
            return ipaddress.IPv4Address(value)
        return ipaddress.IPv6Address(value)

    def to_json(self) -> dict[str, object]:
        start, end = self.texts()
        return {"ipRangeStart": start, "ipRangeEnd": end}

    @classmethod
    def from_json(cls, item: Json) -> Pool:
        start, end = (
            fields.ip(fields.text(item, key).strip(), key) for key in ("ipRangeStart", "ipRangeEnd")
        )
        return cls.between(start, end)


@dataclass(frozen=True, slots=True)
class ManagedRoute:
    """A route of a network: `network` may have no host bits; without `via` it is on the link."""

    network: ipaddress.IPv4Network | ipaddress.IPv6Network
    via: Ip | None = None

    def __str__(self) -> str:
        return str(self.network) if self.via is None else f"{self.network} via {self.via}"

    def to_json(self) -> dict[str, object]:
        return {
            "target": str(self.network),
            "via": None if self.via is None else str(self.via),
        }

    @classmethod
    def from_json(cls, item: Json) -> ManagedRoute:
        target, via = fields.text(item, "target"), item.get("via")
        try:
            if "%" in target:
                raise ValueError
            network = ipaddress.ip_network(target, strict=False)
        except ValueError:
            raise InvalidConfig(f"target: {target!r} is not ADDRESS/BITS") from None
        gateway = None if via in (None, "") else fields.ip(fields.text(item, "via"), "via")
        if gateway is not None and gateway.version != network.version:
            raise InvalidConfig(f"via: {via} is not of the family of {target}")
        return cls(network, gateway)


def parse_pool(text: str) -> Pool:
    """Read `NETWORK/BITS` or `FIRST-LAST`; InvalidConfig says what is wrong.

    Of an IPv4 network the first address and the last one are left out, as hosts cannot have them.
    """
    try:
        if "/" in text:
            network = ipaddress.ip_network(text, strict=False)
            if network.prefixlen > _LONGEST_POOL[network.version]:
                raise ValueError
            edge = 1 if network.version == 4 else 0
            first, last = network[edge], network[-1 - edge]
        else:
            start, _, end = text.partition("-")
            first, last = (ipaddress.ip_address(part.strip()) for part in (start, end))
    except ValueError:
        raise InvalidConfig(f"{_EXAMPLE}, not {text!r}") from None
    return Pool.between(first, last)


def parse_pools(texts: Sequence[str]) -> tuple[Pool, ...]:
    """Read pools that must not overlap."""
    parsed = tuple(parse_pool(text) for text in texts)
    for i, pool in enumerate(parsed):
        if any(pool.overlaps(other) for other in parsed[:i]):
            raise InvalidConfig(f"the pool {texts[i]} overlaps another")
    return parsed


def route_for_pool(text: str) -> ManagedRoute:
    """Return the route that members need to reach a pool."""
    pool = parse_pool(text)
    if "/" in text:
        return ManagedRoute(ipaddress.ip_network(text, strict=False))
    width = _BITS[pool.version]
    bits = min(_LONGEST_PREFIX[pool.version], width - (pool.start ^ pool.end).bit_length())
    start, _ = pool.texts()
    return ManagedRoute(ipaddress.ip_network(f"{start}/{bits}", strict=False))


def routes_for_pools(texts: Sequence[str]) -> tuple[ManagedRoute, ...]:
    return tuple(dict.fromkeys(route_for_pool(text) for text in texts))


def address_pools(texts: Sequence[str]) -> dict[str, object]:
    """Return what the controller's JSON interface is told so that it gives out these pools."""
    pools = parse_pools(texts)
    return {
        "ipAssignmentPools": [pool.to_json() for pool in pools],
        "routes": [route.to_json() for route in routes_for_pools(texts)],
        "v4AssignMode": {"zt": any(pool.version == 4 for pool in pools)},
    }
