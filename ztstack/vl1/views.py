"""What can be asked of the VL1 machine."""

from __future__ import annotations

from typing import Final

from ztstack.base.address import Address
from ztstack.crypto.identity import Identity
from ztstack.vl1.keepalive import KeepAlive
from ztstack.vl1.outbox import Outbox
from ztstack.vl1.status import PeerStatus, peer_statuses
from ztstack.vl1.surface import Surface
from ztstack.vl1.topology import Topology
from ztstack.vl1.ways import Ways
from ztstack.wire.world import World

UNKNOWN_LATENCY_MS: Final = 0xFFFF


class Views:
    """The part of the switch that changes nothing."""

    _now: int
    _topology: Topology
    _outbox: Outbox
    _surface: Surface
    _keepalive: KeepAlive
    ways: Ways

    @property
    def world(self) -> World:
        return self._topology.world

    @property
    def moons(self) -> list[World]:
        return list(self._topology.worlds.moons.values())

    @property
    def wanted_moons(self) -> dict[int, Address]:
        return dict(self._topology.worlds.wanted)

    def identity_of(self, address: Address) -> Identity | None:
        if address == self._topology.address:
            return self._topology.identity.public
        peer = self._topology.peers.get(address)
        return peer.identity if peer is not None else None

    def upstreams(self) -> list[Address]:
        return list(self._topology.roots)

    def is_upstream(self, address: Address) -> bool:
        return self._topology.is_upstream(address)

    def best_upstream(self) -> Address | None:
        peer = self._topology.best_upstream(self._now)
        return peer.address if peer is not None else None

    @property
    def is_online(self) -> bool:
        return self._keepalive.is_online

    def has_direct_path(self, now: int, address: Address) -> bool:
        peer = self._topology.peers.get(address)
        return peer is not None and self.ways.is_direct(now, peer)

    def direct_latency(self, address: Address) -> int | None:
        """Return the milliseconds to a peer and back by a living direct path; None without one."""
        peer = self._topology.peers.get(address)
        path = peer.best_path(self._now) if peer is not None else None
        if path is None:
            return None
        return UNKNOWN_LATENCY_MS if path.latency_ms is None else path.latency_ms

    def peers(self, now: int) -> list[PeerStatus]:
        """Return the peers heard of, each with its usable paths, the best first."""
        return peer_statuses(self._topology, self._surface, now)

    def expected_packets(self, count: int) -> list[int]:
        """Return the ids of our last packets that may still be answered."""
        return self._outbox.expected(count)

    def peer_records(self) -> dict[Address, bytes]:
        """Return a record of each peer that is worth remembering (vl1 section 9)."""
        return self._topology.records()
