"""Strangers' identities asked for, and the messages that wait for them (vl1 4.6 and 6.5)."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Final, NamedTuple

from ztstack.base.address import Address
from ztstack.base.codec import Reader, Writer
from ztstack.base.errors import DecodeError, Drop
from ztstack.base.timers import SECOND, earliest
from ztstack.base.trace import Tracer
from ztstack.crypto.identity import Identity
from ztstack.vl1.outbox import Outbox
from ztstack.vl1.path import PathKey
from ztstack.vl1.peer import Peer
from ztstack.vl1.topology import Topology
from ztstack.wire.replies import Ok
from ztstack.wire.verbs import Verb
from ztstack.wire.whois import Whois, WhoisOk

QUEUE_LIMIT: Final = 32
"""Messages of ours that wait for an identity or a path; the oldest is dropped first."""
HELD_LIMIT: Final = 32
"""Packets of strangers that wait for the key that opens them."""
WANTED_LIMIT: Final = 256
"""Addresses whose identity is asked for again and again."""
QUEUE_US: Final = 5 * SECOND
RETRY_US: Final = SECOND // 2
_ANSWER_LIMIT: Final = 64


class Queued(NamedTuple):
    """A message of ours that could not be sent yet."""

    at: int
    destination: Address
    verb: int
    payload: bytes
    compress: bool


class Held(NamedTuple):
    """A packet for us that cannot be opened yet."""

    at: int
    source: Address
    path: PathKey
    packet: bytes


class WhoisExchange:
    """Asks the best upstream who has an address, and keeps what waits for the answer."""

    def __init__(self, topology: Topology, outbox: Outbox, tracer: Tracer) -> None:
        self._topology = topology
        self._outbox = outbox
        self._tracer = tracer
        self._queue: deque[Queued] = deque()
        self._held: deque[Held] = deque()
        # Address to the time of the last question and the time since when it is wanted.
        self._wanted: OrderedDict[Address, tuple[int, int]] = OrderedDict()
        self._tried_at = 0

    # Waiting.

    def queue(self, message: Queued) -> None:
        if len(self._queue) >= QUEUE_LIMIT:
            self._queue.popleft()
            self._tracer.drop(Drop.QUEUE_FULL, "whois")
        self._queue.append(message)

    def hold(self, packet: Held) -> None:
        if len(self._held) >= HELD_LIMIT:
            self._held.popleft()
            self._tracer.drop(Drop.QUEUE_FULL, "whois")
        self._held.append(packet)

    @property
    def is_waiting(self) -> bool:
        return bool(self._queue or self._held or self._wanted)

    def take_queued(self, now: int) -> list[Queued]:
        """Return what waits to be sent; the owner queues again what still cannot be."""
        self._tried_at = now
        queued, self._queue = list(self._queue), deque()
        return [m for m in queued if self._is_fresh(now, m.at)]

    def take_held(self, now: int) -> list[Held]:
        """Return the packets whose senders are known by now."""
        ready = []
        waiting: deque[Held] = deque()
        for held in self._held:
            if held.source in self._topology.peers:
                ready.append(held)
            elif self._is_fresh(now, held.at):
                waiting.append(held)
        self._held = waiting
        return ready

    def _is_fresh(self, now: int, at: int) -> bool:
        if now - at < QUEUE_US:
            return True
        self._tracer.drop(Drop.QUEUE_TIMEOUT, "whois")
        return False

    # Asking.

    def request(self, now: int, address: Address) -> None:
        """Ask for an identity, and go on asking for as long as a message may wait."""
        if address == self._topology.address or address.is_reserved:
            return
        wanted = self._wanted.get(address)
        if wanted is None:
            if len(self._wanted) >= WANTED_LIMIT:
                self._wanted.popitem(last=False)
            self._wanted[address] = (now, now)
            self._ask(now, address)
        elif now - wanted[0] >= RETRY_US:
            self._wanted[address] = (now, now)
            self._wanted.move_to_end(address)
            self._ask(now, address)
        else:
            self._wanted[address] = (wanted[0], now)

    def _ask(self, now: int, address: Address) -> None:
        upstream = self._topology.best_upstream(now)
        if upstream is None or upstream.address == address:
            return
        w = Writer()
        Whois((address,)).encode(w)
        self._outbox.send(now, upstream, Verb.WHOIS, w.getvalue(), compress=False)

    def handle_timer(self, now: int) -> None:
        """Ask again for what is still wanted (vl1 section 6.5)."""
        for address, (asked, since) in list(self._wanted.items()):
            if now - asked < RETRY_US:
                # The others were asked for later.
                break
            del self._wanted[address]
            if address not in self._topology.peers and now - since < QUEUE_US:
                self._wanted[address] = (now, since)
                self._ask(now, address)

    def ask_now(self, now: int) -> None:
        """Ask at once what had nowhere to go before an upstream became reachable."""
        for address, (_, since) in list(self._wanted.items()):
            if address not in self._topology.peers:
                self._wanted[address] = (now, since)
                self._wanted.move_to_end(address)
                self._ask(now, address)

    def next_timer(self) -> int | None:
        if not self.is_waiting:
            return None
        # The first was asked for before all others.
        asked = next((at + RETRY_US for at, _ in self._wanted.values()), None)
        if self._queue or self._held:
            return earliest(asked, self._tried_at + RETRY_US)
        return asked

    # Answers.

    def receive(self, now: int, peer: Peer, path: PathKey, packet_id: int, payload: bytes) -> bool:
        """Answer WHOIS; False if the rate gate refused it (vl1 section 4.6)."""
        unlimited = self._topology.am_upstream or self._topology.is_upstream(peer.address)
        if not unlimited and not peer.allow_whois(now):
            self._tracer.drop(Drop.RATE_LIMITED, "whois")
            return False
        found: list[Identity] = []
        for address in Whois.decode(Reader(payload)).addresses[:_ANSWER_LIMIT]:
            known = self._topology.peers.get(address)
            if address == self._topology.address:
                found.append(self._topology.identity.public)
            elif known is not None:
                found.append(known.identity)
            elif self._topology.best_upstream(now) is not peer:
                self.request(now, address)
        if found:
            body = Writer()
            WhoisOk(tuple(found)).encode(body)
            w = Writer()
            Ok(Verb.WHOIS, packet_id, body.getvalue()).encode(w)
            self._outbox.reply(now, peer, self._topology.path(*path), Verb.OK, w.getvalue())
        return True

    def receive_ok(self, now: int, peer: Peer, ok: Ok) -> list[Peer]:
        """Take identities from an upstream; return the peers that are new."""
        if not self._topology.is_upstream(peer.address):
            self._tracer.drop(Drop.NOT_UPSTREAM, "whois")
            return []
        learned = []
        for identity in WhoisOk.decode(Reader(ok.body)).identities[:_ANSWER_LIMIT]:
            wanted = self._wanted.pop(identity.address, None)
            if wanted is None or identity.address in self._topology.peers:
                continue
            if identity.address.is_reserved:
                raise DecodeError("an identity with a reserved address")
            learned.append(self._topology.add(now, identity))
        return learned
