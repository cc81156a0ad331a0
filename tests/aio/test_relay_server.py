"""The TCP relay against clients that want what it does not give."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable

import pytest

from ztstack.aio.relay_server import LARGEST_RECORD, RelayServer
from ztstack.aio.tcp_relay import GREETING, LONGEST, SHORTEST
from ztstack.base.errors import PortInUse

DATAGRAM = bytes(range(SHORTEST + 10))


def record(payload: bytes) -> bytes:
    return b"\x17\x03\x03" + len(payload).to_bytes(2, "big") + payload


def to(ip: str, port: int, data: bytes = DATAGRAM) -> bytes:
    return record(b"\x04" + socket.inet_aton(ip) + port.to_bytes(2, "big") + data)


def run(test: Callable[[RelayServer], Awaitable[None]], max_clients: int = 8) -> None:
    async def main() -> None:
        server = RelayServer(max_clients=max_clients)
        await server.start()
        try:
            async with asyncio.timeout(10):
                await test(server)
        finally:
            await server.stop()

    asyncio.run(main())


async def connect(server: RelayServer) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", server.port)


def test_there_and_back() -> None:
    async def test(server: RelayServer) -> None:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far:
            far.bind(("127.0.0.1", 0))
            far.setblocking(False)
            port = far.getsockname()[1]
            reader, writer = await connect(server)
            writer.write(GREETING + to("127.0.0.1", port))
            data, own = await loop.sock_recvfrom(far, 4096)
            assert data == DATAGRAM
            # Too short, too long, and one that is as it should be.
            for size in (SHORTEST - 1, LONGEST + 1, LONGEST):
                await loop.sock_sendto(far, bytes(size), own)
            answer = await reader.readexactly(5 + 7 + LONGEST)
            assert answer == to("127.0.0.1", port, bytes(LONGEST))
            assert (server.greetings, server.outward, server.refused) == (1, 1, 0)
            assert server.clients == 1
            writer.close()

    run(test)


@pytest.mark.parametrize(
    "asked",
    [
        to("127.0.0.1", 53),
        to("10.0.0.1", 9993),
        to("169.254.169.254", 9993),
        to("224.0.0.1", 9993),
        to("0.0.0.0", 9993),
        to("127.0.0.1", 9993, bytes(SHORTEST - 1)),
        to("127.0.0.1", 9993, bytes(LONGEST + 1)),
        record(b"\x06" + bytes(40)),
        record(b"\x04"),
        record(b"\x00"),
    ],
    ids=["port", "private", "link", "multicast", "nobody", "short", "long", "v6", "cut", "none"],
)
def test_what_is_refused(asked: bytes) -> None:
    async def test(server: RelayServer) -> None:
        reader, writer = await connect(server)
        writer.write(asked)
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        assert (server.outward, server.refused) == (0, 1)

    run(test)


@pytest.mark.parametrize(
    "asked",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        b"\x17\x03\x03\x00\x00",
        b"\x17\x03\x03" + (LARGEST_RECORD + 1).to_bytes(2, "big"),
    ],
)
def test_other_protocols_are_cut_off(asked: bytes) -> None:
    async def test(server: RelayServer) -> None:
        reader, writer = await connect(server)
        writer.write(asked)
        assert await reader.read() == b""
        writer.close()
        assert (server.outward, server.greetings) == (0, 0)

    run(test)


def test_only_so_many_clients() -> None:
    async def test(server: RelayServer) -> None:
        _, first = await connect(server)
        reader, second = await connect(server)
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        assert (server.clients, server.refused) == (1, 1)
        for writer in (first, second):
            writer.close()

    run(test, max_clients=1)


def test_port_is_taken() -> None:
    async def test(server: RelayServer) -> None:
        with pytest.raises(PortInUse):
            await RelayServer(port=server.port).start()

    run(test)
