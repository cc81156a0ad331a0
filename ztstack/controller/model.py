"""What a controller knows: networks and their members, as they are kept in files.

The JSON keys are those of the official controller (vl2 section 7.7), so that its files can be read.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Self

from ztstack.base.address import Address
from ztstack.base.errors import InvalidConfig
from ztstack.base.network_id import NetworkId
from ztstack.controller.rules_json import rule_from_json, rule_to_json
from ztstack.crypto.identity import Identity
from ztstack.wire.rules import ACCEPT_ALL, MAX_CAPABILITY_RULES, MAX_RULES, Rule

Json = Mapping[str, object]
MTU_MIN: Final = 1280
MTU_MAX: Final = 10_000
MTU_DEFAULT: Final = 2800
MULTICAST_LIMIT: Final = 32
CREDENTIAL_WINDOW_MS: Final = 1_800_000
MAX_POOLS: Final = 32
MAX_ROUTES: Final = 128
MAX_CAPABILITIES: Final = 128
MAX_TAGS: Final = 128
MAX_DNS_SERVERS: Final = 4
_NAME_BYTES: Final = 127
_WIDEST_ROUTE: Final = 24


@dataclass(frozen=True, slots=True)
class Pool:
    """Addresses that are given to members: from `start` to `end`, IPv4, inclusive."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class ManagedRoute:
    """A route of a network: `network` may have no host bits; without `via` it is on the link."""

    network: ipaddress.IPv4Network | ipaddress.IPv6Network
    via: ipaddress.IPv4Address | ipaddress.IPv6Address | None = None


@dataclass(frozen=True, slots=True)
class CapabilityRecord:
    """Rules that members may be given; a default one goes to those who are let in at once."""

    id: int
    rules: tuple[Rule, ...]
    default: bool = False


@dataclass(frozen=True, slots=True)
class NetworkRecord:
    """One network; `private` ones want each member authorised.

    `tags` are (id, default), where the default may be None; `dns` is a domain and its servers.
    """

    id: NetworkId
    name: str = ""
    private: bool = True
    mtu: int = MTU_DEFAULT
    pools: tuple[Pool, ...] = ()
    assigns_ipv4: bool = True
    routes: tuple[ManagedRoute, ...] = ()
    rfc4193: bool = False
    sixplane: bool = False
    broadcast: bool = True
    multicast_limit: int = MULTICAST_LIMIT
    credential_window_ms: int = CREDENTIAL_WINDOW_MS
    rules: tuple[Rule, ...] = ACCEPT_ALL
    capabilities: tuple[CapabilityRecord, ...] = ()
    tags: tuple[tuple[int, int | None], ...] = ()
    dns_domain: str = ""
    dns_servers: tuple[bytes, ...] = ()
    trace_target: Address | None = None
    trace_level: int = 0
    revision: int = 1
    created_ms: int = 0

    def __post_init__(self) -> None:
        if not MTU_MIN <= self.mtu <= MTU_MAX:
            raise InvalidConfig(f"an MTU is {MTU_MIN} to {MTU_MAX} bytes, not {self.mtu}")
        if len(self.name.encode()) > _NAME_BYTES:
            raise InvalidConfig(f"a network's name has at most {_NAME_BYTES} bytes")
        if len(self.pools) > MAX_POOLS or len(self.routes) > MAX_ROUTES:
            raise InvalidConfig(f"at most {MAX_POOLS} pools and {MAX_ROUTES} routes")

    def pool_texts(self) -> list[tuple[str, str]]:
        """Return first and last address of each pool."""
        return [
            (str(ipaddress.IPv4Address(p.start)), str(ipaddress.IPv4Address(p.end)))
            for p in self.pools
        ]

    def route_texts(self) -> list[str]:
        return [
            str(route.network) if route.via is None else f"{route.network} via {route.via}"
            for route in self.routes
        ]

    def to_json(self) -> dict[str, object]:
        return {
            "id": str(self.id),
            "nwid": str(self.id),
            "objtype": "network",
            "name": self.name,
            "private": self.private,
            "mtu": self.mtu,
            "ipAssignmentPools": [
                {"ipRangeStart": start, "ipRangeEnd": end} for start, end in self.pool_texts()
            ],
            "routes": [
                {"target": str(r.network), "via": None if r.via is None else str(r.via)}
                for r in self.routes
            ],
            "v4AssignMode": {"zt": self.assigns_ipv4},
            "v6AssignMode": {"rfc4193": self.rfc4193, "6plane": self.sixplane, "zt": False},
            "enableBroadcast": self.broadcast,
            "multicastLimit": self.multicast_limit,
            "certificateTimeoutWindowSize": self.credential_window_ms,
            "rules": [rule_to_json(rule) for rule in self.rules],
            "capabilities": [
                {
                    "id": item.id,
                    "default": item.default,
                    "rules": [rule_to_json(rule) for rule in item.rules],
                }
                for item in self.capabilities
            ],
            "tags": [{"id": number, "default": default} for number, default in self.tags],
            "dns": {
                "domain": self.dns_domain,
                "servers": [str(ipaddress.ip_address(ip)) for ip in self.dns_servers],
            },
            "remoteTraceTarget": None if self.trace_target is None else str(self.trace_target),
            "remoteTraceLevel": self.trace_level,
            "revision": self.revision,
            "creationTime": self.created_ms,
        }

    @classmethod
    def from_json(cls, data: Json) -> Self:
        """Read a record; InvalidConfig says what is wrong with it."""
        modes, dns = _object(data, "v6AssignMode"), _object(data, "dns")
        trace = data.get("remoteTraceTarget")
        return cls(
            id=NetworkId.parse(_text(data, "id")),
            name=_text(data, "name", ""),
            private=_flag(data, "private", default=True),
            mtu=min(max(_number(data, "mtu", MTU_DEFAULT), MTU_MIN), MTU_MAX),
            pools=tuple(
                parse_pool(f"{_text(item, 'ipRangeStart')}-{_text(item, 'ipRangeEnd')}")
                for item in _objects(data, "ipAssignmentPools")
                if ":" not in _text(item, "ipRangeStart")
            ),
            assigns_ipv4=_flag(_object(data, "v4AssignMode"), "zt", default=True),
            routes=tuple(_parse_route(item) for item in _objects(data, "routes")),
            rfc4193=_flag(modes, "rfc4193", default=False),
            sixplane=_flag(modes, "6plane", default=False),
            broadcast=_flag(data, "enableBroadcast", default=True),
            multicast_limit=_number(data, "multicastLimit", MULTICAST_LIMIT),
            credential_window_ms=min(
                max(_number(data, "certificateTimeoutWindowSize", CREDENTIAL_WINDOW_MS), 300_000),
                7_200_000,
            ),
            rules=_rules(data, MAX_RULES) if "rules" in data else ACCEPT_ALL,
            capabilities=tuple(
                CapabilityRecord(
                    id=_number(item, "id", 0),
                    rules=_rules(item, MAX_CAPABILITY_RULES),
                    default=_flag(item, "default", default=False),
                )
                for item in _objects(data, "capabilities")[:MAX_CAPABILITIES]
            ),
            tags=tuple(
                (_number(item, "id", 0), _optional(item, "default"))
                for item in _objects(data, "tags")[:MAX_TAGS]
            ),
            dns_domain=_text(dns, "domain", ""),
            dns_servers=tuple(_parse_ip(text) for text in _texts(dns, "servers"))[:MAX_DNS_SERVERS],
            trace_target=Address.parse(trace) if isinstance(trace, str) and trace else None,
            trace_level=_number(data, "remoteTraceLevel", 0),
            revision=_number(data, "revision", 1),
            created_ms=_number(data, "creationTime", 0),
        )


