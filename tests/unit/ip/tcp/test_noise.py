"""Made-up segments in every state: nothing raises or grows, and no window is overstepped.

ZT_TCP_SEGMENTS=5000000 tries more of them than the ordinary run does.
"""

from __future__ import annotations

import os
import random
import tracemalloc
from typing import Final

import pytest

from tests.support.switches import SeededEntropy
from tests.support.tcp_pair import IP_A, IP_B, MTU, START_US, burst_of
from ztstack.base.endpoint import Endpoint
from ztstack.base.errors import ConnectRefused, Unreachable
from ztstack.base.frame import EtherType
from ztstack.base.trace import CountingTracer
from ztstack.ip.packets.tcp import PROTOCOL, TcpSegment
from ztstack.ip.tcp.connection import Connection
from ztstack.ip.tcp.departure import ip_header
from ztstack.ip.tcp.host import TcpHost
from ztstack.ip.tcp.state import State

SEGMENTS: Final = int(os.environ.get("ZT_TCP_SEGMENTS", "20000"))
SEEDS: Final = 4
SIX_A: Final = b"\xfd" + bytes(14) + b"\x01"
SIX_B: Final = b"\xfd" + bytes(14) + b"\x02"
BLOCK: Final = 2 * random.Random(5).randbytes(1 << 16)
FLAGS: Final = (16, 16, 16, 16, 24, 17, 2, 18, 4, 20, 1, 0, 48, 255)
LENGTHS: Final = (0, 0, 0, 1, 7, 100, 1000, 1460)
PORTS: Final = (4000, 4000, 4000, 4000, 4001, 4002)


