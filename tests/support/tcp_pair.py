"""Two TCP hosts joined by a link in virtual time that may lose, repeat and reorder packets."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable

from tests.support.events import taken
from tests.support.switches import SeededEntropy
from ztstack.base.endpoint import Endpoint
from ztstack.base.frame import Burst, EtherType
from ztstack.base.trace import ListTracer
from ztstack.ip.events import Event
from ztstack.ip.packets.checksum import checksum, pseudo_header
from ztstack.ip.packets.tcp import PROTOCOL, Flags
from ztstack.ip.tcp.connection import Connection
from ztstack.ip.tcp.host import TcpHost
from ztstack.ip.tcp.listener import Listener

IP_A = bytes((10, 0, 0, 1))
IP_B = bytes((10, 0, 0, 2))
MTU = 2800
START_US = 1_000_000_000
WINDOW_SCALE, SACK_PERMITTED = 3, 4
"""Kinds of options that a link may take out of a SYN."""


class Side:
    """One host and what it said."""

    def __init__(self, ip: bytes, seed: int) -> None:
        self.ip = ip
        self.tracer = ListTracer()
        self.host = TcpHost(SeededEntropy(seed), self.tracer, lambda other: other == ip, [])
        self.host.set_mtu(START_US, MTU)
        self.events: list[Event] = []


def burst_of(packets: list[bytes]) -> Burst:
    """Lay packets in slots as VL1 does."""
    stride = (28 + max(map(len, packets)) + 3) & ~3
    arena = bytearray(stride * len(packets))
    rows = []
    for i, packet in enumerate(packets):
        at = i * stride + 28
        arena[at : at + len(packet)] = packet
        rows.append(at)
    return Burst(arena, stride, rows, [len(packet) for packet in packets])


def sealed(segment: bytes, source: bytes = IP_A, destination: bytes = IP_B) -> bytes:
    """Put the right checksum into a segment of at least a header."""
    blank = segment[:16] + bytes(2) + segment[18:]
    pseudo = pseudo_header(source, destination, PROTOCOL, len(blank))
    return blank[:16] + checksum(pseudo + blank).to_bytes(2, "big") + blank[18:]


def without_options(packet: bytes, kinds: frozenset[int]) -> bytes:
    """Overwrite options of a SYN with NOPs, as a middlebox would; other packets stay."""
    segment = bytearray(packet[20:])
    if not segment[13] & Flags.SYN:
        return packet
    at, end = 20, (segment[12] >> 4) * 4
    while at < end and segment[at]:
        size = 1 if segment[at] == 1 else segment[at + 1]
        if segment[at] in kinds:
            segment[at : at + size] = bytes([1]) * size
        at += size
    return packet[:20] + sealed(bytes(segment), packet[12:16], packet[16:20])


class Pair:
    """Side `a` opens connections to side `b`."""

    def __init__(
        self,
        *,
        seed: int = 1,
        loss: float = 0.0,
        duplication: float = 0.0,
        jitter_us: int = 0,
        delay_us: int = 5_000,
        bursts: bool = False,
        stripped: frozenset[int] = frozenset(),
    ) -> None:
        self.now = START_US
        self.a = Side(IP_A, 2 * seed)
        self.b = Side(IP_B, 2 * seed + 1)
        self.loss = loss
        self.duplication = duplication
        self.jitter_us = jitter_us
        self.delay_us = delay_us
        self.bursts = bursts
        self.stripped = stripped
        self.deliverable: Callable[[bytes], bool] = lambda packet: True
        self.random = random.Random(seed)
        self.packets = 0
        self.log: list[tuple[int, bytes]] = []
        self._flying: list[tuple[int, int, Side, list[bytes]]] = []
        self._count = itertools.count()

    def open(self, port: int = 80) -> tuple[Connection, Connection]:
        """Open a connection to a new listener and return both ends."""
        listener = self.b.host.listen(self.now, None, port, 16)
        connection = self.connect(port)
        for _ in range(200):
            self.run(100_000)
            accepted = listener.accept()
            if accepted is not None and connection.is_established:
                listener.close(self.now)
                return connection, accepted
        raise AssertionError("the connection was not opened")

    def listen(self, port: int = 80, backlog: int = 16) -> Listener:
        return self.b.host.listen(self.now, None, port, backlog)

    def connect(self, port: int = 80, local_port: int = 50_000) -> Connection:
        local, remote = Endpoint(IP_A, local_port), Endpoint(IP_B, port)
        return self.a.host.connect(self.now, local, remote, MTU)

    def run(self, duration_us: int) -> None:
        """Advance by a time, sending and delivering whatever is to be."""
        end = self.now + duration_us
        while True:
            for side, other in ((self.a, self.b), (self.b, self.a)):
                side.host.flush(self.now)
                self._collect(side, other)
                side.events += taken(side.host.events)
            due = [side.host.next_timer() for side in (self.a, self.b)]
            nearest = min((at for at in due if at is not None), default=end + 1)
            if self._flying:
                nearest = min(nearest, self._flying[0][0])
            if nearest > end:
                self.now = end
                return
            self.now = max(self.now, nearest)
            while self._flying and self._flying[0][0] <= self.now:
                _, _, side, packets = heapq.heappop(self._flying)
                self._deliver(side, packets)
            for side in (self.a, self.b):
                side.host.handle_timer(self.now)

    def _collect(self, side: Side, other: Side) -> None:
        for _ in range(64):
            runs = side.host.take_packets(self.now, 22)
            if not runs:
                return
            for run in runs:
                packets = [b"".join((header, body)) for header, body in run.packets]
                self.log += [(self.now, packet) for packet in packets]
                self._send(other, packets)

    def _send(self, other: Side, packets: list[bytes]) -> None:
        self.packets += len(packets)
        if self.stripped:
            packets = [without_options(packet, self.stripped) for packet in packets]
        kept: list[bytes] = []
        for packet in packets:
            if self.random.random() < self.loss or not self.deliverable(packet):
                continue
            kept.append(packet)
            if self.random.random() < self.duplication:
                kept.append(packet)
        if self.bursts:
            if kept:
                self._fly(other, kept, self.delay_us)
            return
        for packet in kept:
            delay = self.delay_us + (self.random.randrange(self.jitter_us) if self.jitter_us else 0)
            self._fly(other, [packet], delay)

    def inject(self, other: Side, packets: list[bytes]) -> None:
        """Deliver packets to a side after the delay of the link."""
        for packet in packets:
            self._fly(other, [packet], self.delay_us)

    def _fly(self, other: Side, packets: list[bytes], delay_us: int) -> None:
        item = (self.now + delay_us, next(self._count), other, packets)
        heapq.heappush(self._flying, item)

    def _deliver(self, side: Side, packets: list[bytes]) -> None:
        if self.bursts and side.host.receive_burst(self.now, EtherType.IPV4, burst_of(packets)):
            return
        for packet in packets:
            assert packet[12:16] != side.ip
            segment = memoryview(packet)[20:]
            side.host.receive(self.now, packet[12:16], packet[16:20], segment)


def transfer(
    pair: Pair, source: Connection, sink: Connection, data: bytes, limit_us: int = 600_000_000
) -> bytes:
    """Send `data` and FIN through a connection; return what arrived until the end."""
    received = bytearray()
    at, end = 0, pair.now + limit_us
    if not data:
        source.shutdown(pair.now)
    while pair.now < end:
        if at < len(data):
            at += source.write(pair.now, memoryview(data)[at : at + 1_000_000])
            if at == len(data):
                source.shutdown(pair.now)
        for view in sink.read(pair.now, 1 << 20):
            received += view
        if sink.at_eof:
            return bytes(received)
        if sink.error is not None:
            raise sink.error
        if source.error is not None:
            raise source.error
        pair.run(2_000)
    raise AssertionError(f"{len(received)} of {len(data)} bytes after {limit_us / 1e6:.0f} s")
