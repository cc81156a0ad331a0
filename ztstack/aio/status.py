"""Read-only snapshots of a node for people and tools."""

from __future__ import annotations

from dataclasses import dataclass

from ztstack.base.address import Address
from ztstack.base.network_id import NetworkId
from ztstack.bonding.report import BondReport


@dataclass(frozen=True, slots=True)
class NetworkReport:
    """One joined network: `status` is the protocol's word, `addresses` are IP/BITS texts.

    `addresses` and `routes` are those in force; `dns_domain` and `dns_servers` are what the
    network pushed, and `allow_*` say what `networks.d/<nwid>.local.conf` lets it do.
    """

    network: NetworkId
    name: str
    status: str
    detail: str
    is_public: bool
    mac: str
    mtu: int
    addresses: tuple[str, ...]
    routes: tuple[str, ...]
    dns_domain: str = ""
    dns_servers: tuple[str, ...] = ()
    allow_managed: bool = True
    allow_global: bool = True
    allow_default: bool = True
    allow_dns: bool = True


@dataclass(frozen=True, slots=True)
class PeerReport:
    """One peer: `paths` are IP/PORT texts, the best first.

    `link` is direct, relay, or tunnel if the path leads through a TCP relay. `latency_ms` is -1 if
    unknown, and `last_seen_ms`, how long it has been silent, -1 if it never spoke. The bytes are
    those of its direct paths.
    """

    address: Address
    role: str
    version: str
    latency_ms: int
    link: str
    paths: tuple[str, ...]
    last_seen_ms: int
    sent_bytes: int = 0
    received_bytes: int = 0


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """The whole node; `drops` counts dropped packets by reason, `bonds` are of peers with paths."""

    address: Address
    online: bool
    version: str
    planet: str
    local: tuple[str, ...]
    networks: tuple[NetworkReport, ...]
    peers: tuple[PeerReport, ...]
    drops: dict[str, int]
    bonds: tuple[BondReport, ...] = ()
