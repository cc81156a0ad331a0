"""HELLO and OK(HELLO): keys checked, versions and worlds exchanged (vl1 4.3 and 6.3)."""

from __future__ import annotations

from typing import Final

from ztstack.base.address import Address
from ztstack.base.codec import Reader, Writer
from ztstack.base.datagram import Datagram
from ztstack.base.endpoint import Endpoint, Scope
from ztstack.base.errors import DecodeError, Drop
from ztstack.base.limits import BoundedMap
from ztstack.base.timers import SECOND
from ztstack.base.trace import Tracer
from ztstack.crypto.identity import Identity
from ztstack.vl1.armor import PeerKeys, open_packet, seal
from ztstack.vl1.events import Event, ValidateIdentity, WorldChanged
from ztstack.vl1.outbox import Outbox
from ztstack.vl1.path import Path, PathKey
from ztstack.vl1.peer import Peer
from ztstack.vl1.surface import Surface
from ztstack.vl1.topology import Topology
from ztstack.wire.header import (
    MAX_PAYLOAD,
    PAYLOAD_OFFSET,
    SUITE_POLY1305,
    SUITE_SALSA2012,
    Header,
)
from ztstack.wire.hello import Hello, HelloOk, encrypted_offset
from ztstack.wire.replies import Error, Ok
from ztstack.wire.verbs import (
    PROTOCOL_MIN,
    PROTOCOL_VERSION,
    VERSION_MAJOR,
    VERSION_MINOR,
    VERSION_REVISION,
    ErrorCode,
    Verb,
)

PENDING_LIMIT: Final = 64
"""Identities that wait for the memory-hard check."""
PREFIX_BURST: Final = 8
PREFIX_REFILL_US: Final = 2 * SECOND
PREFIXES_LIMIT: Final = 16_384
WORLDS_BYTES: Final = MAX_PAYLOAD - 64
"""Planet and moons in one OK; the fields before them are shorter than 64 bytes."""
_PORT_PROTOCOL: Final = 5


class IdentityGate:
    """Lets few strangers of one network prefix be checked (vl1 section 6.9).

    The check runs beside the event loop, so a prefix may have a small burst; in the long run it
    gets the official rate.
    """

    def __init__(self) -> None:
        self._spent: BoundedMap[tuple[bytes, int], int] = BoundedMap(PREFIXES_LIMIT)

    def allow(self, now: int, remote: Endpoint) -> bool:
        key = (remote.ip[:3] if remote.is_ipv4 else remote.ip[:6], 0)
        if remote.scope is Scope.LOOPBACK:
            key = remote  # All of a lab's nodes share one address.
        # The time up to which the allowance is spent; each check costs one refill.
        spent = max(self._spent.get(key) or 0, now - PREFIX_BURST * PREFIX_REFILL_US)
        if spent + PREFIX_REFILL_US > now:
            return False
        self._spent.set(key, spent + PREFIX_REFILL_US)
        return True


