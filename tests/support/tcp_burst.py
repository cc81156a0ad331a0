"""Bursts of TCP segments for tests: given to the other side at once, or one by one."""

from __future__ import annotations

import random

from tests.support.tcp_pair import IP_A, IP_B, Pair
from ztstack.base.frame import Burst, EtherType
from ztstack.base.timers import SECOND
from ztstack.ip.tcp.connection import Connection


def packets_of(pair: Pair, data: bytes) -> list[bytes]:
    """Return what side `a` sends for `data`, and lose it."""
    return packets_from(pair, opened(pair)[0], data)


def packets_from(pair: Pair, connection: Connection, data: bytes) -> list[bytes]:
    connection.congestion.window = 1 << 20
    connection.write(pair.now, data)
    runs = pair.a.host.take_packets(pair.now, 64)
    return [header + bytes(body) for run in runs for header, body in run.packets]


def opened(pair: Pair) -> tuple[Connection, Connection]:
    """Open a connection whose window has grown beyond that of a SYN."""
    a, b = pair.open()
    assert transfer_one(pair, a, b) == b"x"
    return a, b


def transfer_one(pair: Pair, source: Connection, sink: Connection) -> bytes:
    source.write(pair.now, b"x")
    pair.run(1 * SECOND)
    return b"".join(sink.read(pair.now, 10))


def data_of(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def receive_each(pair: Pair, packets: list[bytes]) -> None:
    for packet in packets:
        pair.b.host.receive(pair.now, IP_A, IP_B, memoryview(packet)[20:])


def receive_burst(pair: Pair, burst: Burst) -> bool:
    return pair.b.host.receive_burst(pair.now, EtherType.IPV4, burst)


def answers(pair: Pair) -> list[tuple[bytes, bytes]]:
    pair.b.host.flush(pair.now)
    runs = pair.b.host.take_packets(pair.now, 64)
    return [(header, bytes(body)) for run in runs for header, body in run.packets]
