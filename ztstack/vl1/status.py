"""The peers as people want to see them."""

from __future__ import annotations

from typing import NamedTuple

from ztstack.base.address import Address
from ztstack.base.endpoint import Endpoint
from ztstack.vl1.path import NEVER
from ztstack.vl1.topology import Topology


class PeerStatus(NamedTuple):
    """A peer for people: `version` is empty and `latency_ms` None while they are unknown."""

    address: Address
    version: str
    latency_ms: int | None
    paths: tuple[Endpoint, ...]


def peer_statuses(topology: Topology, now: int) -> list[PeerStatus]:
    """Return the peers heard of, each with its usable paths, the best first."""
    result = []
    for peer in topology.peers.values():
        if peer.last_receive == NEVER and not topology.is_upstream(peer.address):
            continue
        paths = [entry.path for entry in peer.entries if not entry.is_expired(now)]
        paths.sort(key=lambda path: path.quality(now))
        known = f"{peer.major}.{peer.minor}.{peer.revision}" if peer.protocol else ""
        latency = paths[0].latency_ms if paths else None
        remotes = tuple(path.key.remote for path in paths)
        result.append(PeerStatus(peer.address, known, latency, remotes))
    return result
