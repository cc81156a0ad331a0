from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.seccomp import forbid
from ztstack.aio import udp
from ztstack.aio.recvmmsg import COUNT, Batch, Run
from ztstack.aio.udp import (
    SINGLES_BEFORE_BATCH,
    SINGLES_PER_WAKEUP,
    SOL_UDP,
    UDP_GRO,
    UDP_SEGMENT,
    UdpSockets,
)
from ztstack.base.datagram import ALL_SOCKETS, Datagram
from ztstack.base.endpoint import Endpoint
from ztstack.base.errors import InvalidConfig, PortInUse

LOOPBACK = Endpoint(bytes((127, 0, 0, 1)), 0)
LOOPBACK6 = Endpoint(bytes(15) + b"\x01", 0)
TRAIN_STEP = 2200
LARGE = 50_000


class Collector:
    """A receiver that keeps datagrams, cut as they were sent."""

    def __init__(self) -> None:
        self.datagrams: list[bytes] = []
        self.senders: list[int] = []
        self.remotes: set[Endpoint] = set()
        self.wakeups = 0
        self.most = 0
        self.woken = asyncio.Event()

    def received(self, number: int, remote: Endpoint, view: memoryview, step: int) -> None:
        self._keep(remote, [view[at : at + step] for at in range(0, len(view), step)])

    def received_pile(self, number: int, remote: Endpoint, datagrams: Sequence[memoryview]) -> None:
        self.most = max(self.most, len(datagrams))
        self._keep(remote, datagrams)

    def _keep(self, remote: Endpoint, datagrams: Sequence[memoryview]) -> None:
        self.remotes.add(remote)
        self.datagrams += map(bytes, datagrams)
        self.senders += [remote.port] * len(datagrams)

    def drained(self) -> None:
        self.wakeups += 1
        self.woken.set()


async def until(count: int, collector: Collector) -> None:
    async with asyncio.timeout(5):
        while len(collector.datagrams) < count:
            collector.woken.clear()
            await collector.woken.wait()


async def exchange(datagrams: list[Datagram], expected: int, *, segment: bool) -> list[bytes]:
    loop = asyncio.get_running_loop()
    here, there = Collector(), Collector()
    sender, receiver = UdpSockets(loop, here), UdpSockets(loop, there)
    try:
        out, target = sender.open(LOOPBACK), receiver.open(LOOPBACK)
        out.can_segment = out.can_segment and segment
        for datagram in datagrams:
            sender.send(datagram._replace(remote=target.local))
        await until(expected, there)
        assert there.remotes == {out.local}
        assert there.wakeups >= 1
    finally:
        sender.close()
        receiver.close()
    return there.datagrams


@pytest.mark.parametrize("segment", [True, False])
def test_a_train_arrives_as_its_datagrams(segment: bool) -> None:
    data = bytes(range(256)) * 20
    train = Datagram(0, LOOPBACK, data, segment=1000)
    got = asyncio.run(exchange([train], 6, segment=segment))
    assert b"".join(got) == data
    assert sorted(map(len, got)) == [120, 1000, 1000, 1000, 1000, 1000]


def test_all_sockets_means_each_of_the_family() -> None:
    async def run() -> list[bytes]:
        loop = asyncio.get_running_loop()
        there = Collector()
        sender, receiver = UdpSockets(loop, Collector()), UdpSockets(loop, there)
        try:
            sender.open(LOOPBACK)
            sender.open(LOOPBACK)
            target = receiver.open(LOOPBACK)
            sender.send(Datagram(ALL_SOCKETS, target.local, b"hello"))
            await until(2, there)
        finally:
            sender.close()
            receiver.close()
        assert len(there.remotes) == 2
        return there.datagrams

    assert asyncio.run(run()) == [b"hello", b"hello"]


def test_a_low_ttl_is_for_one_datagram_only() -> None:
    low = Datagram(0, LOOPBACK, b"low", ttl=2)
    usual = Datagram(0, LOOPBACK, b"usual")
    assert asyncio.run(exchange([low, usual], 2, segment=True)) == [b"low", b"usual"]


def test_a_port_in_use_is_named() -> None:
    async def run() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
            holder.bind(("127.0.0.1", 0))
            port = holder.getsockname()[1]
            with pytest.raises(PortInUse, match=str(port)):
                UdpSockets(asyncio.get_running_loop(), Collector()).open(
                    Endpoint(LOOPBACK.ip, port)
                )

    asyncio.run(run())


def test_an_address_of_another_machine_cannot_be_bound() -> None:
    async def run() -> None:
        with pytest.raises(InvalidConfig, match=r"192\.0\.2\.1"):
            UdpSockets(asyncio.get_running_loop(), Collector()).open(
                Endpoint(bytes((192, 0, 2, 1)), 0)
            )

    asyncio.run(run())