class Noise:
    """A host that listens and connects, and segments that might be its peers'."""

    def __init__(self, seed: int, *, six: bool = False) -> None:
        self.random = random.Random(seed)
        self.now = START_US
        self.theirs, self.ours = (SIX_A, SIX_B) if six else (IP_A, IP_B)
        self.host = TcpHost(SeededEntropy(seed), CountingTracer(), lambda ip: ip == self.ours, [])
        self.host.set_mtu(self.now, MTU)
        self.listener = self.host.listen(self.now, None, 80, 4)
        self.known: dict[int, Connection] = {}
        self.bytes_read = 0

    def number(self, near: int, spread: int) -> int:
        """Return a sequence number that is right, nearly right, or anything."""
        match self.random.randrange(8):
            case 0 | 1 | 2:
                return near & 0xFFFFFFFF
            case 3 | 4 | 5:
                return near + self.random.randint(-spread, spread) & 0xFFFFFFFF
            case 6:
                return near + self.random.choice((-1, 1, 1 << 16, 1 << 31)) & 0xFFFFFFFF
            case _:
                return self.random.getrandbits(32)

    def segment(self, port: int) -> bytes:
        """Return a segment whose data is what belongs at its place in the stream."""
        rnd = self.random
        known = self.known.get(port)
        expected = known.wire_acknowledgement() if known else rnd.getrandbits(32)
        acknowledged = known.wire_sequence(known.send_next) if known else rnd.getrandbits(32)
        sequence = self.number(expected, 70_000)
        size = rnd.choice(LENGTHS)
        stamps = None
        if rnd.random() < 0.7:
            recent = known.stamp_recent if known else 0
            stamps = (self.number(recent, 10), rnd.getrandbits(32))
        flags = rnd.choice(FLAGS)
        sack: tuple[tuple[int, int], ...] = ()
        if rnd.random() < 0.3 and not flags & 2:
            base = acknowledged - 3000
            sack = tuple(
                (self.number(base, 3000), self.number(base, 3000)) for _ in range(rnd.randint(1, 2))
            )
        start = known.initial_receive if known else sequence
        at = (sequence - start - 1 & 0xFFFFFFFF) % 65_536
        data = BLOCK[at : at + size]
        segment = TcpSegment(
            source_port=port,
            destination_port=80,
            sequence=sequence,
            acknowledgement=self.number(acknowledged, 3000),
            flags=flags,
            window=rnd.choice((0, 1, 500, 65_535)),
            payload=data,
            mss=rnd.choice((None, 0, 1, 88, 536, 1460, 65_535)) if flags & 2 else None,
            window_shift=rnd.choice((None, 0, 7, 14, 255)) if flags & 2 else None,
            sack_permitted=bool(flags & 2) and rnd.random() < 0.8,
            sack=sack,
            stamps=stamps,
        )
        return segment.encode(self.theirs, self.ours) + data

    def step(self) -> None:
        rnd = self.random
        port = rnd.choice(PORTS)
        if rnd.random() < 0.02:
            raw = rnd.randbytes(rnd.randrange(80))
            self.host.receive(self.now, self.theirs, self.ours, memoryview(raw))
        if rnd.random() < 0.02:
            self.complain(port)
        segment = self.segment(port)
        if rnd.random() < 0.4:
            ends = self.theirs + self.ours
            constant = ends if len(ends) == 8 else bytes((PROTOCOL, 64)) + ends
            whole = ip_header(constant, len(segment)) + segment
            burst = burst_of([whole, whole] if rnd.random() < 0.3 else [whole])
            kind = EtherType.IPV4 if len(ends) == 8 else EtherType.IPV6
            if not self.host.receive_burst(self.now, kind, burst):
                self.host.receive(self.now, self.theirs, self.ours, memoryview(segment))
        else:
            self.host.receive(self.now, self.theirs, self.ours, memoryview(segment))
        self.host.flush(self.now)
        self.now += rnd.choice((0, 100, 5000))
        if rnd.random() < 0.05:
            self.now += rnd.choice((100_000, 2_000_000))
        self.host.handle_timer(self.now)
        self.host.take_packets(self.now, 22)
        self.host.events.clear()
        self.use(port)

    def complain(self, port: int) -> None:
        """Report what a router might say of a segment of ours, or somebody who guesses."""
        rnd, known = self.random, self.known.get(port)
        sequence = known.wire_sequence(known.send_unacknowledged) if known else 0
        local, remote = Endpoint(self.ours, 80), Endpoint(self.theirs, port)
        number = self.number(sequence, 3000)
        if rnd.random() < 0.7:
            mtu = rnd.choice((576, 1280, 1400, 9000))
            self.host.receive_too_big(self.now, local, remote, number, mtu)
        else:
            error = rnd.choice((Unreachable("?"), ConnectRefused("?")))
            self.host.receive_error(self.now, local, remote, number, error, rnd.random() < 0.5)

    def use(self, port: int) -> None:
        """Do what a user might, and check what was read."""
        rnd = self.random
        while (accepted := self.listener.accept()) is not None:
            self.known[accepted.remote.port] = accepted
        for connection in self.host.connections():
            if connection.state is State.SYN_RECEIVED:
                self.known[connection.remote.port] = connection
        connection = self.known.get(port) or self.open(port)
        before = connection.received.next - connection.received.size
        for view in connection.read(self.now, 1 << 20):
            at = before % 65_536
            assert bytes(view) == BLOCK[at : at + len(view)]
            before += len(view)
            self.bytes_read += len(view)
        over = connection.state in (State.CLOSED, State.TIME_WAIT)
        match rnd.randrange(400):
            case 0 if not over:
                connection.shutdown(self.now)
            case 1:
                connection.close(self.now)
            case 2:
                connection.abort(self.now)
            case n if n < 40 and not over and connection.fin_offset is None:
                connection.write(self.now, bytes(rnd.choice((1, 3000, 30_000))))
            case _:
                pass
        if connection.state is State.CLOSED:
            self.known.pop(port, None)
        else:
            assert connection.received.next <= connection.window_edge or over
            assert 0 <= connection.send_unacknowledged <= connection.send_next
            assert connection.send_next <= connection.send_end
            assert 0 <= connection.pipe <= connection.in_flight

    def open(self, port: int) -> Connection:
        remote = Endpoint(self.theirs, port)
        for connection in self.host.connections():
            if connection.remote == remote:
                return connection
        connection = self.host.connect(self.now, Endpoint(self.ours, 80), remote, MTU)
        self.host.take_packets(self.now, 22)
        self.known[port] = connection
        return connection


@pytest.mark.parametrize("seed", range(SEEDS))
def test_nothing_raises_and_only_the_stream_is_read(seed: int) -> None:
    noise = Noise(seed, six=seed % 2 == 1)
    for _ in range(SEGMENTS // SEEDS):
        noise.step()
    # Much of it was near enough to be taken.
    assert noise.bytes_read > SEGMENTS // SEEDS


def test_nothing_grows() -> None:
    """A peer that sends what it likes, for as long as it likes, takes no more than its buffers."""
    noise = Noise(99)
    tracemalloc.start()
    try:
        for _ in range(800):
            noise.step()
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(1600):
            noise.step()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after < before + 2_000_000
    assert len(noise.host.connections()) <= 3
