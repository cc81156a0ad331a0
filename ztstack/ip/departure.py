"""The way out of an interface: sources, fragments, next hops, and what waits to be sent."""

from __future__ import annotations

import ipaddress
from collections import deque
from typing import Final

from ztstack.base.codec import Writer
from ztstack.base.entropy import Entropy
from ztstack.base.errors import Drop, InvalidConfig, NetworkUnreachable, Unreachable
from ztstack.base.frame import EtherType, FrameBatch
from ztstack.base.limits import BoundedMap
from ztstack.base.mac import Mac
from ztstack.base.timers import SECOND
from ztstack.base.trace import Tracer
from ztstack.ip.addresses import UNSPECIFIED, Addresses
from ztstack.ip.neighbors import Neighbors, Packet
from ztstack.ip.packets import ipv4, ipv6
from ztstack.ip.packets.ipv4 import Ipv4Packet
from ztstack.ip.packets.ipv6 import FragmentHeader, Ipv6Packet
from ztstack.ip.routes import Route, Routes
from ztstack.ip.tcp.host import SegmentRun

MIN_MTU: Final = 1280
MAX_QUEUED_PACKETS: Final = 1024
MAX_QUEUED_BYTES: Final = 4 << 20
MAX_LOCAL_PACKETS: Final = 1024
MAX_PATHS: Final = 256
PATH_MTU_LIFE_US: Final = 600 * SECOND
MAX_IP_PAYLOAD: Final = 65515
_BATCH_PACKETS: Final = 22


