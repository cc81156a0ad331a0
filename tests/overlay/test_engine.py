"""The legacy engine over both transports."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable

import pytest

from overlay import (
    ConnectRefused,
    ConnectReset,
    InvalidConfig,
    NameNotResolved,
    OverlayConfig,
    OverlayEngine,
    PortInUse,
    Unreachable,
)

NETWORK = 0xCAFE2001
A, B = 0xA1B2C3D4E5, 0xB1B2C3D4E5

Script = Callable[[OverlayEngine, OverlayEngine], Awaitable[None]]


async def over(in_memory: bool, script: Script) -> None:
    a = OverlayEngine(OverlayConfig(NETWORK, A, in_memory=in_memory))
    async with a:
        peers = {}
        if not in_memory:
            peers = {A: ("127.0.0.1", int(a.local.rpartition(":")[2]))}
        config = OverlayConfig(
            NETWORK, B, in_memory=in_memory, peers=peers, addresses={"10.0.0.1": A}
        )
        async with OverlayEngine(config) as b:
            await script(a, b)


@pytest.fixture(params=[True, False], ids=["memory", "udp"])
def run(request: pytest.FixtureRequest) -> Callable[[Script], None]:
    def runner(script: Script) -> None:
        asyncio.run(over(request.param, script))

    return runner


def test_stream_both_ways(run: Callable[[Script], None]) -> None:
    data = os.urandom(700_000)

    async def script(a: OverlayEngine, b: OverlayEngine) -> None:
        listener = await a.listen(0)
        client = await b.connect("10.0.0.1", listener.port, 5)
        server = await listener.accept()
        assert server.remote == (b.node_id, client.local[1])
        received = bytearray()

        async def read() -> None:
            while part := await server.receive(1000):
                received.extend(part)
            await server.send(b"done")
            await server.send_eof()

        async with asyncio.TaskGroup() as group:
            group.create_task(read())
            await client.send(data)
            await client.send_eof()
            assert await client.receive() == b"done"
            assert await client.receive() == b""
        await client.wait_sent(5)
        assert received == data
        await client.close()
        await server.close()

    run(script)


def test_datagrams(run: Callable[[Script], None]) -> None:
    async def script(a: OverlayEngine, b: OverlayEngine) -> None:
        one, two = await a.datagram(9000), await b.datagram()
        await two.send(b"ping", a.node_id, 9000)
        data, (host, port), _ = await one.receive()
        assert (data, host, port) == (b"ping", b.node_id, two.local_port)
        await one.send(b"pong", host, port)
        assert (await two.receive())[0] == b"pong"
        with pytest.raises(InvalidConfig):
            await two.send(bytes(70_000), a.node_id, 9000)

    run(script)


def test_refusals(run: Callable[[Script], None]) -> None:
    async def script(a: OverlayEngine, b: OverlayEngine) -> None:
        with pytest.raises(ConnectRefused):
            await b.connect(a.node_id, 80, 5)
        with pytest.raises(NameNotResolved):
            await b.connect("db", 80, 5)
        with pytest.raises(Unreachable):
            await b.connect("0000000001", 80, 5)
        await a.listen(80)
        with pytest.raises(PortInUse):
            await a.listen(80)

    run(script)


def test_reset(run: Callable[[Script], None]) -> None:
    async def script(a: OverlayEngine, b: OverlayEngine) -> None:
        listener = await a.listen(80)
        client = await b.connect(a.node_id, 80, 5)
        (await listener.accept()).abort()
        with pytest.raises(ConnectReset):
            await client.receive()

    run(script)


def test_same_node_twice_in_one_process() -> None:
    async def script() -> None:
        config = OverlayConfig(NETWORK, A, in_memory=True)
        async with OverlayEngine(config):
            with pytest.raises(PortInUse):
                await OverlayEngine(config).__aenter__()

    asyncio.run(script())
