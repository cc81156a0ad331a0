"""The peers as people want to see them."""

from __future__ import annotations

from typing import NamedTuple

from ztstack.base.address import Address
from ztstack.base.datagram import ALL_SOCKETS
from ztstack.base.endpoint import Endpoint
from ztstack.vl1.path import NEVER
from ztstack.vl1.surface import Sighting, Surface
from ztstack.vl1.topology import Topology


class PeerStatus(NamedTuple):
    """A peer for people: `version` is empty and `latency_ms` None while they are unknown.

    `silence_us` is how long ago it spoke, None if it never did. The best path is a tunnel if its
    datagrams go by way of a TCP relay. `sightings` are our addresses as the peer sees them, and
    `clock_ahead_ms` is by how much its clock was ahead of ours when it last said so. The bytes are
    those of its direct paths, as far as they are known still.
    """

    address: Address
    version: str
    latency_ms: int | None
    paths: tuple[Endpoint, ...]
    silence_us: int | None
    is_tunnelled: bool
    sightings: tuple[Sighting, ...]
    clock_ahead_ms: int | None
    sent_bytes: int
    received_bytes: int


def peer_statuses(topology: Topology, surface: Surface, now: int) -> list[PeerStatus]:
    """Return the peers heard of, each with its usable paths, the best first."""
    sightings = surface.sightings(now)
    result = []
    for peer in topology.peers.values():
        if peer.last_receive == NEVER and not topology.is_upstream(peer.address):
            continue
        paths = [entry.path for entry in peer.entries if not entry.is_expired(now)]
        paths.sort(key=lambda path: path.quality(now))
        known = f"{peer.major}.{peer.minor}.{peer.revision}" if peer.protocol else ""
        result.append(
            PeerStatus(
                peer.address,
                known,
                paths[0].latency_ms if paths else None,
                tuple(path.key.remote for path in paths),
                None if peer.last_receive == NEVER else now - peer.last_receive,
                bool(paths) and paths[0].key.socket == ALL_SOCKETS,
                tuple(sightings.get(peer.address, ())),
                peer.clock_ahead_ms,
                sum(entry.path.bytes_out for entry in peer.entries),
                sum(entry.path.bytes_in for entry in peer.entries),
            )
        )
    return result