class Departure:
    """Routes packets to neighbours, to itself, or nowhere."""

    def __init__(self, mac: Mac, mtu: int, entropy: Entropy, tracer: Tracer) -> None:
        self.mtu = max(mtu, MIN_MTU)
        self.addresses = Addresses([])
        self.routes = Routes()
        self.neighbors = Neighbors(mac, self._source_for, tracer)
        self._managed: list[tuple[bytes, int, bytes | None]] = []
        self._tracer = tracer
        self._identification = int.from_bytes(entropy.take(4), "big")
        self._path_mtus: BoundedMap[bytes, tuple[int, int]] = BoundedMap(MAX_PATHS)
        self._queue: deque[FrameBatch] = deque()
        self._queued_packets = 0
        self._queued_bytes = 0
        self._local: deque[tuple[int, bytes]] = deque()

    # Configuration.

    def set_mtu(self, mtu: int) -> None:
        self.mtu = max(mtu, MIN_MTU)

    def set_addresses(self, items: list[tuple[bytes, int]]) -> None:
        self.addresses = Addresses(items)
        self._compile()

    def set_routes(self, items: list[tuple[bytes, int, bytes | None]]) -> None:
        self._managed = list(items)
        self._compile()

    def _compile(self) -> None:
        # An address implies the route to its own subnet. Routes through this node, and of a family
        # in which it has no address, are skipped (vl2 section 9.2).
        routes = [Route(ip, bits, None) for ip, bits in self.addresses.items]
        for target, bits, via in self._managed:
            if not self.addresses.has_family(len(target)):
                continue
            if via is not None and (self.addresses.is_local(via) or len(via) != len(target)):
                continue
            routes.append(Route(target, bits, via))
        self.routes.set(routes)

    def lowered_mtu(self, now: int, ip: bytes, mtu: int) -> int:
        """Return the path MTU if a router says `mtu`: never more than before (RFC 8201 4)."""
        lowest = 576 if len(ip) == 4 else MIN_MTU
        return min(max(mtu, lowest), self.mtu_for(now, ip))

    def note_path_mtu(self, now: int, ip: bytes, mtu: int) -> None:
        """Remember for a while that a router on the way to `ip` said how much fits."""
        lowered = self.lowered_mtu(now, ip, mtu)
        if lowered < self.mtu_for(now, ip):
            self._path_mtus.set(ip, (lowered, now + PATH_MTU_LIFE_US))

    def mtu_for(self, now: int, ip: bytes) -> int:
        known = self._path_mtus.get(ip)
        if known is None or known[1] <= now:
            return self.mtu
        return min(known[0], self.mtu)

    def choose_source(self, ip: bytes, wanted: bytes | None = None) -> bytes:
        """Return the own address for packets to `ip`; Unreachable without route or address."""
        if len(ip) not in (4, 16) or ip in UNSPECIFIED:
            raise InvalidConfig("not an IP address to send to")
        if wanted is not None and (not self.addresses.is_local(wanted) or len(wanted) != len(ip)):
            raise InvalidConfig(f"{_host(wanted)} is not an address from which {_host(ip)} can go")
        hop: bytes | None = ip
        if not self.addresses.is_local(ip) and self.addresses.group_mac(ip) is None:
            hop = self.routes.next_hop(ip)
            if hop is None:
                raise NetworkUnreachable(f"{_host(ip)} is unreachable: there is no route")
        source = wanted if wanted is not None else self._source_for(hop or ip)
        if source is None:
            raise Unreachable(f"{_host(ip)} is unreachable: there is no own address of its kind")
        return source

    def _source_for(self, ip: bytes) -> bytes | None:
        return self.addresses.source_for(ip)

    # Packets.

    def send(
        self, now: int, source: bytes, destination: bytes, protocol: int, payload: bytes
    ) -> None:
        """Send one IP packet, in fragments if it must be."""
        if len(payload) > MAX_IP_PAYLOAD:
            self._tracer.drop(Drop.TOO_LONG, "ip")
        else:
            self._route(
                now, destination, self._packets(now, source, destination, protocol, payload)
            )

    def send_local(
        self, now: int, source: bytes, destination: bytes, protocol: int, payload: bytes
    ) -> None:
        """Give this host its own copy of what goes to a group."""
        self._loop(destination, self._packets(now, source, destination, protocol, payload))

    def send_frame(self, mac: Mac, ethertype: int, header: bytes, body: bytes = b"") -> None:
        """Queue a frame whose neighbour is known."""
        self._enqueue(mac, ethertype, [(header, body)])

    def send_run(self, now: int, run: SegmentRun) -> FrameBatch | None:
        """Route TCP segments of one connection; return them as a batch if they can go at once."""
        destination = run.remote.ip
        if self.addresses.is_local(destination):
            self._loop(destination, run.packets)
            return None
        hop = self.routes.next_hop(destination)
        if hop is None:
            self._tracer.drop(Drop.NO_ROUTE, "ip")
            return None
        mac = self.neighbors.resolve(now, hop)
        if mac is None:
            self.neighbors.park(hop, run.packets)
            return None
        ethertype = EtherType.IPV4 if len(destination) == 4 else EtherType.IPV6
        return FrameBatch(mac, ethertype, run.packets)

    def _route(self, now: int, destination: bytes, packets: list[Packet]) -> None:
        if self.addresses.is_local(destination):
            self._loop(destination, packets)
            return
        mac = self.addresses.group_mac(destination)
        if mac is None:
            hop = self.routes.next_hop(destination)
            if hop is None:
                self._tracer.drop(Drop.NO_ROUTE, "ip")
                return
            mac = self.neighbors.resolve(now, hop)
            if mac is None:
                self.neighbors.park(hop, packets)
                return
        self._enqueue(mac, _ethertype(destination), packets)

    def _loop(self, destination: bytes, packets: list[Packet]) -> None:
        for header, body in packets:
            if len(self._local) >= MAX_LOCAL_PACKETS:
                self._tracer.drop(Drop.QUEUE_FULL, "ip")
                return
            self._local.append((_ethertype(destination), b"".join((header, body))))

    def _enqueue(self, mac: Mac, ethertype: int, packets: list[Packet]) -> None:
        for header, body in packets:
            size = len(header) + len(body)
            if (
                self._queued_packets >= MAX_QUEUED_PACKETS
                or self._queued_bytes + size > MAX_QUEUED_BYTES
            ):
                self._tracer.drop(Drop.QUEUE_FULL, "ip")
                return
            self._queued_packets += 1
            self._queued_bytes += size
            last = self._queue[-1] if self._queue else None
            if (
                last is not None
                and last.destination == mac
                and last.ethertype == ethertype
                and len(last.packets) < _BATCH_PACKETS
            ):
                last.packets.append((header, body))
            else:
                self._queue.append(FrameBatch(mac, ethertype, [(header, body)]))

    # Fragments.

    def _packets(
        self, now: int, source: bytes, destination: bytes, protocol: int, payload: bytes
    ) -> list[Packet]:
        if len(destination) == 4:
            return self._packets4(now, source, destination, protocol, payload)
        return self._packets6(now, source, destination, protocol, payload)

    def _packets4(
        self, now: int, source: bytes, destination: bytes, protocol: int, payload: bytes
    ) -> list[Packet]:
        room = self.mtu_for(now, destination) - ipv4.HEADER_BYTES
        if len(payload) <= room:
            whole = Ipv4Packet(source, destination, protocol, payload, dont_fragment=True)
            return [(whole.header(), payload)]
        room -= room % 8
        self._identification = self._identification + 1 & 0xFFFFFFFF
        packets: list[Packet] = []
        for offset in range(0, len(payload), room):
            piece = payload[offset : offset + room]
            fragment = Ipv4Packet(
                source,
                destination,
                protocol,
                piece,
                identification=self._identification & 0xFFFF,
                more_fragments=offset + room < len(payload),
                offset=offset,
            )
            packets.append((fragment.header(), piece))
        return packets

    def _packets6(
        self, now: int, source: bytes, destination: bytes, protocol: int, payload: bytes
    ) -> list[Packet]:
        room = self.mtu_for(now, destination) - ipv6.HEADER_BYTES
        if len(payload) <= room:
            return [(Ipv6Packet(source, destination, protocol, payload).header(), payload)]
        room -= ipv6.FRAGMENT_BYTES
        room -= room % 8
        self._identification = self._identification + 1 & 0xFFFFFFFF
        packets: list[Packet] = []
        for offset in range(0, len(payload), room):
            piece = payload[offset : offset + room]
            more = offset + room < len(payload)
            w = Writer()
            whole = Ipv6Packet(source, destination, ipv6.FRAGMENT, b"")
            w.put(whole.header(ipv6.FRAGMENT_BYTES + len(piece)))
            FragmentHeader(protocol, offset, more, self._identification).encode(w)
            packets.append((w.getvalue(), piece))
        return packets

    # Outputs.

    @property
    def has_output(self) -> bool:
        return bool(self._queue or self._local or self.neighbors.out)

    def take_frames(self, limit: int) -> list[FrameBatch]:
        """Return questions to neighbours, and queued packets until there are `limit`."""
        batches = self.neighbors.take_frames()
        count = 0
        while self._queue and count < limit:
            batch = self._queue.popleft()
            count += len(batch.packets)
            self._queued_packets -= len(batch.packets)
            self._queued_bytes -= sum(len(header) + len(body) for header, body in batch.packets)
            batches.append(batch)
        return batches

    def take_local(self) -> list[tuple[int, bytes]]:
        """Return packets from this host to itself, each with its ethertype."""
        local = list(self._local)
        self._local.clear()
        return local


def _ethertype(ip: bytes) -> EtherType:
    return EtherType.IPV4 if len(ip) == 4 else EtherType.IPV6


def _host(ip: bytes) -> str:
    return str(ipaddress.ip_address(ip))
