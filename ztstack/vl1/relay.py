"""Packets for others passed on, and neighbours introduced (vl1 sections 6.14 and 7.4)."""

from __future__ import annotations

from typing import Final

from ztstack.base.address import Address
from ztstack.base.codec import Writer
from ztstack.base.errors import Drop
from ztstack.base.limits import BoundedMap
from ztstack.base.timers import SECOND
from ztstack.base.trace import Tracer
from ztstack.vl1.outbox import Outbox
from ztstack.vl1.path import Path
from ztstack.vl1.peer import Peer
from ztstack.vl1.topology import Topology
from ztstack.wire.header import FLAGS_OFFSET, FRAGMENT_HOPS_OFFSET, HOPS_MASK, increment_hops
from ztstack.wire.rendezvous import Rendezvous
from ztstack.wire.verbs import Verb

HOP_LIMIT: Final = 3
UNITE_US: Final = 30 * SECOND
UNITE_AGAIN_US: Final = 1 * SECOND
"""From a pair's first introduction to its second: who had to ask for the other's identity first
could not use the first one, and official nodes do not keep it."""
UNITE_PAIRS: Final = 65_536
_SCOPES: Final = range(7, -1, -1)


class Relay:
    """Passes packets on without opening them."""

    def __init__(self, topology: Topology, outbox: Outbox, tracer: Tracer) -> None:
        self._topology = topology
        self._outbox = outbox
        self._tracer = tracer
        # When each pair may be introduced again.
        self._unite: BoundedMap[tuple[Address, Address, Path | None, Path | None], int] = (
            BoundedMap(UNITE_PAIRS)
        )

    def forward(
        self, now: int, arrived: Path, data: bytes, destination: Address, source: Address | None
    ) -> None:
        """Pass a packet on, or a fragment, which has no `source`."""
        topology = self._topology
        if source == topology.address:
            self._tracer.drop(Drop.FROM_SELF, "relay")
            return
        if not topology.am_upstream and not arrived.is_trusted(now):
            self._tracer.drop(Drop.NO_RELAY, "relay")
            return
        at = FLAGS_OFFSET if source is not None else FRAGMENT_HOPS_OFFSET
        if data[at] & HOPS_MASK >= HOP_LIMIT:
            self._tracer.drop(Drop.HOP_LIMIT, "relay")
            return
        data = increment_hops(data)
        peer = topology.peers.get(destination)
        path = peer.best_path(now) if peer is not None else None
        if peer is not None and path is not None:
            self._outbox.put(now, path, data)
            if source is not None:
                self._introduce_once(now, source, peer)
            return
        self._forward_upstream(now, data, source)

    def _forward_upstream(self, now: int, data: bytes, source: Address | None) -> None:
        relay = self._topology.best_upstream(now)
        path = relay.best_path(now, expired_too=True) if relay is not None else None
        if relay is None or path is None or relay.address == source:
            self._tracer.drop(Drop.NO_RELAY, "relay")
            return
        self._outbox.put(now, path, data)
        if source is not None:
            self._introduce_once(now, source, relay)

    def _introduce_once(self, now: int, source: Address, destination: Peer) -> None:
        sender = self._topology.peers.get(source)
        if sender is None or sender is destination:
            return
        if source > destination.address:
            one, two = destination, sender
        else:
            one, two = sender, destination
        # A pair of which one has moved is introduced again at once.
        key = (one.address, two.address, one.best_path(now), two.best_path(now))
        due = self._unite.get(key)
        if due is None or now >= due:
            self._unite.set(key, now + (UNITE_AGAIN_US if due is None else UNITE_US))
            self._introduce(now, sender, destination)

    def _introduce(self, now: int, a: Peer, b: Peer) -> None:
        """Tell both where the other is, in the best scope and family that they share."""
        best_a, best_b = _best_by_kind(now, a), _best_by_kind(now, b)
        for scope in _SCOPES:
            for family in (16, 4):
                path_a, path_b = best_a.get((scope, family)), best_b.get((scope, family))
                if path_a is not None and path_b is not None:
                    self._send(now, a, path_a, b, path_b)
                    self._send(now, b, path_b, a, path_a)
                    return

    def _send(self, now: int, to: Peer, on: Path, about: Peer, where: Path) -> None:
        remote = where.key.remote
        w = Writer()
        Rendezvous(about.address, remote.port, remote.ip).encode(w)
        self._outbox.reply(now, to, on, Verb.RENDEZVOUS, w.getvalue())


def _best_by_kind(now: int, peer: Peer) -> dict[tuple[int, int], Path]:
    best: dict[tuple[int, int], tuple[int, Path]] = {}
    for entry in peer.entries:
        path = entry.path
        kind = (int(path.scope), len(path.key.remote.ip))
        quality = path.quality(now) // entry.priority
        if kind not in best or quality < best[kind][0]:
            best[kind] = (quality, path)
    return {kind: path for kind, (_, path) in best.items()}