@dataclass(frozen=True, slots=True)
class MemberRecord:
    """One node on one network; `identity` is None for one that was named but not seen yet."""

    address: Address
    identity: Identity | None = None
    authorized: bool = False
    ips: tuple[bytes, ...] = ()
    bridge: bool = False
    no_auto_assign: bool = False
    tags: tuple[tuple[int, int], ...] = ()
    capabilities: tuple[int, ...] = ()
    version: tuple[int, int, int, int] | None = None
    revision: int = 1
    created_ms: int = 0
    authorized_ms: int = 0
    deauthorized_ms: int = 0

    def ip_texts(self) -> list[str]:
        return [str(ipaddress.ip_address(ip)) for ip in self.ips]

    def version_text(self) -> str:
        """Return the software version that the node told, or an empty text."""
        if self.version is None:
            return ""
        major, minor, revision, _ = self.version
        return f"{major}.{minor}.{revision}"

    def changed(self, **changes: object) -> MemberRecord:
        """Return a record with changes and the next revision; this one if nothing differs."""
        record = replace(self, **changes)  # type: ignore[arg-type]
        return self if record == self else replace(record, revision=self.revision + 1)

    def to_json(self, network: NetworkId) -> dict[str, object]:
        version = self.version or (-1, -1, -1, -1)
        return {
            "id": str(self.address),
            "address": str(self.address),
            "nwid": str(network),
            "objtype": "member",
            "identity": "" if self.identity is None else self.identity.public_text(),
            "authorized": self.authorized,
            "ipAssignments": self.ip_texts(),
            "activeBridge": self.bridge,
            "noAutoAssignIps": self.no_auto_assign,
            "tags": [list(tag) for tag in self.tags],
            "capabilities": list(self.capabilities),
            "vMajor": version[0],
            "vMinor": version[1],
            "vRev": version[2],
            "vProto": version[3],
            "revision": self.revision,
            "creationTime": self.created_ms,
            "lastAuthorizedTime": self.authorized_ms,
            "lastDeauthorizedTime": self.deauthorized_ms,
        }

    @classmethod
    def from_json(cls, data: Json) -> Self:
        """Read a record; InvalidConfig says what is wrong with it."""
        identity = _text(data, "identity", "")
        keys = ("vMajor", "vMinor", "vRev", "vProto")
        version = tuple(_number(data, key, -1) for key in keys)
        return cls(
            address=Address.parse(_text(data, "id")),
            identity=Identity.parse(identity).public if identity else None,
            authorized=_flag(data, "authorized", default=False),
            ips=tuple(_parse_ip(text) for text in _texts(data, "ipAssignments")),
            bridge=_flag(data, "activeBridge", default=False),
            no_auto_assign=_flag(data, "noAutoAssignIps", default=False),
            tags=_pairs(data, "tags"),
            capabilities=_numbers(data, "capabilities"),
            version=None if min(version) < 0 else (version[0], version[1], version[2], version[3]),
            revision=_number(data, "revision", 1),
            created_ms=_number(data, "creationTime", 0),
            authorized_ms=_number(data, "lastAuthorizedTime", 0),
            deauthorized_ms=_number(data, "lastDeauthorizedTime", 0),
        )


