"""Who is known and where: peers, paths, the planet, upstreams, and what may be a path."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, NamedTuple

from ztstack.base.address import Address
from ztstack.base.endpoint import Endpoint, Scope
from ztstack.base.timers import SECOND
from ztstack.crypto.identity import Identity
from ztstack.vl1.chooser import PathChooser
from ztstack.vl1.path import NEVER, Path, PathKey
from ztstack.vl1.peer import PATH_EXPIRY_US, Peer
from ztstack.vl1.policy import PhysicalPolicy, in_subnet
from ztstack.vl1.worlds import Worlds
from ztstack.wire.world import Root, World

PEERS_LIMIT: Final = 16_384
PATHS_LIMIT: Final = 32_768
UPSTREAM_SILENT_US: Final = 35 * SECOND
"""An upstream that missed three keep-alives is relayed through only if no other is heard."""

_PATH_SCOPES: Final = frozenset((Scope.PSEUDO_PRIVATE, Scope.GLOBAL, Scope.SHARED, Scope.PRIVATE))
# Addresses of a tunnel broker, which the protocol never uses (vl1 section 6.10).
_REFUSED_PREFIX: Final = bytes.fromhex("20010470")


class PathPolicy(NamedTuple):
    """What differs from the official rules; `allow_loopback` makes a lab on one machine work."""

    allow_loopback: bool = False


class Topology:
    """The tables of VL1."""

    def __init__(self, now: int, identity: Identity, planet: World, policy: PathPolicy) -> None:
        self.identity = identity
        self.address = identity.address
        self.policy = policy
        self.physical = PhysicalPolicy()
        self.worlds = Worlds(planet)
        self.peers: dict[Address, Peer] = {}
        # By what equals a PathKey, and is made sooner.
        self.paths: dict[tuple[int, Endpoint], Path] = {}
        self.roots: dict[Address, Root] = {}
        self.am_upstream = False
        self.chooser: PathChooser | None = None
        self.always_contact: frozenset[Address] = frozenset()
        self._anywhere: frozenset[Address] = frozenset()
        self._contacts: frozenset[Address] = frozenset()
        self._forbidden: list[tuple[bytes, int]] = []
        self._adopt(now)

    # Worlds.

    @property
    def world(self) -> World:
        return self.worlds.planet

    def _adopt(self, now: int) -> None:
        """Work out anew who is an upstream: the planet's roots, then those of the moons."""
        self.roots = {}
        self.am_upstream = False
        anywhere = set()
        for root in self.worlds.roots():
            address = root.identity.address
            if root.identity == self.identity.public:
                self.am_upstream = True
            if address == self.address:
                continue
            if not root.endpoints:
                anywhere.add(address)
            listed = self.roots.get(address)
            if listed is not None:
                both = dict.fromkeys((*listed.endpoints, *root.endpoints))
                root = replace(listed, endpoints=tuple(both))  # noqa: PLW2901
            self.roots[address] = root
            if address not in self.peers:
                self.add(now, root.identity)
        self._anywhere = frozenset(anywhere)
        self._refresh_contacts()

    def offer(self, now: int, world: World) -> bool:
        """Take a planet or moon that the network gave, if the rules allow (vl1 section 5.4)."""
        if not self.worlds.offer(world):
            return False
        self._adopt(now)
        return True

    def load_moon(self, now: int, moon: World) -> bool:
        """Take a moon from this machine's files."""
        if not self.worlds.load(moon):
            return False
        self._adopt(now)
        return True

    def orbit(self, moon_id: int, seed: Address) -> None:
        self.worlds.orbit(moon_id, seed)
        self._refresh_contacts()

    def deorbit(self, now: int, moon_id: int) -> bool:
        if not self.worlds.deorbit(moon_id):
            return False
        self._adopt(now)
        return True

    def is_seed(self, address: Address) -> bool:
        """Tell whether a node is to give us a moon."""
        return address in self.worlds.wanted.values()

    def set_contacts(self, addresses: frozenset[Address]) -> None:
        """Name peers that are kept reachable without traffic, besides upstreams and seeds."""
        self._contacts = addresses
        self._refresh_contacts()

    def _refresh_contacts(self) -> None:
        self.always_contact = self._contacts | frozenset(self.worlds.wanted.values())

    # Upstreams.

    def is_upstream(self, address: Address) -> bool:
        return address in self.roots

    def best_upstream(self, now: int) -> Peer | None:
        """Return the upstream that relays and answers WHOIS; ties go to the larger address."""
        best: Peer | None = None
        best_rank: tuple[bool, int] = (True, 0)
        for address in sorted(self.roots):
            peer = self.peers.get(address)
            if peer is None:
                continue
            silent = peer.is_suspect or now - peer.last_receive >= UPSTREAM_SILENT_US
            rank = (silent, peer.relay_quality(now))
            if best is None or rank <= best_rank:
                best, best_rank = peer, rank
        return best

    # Peers.

    def add(self, now: int, identity: Identity) -> Peer:
        """Make a peer of an identity; an existing one is kept."""
        peer = self.peers.get(identity.address)
        if peer is None:
            if len(self.peers) >= PEERS_LIMIT:
                self._evict_one()
            peer = Peer(now, self.identity, identity.public)
            self.peers[peer.address] = peer
        return peer

    def restore(self, peer: Peer) -> None:
        """Put a peer of the cache into the table unless it is known."""
        if peer.address == self.address or len(self.peers) >= PEERS_LIMIT:
            return
        known = self.peers.get(peer.address)
        if known is None:
            self.peers[peer.address] = peer
        elif known.identity == peer.identity and not known.protocol:
            known.set_version(peer.protocol, peer.major, peer.minor, peer.revision)
            known.cached = peer.cached

    def records(self) -> dict[Address, bytes]:
        """Return what `restore` may be given at a later start.

        Of a restored peer that has not spoken since, nothing is known that its record lacks.
        """
        return {
            p.address: p.encode_record()
            for p in self.peers.values()
            if p.protocol and (p.cached or p.last_receive != NEVER)
        }

    def _evict_one(self) -> None:
        candidates = (p for p in self.peers.values() if p.address not in self.roots)
        oldest = min(candidates, key=lambda p: max(p.last_receive, p.created), default=None)
        if oldest is not None:
            del self.peers[oldest.address]

    # Paths.

    def path(self, socket: int, remote: Endpoint) -> Path:
        path = self.paths.get((socket, remote))
        if path is None:
            key = PathKey(socket, remote)
            if len(self.paths) >= PATHS_LIMIT:
                self._drop_paths()
            path = self.paths[key] = Path(key)
        return path

    def _drop_paths(self) -> None:
        """Keep the paths that peers use, and the younger half of the others."""
        used = self._used_paths()
        others = [path for key, path in self.paths.items() if key not in used]
        others.sort(key=lambda path: path.last_in)
        kept = others[len(others) // 2 :] if len(used) < PATHS_LIMIT // 2 else []
        self.paths = used | {path.key: path for path in kept}

    def _used_paths(self) -> dict[tuple[int, Endpoint], Path]:
        return {e.path.key: e.path for peer in self.peers.values() for e in peer.entries}

    def route(self, now: int, peer: Peer) -> Path | None:
        """Choose the physical path of a packet to `peer` (vl1 section 6.6)."""
        chooser = self.chooser
        if chooser is not None and chooser.has(peer):
            path = chooser.route(now, peer)
        else:
            path = peer.best_path(now)
        return path or self.relay_route(now, peer) or peer.best_path(now, expired_too=True)

    def relay_route(self, now: int, peer: Peer) -> Path | None:
        """Return the path to the upstream that would relay to `peer`."""
        relay = self.best_upstream(now)
        return relay.best_path(now) if relay is not None and relay is not peer else None

    def set_forbidden(self, networks: list[tuple[bytes, int]]) -> None:
        self._forbidden = networks

    def is_acceptable(self, address: Address, remote: Endpoint) -> bool:
        """Tell whether `remote` may become a path to the node (vl1 section 6.10)."""
        ip, scope = remote.ip, remote.scope
        if scope not in _PATH_SCOPES and not (
            self.policy.allow_loopback and scope is Scope.LOOPBACK
        ):
            return False
        if not remote.port or ip.startswith(_REFUSED_PREFIX):
            return False
        root = self.roots.get(address)
        limited = root is not None and address not in self._anywhere
        if root is not None and limited and all(e.ip != ip for e in root.endpoints):
            return False
        if self.physical.refuses(address, remote):
            return False
        return not any(in_subnet(ip, net, bits) for net, bits in self._forbidden)

    # Housekeeping.

    def clean(self, now: int) -> None:
        """Forget silent peers and unused paths (vl1 section 6.2).

        A root keeps whom it knows as long as the table has room, because a restarted client is
        reached sooner by a root that knows it.
        """
        if not self.am_upstream:
            for address, peer in list(self.peers.items()):
                fresh = peer.is_alive(now) or now - peer.created < PATH_EXPIRY_US
                if not fresh and address not in self.roots and not peer.cached:
                    del self.peers[address]
        for peer in self.peers.values():
            if peer.duplicates is not None:
                peer.duplicates.age()
        used = self._used_paths()
        for key, path in list(self.paths.items()):
            if key not in used and not path.is_alive(now):
                del self.paths[key]
