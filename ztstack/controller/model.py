"""What a controller knows: networks and their members, as they are kept in files.

The JSON keys are those of the official controller (vl2 section 7.7), so that its files can be read.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Self

from ztstack.base.address import Address
from ztstack.base.errors import InvalidConfig
from ztstack.base.network_id import NetworkId
from ztstack.controller import fields
from ztstack.controller.fields import UINT63_MAX, Json
from ztstack.controller.pools import ManagedRoute, Pool
from ztstack.controller.rules_json import rule_from_json, rule_to_json
from ztstack.crypto.identity import Identity
from ztstack.wire.rules import ACCEPT_ALL, MAX_CAPABILITY_RULES, MAX_RULES, Rule

MTU_MIN: Final = 1280
MTU_MAX: Final = 10_000
MTU_DEFAULT: Final = 2800
MULTICAST_LIMIT: Final = 32
CREDENTIAL_WINDOW_MS: Final = 1_800_000
MAX_POOLS: Final = 32
MAX_ROUTES: Final = 128
MAX_CAPABILITIES: Final = 128
MAX_TAGS: Final = 128
MAX_TOKENS: Final = 1024
MAX_ASSIGNMENTS: Final = 32
MAX_DNS_SERVERS: Final = 4
MAX_NAME_BYTES: Final = 127
MAX_SOURCE_BYTES: Final = 256 << 10
_WINDOW_MIN_MS: Final = 300_000
_WINDOW_MAX_MS: Final = 7_200_000
_TIME: Final = (0, UINT63_MAX)


@dataclass(frozen=True, slots=True)
class CapabilityRecord:
    """Rules that members may be given; a default one goes to those who are let in at once."""

    id: int
    rules: tuple[Rule, ...]
    default: bool = False

    def to_json(self) -> dict[str, object]:
        return {
            "id": self.id,
            "default": self.default,
            "rules": [rule_to_json(rule) for rule in self.rules],
        }

    @classmethod
    def from_json(cls, item: Json) -> Self:
        return cls(
            id=fields.number(item, "id", 0),
            rules=_rules(item, MAX_CAPABILITY_RULES),
            default=fields.flag(item, "default", default=False),
        )


@dataclass(frozen=True, slots=True)
class NetworkRecord:
    """One network; `private` ones want each member authorised.

    `tags` are (id, default), where the default may be None; `dns` is a domain and its servers;
    `auth_tokens` are (token, milliseconds until when), 0 for ever; `rules_source` is the text that
    the rules were made of, if they were.
    """

    id: NetworkId
    name: str = ""
    private: bool = True
    mtu: int = MTU_DEFAULT
    pools: tuple[Pool, ...] = ()
    assigns_ipv4: bool = False
    assigns_ipv6: bool = False
    routes: tuple[ManagedRoute, ...] = ()
    rfc4193: bool = False
    sixplane: bool = False
    broadcast: bool = True
    multicast_limit: int = MULTICAST_LIMIT
    credential_window_ms: int = CREDENTIAL_WINDOW_MS
    rules: tuple[Rule, ...] = ACCEPT_ALL
    rules_source: str = ""
    capabilities: tuple[CapabilityRecord, ...] = ()
    tags: tuple[tuple[int, int | None], ...] = ()
    auth_tokens: tuple[tuple[str, int], ...] = ()
    dns_domain: str = ""
    dns_servers: tuple[bytes, ...] = ()
    trace_target: Address | None = None
    trace_level: int = 0
    revision: int = 1
    created_ms: int = 0

    def __post_init__(self) -> None:
        if not MTU_MIN <= self.mtu <= MTU_MAX:
            raise InvalidConfig(f"mtu: an MTU is {MTU_MIN} to {MTU_MAX} bytes, not {self.mtu}")
        _check_length(self.name, "name", MAX_NAME_BYTES)
        _check_length(self.dns_domain, "domain", MAX_NAME_BYTES)
        _check_length(self.rules_source, "rulesSource", MAX_SOURCE_BYTES)
        _check_count(self.pools, "ipAssignmentPools", MAX_POOLS)
        _check_count(self.routes, "routes", MAX_ROUTES)
        _check_count(self.capabilities, "capabilities", MAX_CAPABILITIES)
        _check_count(self.tags, "tags", MAX_TAGS)
        _check_count(self.auth_tokens, "authTokens", MAX_TOKENS)

    def pool_texts(self) -> list[tuple[str, str]]:
        """Return first and last address of each pool."""
        return [pool.texts() for pool in self.pools]

    def route_texts(self) -> list[str]:
        return [str(route) for route in self.routes]

    def to_json(self) -> dict[str, object]:
        return {
            "id": str(self.id),
            "nwid": str(self.id),
            "objtype": "network",
            "name": self.name,
            "private": self.private,
            "mtu": self.mtu,
            "ipAssignmentPools": [pool.to_json() for pool in self.pools],
            "routes": [route.to_json() for route in self.routes],
            "v4AssignMode": {"zt": self.assigns_ipv4},
            "v6AssignMode": {
                "rfc4193": self.rfc4193,
                "6plane": self.sixplane,
                "zt": self.assigns_ipv6,
            },
            "enableBroadcast": self.broadcast,
            "multicastLimit": self.multicast_limit,
            "certificateTimeoutWindowSize": self.credential_window_ms,
            "rules": [rule_to_json(rule) for rule in self.rules],
            "rulesSource": self.rules_source,
            "capabilities": [item.to_json() for item in self.capabilities],
            "tags": [{"id": number, "default": default} for number, default in self.tags],
            # The official controller shows a list with nothing in it if there are none.
            "authTokens": dict(self.auth_tokens) if self.auth_tokens else [None],
            "dns": self._dns_json(),
            "remoteTraceTarget": None if self.trace_target is None else str(self.trace_target),
            "remoteTraceLevel": self.trace_level,
            "ssoEnabled": False,
            "clientId": "",
            "authorizationEndpoint": "",
            "revision": self.revision,
            "creationTime": self.created_ms,
        }

    def _dns_json(self) -> object:
        if not self.dns_domain and not self.dns_servers:
            return []
        servers = [str(ipaddress.ip_address(ip)) for ip in self.dns_servers]
        return {"domain": self.dns_domain, "servers": servers}

    @classmethod
    def from_json(cls, data: Json) -> Self:
        """Read a record; InvalidConfig says what is wrong with it."""
        modes, dns = fields.nested(data, "v6AssignMode"), fields.nested(data, "dns")
        window = fields.whole(data, "certificateTimeoutWindowSize", CREDENTIAL_WINDOW_MS)
        return cls(
            id=NetworkId.parse(fields.text(data, "id")),
            name=fields.text(data, "name", ""),
            private=fields.flag(data, "private", default=True),
            mtu=min(max(fields.whole(data, "mtu", MTU_DEFAULT), MTU_MIN), MTU_MAX),
            pools=tuple(Pool.from_json(item) for item in fields.objects(data, "ipAssignmentPools")),
            assigns_ipv4=fields.flag(fields.nested(data, "v4AssignMode"), "zt", default=False),
            assigns_ipv6=fields.flag(modes, "zt", default=False),
            routes=tuple(ManagedRoute.from_json(item) for item in fields.objects(data, "routes")),
            rfc4193=fields.flag(modes, "rfc4193", default=False),
            sixplane=fields.flag(modes, "6plane", default=False),
            broadcast=fields.flag(data, "enableBroadcast", default=True),
            multicast_limit=fields.number(data, "multicastLimit", MULTICAST_LIMIT),
            credential_window_ms=min(max(window, _WINDOW_MIN_MS), _WINDOW_MAX_MS),
            rules=_rules(data, MAX_RULES) if "rules" in data else ACCEPT_ALL,
            rules_source=fields.text(data, "rulesSource", ""),
            capabilities=_capabilities(data),
            tags=_tags(data),
            auth_tokens=_tokens(data),
            dns_domain=fields.text(dns, "domain", ""),
            dns_servers=fields.ips(dns, "servers")[:MAX_DNS_SERVERS],
            trace_target=fields.node(data, "remoteTraceTarget"),
            trace_level=fields.number(data, "remoteTraceLevel", 0),
            revision=fields.number(data, "revision", 1, _TIME),
            created_ms=fields.number(data, "creationTime", 0, _TIME),
        )


@dataclass(frozen=True, slots=True)
class MemberRecord:
    """One node on one network; `identity` is None for one that was named but not seen yet.

    `credential` says by what it was let in last: (`api`, ``), (`public`, ``) or (`token`, token).
    """

    address: Address
    identity: Identity | None = None
    name: str = ""
    authorized: bool = False
    ips: tuple[bytes, ...] = ()
    bridge: bool = False
    no_auto_assign: bool = False
    tags: tuple[tuple[int, int], ...] = ()
    capabilities: tuple[int, ...] = ()
    version: tuple[int, int, int, int] | None = None
    credential: tuple[str, str] | None = None
    auth_expiry_ms: int = 0
    trace_target: Address | None = None
    trace_level: int = 0
    revision: int = 1
    created_ms: int = 0
    authorized_ms: int = 0
    deauthorized_ms: int = 0

    def __post_init__(self) -> None:
        _check_length(self.name, "name", MAX_NAME_BYTES)
        _check_count(self.ips, "ipAssignments", MAX_ASSIGNMENTS)
        _check_count(self.tags, "tags", MAX_TAGS)
        _check_count(self.capabilities, "capabilities", MAX_CAPABILITIES)

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
        record = replace(self, **changes)  # type: ignore[arg-type]  # of the fields above
        return self if record == self else replace(record, revision=self.revision + 1)

    def to_json(self, network: NetworkId) -> dict[str, object]:
        version = self.version or (-1, -1, -1, -1)
        kind, credential = self.credential or (None, None)
        return {
            "id": str(self.address),
            "address": str(self.address),
            "nwid": str(network),
            "objtype": "member",
            "identity": "" if self.identity is None else self.identity.public_text(),
            "name": self.name,
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
            "authenticationExpiryTime": self.auth_expiry_ms,
            "ssoExempt": False,
            "remoteTraceTarget": None if self.trace_target is None else str(self.trace_target),
            "remoteTraceLevel": self.trace_level,
            "revision": self.revision,
            "creationTime": self.created_ms,
            "lastAuthorizedTime": self.authorized_ms,
            "lastAuthorizedCredentialType": kind,
            "lastAuthorizedCredential": credential or None,
            "lastDeauthorizedTime": self.deauthorized_ms,
        }

    @classmethod
    def from_json(cls, data: Json) -> Self:
        """Read a record; InvalidConfig says what is wrong with it."""
        identity = fields.text(data, "identity", "")
        keys = ("vMajor", "vMinor", "vRev", "vProto")
        version = tuple(fields.number(data, key, -1, (-1, 0xFFFF)) for key in keys)
        return cls(
            address=Address.parse(fields.text(data, "id")),
            identity=Identity.parse(identity).public if identity else None,
            name=fields.text(data, "name", ""),
            authorized=fields.flag(data, "authorized", default=False),
            ips=fields.ips(data, "ipAssignments"),
            bridge=fields.flag(data, "activeBridge", default=False),
            no_auto_assign=fields.flag(data, "noAutoAssignIps", default=False),
            tags=tuple(sorted(dict(fields.pairs(data, "tags")).items())),
            capabilities=tuple(sorted(set(fields.numbers(data, "capabilities")))),
            version=None if min(version) < 0 else (version[0], version[1], version[2], version[3]),
            credential=_credential(data),
            auth_expiry_ms=fields.number(data, "authenticationExpiryTime", 0, _TIME),
            trace_target=fields.node(data, "remoteTraceTarget"),
            trace_level=fields.number(data, "remoteTraceLevel", 0),
            revision=fields.number(data, "revision", 1, _TIME),
            created_ms=fields.number(data, "creationTime", 0, _TIME),
            authorized_ms=fields.number(data, "lastAuthorizedTime", 0, _TIME),
            deauthorized_ms=fields.number(data, "lastDeauthorizedTime", 0, _TIME),
        )


def _check_length(value: str, key: str, limit: int) -> None:
    if len(value.encode()) > limit:
        raise InvalidConfig(f"{key}: at most {limit} bytes")


def _check_count(values: Sequence[object], key: str, limit: int) -> None:
    if len(values) > limit:
        raise InvalidConfig(f"{key}: at most {limit}")


def _rules(data: Json, limit: int) -> tuple[Rule, ...]:
    items = fields.objects(data, "rules")
    if len(items) > limit:
        raise InvalidConfig(f"rules: at most {limit}")
    found = []
    for n, item in enumerate(items):
        try:
            found.append(rule_from_json(item))
        except InvalidConfig as error:
            raise InvalidConfig(f"rules[{n}]: {error}") from None
    return tuple(found)


def _capabilities(data: Json) -> tuple[CapabilityRecord, ...]:
    """Return them ascending, the last of each number."""
    items = fields.objects(data, "capabilities")
    found = {item.id: item for item in map(CapabilityRecord.from_json, items)}
    return tuple(found[number] for number in sorted(found))


def _tags(data: Json) -> tuple[tuple[int, int | None], ...]:
    items = fields.objects(data, "tags")
    found = {
        fields.number(item, "id", 0): fields.optional_number(item, "default") for item in items
    }
    return tuple(sorted(found.items()))


def _tokens(data: Json) -> tuple[tuple[str, int], ...]:
    value = data.get("authTokens")
    if value is None or isinstance(value, list):
        return ()
    if not isinstance(value, dict):
        raise InvalidConfig("authTokens: an object is needed")
    for token in value:
        fields.check_unicode(token, "authTokens")
    try:
        return tuple((token, fields.number(value, token, 0, _TIME)) for token in value)
    except InvalidConfig:
        raise InvalidConfig("authTokens: times in milliseconds are needed") from None


def _credential(data: Json) -> tuple[str, str] | None:
    kind = data.get("lastAuthorizedCredentialType")
    if kind is None:
        return None
    credential = data.get("lastAuthorizedCredential")
    shown = "" if credential is None else fields.text(data, "lastAuthorizedCredential")
    return fields.text(data, "lastAuthorizedCredentialType"), shown
