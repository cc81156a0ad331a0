"""Several direct paths to a peer at once, if somebody chooses among them."""

from __future__ import annotations

from collections.abc import Sequence

from ztstack.base.codec import Reader
from ztstack.base.errors import DecodeError, Drop
from ztstack.base.trace import Tracer
from ztstack.vl1.chooser import PathChooser, Question
from ztstack.vl1.contact import Contact
from ztstack.vl1.duplicates import Duplicates, sift
from ztstack.vl1.events import Inbound
from ztstack.vl1.hello import HelloExchange
from ztstack.vl1.outbox import Outbox
from ztstack.vl1.path import Path
from ztstack.vl1.peer import Peer
from ztstack.vl1.topology import Topology
from ztstack.vl1.train import Opened
from ztstack.wire.bonding import PathNegotiation, QosMeasurement
from ztstack.wire.header import SUITE_POLY1305
from ztstack.wire.replies import Ok


class Ways:
    """Stands between the switch and a chooser of paths, if there is one."""

    def __init__(
        self,
        topology: Topology,
        outbox: Outbox,
        hello: HelloExchange,
        contact: Contact,
        tracer: Tracer,
    ) -> None:
        self._topology = topology
        self._outbox = outbox
        self._hello = hello
        self._contact = contact
        self._tracer = tracer

    def use(self, chooser: PathChooser) -> None:
        """Leave it to somebody else which direct paths packets take."""
        self._topology.chooser = chooser

    def attend(self, now: int, peer: Peer) -> None:
        """Note that a peer spoke."""
        chooser = self._topology.chooser
        if chooser is not None:
            peer.is_bonded = not self._topology.is_upstream(peer.address)
            if peer.is_bonded:
                if peer.duplicates is None:
                    # Copies may come before the second path is known, and by a relay.
                    peer.duplicates = Duplicates()
                chooser.attend(now, peer)

    def answered(self, now: int, peer: Peer, message: Inbound, ok: Ok) -> None:
        """Note that a question was answered; only a direct answer tells of a path."""
        chooser = self._topology.chooser
        if chooser is not None and not message.hops:
            sent_at = self._outbox.sent_at(ok.in_re_packet_id)
            if sent_at is not None:
                chooser.answered(now, peer, message.path, sent_at)

    def is_new(self, now: int, peer: Peer, path: Path, hops: int, packet_id: bytes) -> bool:
        """Note that an authentic packet came; False if it has come before."""
        if self._topology.chooser is not None:
            self._topology.chooser.came(now, peer, path, (packet_id,))
        seen = peer.duplicates
        if seen is None or _cannot_be_copies(seen, peer, path, hops, (packet_id,)):
            return True
        return seen.is_new(packet_id)

    def sift(self, now: int, peer: Peer, path: Path, hops: int, opened: Opened) -> Opened:
        """Note that authentic packets came; return those that have not come before."""
        if self._topology.chooser is not None:
            self._topology.chooser.came(now, peer, path, opened.packet_ids)
        seen = peer.duplicates
        if seen is None or _cannot_be_copies(seen, peer, path, hops, opened.packet_ids):
            return opened
        return sift(seen, opened, self._tracer)

    def receive_measurement(self, now: int, peer: Peer, message: Inbound) -> None:
        """Take QOS_MEASUREMENT; it is no sign of life."""
        chooser = self._topology.chooser
        if chooser is not None and not message.hops:
            measured = QosMeasurement.decode(Reader(message.payload))
            if not chooser.receive_measurement(now, peer, message.path, measured):
                self._tracer.drop(Drop.RATE_LIMITED, "bonding")

    def receive_wish(self, now: int, peer: Peer, message: Inbound) -> None:
        """Take PATH_NEGOTIATION_REQUEST; it is no sign of life."""
        chooser = self._topology.chooser
        if chooser is not None and not message.hops:
            wish = PathNegotiation.decode(Reader(message.payload))
            if not chooser.receive_wish(now, peer, message.path, wish):
                self._tracer.drop(Drop.RATE_LIMITED, "bonding")

    def interfaces_changed(self, now: int) -> None:
        if self._topology.chooser is not None:
            self._topology.chooser.interfaces_changed(now)

    def is_direct(self, now: int, peer: Peer) -> bool:
        """Tell whether a message to a peer would go by no relay."""
        chooser = self._topology.chooser
        if chooser is not None and chooser.has(peer):
            return chooser.is_direct(peer)
        return peer.best_path(now) is not None

    def handle_timer(self, now: int) -> None:
        """Ask on the paths whose state is to be known."""
        chooser = self._topology.chooser
        if chooser is None:
            return
        chooser.handle_timer(now)
        for peer, key, question in chooser.take_questions():
            if question is Question.ECHO:
                self._contact.probe(now, peer, *key)
            else:
                self._hello.send(now, peer, *key)
            self._topology.path(*key).last_out = now
        for note in chooser.take_notes():
            # These are authentic, but not encrypted (bonding section 1).
            try:
                packet = self._outbox.seal(note.peer, note.verb, note.payload, suite=SUITE_POLY1305)
            except DecodeError:
                continue
            self._outbox.put(now, self._topology.path(*note.key), packet)

    def next_timer(self) -> int | None:
        chooser = self._topology.chooser
        return chooser.next_timer() if chooser is not None else None


def _cannot_be_copies(
    seen: Duplicates, peer: Peer, path: Path, hops: int, packet_ids: Sequence[bytes]
) -> bool:
    """Note what came, if it did on the only direct path, and not by a relay before."""
    if hops or not peer.entries:
        return False
    if len(peer.entries) != 1 or peer.entries[0].path is not path:
        seen.watch()
        return False
    return seen.lay_aside(packet_ids)
