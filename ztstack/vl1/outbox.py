"""Everything that leaves: packets sealed, cut, registered for replies, and put in trains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ztstack.base.datagram import ALL_SOCKETS, Datagram
from ztstack.base.endpoint import Endpoint
from ztstack.base.entropy import Entropy
from ztstack.base.errors import DecodeError, Drop
from ztstack.base.limits import BoundedMap
from ztstack.base.timers import SECOND
from ztstack.base.trace import Tracer
from ztstack.vl1.armor import mark_trusted, seal
from ztstack.vl1.assembly import cut, fragments_needed, may_send, segment_bytes
from ztstack.vl1.chooser import Packets, Share
from ztstack.vl1.path import Path
from ztstack.vl1.peer import Peer
from ztstack.vl1.topology import Topology
from ztstack.vl1.train import TRAIN_BYTES, TRAIN_DATAGRAMS, TrainSealer
from ztstack.wire.compression import compress as lz4
from ztstack.wire.header import COMPRESSED, DEFAULT_MTU, HEADER_BYTES, SUITE_AES
from ztstack.wire.verbs import Verb

EXPECTED_LIMIT: Final = 8192
"""Packets whose OK is still awaited; the oldest is forgotten first."""
EXPECTED_LIFE_US: Final = 60 * SECOND
OUTBOX_LIMIT: Final = 4096
"""Datagrams, or trains of them, that the owner has not taken yet."""
_RANDOM_BYTES: Final = 4096


class Outbox:
    """Seals for peers and collects datagrams."""

    def __init__(self, topology: Topology, entropy: Entropy, tracer: Tracer) -> None:
        self._topology = topology
        self._entropy = entropy
        self._tracer = tracer
        self._random = b""
        self._random_at = 0
        self._out: list[Datagram] = []
        self._expected: BoundedMap[int, int] = BoundedMap(EXPECTED_LIMIT)
        self._sealer = TrainSealer()

    def random8(self) -> bytes:
        """Return eight random bytes; the source is asked for many at once."""
        at = self._random_at
        if at >= len(self._random):
            self._random = self._entropy.take(_RANDOM_BYTES)
            at = 0
        self._random_at = at + 8
        return self._random[at : at + 8]

    # Replies.

    def expect(self, now: int, packet: bytes) -> None:
        self._expected.set(int.from_bytes(packet[:8], "big"), now)

    def is_expected(self, packet_id: int) -> bool:
        """Tell whether an OK may refer to this packet; asking twice gives the same answer."""
        return packet_id in self._expected

    def sent_at(self, packet_id: int) -> int | None:
        return self._expected.get(packet_id)

    def expected(self, count: int) -> list[int]:
        """Return the ids of the last packets that may still be answered."""
        return self._expected.newest(count)

    def clean(self, now: int) -> None:
        """Forget the packets that nobody answered in time."""
        for packet_id, sent_at in self._expected.items():
            # In the order in which they were sent.
            if now - sent_at < EXPECTED_LIFE_US:
                break
            self._expected.pop(packet_id)

    # Sending.

    def put(self, now: int, path: Path, data: bytes, segment: int = 0) -> None:
        path.last_out = now
        path.bytes_out += len(data)
        socket, remote = path.key
        self.put_raw(Datagram(socket, remote, data, segment))

    def put_raw(self, datagram: Datagram) -> None:
        if len(self._out) >= OUTBOX_LIMIT:
            self._tracer.drop(Drop.QUEUE_FULL, "outbox")
            return
        self._out.append(datagram)

    def put_everywhere(self, remote: Endpoint, data: bytes) -> None:
        self.put_raw(Datagram(ALL_SOCKETS, remote, data))

    def seal(
        self,
        peer: Peer,
        verb: int,
        payload: bytes,
        *,
        suite: int | None = None,
        compress: bool = False,
        fragmented: bool = False,
    ) -> bytes:
        """Return a sealed packet; DecodeError if no key can be agreed with the peer."""
        if compress:
            smaller = lz4(payload)
            if smaller is not None:
                verb, payload = verb | COMPRESSED, smaller
        return seal(
            peer.keys,
            peer.suite if suite is None else suite,
            self.random8(),
            peer.addresses_out,
            bytes((verb,)) + payload,
            fragmented=fragmented,
        )

    def reply(self, now: int, peer: Peer, path: Path, verb: int, payload: bytes) -> None:
        """Send one datagram, whatever its size, on the path of a request (vl1 section 2.6)."""
        try:
            packet = self.seal(peer, verb, payload)
        except DecodeError:
            self._tracer.drop(Drop.BAD_IDENTITY, "outbox")
            return
        if verb not in (Verb.OK, Verb.ERROR):
            self.expect(now, packet)
        self.put(now, path, packet)

    def send(self, now: int, peer: Peer, verb: int, payload: bytes, *, compress: bool) -> bool:
        """Send by the best route, cut if need be; False if there is no route (vl1 6.6)."""
        path = self._topology.route(now, peer)
        if path is None:
            return False
        self.send_on(now, peer, path, verb, payload, compress=compress)
        return True

    def send_on(
        self, now: int, peer: Peer, path: Path, verb: int, payload: bytes, *, compress: bool
    ) -> None:
        """Send on a certain path, cut if need be."""
        if compress:
            smaller = lz4(payload)
            if smaller is not None:
                verb, payload = verb | COMPRESSED, smaller
        length = HEADER_BYTES + len(payload)
        mtu, trusted_path_id = self._physical(peer, path)
        if not may_send(length, mtu):
            self._tracer.drop(Drop.TOO_LONG, "outbox")
            return
        parts = fragments_needed(length, mtu)
        try:
            if trusted_path_id:
                body = bytes((verb,)) + payload
                packet = mark_trusted(
                    trusted_path_id, self.random8(), peer.addresses_out, body, fragmented=parts > 1
                )
            else:
                packet = self.seal(peer, verb, payload, fragmented=parts > 1)
        except DecodeError:
            self._tracer.drop(Drop.BAD_IDENTITY, "outbox")
            return
        if verb != Verb.FRAME:
            self.expect(now, packet)
        if parts == 1:
            self.put(now, path, packet)
        else:
            step = segment_bytes(len(packet), parts)
            self.put(now, path, b"".join(cut(packet, step)), step)

    def _physical(self, peer: Peer, path: Path) -> tuple[int, int]:
        """Return how long datagrams on a path may be, and its trusted path id or zero.

        What goes by way of a relay is always sealed, wherever the relay is: stock nodes look at
        the relay's address, and their packets leave the trusted network in clear.
        """
        rule = self._topology.physical.rule(path.key.remote)
        if rule is None:
            return path.mtu or DEFAULT_MTU, 0
        trusted_path_id = rule.trusted_path_id if peer.find(path) is not None else 0
        return path.mtu or rule.mtu, trusted_path_id

    def send_frames(
        self,
        now: int,
        peer: Peer,
        prefix: bytes,
        packets: Packets,
    ) -> bool:
        """Send a burst of frames; False if there is no route."""
        if peer.suite != SUITE_AES:
            verb, rest = prefix[0], prefix[1:]
            for header, body in packets:
                if not self.send(now, peer, verb, b"".join((rest, header, body)), compress=False):
                    return False
            return True
        chooser = self._topology.chooser
        if chooser is not None and chooser.has(peer):
            shares = chooser.shares(now, peer, packets)
            if len(shares) > 1 or (shares and (len(shares[0].paths) > 1 or shares[0].by_relay)):
                return self._send_shares(now, peer, prefix, shares)
            path = shares[0].paths[0] if shares else self._topology.relay_route(now, peer)
        else:
            path = self._topology.route(now, peer)
        return path is not None and self._send_on((path,), now, peer, prefix, packets)

    def _send_shares(self, now: int, peer: Peer, prefix: bytes, shares: Sequence[Share]) -> bool:
        """Send a burst on several paths, or a relay as well."""
        for share in shares:
            paths = share.paths
            relay = self._topology.relay_route(now, peer) if share.by_relay else None
            if relay is not None:
                paths = (*paths, relay)
            self._send_on(paths, now, peer, prefix, share.packets)
        return True

    def _send_on(
        self, paths: Sequence[Path], now: int, peer: Peer, prefix: bytes, packets: Packets
    ) -> bool:
        """Seal frames once and send them on each of the paths."""
        path = paths[0]
        mtu, trusted_path_id = self._physical(peer, path)
        if trusted_path_id:
            verb, rest = prefix[0], prefix[1:]
            for header, body in packets:
                payload = b"".join((rest, header, body))
                self.send_on(now, peer, path, verb, payload, compress=False)
            return True
        # Copies have to be cut alike: the id and the mark of fragments are authentic.
        if len(paths) > 1:
            mtu = min(mtu, *(self._physical(peer, other)[0] for other in paths[1:]))
        self._sealer.use_mtu(mtu)
        try:
            keys = peer.aes or peer.keys.aes
        except DecodeError:
            self._tracer.drop(Drop.BAD_IDENTITY, "outbox")
            return True
        count = len(packets)
        random = self.random8() if count == 1 else self._entropy.take(8 * count)
        trains, refused = self._sealer.seal(keys, peer.addresses_out, prefix, packets, random)
        for train in trains:
            for one in paths:
                self.put(now, one, train.data, train.segment)
        chooser = self._topology.chooser
        if chooser is not None:
            packet_ids = [train.data[:8] for train in trains]
            for one in paths:
                chooser.sent(now, peer, one, packet_ids, count)
        for _ in range(refused):
            self._tracer.drop(Drop.TOO_LONG, "outbox")
        return True

    def take(self) -> list[Datagram]:
        """Return what is to be sent; neighbours that fit are joined to one train."""
        out, self._out = self._out, []
        return out if len(out) < 2 else _join(out)


def _join(out: list[Datagram]) -> list[Datagram]:
    """Join datagrams of one size to one destination, as a relay or a busy server has them."""
    joined: list[Datagram] = []
    pieces: list[bytes] = []
    first = out[0]
    size = 0
    for datagram in out:
        fits = (
            pieces
            and not datagram.segment
            and datagram.socket == first.socket != ALL_SOCKETS
            and datagram.remote == first.remote
            and datagram.ttl == first.ttl == 0
            and len(datagram.data) <= len(first.data) == len(pieces[-1])
            and len(pieces) < TRAIN_DATAGRAMS
            and size + len(datagram.data) <= TRAIN_BYTES
        )
        if fits:
            pieces.append(datagram.data)
            size += len(datagram.data)
            continue
        if pieces:
            joined.append(_train(first, pieces))
            pieces = []
        if datagram.segment:
            joined.append(datagram)
        else:
            first, pieces, size = datagram, [datagram.data], len(datagram.data)
    if pieces:
        joined.append(_train(first, pieces))
    return joined


def _train(first: Datagram, pieces: list[bytes]) -> Datagram:
    if len(pieces) == 1:
        return first
    return first._replace(data=b"".join(pieces), segment=len(first.data))
