"""Regular work: upstreams contacted, active peers kept, silence noticed (vl1 section 6.7)."""

from __future__ import annotations

from typing import Final

from ztstack.base.datagram import ALL_SOCKETS
from ztstack.base.entropy import Entropy
from ztstack.base.timers import SECOND
from ztstack.vl1.contact import Contact
from ztstack.vl1.events import Event, OnlineChanged
from ztstack.vl1.hello import HelloExchange
from ztstack.vl1.peer import Peer
from ztstack.vl1.topology import UPSTREAM_SILENT_US, Topology
from ztstack.vl1.whois import WhoisExchange

TICK_US: Final = 5 * SECOND
UPSTREAM_ECHO_US: Final = 10 * SECOND
"""How often an upstream is asked for a sign of life; stock nodes send it a WHOIS every 5 s."""
BEST_ECHO_US: Final = 3 * SECOND
"""The same for the one that relays and answers questions, so that its death is soon noticed."""
ANSWER_US: Final = 1 * SECOND
"""An upstream that does not answer for so long is passed over, and greeted anew."""
GREET_AGAIN_US: Final = 1 * SECOND
UPSTREAM_HELLO_US: Final = 224 * SECOND
UPSTREAM_LOST_US: Final = 12 * SECOND
"""After this silence an upstream gets HELLO instead of ECHO: it may have been restarted."""
FIRST_HELLOS_US: Final = (0, SECOND // 4, SECOND, 2 * SECOND, 3 * SECOND, 5 * SECOND)
"""When upstreams are greeted after the start, until one answers; stock nodes wait 5 s."""
ALWAYS_CONTACT_US: Final = 28 * SECOND
HINTS_LIMIT: Final = 8
RETURN_GREETINGS: Final = 32
"""Peers of an earlier run that are greeted at the start: stock nodes would go on sending to the
port of that run until they have heard nothing from there for 19 s or longer."""


class KeepAlive:
    """Keeps this node online."""

    def __init__(  # noqa: PLR0913, PLR0917 - the parts it drives
        self,
        now: int,
        topology: Topology,
        hello: HelloExchange,
        contact: Contact,
        whois: WhoisExchange,
        entropy: Entropy,
        events: list[Event],
    ) -> None:
        self._topology = topology
        self._hello = hello
        self._contact = contact
        self._whois = whois
        self._entropy = entropy
        self._events = events
        self._started = now
        self._first = 0
        self._tick_at = now + TICK_US
        self._watch_at = now + BEST_ECHO_US
        self.is_online = False

    def restart(self, now: int) -> None:
        """Greet the upstreams again at once: the sockets or the planet have changed."""
        self._started = now
        self._first = 0

    def heard(self, peer: Peer) -> None:
        """Note that an upstream spoke."""
        if not self.is_online and self._topology.is_upstream(peer.address):
            self._set_online(online=True)

    def _set_online(self, *, online: bool) -> None:
        if online != self.is_online:
            self.is_online = online
            self._events.append(OnlineChanged(online))

    def handle_timer(self, now: int) -> None:
        if self._first < len(FIRST_HELLOS_US) and self._first_at() <= now:
            if self._first == 0:
                self._greet_known(now)
            while self._first < len(FIRST_HELLOS_US) and self._first_at() <= now:
                self._first += 1
            for address in self._topology.roots:
                peer = self._topology.peers.get(address)
                if peer is not None and peer.last_receive < self._started:
                    self._greet(now, peer, frozenset())
        if self._tick_at <= now:
            self._tick_at = now + TICK_US
            self._tick(now)
        if self._watch_at <= now:
            self._watch_at = self._watch(now)

    def _greet_known(self, now: int) -> None:
        topology = self._topology
        if topology.am_upstream:
            return  # Its clients look after it, and they are many.
        silent = [
            peer
            for peer in topology.peers.values()
            if peer.cached and not peer.entries and peer.address not in topology.roots
        ]
        for peer in silent[:RETURN_GREETINGS]:
            self._contact.greet(now, peer, peer.cached)

    def _watch(self, now: int) -> int:
        """Ask the best upstream for a sign of life; return when to look again."""
        soonest = now + BEST_ECHO_US
        for address in self._topology.roots:
            peer = self._topology.peers.get(address)
            if peer is None or peer.last_probe <= peer.last_receive:
                continue
            # A question is open.
            due = peer.last_probe + ANSWER_US
            if due > now:
                soonest = min(soonest, due)
                continue
            peer.is_suspect = True
            if now - peer.last_probe < UPSTREAM_LOST_US:
                # It may have been restarted, and forgotten us: HELLO makes us known again.
                self._greet(now, peer, frozenset())
                soonest = min(soonest, now + GREET_AGAIN_US)
        best = self._topology.best_upstream(now)
        if best is None or not best.entries or best.is_suspect:
            return soonest
        due = best.last_receive + BEST_ECHO_US
        if due > now:
            return min(soonest, due)
        if best.last_probe <= best.last_receive:
            best.last_probe = now
        for entry in best.entries:
            self._contact.probe(now, best, *entry.path.key)
            entry.path.last_out = now
        return min(soonest, now + ANSWER_US)

    def _first_at(self) -> int:
        return self._started + FIRST_HELLOS_US[self._first]

    def next_timer(self) -> int:
        due = min(self._watch_at, self._tick_at)
        if self._first < len(FIRST_HELLOS_US):
            return min(self._first_at(), due)
        return due

    def _tick(self, now: int) -> None:
        topology = self._topology
        heard = [p for p in map(topology.peers.get, topology.roots) if p is not None]
        online = topology.am_upstream or any(
            now - peer.last_receive < UPSTREAM_SILENT_US for peer in heard
        )
        self._set_online(online=online)
        for peer in list(topology.peers.values()):
            if topology.is_upstream(peer.address):
                self._keep_upstream(now, peer)
            elif peer.address in topology.always_contact:
                if now - peer.last_full_hello > ALWAYS_CONTACT_US:
                    self._greet_relayed(now, peer, self._contact.keep_alive(now, peer))
            elif peer.is_active(now):
                self._contact.keep_alive(now, peer)
        for address in topology.always_contact:
            if address not in topology.peers:
                self._whois.request(now, address)

    def _keep_upstream(self, now: int, peer: Peer) -> None:
        silence = now - peer.last_receive
        if not peer.entries or silence >= UPSTREAM_LOST_US:
            peer.prune(now)
            self._greet(now, peer, frozenset())
        elif now - peer.last_full_hello >= UPSTREAM_HELLO_US:
            self._greet(now, peer, self._contact.keep_alive(now, peer))
        elif silence >= UPSTREAM_ECHO_US - TICK_US:
            if peer.last_probe <= peer.last_receive:
                peer.last_probe = now
            self._watch_at = min(self._watch_at, now + ANSWER_US)
            for entry in peer.entries:
                self._contact.probe(now, peer, *entry.path.key)
                entry.path.last_out = now

    def _greet(self, now: int, peer: Peer, used: frozenset[int]) -> None:
        """Say HELLO at one random endpoint of each family that was not used, and at the hints."""
        root = self._topology.roots[peer.address]
        hints = self._topology.physical.hints.get(peer.address, ())[:HINTS_LIMIT]
        contacted = bool(used)
        for ip_bytes in {4, 16} - used:
            chosen = [e for e in hints if len(e.ip) == ip_bytes]
            endpoints = [e for e in root.endpoints if len(e.ip) == ip_bytes]
            if endpoints:
                chance = int.from_bytes(self._entropy.take(2), "big")
                chosen.append(endpoints[chance % len(endpoints)])
            for endpoint in chosen:
                self._hello.send(now, peer, ALL_SOCKETS, endpoint)
                peer.last_full_hello = now
                contacted = True
        if not contacted:
            self._greet_relayed(now, peer, used)

    def _greet_relayed(self, now: int, peer: Peer, used: frozenset[int]) -> None:
        if used:
            return
        relay = self._topology.best_upstream(now)
        path = relay.best_path(now, expired_too=True) if relay is not None else None
        if relay is not peer and path is not None:
            self._hello.send(now, peer, *path.key)
            peer.last_full_hello = now
