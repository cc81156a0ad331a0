"""The configuration of a network, from and to the text that controllers send (vl2 section 3.2)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol, Self, TypeVar

from ztstack.base.address import Address
from ztstack.base.codec import Reader, Writer
from ztstack.base.endpoint import Endpoint, decode_endpoint, encode_endpoint
from ztstack.base.errors import DecodeError
from ztstack.base.network_id import NetworkId
from ztstack.wire.credentials import Capability, Com, Ownership, Tag
from ztstack.wire.dictionary import Dictionary
from ztstack.wire.network_config import CONFIG_FORMAT
from ztstack.wire.rules import MAX_RULES, Rule, decode_rules, encode_rules

MAX_MULTICAST_LIMIT: Final = 65_535
"""What is asked for in a gather is one more at the most, and has four bytes."""
MIN_FORMAT: Final = 6
MTU_MIN: Final = 1280
MTU_DEFAULT: Final = 2800
MTU_MAX: Final = 10_000
DEFAULT_DELTA_MS: Final = 1_800_000

MAX_CAPABILITIES: Final = 128
MAX_TAGS: Final = 128
MAX_OWNERSHIPS: Final = 4
MAX_SPECIALISTS: Final = 256
MAX_ROUTES: Final = 128
MAX_ADDRESSES: Final = 32
MAX_DNS_SERVERS: Final = 4
MAX_NAME_BYTES: Final = 127
DNS_DOMAIN_BYTES: Final = 128

FLAG_BROADCAST: Final = 0x02
FLAG_NDP_EMULATION: Final = 0x04
FLAG_UNKNOWN_MATCHES: Final = 0x08
FLAG_NO_COMPRESSION: Final = 0x10

ROLE_BRIDGE: Final = 0x0000020000000000
ROLE_ANCHOR: Final = 0x0000040000000000
ROLE_REPLICATOR: Final = 0x0000080000000000
_ADDRESS_MASK: Final = 0xFFFFFFFFFF

_URL_BYTES: Final = 2047


class Route(NamedTuple):
    """A route that the network asks its members to have; without `via` it is on the link."""

    target_ip: bytes
    bits: int
    via: bytes | None = None
    flags: int = 0
    metric: int = 0


@dataclass(frozen=True, slots=True)
class SingleSignOn:
    """How members sign in; version 0 uses a URL, version 1 OpenID Connect."""

    version: int = 0
    enabled: bool = False
    authentication_url: str = ""
    authentication_expiry_ms: int = 0
    issuer_url: str = ""
    central_url: str = ""
    nonce: str = ""
    state: str = ""
    client_id: str = ""
    provider: str = "default"

    @classmethod
    def from_dictionary(cls, text: Dictionary) -> Self:
        version = text.get_uint("ssov")
        enabled = text.get_bool("ssoe")
        if not enabled or version not in (0, 1):
            return cls(version=version, enabled=enabled)
        if version == 0:
            return cls(
                enabled=True,
                authentication_url=text.get_text("aurl", _URL_BYTES),
                authentication_expiry_ms=text.get_int("aexpt"),
            )
        return cls(
            version=1,
            enabled=True,
            issuer_url=text.get_text("iurl", _URL_BYTES),
            central_url=text.get_text("ssoce", _URL_BYTES),
            nonce=text.get_text("sson", 127),
            state=text.get_text("ssos", 255),
            client_id=text.get_text("ssocid", 255),
            provider=text.get_text("ssop", 63, "default"),
        )

    def write_to(self, text: Dictionary) -> None:
        text.set_uint("ssov", self.version)
        text.set_bool("ssoe", self.enabled)
        if not self.enabled:
            return
        if self.version == 0:
            if self.authentication_url:
                text.set_text("aurl", self.authentication_url)
            text.set_uint("aexpt", self.authentication_expiry_ms)
        elif self.version == 1:
            for key, value in (
                ("iurl", self.issuer_url),
                ("ssoce", self.central_url),
                ("sson", self.nonce),
                ("ssos", self.state),
                ("ssocid", self.client_id),
                ("ssop", self.provider),
            ):
                if value:
                    text.set_text(key, value)


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """What a controller decided for one node on one network; times are milliseconds."""

    network: NetworkId
    issued_to: Address
    timestamp: int = 0
    credential_delta_ms: int = 0
    revision: int = 0
    remote_trace_target: Address = Address(0)  # noqa: RUF009  (an Address cannot change)
    remote_trace_level: int = 0
    flags: int = 0
    multicast_limit: int = 0
    is_public: bool = False
    name: str = ""
    mtu: int = MTU_DEFAULT
    com: Com | None = None
    capabilities: tuple[Capability, ...] = ()
    tags: tuple[Tag, ...] = ()
    ownerships: tuple[Ownership, ...] = ()
    specialists: tuple[int, ...] = ()
    routes: tuple[Route, ...] = ()
    addresses: tuple[tuple[bytes, int], ...] = ()
    rules: tuple[Rule, ...] = ()
    dns_domain: str = ""
    dns_servers: tuple[Endpoint, ...] = ()
    sso: SingleSignOn = field(default_factory=SingleSignOn)

    @classmethod
    def from_dictionary(cls, data: bytes) -> Self:
        """Read a configuration; DecodeError if a client must refuse it."""
        text = Dictionary.parse(data)
        if text.get_uint("v") < MIN_FORMAT:
            raise DecodeError("a configuration of an old format")
        network = NetworkId(text.get_uint("nwid"))
        issued_to = text.get_address("id")
        if not network or not issued_to:
            raise DecodeError("a configuration without a network or a node")
        com = text.get("C")
        domain, servers = _decode_dns(text.get("DNS"))
        return cls(
            network=network,
            issued_to=issued_to,
            timestamp=text.get_uint("ts"),
            credential_delta_ms=text.get_uint("ctmd"),
            revision=text.get_uint("r"),
            remote_trace_target=text.get_address("tt"),
            remote_trace_level=text.get_uint("tl"),
            flags=text.get_uint("f"),
            multicast_limit=min(text.get_uint("ml"), MAX_MULTICAST_LIMIT),
            is_public=text.get_uint("t") == 1,
            name=text.get_text("n", MAX_NAME_BYTES),
            mtu=min(max(text.get_uint("mtu", MTU_DEFAULT), MTU_MIN), MTU_MAX),
            com=Com.decode(Reader(com)) if com else None,
            capabilities=_decode_sorted(Capability, text.get("CAP"), MAX_CAPABILITIES),
            tags=_decode_sorted(Tag, text.get("TAG"), MAX_TAGS),
            ownerships=_decode_ownerships(text.get("COO")),
            specialists=_decode_specialists(text.get("S")),
            routes=_decode_routes(text.get("RT")),
            addresses=_decode_addresses(text.get("I")),
            rules=decode_rules(text.get("R") or b"", MAX_RULES),
            dns_domain=domain,
            dns_servers=servers,
            sso=SingleSignOn.from_dictionary(text),
        )

    def to_dictionary(self) -> bytes:
        """Write the text, its keys in the order of stock controllers."""
        text = Dictionary()
        text.set_uint("v", CONFIG_FORMAT)
        text.set_uint("nwid", self.network)
        text.set_uint("ts", self.timestamp)
        text.set_uint("ctmd", self.credential_delta_ms)
        text.set_uint("r", self.revision)
        text.set_address("id", self.issued_to)
        text.set_address("tt", self.remote_trace_target)
        text.set_uint("tl", self.remote_trace_level)
        text.set_uint("f", self.flags)
        text.set_uint("ml", self.multicast_limit)
        text.set_uint("t", int(self.is_public))
        text.set_text("n", self.name)
        text.set_uint("mtu", self.mtu)
        for key, blob in (
            ("C", _joined((self.com,) if self.com else ())),
            ("CAP", _joined(self.capabilities)),
            ("TAG", _joined(self.tags)),
            ("COO", _joined(self.ownerships)),
            ("S", b"".join(word.to_bytes(8, "big") for word in self.specialists)),
            ("RT", _encode_routes(self.routes)),
            ("I", _encode_addresses(self.addresses)),
            ("R", encode_rules(self.rules)),
        ):
            if blob:
                text.set(key, blob)
        text.set("DNS", _encode_dns(self.dns_domain, self.dns_servers))
        self.sso.write_to(text)
        return text.encode()

    @property
    def allows_broadcast(self) -> bool:
        return bool(self.flags & FLAG_BROADCAST)

    @property
    def emulates_ndp(self) -> bool:
        """Whether members answer neighbour questions for derived addresses themselves."""
        return bool(self.flags & FLAG_NDP_EMULATION)

    @property
    def unknown_matches(self) -> bool:
        """What a match says that this node does not know."""
        return bool(self.flags & FLAG_UNKNOWN_MATCHES)

    @property
    def compresses_multicast(self) -> bool:
        return not self.flags & FLAG_NO_COMPRESSION

    def _with_role(self, role: int) -> tuple[Address, ...]:
        return tuple(Address(word & _ADDRESS_MASK) for word in self.specialists if word & role)

    @property
    def active_bridges(self) -> tuple[Address, ...]:
        return self._with_role(ROLE_BRIDGE)

    @property
    def anchors(self) -> tuple[Address, ...]:
        return self._with_role(ROLE_ANCHOR)

    @property
    def replicators(self) -> tuple[Address, ...]:
        return self._with_role(ROLE_REPLICATOR)

    @property
    def always_contact(self) -> tuple[Address, ...]:
        """Anchors and replicators: members keep contact with these."""
        return self._with_role(ROLE_ANCHOR | ROLE_REPLICATOR)


class _Encodable(Protocol):
    def encode(self, w: Writer) -> None: ...


_Issued = TypeVar("_Issued", Tag, Capability)


def _joined(items: Iterable[_Encodable]) -> bytes:
    w = Writer()
    for item in items:
        item.encode(w)
    return w.getvalue()


def _decode_sorted(kind: type[_Issued], blob: bytes | None, limit: int) -> tuple[_Issued, ...]:
    # The protocol keeps what came before a malformed tag or capability.
    items: list[_Issued] = []
    r = Reader(blob or b"")
    while r.remaining and len(items) < limit:
        try:
            items.append(kind.decode(r))
        except DecodeError:
            break
    items.sort(key=lambda item: item.id)
    return tuple(items)


def _decode_ownerships(blob: bytes | None) -> tuple[Ownership, ...]:
    r = Reader(blob or b"")
    items = []
    while r.remaining:
        items.append(Ownership.decode(r))
    return tuple(items[:MAX_OWNERSHIPS])


def _decode_specialists(blob: bytes | None) -> tuple[int, ...]:
    r = Reader(blob or b"")
    # Bytes after the last whole word are ignored.
    return tuple(r.uint(8) for _ in range(min(r.remaining // 8, MAX_SPECIALISTS)))


def _prefix(endpoint: Endpoint) -> tuple[bytes, int]:
    # Configurations have a prefix length in the place of the port.
    return endpoint.ip, min(endpoint.port, 8 * len(endpoint.ip))


def _decode_routes(blob: bytes | None) -> tuple[Route, ...]:
    r = Reader(blob or b"")
    routes = []
    while r.remaining:
        target, via = decode_endpoint(r), decode_endpoint(r)
        flags, metric = r.uint(2), r.uint(2)
        if target is not None:
            ip, bits = _prefix(target)
            routes.append(Route(ip, bits, None if via is None else via.ip, flags, metric))
    return tuple(routes[:MAX_ROUTES])


def _encode_routes(routes: Iterable[Route]) -> bytes:
    w = Writer()
    for route in routes:
        encode_endpoint(w, Endpoint(route.target_ip, route.bits))
        encode_endpoint(w, None if route.via is None else Endpoint(route.via, 0))
        w.uint(route.flags, 2)
        w.uint(route.metric, 2)
    return w.getvalue()


def _decode_addresses(blob: bytes | None) -> tuple[tuple[bytes, int], ...]:
    r = Reader(blob or b"")
    addresses = []
    while r.remaining:
        endpoint = decode_endpoint(r)
        if endpoint is not None:
            addresses.append(_prefix(endpoint))
    return tuple(addresses[:MAX_ADDRESSES])


def _encode_addresses(addresses: Iterable[tuple[bytes, int]]) -> bytes:
    w = Writer()
    for ip, bits in addresses:
        encode_endpoint(w, Endpoint(ip, bits))
    return w.getvalue()


def _decode_dns(blob: bytes | None) -> tuple[str, tuple[Endpoint, ...]]:
    if not blob:
        return "", ()
    r = Reader(blob)
    domain = r.take(DNS_DOMAIN_BYTES).partition(b"\0")[0].decode(errors="replace")
    servers = [decode_endpoint(r) for _ in range(MAX_DNS_SERVERS)]
    return domain, tuple(server for server in servers if server is not None)


def _encode_dns(domain: str, servers: tuple[Endpoint, ...]) -> bytes:
    w = Writer()
    w.put(domain.encode()[: DNS_DOMAIN_BYTES - 1].ljust(DNS_DOMAIN_BYTES, b"\0"))
    padding = (None,) * MAX_DNS_SERVERS
    for server in (*servers, *padding)[:MAX_DNS_SERVERS]:
        encode_endpoint(w, server)
    return w.getvalue()
