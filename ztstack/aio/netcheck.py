"""What the roots tell about this node's way to the internet."""

from __future__ import annotations

from collections.abc import Iterable, Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum

from ztstack.aio.report import link_of
from ztstack.aio.tcp_relay import TcpRelay
from ztstack.base.address import Address
from ztstack.base.endpoint import Endpoint
from ztstack.node.node import Node
from ztstack.vl1.surface import Sighting


class Nat(StrEnum):
    """How a router on the way translates addresses, as far as the roots can tell."""

    UNKNOWN = "unknown"
    NONE = "none"
    SAME_FOR_ALL = "endpoint-independent"
    """Whoever knows the external address can reach it, once a packet went out to him."""
    BY_DESTINATION = "endpoint-dependent"
    """Another external address for each destination, which peers cannot know: symmetric."""


@dataclass(frozen=True, slots=True)
class RootReport:
    """One root: `path` is IP/PORT or empty, `seen_as` our addresses there, the newest last.

    `clock_skew_ms` is by how much its clock is ahead of ours, None if it did not say.
    """

    address: Address
    link: str
    latency_ms: int
    path: str
    seen_as: tuple[str, ...]
    clock_skew_ms: int | None


@dataclass(frozen=True, slots=True)
class NetReport:
    """What is known of this node's reachability; endpoints are IP/PORT texts.

    `udp`, `ipv4` and `ipv6` say whether a root answered that way. `port_mapping` is the address
    that a router gave, `tcp_relay` where one is, and `tcp_relay_state` whether it is used.
    """

    udp: bool
    ipv4: bool
    ipv6: bool
    nat: Nat
    external: tuple[str, ...]
    port_mapping: str
    tcp_relay: str
    tcp_relay_state: str
    roots: tuple[RootReport, ...]


def net_report(
    now: int,
    node: Node,
    own: AbstractSet[Endpoint],
    mapped: Endpoint | None,
    relay: TcpRelay | None,
) -> NetReport:
    """Return what the roots told; `own` are the addresses of this machine with their ports."""
    roots = [peer for peer in node.switch.peers(now) if node.switch.is_upstream(peer.address)]
    sightings = [sighting for root in roots for sighting in root.sightings]
    direct = [path for root in roots if link_of(root) == "direct" for path in root.paths]
    external = dict.fromkeys(str(sighting.claimed) for sighting in sightings)
    return NetReport(
        udp=bool(direct),
        ipv4=any(len(path.ip) == 4 for path in direct),
        ipv6=any(len(path.ip) == 16 for path in direct),
        nat=guess_nat(own - {mapped}, sightings),
        external=tuple(external),
        port_mapping=str(mapped) if mapped is not None else "",
        tcp_relay=str(relay.client.server) if relay is not None else "",
        tcp_relay_state=relay.client.state.value if relay is not None else "",
        roots=tuple(
            RootReport(
                root.address,
                link_of(root),
                -1 if root.latency_ms is None else root.latency_ms,
                str(root.paths[0]) if root.paths else "",
                tuple(dict.fromkeys(str(sighting.claimed) for sighting in root.sightings)),
                root.clock_ahead_ms,
            )
            for root in roots
        ),
    )


def guess_nat(own: AbstractSet[Endpoint], sightings: Iterable[Sighting]) -> Nat:
    """Guess from what several observers say of one socket; one is not enough behind a router."""
    translated: dict[tuple[int, int], dict[Endpoint, Endpoint]] = {}
    seen = False
    for socket, remote, claimed in sightings:
        seen = True
        if claimed not in own:
            translated.setdefault((socket, len(claimed.ip)), {})[remote] = claimed
    if not seen:
        return Nat.UNKNOWN
    if not translated:
        return Nat.NONE
    if any(len(set(claims.values())) > 1 for claims in translated.values()):
        return Nat.BY_DESTINATION
    if any(len(claims) > 1 for claims in translated.values()):
        return Nat.SAME_FOR_ALL
    return Nat.UNKNOWN