async def collected(
    sent: list[tuple[int, bytes]], *, expects_one: bool = False, local: Endpoint = LOOPBACK
) -> Collector:
    """Let sockets of several numbers send before the receiver looks for the first time.

    More than TRAIN_STEP bytes are a train of such datagrams.
    """
    collector = Collector()
    receiver = UdpSockets(asyncio.get_running_loop(), collector)
    receiver.expects_one = expects_one
    family = socket.AF_INET if local.is_ipv4 else socket.AF_INET6
    senders = [socket.socket(family, socket.SOCK_DGRAM) for _ in range(2)]
    try:
        target = receiver.open(local).local
        for sender in senders:
            sender.bind((local.host, 0))
            sender.connect((target.host, target.port))
        for number, data in sent:
            segment = [(SOL_UDP, UDP_SEGMENT, struct.pack("H", TRAIN_STEP))]
            is_train = TRAIN_STEP < len(data) < LARGE
            senders[number].sendmsg([data], segment if is_train else ())
        await until(len(pieces(sent)), collector)
        ports = [sender.getsockname()[1] for sender in senders]
        assert collector.senders == [ports[number] for number, _ in pieces(sent)]
    finally:
        receiver.close()
        for sender in senders:
            sender.close()
    return collector


def pieces(sent: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """Return who sent which datagram."""
    found = []
    for number, data in sent:
        step = TRAIN_STEP if len(data) < LARGE else len(data)
        found += [(number, data[at : at + step]) for at in range(0, len(data), step)]
    return found


def test_single_datagrams_are_passed_on_together() -> None:
    sent = [(0, bytes((number,)) * (700 + 7 * number)) for number in range(200)]
    collector = asyncio.run(collected(sent))
    assert collector.datagrams == [data for _, data in sent]
    assert collector.most == COUNT


def test_datagrams_of_two_senders_are_not_mixed() -> None:
    sent = [(number // 3 % 2, bytes((number,)) * (1500 - number)) for number in range(60)]
    collector = asyncio.run(collected(sent))
    assert collector.datagrams == [data for _, data in sent]
    assert len(collector.remotes) == 2
    assert collector.most == 3


def test_large_single_datagrams_do_not_overflow_the_buffer() -> None:
    sent = [(0, bytes((number,)) * 60_000) for number in range(20)]
    assert asyncio.run(collected(sent)).datagrams == [data for _, data in sent]


@pytest.mark.parametrize("expects_one", [True, False])
def test_one_that_is_expected_is_not_waited_with(expects_one: bool) -> None:
    sent = [(0, bytes((number,)) * 60) for number in range(10)]
    collector = asyncio.run(collected(sent, expects_one=expects_one))
    assert collector.datagrams == [data for _, data in sent]
    most = len(sent) - SINGLES_BEFORE_BATCH - expects_one
    assert (collector.wakeups, collector.most) == (1 + expects_one, most)


@pytest.mark.parametrize("local", [LOOPBACK, LOOPBACK6])
@pytest.mark.parametrize("has_batches", [True, False])
def test_many_come_as_they_were_sent(
    has_batches: bool, local: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Single ones of two senders, trains between them, and large ones; by one call or by many."""
    taken: list[int] = []

    class Counted(Batch):
        def __init__(self, level: int, kind: int) -> None:
            if not has_batches:
                raise OSError("not here")
            super().__init__(level, kind)

        def receive(self, fd: int) -> list[Run]:
            runs = super().receive(fd)
            taken.append(sum(len(run.datagrams) for run in runs))
            return runs

    monkeypatch.setattr(udp, "Batch", Counted)
    sizes = [*[900, 1432, 1426] * 9, 8000, 5000, 700, LARGE, LARGE + 1, *[1432] * 30, 4801, 60, 60]
    sizes += [1400] * (2 * COUNT)
    sent = [(n // 20 % 2, bytes((n % 251,)) * size) for n, size in enumerate(sizes)]
    collector = asyncio.run(collected(sent, local=local))
    assert collector.datagrams == [data for _, data in pieces(sent)]
    assert (COUNT in taken) is has_batches


def test_many_where_a_filter_forbids_to_take_them_at_once() -> None:
    """What a sandbox does to a system call that its author did not think of."""
    sent = [(0, bytes((number,)) * 60) for number in range(3 * SINGLES_PER_WAKEUP)]

    def run() -> Collector:
        # Of this thread alone, which ends.
        forbid("recvmmsg", errno.EPERM)
        with pytest.raises(PermissionError), socket.socket(type=socket.SOCK_DGRAM) as sock:
            Batch(SOL_UDP, UDP_GRO).receive(sock.fileno())
        return asyncio.run(collected(sent))

    with ThreadPoolExecutor(1) as pool:
        collector = pool.submit(run).result()
    assert collector.datagrams == [data for _, data in sent]
    assert collector.most == SINGLES_PER_WAKEUP


def test_empty_datagrams_are_left_out_of_many() -> None:
    async def run() -> list[bytes]:
        collector = Collector()
        receiver = UdpSockets(asyncio.get_running_loop(), collector)
        try:
            target = receiver.open(LOOPBACK).local
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                for number in range(30):
                    data = b"" if number % 3 == 2 else bytes((number,))
                    sender.sendto(data, (target.host, target.port))
                await until(20, collector)
        finally:
            receiver.close()
        return collector.datagrams

    assert asyncio.run(run()) == [bytes((number,)) for number in range(30) if number % 3 != 2]