# Texts of users and files.


def parse_pool(text: str) -> Pool:
    """Read `NETWORK/BITS` or `FIRST-LAST`, IPv4; InvalidConfig says what is wrong."""
    try:
        if "/" in text:
            network = ipaddress.IPv4Network(text, strict=False)
            if network.prefixlen > 30:
                raise ValueError
            first, last = int(network[1]), int(network[-2])
        else:
            start, _, end = text.partition("-")
            first = int(ipaddress.IPv4Address(start.strip()))
            last = int(ipaddress.IPv4Address(end.strip()))
    except ValueError:
        raise InvalidConfig(
            f"a pool is like 10.147.20.0/24 or 10.147.20.10-10.147.20.99, not {text!r}"
        ) from None
    if not 0 < first <= last:
        raise InvalidConfig(f"a pool goes from the lower to the higher address, not {text!r}")
    return Pool(first, last)


def route_for_pool(text: str) -> ManagedRoute:
    """Return the route that members need to reach a pool."""
    if "/" in text:
        return ManagedRoute(ipaddress.IPv4Network(text, strict=False))
    pool = parse_pool(text)
    bits = min(_WIDEST_ROUTE, 32 - (pool.start ^ pool.end).bit_length())
    return ManagedRoute(ipaddress.IPv4Network((pool.start >> (32 - bits) << (32 - bits), bits)))


def _parse_route(item: Json) -> ManagedRoute:
    target, via = _text(item, "target"), item.get("via")
    try:
        network = ipaddress.ip_network(target, strict=False)
        gateway = ipaddress.ip_address(via) if isinstance(via, str) and via else None
    except ValueError:
        raise InvalidConfig(f"a route to {target!r} via {via!r}") from None
    if gateway is not None and gateway.version != network.version:
        raise InvalidConfig(f"a route to {target} via an address of the other family")
    return ManagedRoute(network, gateway)


def _parse_ip(text: str) -> bytes:
    try:
        return ipaddress.ip_address(text).packed
    except ValueError:
        raise InvalidConfig(f"{text!r} is not an IP address") from None


def _text(data: Json, key: str, default: str | None = None) -> str:
    value = data.get(key, default)
    if not isinstance(value, str):
        raise InvalidConfig(f"{key}: a text is needed")
    return value


def _number(data: Json, key: str, default: int) -> int:
    value = data.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidConfig(f"{key}: a whole number is needed")
    return value


def _flag(data: Json, key: str, *, default: bool) -> bool:
    value = data.get(key, default)
    if not isinstance(value, bool):
        raise InvalidConfig(f"{key}: true or false is needed")
    return value


def _object(data: Json, key: str) -> Json:
    value = data.get(key, {})
    if not isinstance(value, dict):
        raise InvalidConfig(f"{key}: an object is needed")
    return value


def _objects(data: Json, key: str) -> list[Json]:
    value = data.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise InvalidConfig(f"{key}: a list of objects is needed")
    return value


def _optional(data: Json, key: str) -> int | None:
    return None if data.get(key) is None else _number(data, key, 0)


def _numbers(data: Json, key: str) -> tuple[int, ...]:
    value = data.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, int) for item in value):
        raise InvalidConfig(f"{key}: a list of numbers is needed")
    return tuple(value)


def _pairs(data: Json, key: str) -> tuple[tuple[int, int], ...]:
    value = data.get(key, [])
    if not isinstance(value, list):
        raise InvalidConfig(f"{key}: a list of pairs is needed")
    pairs = [_numbers({key: item}, key) for item in value]
    if any(len(pair) != 2 for pair in pairs):
        raise InvalidConfig(f"{key}: a list of pairs is needed")
    return tuple((pair[0], pair[1]) for pair in pairs)


def _rules(data: Json, limit: int) -> tuple[Rule, ...]:
    return tuple(rule_from_json(item) for item in _objects(data, "rules")[:limit])


def _texts(data: Json, key: str) -> list[str]:
    value = data.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InvalidConfig(f"{key}: a list of texts is needed")
    return value
