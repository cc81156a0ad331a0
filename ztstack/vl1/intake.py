"""Datagrams sorted: what is for others is passed on, what was cut is put together (vl1 2.1)."""

from __future__ import annotations

from typing import Final

from ztstack.base.address import Address
from ztstack.base.errors import DecodeError, Drop
from ztstack.base.timers import SECOND
from ztstack.base.trace import Tracer
from ztstack.vl1.assembly import Assembly
from ztstack.vl1.outbox import Outbox
from ztstack.vl1.path import NEVER, Path
from ztstack.vl1.relay import Relay
from ztstack.vl1.topology import Topology
from ztstack.wire.header import (
    HEADER_BYTES,
    MAX_PACKET,
    Header,
    decode_fragment,
    decode_header,
    is_fragment,
)
from ztstack.wire.verbs import Verb

BEACON_BYTES: Final = 13
BEACON_US: Final = 5 * SECOND // 2


class Intake:
    """Finds the packets for this node in what arrives."""

    def __init__(self, topology: Topology, outbox: Outbox, relay: Relay, tracer: Tracer) -> None:
        self._topology = topology
        self._outbox = outbox
        self._relay = relay
        self._tracer = tracer
        self._assembly = Assembly()
        self._beacon_at = NEVER

    def take(self, now: int, path: Path, data: bytes) -> tuple[Header, bytes] | None:
        """Return a whole packet for this node, and its head, if the datagram completes one.

        DecodeError if the datagram is nothing that a node sends.
        """
        if is_fragment(data):
            fragment = decode_fragment(data)
            if fragment.destination == self._topology.address:
                return self._assemble(now, data)
            self._relay.forward(now, path, data, fragment.destination, None)
        elif len(data) >= HEADER_BYTES:
            header = decode_header(data)
            if header.destination != self._topology.address:
                self._relay.forward(now, path, data, header.destination, header.source)
            elif header.is_fragmented:
                return self._assemble(now, data)
            elif len(data) <= MAX_PACKET:
                return header, data
            else:
                self._tracer.drop(Drop.TOO_LONG, "intake")
        elif len(data) == BEACON_BYTES:
            self._answer_beacon(now, path, data)
        else:
            raise DecodeError(f"a datagram of {len(data)} bytes")
        return None

    def _assemble(self, now: int, data: bytes) -> tuple[Header, bytes] | None:
        try:
            packet = self._assembly.add(now, data)
        except DecodeError:
            self._tracer.drop(Drop.BAD_FRAGMENT, "intake")
            return None
        return None if packet is None else (decode_header(packet), packet)

    def _answer_beacon(self, now: int, path: Path, data: bytes) -> None:
        source = Address(int.from_bytes(data[8:13], "big"))
        peer = self._topology.peers.get(source)
        if peer is None or not self._topology.is_acceptable(source, path.key.remote):
            self._tracer.drop(Drop.UNKNOWN_PEER, "beacon")
        elif now - self._beacon_at >= BEACON_US:
            self._beacon_at = now
            self._outbox.reply(now, peer, path, Verb.NOP, b"")
