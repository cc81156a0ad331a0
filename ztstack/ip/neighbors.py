"""Which MAC has a neighbour's IP address: the table, the asking, and what waits for the answer."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Final, NamedTuple

from ztstack.base.codec import Writer
from ztstack.base.errors import Drop
from ztstack.base.frame import EtherType, FrameBatch
from ztstack.base.limits import BoundedMap
from ztstack.base.mac import BROADCAST, Mac
from ztstack.base.timers import SECOND, Timers
from ztstack.base.trace import Tracer
from ztstack.ip.addresses import multicast_mac, solicited_node
from ztstack.ip.packets import arp, icmpv6
from ztstack.ip.packets.ipv6 import ICMPV6, Ipv6Packet

MAX_NEIGHBORS: Final = 1024
MAX_PENDING_PACKETS: Final = 64
MAX_PENDING_BYTES: Final = 256 * 1024
ASK_US: Final = (SECOND // 4, SECOND // 2, *[SECOND] * 6)
"""How long each question waits for its answer. The first may be lost while a peer is looked up.

Stock nodes listen up to 5 s later than they have an address: that often they look at the groups of
their interface.
"""
CONFIRMS: Final = 4
"""So often a neighbour whose MAC is known is asked himself, before everybody is."""
# After this long a mapping in use is confirmed by asking the neighbour itself.
FRESH_US: Final = 60 * SECOND

Packet = tuple[bytes, bytes | memoryview]


class State(Enum):
    """What is known of a neighbour."""

    ASKING = auto()  # nothing; packets wait
    KNOWN = auto()
    CONFIRMING = auto()  # the MAC is used while the neighbour is asked whether it still holds


_NEXT: Final = {
    State.ASKING: frozenset((State.KNOWN,)),
    State.KNOWN: frozenset((State.KNOWN, State.CONFIRMING)),
    State.CONFIRMING: frozenset((State.KNOWN, State.ASKING)),
}


class Unresolved(NamedTuple):
    """Nobody answered for `ip`; these packets waited."""

    ip: bytes
    packets: list[Packet]


class _Neighbor:
    __slots__ = ("asks", "confirmed", "mac", "pending", "pending_bytes", "state")

    def __init__(self, state: State) -> None:
        self.state = state
        self.mac = Mac(0)
        self.asks = 0
        self.confirmed = 0
        self.pending: list[Packet] = []
        self.pending_bytes = 0

    def enter(self, state: State) -> None:
        assert state in _NEXT[self.state], f"{self.state} to {state}"
        self.state = state


class Neighbors:
    """The ARP and NDP table of one interface.

    `source_for` tells the own address from which a neighbour is asked.
    """

    def __init__(
        self, mac: Mac, source_for: Callable[[bytes], bytes | None], tracer: Tracer
    ) -> None:
        self._mac = mac
        self._source_for = source_for
        self._tracer = tracer
        self._table: BoundedMap[bytes, _Neighbor] = BoundedMap(MAX_NEIGHBORS)
        self._timers: Timers[bytes] = Timers()
        self.out: list[FrameBatch] = []
        self._unresolved: list[Unresolved] = []

    # Asking.

    def get(self, ip: bytes) -> Mac | None:
        """Return the MAC if it is known; ask nobody."""
        neighbor = self._table.get(ip)
        if neighbor is None or neighbor.state is State.ASKING:
            return None
        return neighbor.mac

    def resolve(self, now: int, ip: bytes) -> Mac | None:
        """Return the MAC, or start to ask for it; then `park` what is to be sent."""
        neighbor = self._table.get(ip)
        if neighbor is None:
            neighbor = _Neighbor(State.ASKING)
            self._store(ip, neighbor)
            self._ask(now, ip, neighbor)
            return None
        if neighbor.state is State.ASKING:
            return None
        if neighbor.state is State.KNOWN and now - neighbor.confirmed >= FRESH_US:
            neighbor.enter(State.CONFIRMING)
            neighbor.asks = 0
            self._ask(now, ip, neighbor)
        return neighbor.mac

    def park(self, ip: bytes, packets: list[Packet]) -> None:
        """Keep copies of packets for a neighbour that `resolve` did not know."""
        neighbor = self._table.get(ip)
        if neighbor is None:
            self._tracer.drop(Drop.QUEUE_FULL, "ip")
            return
        for header, body in packets:
            size = len(header) + len(body)
            if (
                len(neighbor.pending) >= MAX_PENDING_PACKETS
                or neighbor.pending_bytes + size > MAX_PENDING_BYTES
            ):
                self._tracer.drop(Drop.QUEUE_FULL, "ip")
                continue
            # A body may be a view of a buffer that its owner reuses.
            neighbor.pending.append((header, bytes(body)))
            neighbor.pending_bytes += size

    # Learning.

    def learn(self, now: int, ip: bytes, mac: Mac, *, create: bool) -> None:
        """Note that `ip` is at `mac`; if `create` is false, only if somebody asked about it."""
        if mac.is_multicast or mac in (0, self._mac):
            self._tracer.drop(Drop.MALFORMED, "ip")
            return
        neighbor = self._table.get(ip)
        if neighbor is None:
            if not create:
                return
            neighbor = _Neighbor(State.KNOWN)
            self._store(ip, neighbor)
        neighbor.enter(State.KNOWN)
        neighbor.mac = mac
        neighbor.confirmed = now
        neighbor.asks = 0
        self._timers.stop(ip)
        if neighbor.pending:
            self.out.append(FrameBatch(mac, _ethertype(ip), neighbor.pending))
            neighbor.pending, neighbor.pending_bytes = [], 0

    # Time.

    def handle_timer(self, now: int) -> None:
        for ip in self._timers.take_expired(now):
            neighbor = self._table.get(ip)
            if neighbor is None:
                continue
            is_confirming = neighbor.state is State.CONFIRMING
            if neighbor.asks < (CONFIRMS if is_confirming else len(ASK_US)):
                self._ask(now, ip, neighbor)
            elif is_confirming:
                # The MAC may have changed: ask everybody.
                neighbor.enter(State.ASKING)
                neighbor.asks = 0
                self._ask(now, ip, neighbor)
            else:
                self._table.pop(ip)
                self._unresolved.append(Unresolved(ip, neighbor.pending))

    def next_timer(self) -> int | None:
        return self._timers.next_at()

    # Outputs.

    def take_frames(self) -> list[FrameBatch]:
        """Return questions, and packets whose neighbour answered."""
        out, self.out = self.out, []
        return out

    def take_unresolved(self) -> list[Unresolved]:
        unresolved, self._unresolved = self._unresolved, []
        return unresolved

    # Details.

    def _store(self, ip: bytes, neighbor: _Neighbor) -> None:
        evicted = self._table.set(ip, neighbor)
        if evicted is not None:
            for _ in evicted.pending:
                self._tracer.drop(Drop.QUEUE_FULL, "ip")

    def _ask(self, now: int, ip: bytes, neighbor: _Neighbor) -> None:
        neighbor.asks += 1
        self._timers.set(ip, now + ASK_US[neighbor.asks - 1])
        source = self._source_for(ip)
        if source is None:
            return
        known = neighbor.mac if neighbor.state is State.CONFIRMING else None
        if len(ip) == 4:
            self._ask_arp(source, ip, known)
        else:
            self._ask_ndp(source, ip, known)

    def _ask_arp(self, source: bytes, ip: bytes, known: Mac | None) -> None:
        w = Writer()
        arp.ArpPacket(arp.REQUEST, self._mac, source, Mac(0), ip).encode(w)
        mac = BROADCAST if known is None else known
        self.out.append(FrameBatch(mac, EtherType.ARP, [(w.getvalue(), b"")]))

    def _ask_ndp(self, source: bytes, ip: bytes, known: Mac | None) -> None:
        destination = solicited_node(ip) if known is None else ip
        mac = multicast_mac(destination) if known is None else known
        w = Writer()
        icmpv6.Solicitation(ip, self._mac).message().encode(w, source, destination)
        packet = Ipv6Packet(source, destination, ICMPV6, w.getvalue(), icmpv6.NDP_HOP_LIMIT)
        self.out.append(FrameBatch(mac, EtherType.IPV6, [(packet.header(), packet.payload)]))


def _ethertype(ip: bytes) -> EtherType:
    return EtherType.IPV4 if len(ip) == 4 else EtherType.IPV6
