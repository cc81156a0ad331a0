"""The VL1 machine: datagrams in, messages out; messages in, datagrams out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

from ztstack.base.address import Address
from ztstack.base.codec import Reader, Writer
from ztstack.base.datagram import Datagram
from ztstack.base.endpoint import Endpoint, Scope
from ztstack.base.entropy import Entropy
from ztstack.base.errors import DecodeError, Drop
from ztstack.base.timers import SECOND
from ztstack.base.trace import Tracer
from ztstack.crypto.aes_gmac_siv import AesGmacSiv
from ztstack.crypto.identity import Identity
from ztstack.vl1.armor import open_packet
from ztstack.vl1.contact import Contact
from ztstack.vl1.echo import echo_reply
from ztstack.vl1.events import Event, IdentityCollision, IdentityLearned, Inbound, InboundBurst
from ztstack.vl1.hello import HelloExchange
from ztstack.vl1.hints import Hints
from ztstack.vl1.intake import Intake
from ztstack.vl1.keepalive import KeepAlive
from ztstack.vl1.outbox import Outbox
from ztstack.vl1.path import Path, PathKey
from ztstack.vl1.peer import Peer
from ztstack.vl1.pile import open_pile
from ztstack.vl1.policy import PhysicalPolicy
from ztstack.vl1.relay import Relay
from ztstack.vl1.status import PeerStatus
from ztstack.vl1.surface import Surface
from ztstack.vl1.topology import PathPolicy, Topology
from ztstack.vl1.train import PREFIX_BYTES, Opened, burst_of, may_open, open_train
from ztstack.vl1.views import Views
from ztstack.vl1.ways import Ways
from ztstack.vl1.whois import Held, Queued, WhoisExchange
from ztstack.wire.compression import decompress
from ztstack.wire.header import (
    COMPRESSED,
    ENVELOPE_OFFSET,
    FLAGS_OFFSET,
    HOPS_MASK,
    SUITE_POLY1305,
    SUITE_TRUSTED,
    Header,
    decode_header,
)
from ztstack.wire.replies import Error, Ok
from ztstack.wire.verbs import PROTOCOL_AES, VERB_MASK, ErrorCode, Verb
from ztstack.wire.world import World

__all__ = ["Inbound", "InboundBurst", "PathPolicy", "PeerStatus", "Switch"]

HOUSEKEEPING_US: Final = 30 * SECOND
INBOUND_LIMIT: Final = 4096
_address_of: Final = lru_cache(maxsize=1024)(Address.from_bytes5)
"""Messages that the owner has not taken yet."""


class Switch(Views):
    """Carries authentic messages between node addresses over whatever path there is."""

    def __init__(
        self,
        now: int,
        identity: Identity,
        planet: World,
        entropy: Entropy,
        tracer: Tracer,
        policy: PathPolicy = PathPolicy(),  # noqa: B008 - an immutable value
    ) -> None:
        self._now = now
        self._tracer = tracer
        self._events: list[Event] = []
        self._inbound: list[Inbound | InboundBurst] = []
        self._topology = Topology(now, identity, planet, policy)
        self._outbox = Outbox(self._topology, entropy, tracer)
        self._surface = Surface()
        parts = (self._topology, self._outbox)
        self._hello = HelloExchange(*parts, self._surface, tracer, self._events)
        self._contact = Contact(*parts, self._hello, self._surface, tracer, self._events)
        self._whois = WhoisExchange(*parts, tracer)
        self.ways = Ways(*parts, self._hello, self._contact, tracer)
        self._intake = Intake(*parts, Relay(*parts, tracer), tracer)
        self._hints = Hints(self._topology, self._contact, entropy)
        self._keepalive = KeepAlive(
            now, self._topology, self._hello, self._contact, self._whois, entropy, self._events
        )
        self._timed = self.ways, self._keepalive, self._contact, self._whois
        self._me = identity.address.packed
        self._housekeeping_at = now + HOUSEKEEPING_US
        self._handlers: dict[int, Callable[[int, Peer, Inbound], None]] = {
            Verb.NOP: self._receive_other,
            # HELLO is never encrypted; one that is counts as nothing but a sign of life.
            Verb.HELLO: self._receive_other,
            Verb.ERROR: self._receive_error,
            Verb.OK: self._receive_ok,
            Verb.WHOIS: self._receive_whois,
            Verb.RENDEZVOUS: self._receive_rendezvous,
            Verb.ECHO: self._receive_echo,
            Verb.PUSH_DIRECT_PATHS: self._receive_push,
            # What bonds say is no sign of life, and nobody speaks ACK (vl1 section 4.1).
            Verb.ACK: self._ignore,
            Verb.QOS_MEASUREMENT: self.ways.receive_measurement,
            Verb.PATH_NEGOTIATION_REQUEST: self.ways.receive_wish,
            Verb.REMOTE_TRACE: self._receive_other,
        }

    # Commands.

    def set_sockets(self, now: int, sockets: list[tuple[int, Endpoint]]) -> None:
        """Name the local sockets and the addresses at which they can be reached."""
        self._now = now
        self._contact.set_sockets(sockets)
        self._keepalive.restart(now)

    def interfaces_changed(self, now: int) -> None:
        """Tell peers at once that packets come from elsewhere: an address changed, or we woke."""
        self._now = now
        self._keepalive.restart(now)
        self._contact.probe_all(now)
        self.ways.interfaces_changed(now)

    def set_forbidden(self, networks: list[tuple[bytes, int]]) -> None:
        """Name the subnets of joined networks: they are never physical paths."""
        self._topology.set_forbidden(networks)

    def set_physical(self, policy: PhysicalPolicy) -> None:
        """Lay down trusted paths, MTUs, refused addresses and hints."""
        self._topology.physical = policy

    def orbit(self, now: int, moon_id: int, seed: Address) -> None:
        """Want a moon that `seed` is a root of; WorldChanged brings it.

        InvalidConfig if there are too many.
        """
        self._now = now
        self._topology.orbit(moon_id, seed)
        peer = self._topology.peers.get(seed)
        if peer is not None:
            self._contact.greet_seed(now, peer)
        elif seed != self._topology.address:
            self._whois.request(now, seed)

    def load_moon(self, now: int, moon: World) -> bool:
        """Take a moon that was kept, or that the owner of this machine provides."""
        self._now = now
        taken = self._topology.load_moon(now, moon)
        if taken:
            self._keepalive.restart(now)
        return taken

    def deorbit(self, now: int, moon_id: int) -> bool:
        """Forget a moon, wanted or known; False if it is neither."""
        self._now = now
        return self._topology.deorbit(now, moon_id)

    def set_always_contact(self, addresses: frozenset[Address]) -> None:
        """Name peers that are kept reachable without traffic, other than upstreams."""
        self._topology.set_contacts(addresses)

    def send(
        self, now: int, destination: Address, verb: int, payload: bytes, *, compress: bool = False
    ) -> None:
        """Send a message; it waits a bounded time if the destination is not known yet."""
        self._now = now
        self._send(now, Queued(now, destination, verb, payload, compress))

    def _send(self, now: int, message: Queued) -> None:
        if message.destination == self._topology.address:
            return
        peer = self._topology.peers.get(message.destination)
        if peer is None:
            self._whois.queue(message)
            self._whois.request(now, message.destination)
            return
        self._seek(now, peer)
        _, _, verb, payload, compress = message
        if not self._outbox.send(now, peer, verb, payload, compress=compress):
            self._whois.queue(message)

    def introduce(self, now: int, identity: Identity) -> None:
        """Name a node that has not spoken yet, so that nobody need be asked who it is."""
        self._topology.add(now, identity)

    def echo(self, now: int, destination: Address, data: bytes) -> None:
        """Ask for a sign of life; EchoReply brings back `data`, which must not be empty."""
        self.send(now, destination, Verb.ECHO, data)

    def send_frames(
        self,
        now: int,
        destination: Address,
        prefix: bytes,
        packets: Sequence[tuple[bytes, bytes | memoryview]],
    ) -> None:
        """Send FRAME messages; each is `prefix` (verb, network, ethertype), header and body."""
        self._now = now
        peer = self._topology.peers.get(destination)
        if peer is not None:
            self._seek(now, peer)
            if self._outbox.send_frames(now, peer, prefix, packets):
                return
        verb, rest = prefix[0], prefix[1:]
        for header, body in packets:
            self.send(now, destination, verb, b"".join((rest, header, body)))

    def _seek(self, now: int, peer: Peer) -> None:
        self._contact.seek(now, peer)
        if self._topology.physical.hints:
            self._hints.try_for(now, peer)

    def reply_ok(
        self, now: int, inbound: Inbound, body: bytes, in_re_verb: int | None = None
    ) -> None:
        """Answer a message on the path on which it came."""
        w = Writer()
        Ok(in_re_verb or inbound.verb, inbound.packet_id, body).encode(w)
        self._reply(now, inbound, Verb.OK, w.getvalue())

    def reply_error(self, now: int, inbound: Inbound, code: int, body: bytes) -> None:
        w = Writer()
        Error(inbound.verb, inbound.packet_id, code, body).encode(w)
        self._reply(now, inbound, Verb.ERROR, w.getvalue())

    def answer(
        self, now: int, inbound: Inbound, verb: int, payload: bytes, *, compress: bool = False
    ) -> None:
        """Send a message of any size on the path of another: where its sender is right now."""
        self._now = now
        peer = self._topology.peers.get(inbound.source)
        if peer is not None:
            path = self._topology.path(*inbound.path)
            self._outbox.send_on(now, peer, path, verb, payload, compress=compress)

    def _reply(self, now: int, inbound: Inbound, verb: int, payload: bytes) -> None:
        self._now = now
        peer = self._topology.peers.get(inbound.source)
        if peer is not None:
            path = self._topology.path(*inbound.path)
            self._outbox.reply(now, peer, path, verb, payload)

    def accept(self, now: int, inbound: Inbound | InboundBurst, *, trusted: bool) -> None:
        """Count a message as received: its owner took it (vl1 section 6.4)."""
        self._now = now
        peer = self._topology.peers.get(inbound.source)
        if peer is not None:
            verb = inbound.verb if isinstance(inbound, Inbound) else Verb.FRAME
            self._received(now, peer, inbound.path, inbound.hops, verb, trusted=trusted)

    def request_identity(self, now: int, address: Address) -> None:
        """Ask who has an address; IdentityLearned tells when it is known."""
        self._now = now
        if address in self._topology.peers:
            self._events.append(IdentityLearned(address))
        else:
            self._whois.request(now, address)

    def offer_world(self, now: int, world: World) -> bool:
        """Take a planet if it replaces ours by the rules; tell whether it did."""
        self._now = now
        return self._topology.offer(now, world)

    def identity_validated(self, now: int, identity: Identity, *, ok: bool) -> None:
        """Answer ValidateIdentity."""
        self._now = now
        waiting = self._hello.validated(now, identity, ok=ok)
        if waiting is None:
            return
        key, packet = waiting
        self._events.append(IdentityLearned(identity.address))
        self._receive_hello(now, key, decode_header(packet), packet)
        self._flush(now)

    # The peer cache.

    def load_peers(self, now: int, records: list[bytes]) -> None:
        """Restore what `peer_records` gave; bad records are skipped."""
        for record in records:
            try:
                self._topology.restore(Peer.decode_record(now, self._topology.identity, record))
            except DecodeError:
                self._tracer.drop(Drop.MALFORMED, "peer cache")

    # Datagrams in.

    def receive(self, now: int, datagram: Datagram) -> None:
        """Take one datagram; whatever it holds, this does not raise."""
        self._now = now
        path = self._topology.path(datagram.socket, datagram.remote)
        path.last_in = now
        path.bytes_in += len(datagram.data)
        self._receive(now, path, datagram.data)

    def receive_train(
        self, now: int, socket: int, remote: Endpoint, view: memoryview, step: int
    ) -> None:
        """Take datagrams of `step` bytes that lie side by side; the last may be shorter.

        The view is not used after the call. Named by tests/bench/stream.py.
        """
        self._now = now
        path = self._topology.path(socket, remote)
        path.last_in = now
        at, size = 0, len(view)
        path.bytes_in += size
        while at < size and may_open(view[at:], step) and view[at + 8 : at + 13] == self._me:
            peer = self._peer_at(view, at)
            keys = (peer.aes or self._keys(peer)) if peer is not None else None
            if peer is None or keys is None:
                break
            opened = open_train(keys, view[at:], step)
            consumed = self._take(now, path, peer, view[at + FLAGS_OFFSET], opened)
            if not consumed:
                break
            at += consumed
        while at < size:
            self._receive(now, path, bytes(view[at : at + step]))
            at += step

    def receive_pile(
        self, now: int, socket: int, remote: Endpoint, datagrams: Sequence[memoryview]
    ) -> None:
        """Take datagrams of any length; the views are not used after the call."""
        self._now = now
        path = self._topology.path(socket, remote)
        path.last_in = now
        path.bytes_in += sum(map(len, datagrams))
        index = 0
        while index < len(datagrams):
            first, taken = datagrams[index], 0
            if may_open(first, len(first)) and first[8:13] == self._me:
                peer = self._peer_at(first, 0)
                keys = (peer.aes or self._keys(peer)) if peer is not None else None
                if peer is not None and keys is not None:
                    opened = open_pile(keys, datagrams, index)
                    taken = self._take(now, path, peer, first[FLAGS_OFFSET], opened)
            if not taken:
                self._receive(now, path, bytes(first))
            index += taken or 1

    def _peer_at(self, view: memoryview, at: int) -> Peer | None:
        return self._topology.peers.get(_address_of(bytes(view[at + 13 : at + 18])))

    def _keys(self, peer: Peer) -> AesGmacSiv | None:
        try:
            peer.aes = peer.keys.aes
        except DecodeError:
            self._tracer.drop(Drop.BAD_IDENTITY, "switch")
        return peer.aes

    def _take(self, now: int, path: Path, peer: Peer, flags: int, opened: Opened) -> int:
        for _ in range(opened.refused):
            self._tracer.drop(Drop.BAD_MAC, "switch")
            path.bad_bytes_in += opened.stride
        hops = flags & HOPS_MASK
        opened = self.ways.sift(now, peer, path, hops, opened)
        if not opened.starts:
            return opened.consumed
        # A peer that speaks suite 3 understands it, even if its HELLO was lost.
        peer.protocol = max(peer.protocol, PROTOCOL_AES)
        arena, starts, lengths = opened.arena, opened.starts, opened.lengths
        first, total = 0, len(starts)
        while first < total:
            start = starts[first]
            prefix = bytes(arena[start : start + PREFIX_BYTES])
            last = first + 1
            if prefix[0] == Verb.FRAME:
                while last < total and arena.startswith(prefix, starts[last]):
                    last += 1
                burst = burst_of(opened, first, last)
                self._put(InboundBurst(peer.address, path.key, hops, prefix, burst))
            else:
                packet_id = int.from_bytes(opened.packet_ids[first], "big")
                body = bytes(arena[start : start + lengths[first]])
                self._dispatch(now, path, peer, hops, packet_id, body)
            first = last
        return opened.consumed

    def _receive(self, now: int, path: Path, data: bytes) -> None:
        try:
            taken = self._intake.take(now, path, data)
            if taken is not None:
                self._receive_whole(now, path, *taken)
        except DecodeError:
            self._tracer.drop(Drop.MALFORMED, "switch")

    def _receive_whole(self, now: int, path: Path, header: Header, packet: bytes) -> None:
        """Open a whole packet for us (vl1 section 3.7)."""
        if header.source == self._topology.address:
            self._tracer.drop(Drop.FROM_SELF, "switch")
            return
        trusted = header.suite == SUITE_TRUSTED
        if trusted and not self._topology.physical.trusts(path.key.remote, header.trusted_path_id):
            self._tracer.drop(Drop.UNTRUSTED_PATH, "switch")
            return
        if header.suite == SUITE_POLY1305 and packet[ENVELOPE_OFFSET] & VERB_MASK == Verb.HELLO:
            self._receive_hello(now, path.key, header, packet)
            return
        peer = self._topology.peers.get(header.source)
        if peer is None:
            self._whois.hold(Held(now, header.source, path.key, packet))
            self._whois.request(now, header.source)
            return
        try:
            body = packet[ENVELOPE_OFFSET:] if trusted else open_packet(peer.keys, packet)
        except DecodeError:
            path.bad_bytes_in += len(packet)
            self._tracer.drop(Drop.BAD_MAC, "switch")
            return
        if not self.ways.is_new(now, peer, path, header.hops, packet[:8]):
            self._tracer.drop(Drop.DUPLICATE, "switch")
            return
        self._dispatch(now, path, peer, header.hops, header.packet_id, body)

    def _dispatch(
        self, now: int, path: Path, peer: Peer, hops: int, packet_id: int, body: bytes
    ) -> None:
        verb, payload = body[0], body[1:]
        if verb & COMPRESSED and payload:
            try:
                payload = decompress(payload)
            except DecodeError:
                self._tracer.drop(Drop.BAD_COMPRESSION, "switch")
                return
        message = Inbound(peer.address, path.key, hops, verb & VERB_MASK, packet_id, payload)
        handler = self._handlers.get(message.verb, self._pass_on)
        try:
            handler(now, peer, message)
        except DecodeError:
            self._tracer.drop(Drop.MALFORMED, "switch")

    def _put(self, inbound: Inbound | InboundBurst) -> None:
        if len(self._inbound) >= INBOUND_LIMIT:
            self._tracer.drop(Drop.QUEUE_FULL, "switch")
            return
        self._inbound.append(inbound)

    # Handlers of verbs.

    def _pass_on(self, now: int, peer: Peer, message: Inbound) -> None:
        del now, peer
        self._put(message)

    def _ignore(self, now: int, peer: Peer, message: Inbound) -> None:
        del now, peer, message

    def _receive_other(self, now: int, peer: Peer, message: Inbound) -> None:
        self._received(now, peer, message.path, message.hops, message.verb)

    def _receive_hello(self, now: int, key: PathKey, header: Header, packet: bytes) -> None:
        try:
            taken = self._hello.receive(now, header, key, packet)
        except DecodeError:
            self._tracer.drop(Drop.BAD_MAC, "hello")
            return
        if taken is None:
            return
        peer, scope = taken
        self._surface_changed(now, scope, key)
        self._received(now, peer, key, header.hops, Verb.HELLO)
        self._flush(now)

    def _receive_error(self, now: int, peer: Peer, message: Inbound) -> None:
        error = Error.decode(Reader(message.payload))
        if error.code == ErrorCode.IDENTITY_COLLISION:
            if self._topology.is_upstream(peer.address):
                self._events.append(IdentityCollision(peer.address))
            else:
                self._tracer.drop(Drop.NOT_UPSTREAM, "switch")
            self._receive_other(now, peer, message)
            return
        self._put(message)

    def _receive_ok(self, now: int, peer: Peer, message: Inbound) -> None:
        ok = Ok.decode(Reader(message.payload))
        if not self._outbox.is_expected(ok.in_re_packet_id):
            self._tracer.drop(Drop.UNEXPECTED_REPLY, "switch")
            return
        match ok.in_re_verb:
            case Verb.HELLO:
                roots = self._topology.roots
                scope = self._hello.receive_ok(now, peer, message.path, message.hops, ok)
                if self._topology.roots is not roots:
                    self._keepalive.restart(now)
                self._surface_changed(now, scope, message.path)
            case Verb.WHOIS:
                for learned in self._whois.receive_ok(now, peer, ok):
                    self._events.append(IdentityLearned(learned.address))
                    self._contact.identity_learned(now, learned)
                    if self._topology.is_seed(learned.address):
                        self._contact.greet_seed(now, learned)
            case Verb.ECHO:
                reply = echo_reply(now, self._topology, self._outbox, message, ok)
                self._events.extend([reply] if reply is not None else [])
            case _:
                self._put(message)
                return
        self._receive_other(now, peer, message)
        self.ways.answered(now, peer, message, ok)
        self._flush(now)

    def _receive_whois(self, now: int, peer: Peer, message: Inbound) -> None:
        if self._whois.receive(now, peer, message.path, message.packet_id, message.payload):
            self._receive_other(now, peer, message)

    def _receive_rendezvous(self, now: int, peer: Peer, message: Inbound) -> None:
        self._contact.receive_rendezvous(now, peer, message.path, message.payload)
        self._receive_other(now, peer, message)

    def _receive_push(self, now: int, peer: Peer, message: Inbound) -> None:
        self._contact.receive_push(now, peer, message.path, message.payload)
        self._receive_other(now, peer, message)

    def _receive_echo(self, now: int, peer: Peer, message: Inbound) -> None:
        if not self._topology.path(*message.path).allow_echo(now):
            self._tracer.drop(Drop.RATE_LIMITED, "echo")
            return
        self.reply_ok(now, message, message.payload)
        self._receive_other(now, peer, message)

    # Bookkeeping.

    def _received(
        self, now: int, peer: Peer, key: PathKey, hops: int, verb: int, *, trusted: bool = False
    ) -> None:
        had_path = bool(peer.entries)
        self._contact.received(now, peer, key, hops, verb, trusted=trusted)
        if self._topology.chooser is not None:
            self.ways.attend(now, peer)
        if self._topology.is_upstream(peer.address):
            self._keepalive.heard(peer)
            if not had_path and peer.entries:
                self._whois.ask_now(now)
                self._flush(now)

    def _surface_changed(self, now: int, scope: Scope | None, key: PathKey) -> None:
        if scope is not None:
            self._contact.reset_scope(now, scope, len(key.remote.ip))

    def _flush(self, now: int) -> None:
        """Try again what waits for an identity or a path."""
        if not self._whois.is_waiting:
            return
        for message in self._whois.take_queued(now):
            self._send(now, message)
        for held in self._whois.take_held(now):
            path = self._topology.path(*held.path)
            try:
                self._receive_whole(now, path, decode_header(held.packet), held.packet)
            except DecodeError:
                self._tracer.drop(Drop.MALFORMED, "switch")

    # Time.

    def handle_timer(self, now: int) -> None:
        self._now = now
        self._keepalive.handle_timer(now)
        self._contact.handle_timer(now)
        due = self._whois.next_timer()
        if due is not None and due <= now:
            self._whois.handle_timer(now)
            self._flush(now)
        self.ways.handle_timer(now)
        if now >= self._housekeeping_at:
            self._housekeeping_at = now + HOUSEKEEPING_US
            self._topology.clean(now)
            self._surface.clean(now)
            self._outbox.clean(now)

    def next_timer(self) -> int:
        first = self._housekeeping_at
        for part in self._timed:
            first = min(first, part.next_timer() or first)
        return first

    # Outputs.

    def take_datagrams(self) -> list[Datagram]:
        return self._outbox.take()

    @property
    def has_news(self) -> bool:
        """Whether there are messages or events to take."""
        return bool(self._inbound or self._events)

    def take_inbound(self) -> list[Inbound | InboundBurst]:
        inbound, self._inbound = self._inbound, []
        return inbound

    def take_events(self) -> list[Event]:
        # The parts share this list, so it is emptied and not replaced.
        events = self._events[:]
        self._events.clear()
        return events
