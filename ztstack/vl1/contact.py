"""Direct paths: how they are learned, confirmed, offered and kept (vl1 6.4, 6.7, 6.10, 6.12)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from ztstack.base.address import Address
from ztstack.base.codec import Reader, Writer
from ztstack.base.datagram import ALL_SOCKETS, Datagram
from ztstack.base.endpoint import Endpoint, Scope
from ztstack.base.errors import DecodeError, Drop
from ztstack.base.limits import BoundedMap
from ztstack.base.timers import SECOND, earliest
from ztstack.base.trace import Tracer
from ztstack.vl1.events import Event, PathLearned, UpstreamHeard
from ztstack.vl1.hello import HelloExchange
from ztstack.vl1.outbox import Outbox
from ztstack.vl1.path import NEVER, Path, PathKey
from ztstack.vl1.peer import Peer
from ztstack.vl1.surface import Surface
from ztstack.vl1.topology import Topology
from ztstack.wire.rendezvous import CLUSTER_REDIRECT, FORGET, PushDirectPaths, Rendezvous
from ztstack.wire.verbs import Verb

CONFIRM_US: Final = 1 * SECOND
CONFIRM_AGAIN_US: Final = SECOND // 2
"""A path on which no answer came is asked once more, as the question may have been lost."""
UNCONFIRMED_LIMIT: Final = 256
SILENT_US: Final = 1 * SECOND
"""A peer that was silent for so long is watched when something is sent to it."""
ASK_US: Final = SECOND * 3 // 10
"""If it does not answer what was sent, it is asked for a sign of life so often."""
UNANSWERED_US: Final = SECOND * 9 // 10
"""After so long the relay is used; stock nodes stay on a dead path for up to 243 s."""
PUSH_DIRECT_US: Final = 120 * SECOND
PUSH_RELAYED_US: Final = 15 * SECOND
FULL_HELLO_US: Final = 60 * SECOND
PER_SCOPE: Final = 8
WAITING_LIMIT: Final = 64
"""RENDEZVOUS about peers whose identity is still on its way."""
WAITING_US: Final = 5 * SECOND
HOLE_TTL: Final = 2

_ECHO_PROTOCOL: Final = 5
_NONTRIVIAL: Final = frozenset(
    (
        Verb.FRAME,
        Verb.EXT_FRAME,
        Verb.NETWORK_CONFIG_REQUEST,
        Verb.NETWORK_CONFIG,
        Verb.MULTICAST_FRAME,
    )
)


class Contact:
    """Keeps peers reachable, directly where that is possible."""

    def __init__(
        self,
        topology: Topology,
        outbox: Outbox,
        hello: HelloExchange,
        surface: Surface,
        tracer: Tracer,
        events: list[Event],
    ) -> None:
        self._topology = topology
        self._outbox = outbox
        self._hello = hello
        self._surface = surface
        self._tracer = tracer
        self._events = events
        self._local: list[tuple[int, Endpoint]] = []
        # Peers to which we send, and who have not spoken since.
        self._silent: list[Peer] = []
        self._look_at: int | None = None
        # Paths on which somebody spoke who did not answer there yet.
        self._unconfirmed: BoundedMap[PathKey, tuple[int, Peer]] = BoundedMap(UNCONFIRMED_LIMIT)
        self._waiting: BoundedMap[Address, tuple[int, int, Endpoint]] = BoundedMap(WAITING_LIMIT)

    def set_sockets(self, sockets: list[tuple[int, Endpoint]]) -> None:
        self._local = sockets

    # Bookkeeping after every authentic packet.

    def received(
        self, now: int, peer: Peer, key: PathKey, hops: int, verb: int, *, trusted: bool = False
    ) -> None:
        """Note that a peer spoke; adopt, confirm or offer paths (vl1 section 6.4)."""
        if peer.is_suspect or (
            peer.last_receive == NEVER and self._topology.is_upstream(peer.address)
        ):
            peer.is_suspect = False
            self._events.append(UpstreamHeard(peer.address))
        peer.last_receive = now
        if verb in _NONTRIVIAL:
            peer.last_nontrivial = now
        path = self._topology.path(*key)
        if trusted:
            peer.last_trust = path.last_trusted_in = now
        if hops == 0:
            self._received_directly(now, peer, path, verb)
        else:
            peer.expect_copies()
            # Why by a relay? Perhaps the peer has moved, and a path of ours leads nowhere.
            for entry in peer.entries if not peer.is_bonded else ():
                if entry.doubt(now):
                    self.probe(now, peer, *entry.path.key)
        pause = PUSH_DIRECT_US if hops == 0 else PUSH_RELAYED_US
        if peer.is_trusted(now) and now - peer.last_direct_push >= pause:
            peer.last_direct_push = now
            self._push(now, peer, path)

    def _received_directly(self, now: int, peer: Peer, path: Path, verb: int) -> None:
        entry = peer.find(path)
        if entry is None:
            peer.expect_copies()
        else:
            if entry.doubted_at is None or verb == Verb.OK:
                entry.refresh(now)
            elif now - path.last_confirm >= CONFIRM_US:
                # It leads here, which does not say that it leads there.
                path.last_confirm = path.last_out = now
                self.probe(now, peer, *path.key)
            return
        if not self._topology.is_acceptable(peer.address, path.key.remote):
            return
        if verb == Verb.OK:
            self._unconfirmed.pop(path.key)
            if peer.learn(now, path):
                self._events.append(PathLearned(peer.address, path.key.remote))
        elif now - path.last_confirm >= CONFIRM_US:
            # Only an answer teaches a path: ask.
            path.last_confirm = path.last_out = now
            self._hello.send(now, peer, path.key.socket, path.key.remote)
            self._unconfirmed.set(path.key, (now + CONFIRM_AGAIN_US, peer))
            self._look_at = earliest(self._look_at, now + CONFIRM_AGAIN_US)

    def _push(self, now: int, peer: Peer, path: Path) -> None:
        """Tell a peer where we can be reached."""
        own = [endpoint for _, endpoint in self._local]
        endpoints = [
            endpoint
            for endpoint in dict.fromkeys((*own, *self._surface.endpoints(now)))
            if self._may_offer(endpoint)
        ]
        for message in PushDirectPaths.split(endpoints):
            w = Writer()
            message.encode(w)
            self._outbox.reply(now, peer, path, Verb.PUSH_DIRECT_PATHS, w.getvalue())

    def _may_offer(self, endpoint: Endpoint) -> bool:
        return self._topology.is_acceptable(self._topology.address, endpoint)

    # Probes.

    def probe(self, now: int, peer: Peer, socket: int, remote: Endpoint) -> None:
        """Ask a peer for a sign of life at `remote`; ECHO if it is known to answer it."""
        if peer.last_probe <= peer.last_receive and self._topology.is_upstream(peer.address):
            peer.last_probe = now
        if peer.protocol < _ECHO_PROTOCOL or (peer.major, peer.minor, peer.revision) == (1, 1, 0):
            self._hello.send(now, peer, socket, remote)
            return
        try:
            packet = self._outbox.seal(peer, Verb.ECHO, b"")
        except DecodeError:
            return
        self._outbox.expect(now, packet)
        self._outbox.put_raw(Datagram(socket, remote, packet))

    def seek(self, now: int, peer: Peer) -> None:
        """Look after the way to a peer that is being sent to.

        One that was met in an earlier run gets HELLO where it was, once. One that is silent is
        asked for a sign of life, and gets its packets by way of a relay until it gives one.
        """
        if not peer.entries:
            if peer.cached:
                endpoints, peer.cached = peer.cached, []
                self.greet(now, peer, endpoints)
        elif (
            now - peer.last_receive >= SILENT_US
            and peer.last_probe <= peer.last_receive
            and not peer.is_bonded
            and not self._topology.is_upstream(peer.address)
        ):
            peer.last_probe = now
            self._silent.append(peer)
            self._look_at = earliest(self._look_at, now + ASK_US)

    def handle_timer(self, now: int) -> None:
        """Ask those who did not answer what was sent to them, and doubt the paths to them."""
        if self._look_at is None or self._look_at > now:
            return
        self._look_at = None
        for key, (due, peer) in self._unconfirmed.items():
            # In the order of time, as each has the same to wait.
            if due > now:
                self._look_at = due
                break
            self._unconfirmed.pop(key)
            self._hello.send(now, peer, key.socket, key.remote)
        silent = [peer for peer in self._silent if peer.last_receive < peer.last_probe]
        self._silent = []
        for peer in silent:
            is_lost = now - peer.last_probe >= UNANSWERED_US
            if not is_lost:
                self._silent.append(peer)
            for entry in peer.entries:
                if is_lost and entry.doubted_at is None:
                    entry.doubted_at = now
                self.probe(now, peer, *entry.path.key)
        if self._silent:
            self._look_at = earliest(self._look_at, now + ASK_US)

    def next_timer(self) -> int | None:
        return self._look_at

    def keep_alive(self, now: int, peer: Peer, *, often: bool = False) -> frozenset[int]:
        """Speak on every path; return the lengths of the IP addresses that were used."""
        full = now - peer.last_full_hello >= FULL_HELLO_US
        if full:
            peer.last_full_hello = now
        peer.prune(now)
        used = set()
        for entry in peer.entries:
            path = entry.path
            if full:
                self._hello.send(now, peer, *path.key)
            elif often or path.needs_heartbeat(now):
                self.probe(now, peer, *path.key)
            else:
                used.add(len(path.key.remote.ip))
                continue
            path.last_out = now
            used.add(len(path.key.remote.ip))
        return frozenset(used)

    def probe_all(self, now: int) -> None:
        """Speak on every path that is in use, so that peers see from where."""
        for peer in self._topology.peers.values():
            if peer.is_active(now):
                for entry in peer.entries:
                    self.probe(now, peer, *entry.path.key)
                    entry.path.last_out = now

    def reset_scope(self, now: int, scope: Scope, ip_bytes: int) -> None:
        """Our external address changed: ask on every path of its kind again (vl1 6.11)."""
        for peer in self._topology.peers.values():
            for entry in peer.entries:
                remote = entry.path.key.remote
                if remote.scope is scope and len(remote.ip) == ip_bytes:
                    self.probe(now, peer, *entry.path.key)
                    entry.path.last_out = now
                    entry.last_receive = NEVER

    # RENDEZVOUS and PUSH_DIRECT_PATHS.

    def receive_rendezvous(self, now: int, sender: Peer, key: PathKey, payload: bytes) -> None:
        if not self._topology.is_upstream(sender.address):
            self._tracer.drop(Drop.NOT_UPSTREAM, "rendezvous")
            return
        message = Rendezvous.decode(Reader(payload))
        if not self._topology.is_acceptable(message.peer, message.endpoint):
            self._tracer.drop(Drop.BAD_ENDPOINT, "rendezvous")
            return
        peer = self._topology.peers.get(message.peer)
        if peer is None:
            # The callee often gets this before the caller's identity; the next comes in 30 s.
            self._waiting.set(message.peer, (now, key.socket, message.endpoint))
            return
        self._meet(now, peer, key.socket, message.endpoint)

    def _meet(self, now: int, peer: Peer, socket: int, remote: Endpoint) -> None:
        # A datagram that dies on the way opens our NAT for the peer's.
        hole = Datagram(socket, remote, self._outbox.random8()[:4], ttl=HOLE_TTL)
        self._outbox.put_raw(hole)
        self.probe(now, peer, socket, remote)

    def identity_learned(self, now: int, peer: Peer) -> None:
        waiting = self._waiting.pop(peer.address)
        if waiting is not None and now - waiting[0] < WAITING_US:
            self._meet(now, peer, waiting[1], waiting[2])

    def receive_push(self, now: int, peer: Peer, key: PathKey, payload: bytes) -> None:
        message = PushDirectPaths.decode(Reader(payload))
        if not peer.allow_push(now):
            self._tracer.drop(Drop.RATE_LIMITED, "push direct paths")
            return
        counts: Counter[tuple[Scope, int]] = Counter()
        known = {entry.path.key.remote for entry in peer.entries if not entry.is_expired(now)}
        for pushed in message.paths:
            remote = pushed.endpoint
            if pushed.flags & FORGET or not self._topology.is_acceptable(peer.address, remote):
                continue
            if pushed.flags & CLUSTER_REDIRECT:
                self._redirect(now, peer, key, remote)
                continue
            kind = (remote.scope, len(remote.ip))
            if remote in known or counts[kind] >= PER_SCOPE:
                continue
            counts[kind] += 1
            self.probe(now, peer, ALL_SOCKETS, remote)

    def _redirect(self, now: int, peer: Peer, key: PathKey, remote: Endpoint) -> None:
        """Move to the member of a cluster that a peer names (vl1 section 6.12)."""
        entry = peer.find(self._topology.path(*key))
        priority = (entry.priority if entry is not None else 1) + 2
        peer.entries = [e for e in peer.entries if e.priority >= priority]
        self._hello.send(now, peer, key.socket, remote)
        peer.learn(now, self._topology.path(key.socket, remote), priority)

    def greet_seed(self, now: int, peer: Peer) -> None:
        """Say HELLO to a root of a moon that is wanted."""
        # Before it has a path, this is relayed; KeepAlive says it again.
        path = self._topology.route(now, peer)
        if path is not None:
            self._hello.send(now, peer, *path.key)

    def greet(self, now: int, peer: Peer, endpoints: Iterable[Endpoint]) -> None:
        """Say HELLO to addresses that the peer may have."""
        for endpoint in endpoints:
            self._hello.send(now, peer, ALL_SOCKETS, endpoint)