class HelloExchange:
    """Says HELLO, and answers it."""

    def __init__(
        self,
        topology: Topology,
        outbox: Outbox,
        surface: Surface,
        tracer: Tracer,
        events: list[Event],
    ) -> None:
        self._topology = topology
        self._outbox = outbox
        self._surface = surface
        self._tracer = tracer
        self._events = events
        self._gate = IdentityGate()
        self._pending: BoundedMap[Address, tuple[Identity, PathKey, bytes]] = BoundedMap(
            PENDING_LIMIT
        )

    # Out.

    def send(self, now: int, peer: Peer, socket: int, remote: Endpoint) -> None:
        """Say HELLO to a peer at a physical address."""
        try:
            packet = self._build(now, peer, remote)
        except DecodeError:
            self._tracer.drop(Drop.BAD_IDENTITY, "hello")
            return
        self._outbox.expect(now, packet)
        self._outbox.put_raw(Datagram(socket, remote, packet))

    def _build(self, now: int, peer: Peer, remote: Endpoint) -> bytes:
        world = self._topology.world
        w = Writer()
        Hello(
            protocol=PROTOCOL_VERSION,
            major=VERSION_MAJOR,
            minor=VERSION_MINOR,
            revision=VERSION_REVISION,
            timestamp_ms=now // 1000,
            identity=self._topology.identity,
            destination=remote,
            planet_id=world.id,
            planet_timestamp=world.timestamp,
            moons=self._topology.worlds.listed(),
        ).encode(w)
        payload = w.getvalue()
        packet_id = self._outbox.random8()
        secret = encrypted_offset(payload)
        payload = payload[:secret] + peer.keys.crypt_field(packet_id, payload[secret:])
        body = bytes((Verb.HELLO,)) + payload
        return seal(peer.keys, SUITE_POLY1305, packet_id, peer.addresses_out, body)

    # In.

    def receive(
        self, now: int, header: Header, key: PathKey, packet: bytes
    ) -> tuple[Peer, Scope | None] | None:
        """Take a HELLO; return the peer, and a scope if our address changed, if it was answered."""
        hello, identity = self._decode(packet)
        if hello.protocol < PROTOCOL_MIN:
            self._tracer.drop(Drop.OLD_PROTOCOL, "hello")
            return None
        if identity.address != header.source or identity.address.is_reserved:
            self._tracer.drop(Drop.BAD_IDENTITY, "hello")
            return None
        peer = self._topology.peers.get(identity.address)
        if peer is None:
            self._meet_stranger(now, identity, key, packet)
            return None
        if peer.identity != identity:
            self._refuse_collision(now, identity, key, header, packet)
            return None
        open_packet(peer.keys, packet)
        secret = PAYLOAD_OFFSET + encrypted_offset(packet[PAYLOAD_OFFSET:])
        clear = peer.keys.crypt_field(packet[:8], packet[secret:])
        hello = Hello.decode(Reader(packet[PAYLOAD_OFFSET:secret] + clear))
        scope = None
        if hello.destination is not None and not header.hops:
            scope = self._report(now, peer.address, key, hello.destination)
        self._answer(now, peer, key, header, hello)
        peer.clock_ahead_ms = hello.timestamp_ms - now // 1000
        peer.set_version(hello.protocol, hello.major, hello.minor, hello.revision)
        return peer, scope

    def _decode(self, packet: bytes) -> tuple[Hello, Identity]:
        # Until the sender's key is known, the end of the message cannot be read.
        payload = packet[PAYLOAD_OFFSET:]
        hello = Hello.decode(Reader(payload[: encrypted_offset(payload)]))
        return hello, hello.identity

    def _meet_stranger(self, now: int, identity: Identity, key: PathKey, packet: bytes) -> None:
        if identity.address in self._pending:
            return
        if len(self._pending) >= PENDING_LIMIT or not self._gate.allow(now, key.remote):
            self._tracer.drop(Drop.RATE_LIMITED, "hello")
            return
        open_packet(PeerKeys(self._topology.identity.agree(identity)), packet)
        self._pending.set(identity.address, (identity, key, packet))
        self._events.append(ValidateIdentity(identity))

    def validated(self, now: int, identity: Identity, *, ok: bool) -> tuple[PathKey, bytes] | None:
        """Take the verdict of the memory-hard check; return the HELLO that waited for it."""
        pending = self._pending.get(identity.address)
        if pending is None or pending[0] != identity:
            return None
        self._pending.pop(identity.address)
        if not ok:
            self._tracer.drop(Drop.BAD_IDENTITY, "hello")
            return None
        self._topology.add(now, identity)
        return pending[1], pending[2]

    def _refuse_collision(
        self, now: int, identity: Identity, key: PathKey, header: Header, packet: bytes
    ) -> None:
        if not self._gate.allow(now, key.remote):
            self._tracer.drop(Drop.RATE_LIMITED, "hello")
            return
        keys = PeerKeys(self._topology.identity.agree(identity))
        open_packet(keys, packet)
        self._tracer.drop(Drop.IDENTITY_COLLISION, "hello")
        w = Writer()
        w.uint(Verb.ERROR, 1)
        Error(Verb.HELLO, header.packet_id, ErrorCode.IDENTITY_COLLISION, b"").encode(w)
        addresses = identity.address.packed + self._topology.address.packed
        answer = seal(keys, SUITE_SALSA2012, self._outbox.random8(), addresses, w.getvalue())
        self._outbox.put(now, self._topology.path(*key), answer)

    def _answer(self, now: int, peer: Peer, key: PathKey, header: Header, hello: Hello) -> None:
        seen = key.remote
        if hello.protocol < _PORT_PROTOCOL:
            seen = Endpoint(seen.ip, 0)
        worlds = self._topology.worlds.news_for(
            (hello.planet_id, hello.planet_timestamp), hello.moons, WORLDS_BYTES
        )
        body = Writer()
        HelloOk(
            timestamp_ms=hello.timestamp_ms,
            protocol=PROTOCOL_VERSION,
            major=VERSION_MAJOR,
            minor=VERSION_MINOR,
            revision=VERSION_REVISION,
            endpoint=seen,
            worlds=worlds,
        ).encode(body)
        w = Writer()
        Ok(Verb.HELLO, header.packet_id, body.getvalue()).encode(w)
        self._outbox.reply(now, peer, self._topology.path(*key), Verb.OK, w.getvalue())

    def _report(self, now: int, reporter: Address, key: PathKey, claimed: Endpoint) -> Scope | None:
        return self._surface.report(
            now,
            reporter,
            key.socket,
            key.remote,
            claimed,
            trusted=self._topology.is_upstream(reporter),
        )

    def receive_ok(self, now: int, peer: Peer, key: PathKey, hops: int, ok: Ok) -> Scope | None:
        """Take OK(HELLO); return a scope if our external address changed."""
        answer = HelloOk.decode(Reader(ok.body))
        if answer.protocol < PROTOCOL_MIN:
            self._tracer.drop(Drop.OLD_PROTOCOL, "hello")
            return None
        if self._topology.is_upstream(peer.address) or self._topology.is_seed(peer.address):
            for world in answer.worlds:
                if self._topology.offer(now, world):
                    self._events.append(WorldChanged(world))
        peer.set_version(answer.protocol, answer.major, answer.minor, answer.revision)
        if hops:
            return None
        path: Path = self._topology.path(*key)
        path.add_latency(now // 1000 - answer.timestamp_ms)
        if answer.endpoint is None:
            return None
        return self._report(now, peer.address, key, answer.endpoint)
