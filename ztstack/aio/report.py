"""Makes the snapshots of `status` from a running node."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from ztstack.aio.status import NetworkReport, NodeStatus, PeerReport
from ztstack.aio.tcp_relay import TcpRelay
from ztstack.base.errors import Offline
from ztstack.base.network_id import NetworkId
from ztstack.base.trace import CountingTracer
from ztstack.node.node import Node
from ztstack.vl1.switch import PeerStatus
from ztstack.wire.verbs import VERSION_MAJOR, VERSION_MINOR, VERSION_REVISION
from ztstack.wire.world import World


def node_status(
    now: int,
    node: Node,
    details: Mapping[NetworkId, str],
    tracer: CountingTracer,
    *,
    online: bool,
    local: tuple[str, ...],
) -> NodeStatus:
    """Return a snapshot of everything; drops come with the commonest first."""
    return NodeStatus(
        address=node.identity.address,
        online=online,
        version=f"{VERSION_MAJOR}.{VERSION_MINOR}.{VERSION_REVISION}",
        planet=f"{node.switch.world.id:016x}",
        local=local,
        networks=tuple(
            _network_report(node, network, details.get(network, "")) for network in node.members
        ),
        peers=_peer_reports(now, node),
        drops={reason.value: count for reason, count in tracer.counts.most_common()},
        bonds=node.bonds.reports() if node.bonds is not None else (),
    )


def offline(waited: float, world: World, relay: TcpRelay | None) -> Offline:
    """Return the error that says what was tried to reach the roots."""
    time = f"{round(waited, 1):g} s"
    endpoints = sum(len(root.endpoints) for root in world.roots)
    words = f"UDP silent on {endpoints} endpoints in {time}"
    if relay is not None and relay.client.attempt:
        client = relay.client
        if client.forced:
            words = f"waited {time}, UDP not used"
        words += f"; TCP relay {client.server} {client.trouble or 'used, without an answer'}"
    return Offline(f"no root answered: {words}")


def link_of(peer: PeerStatus) -> str:
    """Return `direct`, `tunnel` or `relay`."""
    if peer.is_tunnelled:
        return "tunnel"
    return "direct" if peer.paths else "relay"


def _network_report(node: Node, network: NetworkId, detail: str) -> NetworkReport:
    member = node.member(network)
    config, settings = member.network.config, member.settings
    return NetworkReport(
        network=network,
        name=config.name if config is not None else "",
        status=member.network.status.value,
        detail=detail,
        is_public=config is not None and config.is_public,
        mac=str(member.network.mac),
        mtu=config.mtu if config is not None else 0,
        addresses=tuple(f"{ipaddress.ip_address(ip)}/{bits}" for ip, bits in member.addresses),
        routes=tuple(
            f"{ipaddress.ip_address(route.target_ip)}/{route.bits}"
            + (f" via {ipaddress.ip_address(route.via)}" if route.via else "")
            for route in member.routes
        ),
        dns_domain=config.dns_domain if config is not None else "",
        dns_servers=tuple(server.host for server in config.dns_servers) if config else (),
        allow_managed=settings.allow_managed,
        allow_global=settings.allow_global,
        allow_default=settings.allow_default,
        allow_dns=settings.allow_dns,
    )


def _peer_reports(now: int, node: Node) -> tuple[PeerReport, ...]:
    switch = node.switch
    return tuple(
        PeerReport(
            address=peer.address,
            role="root" if switch.is_upstream(peer.address) else "leaf",
            version=peer.version,
            latency_ms=-1 if peer.latency_ms is None else peer.latency_ms,
            link=link_of(peer),
            paths=tuple(str(path) for path in peer.paths),
            last_seen_ms=-1 if peer.silence_us is None else peer.silence_us // 1000,
            sent_bytes=peer.sent_bytes,
            received_bytes=peer.received_bytes,
        )
        for peer in switch.peers(now)
    )
