"""A port of this machine for a service inside: asyncio's, uvloop's and a thread's programs."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

import ztstack
from tests.support.cli import receive_all
from tests.support.loopback import LOOPS, BlockingLab, OnLab, ipv4
from ztstack.sockets.forwarding import place_of

BIG = hashlib.shake_256(b"forward").digest(3_000_000)


@pytest.fixture(scope="module", params=LOOPS)
def on_lab(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OnLab]:
    made = OnLab(tmp_path_factory.mktemp("lab"), request.param)
    yield made
    made.stop()


async def reverse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer only after the end of what comes: a half-close has to get through."""
    writer.write((await reader.read())[::-1])
    writer.close()
    await writer.wait_closed()


async def ask(address: tuple[str, int], data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(data)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


def test_bytes_and_ends(on_lab: OnLab) -> None:
    async def body(alice: ztstack.Node, bob: ztstack.Node) -> None:
        async with await bob.start_server(reverse) as server:
            target = f"{ipv4(bob)}:{server.port}"
            async with alice.forward("127.0.0.1:0", target) as forward:
                assert forward.address[0] == "127.0.0.1"
                async with asyncio.TaskGroup() as group:
                    for data in (b"", b"hi", BIG):
                        group.create_task(check(forward.address, data))
            with pytest.raises(ztstack.Closed):
                assert forward.address

    async def check(address: tuple[str, int], data: bytes) -> None:
        assert await ask(address, data) == data[::-1]

    on_lab(body)


def test_a_peer_that_ends_first(on_lab: OnLab) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"greeting")
        writer.write_eof()
        received.append(await reader.read())
        writer.close()

    received: list[bytes] = []

    async def body(alice: ztstack.Node, bob: ztstack.Node) -> None:
        async with await bob.start_server(greet) as server:
            async with alice.forward("0", (ipv4(bob), server.port)) as forward:
                reader, writer = await asyncio.open_connection(*forward.address)
                assert await reader.read() == b"greeting"
                writer.write(b"and hello")
                writer.close()
                await writer.wait_closed()
            server.close()
            await server.wait_closed()
        assert received == [b"and hello"]

    on_lab(body)


def test_resets(on_lab: OnLab) -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        writer.transport.abort()

    async def body(alice: ztstack.Node, bob: ztstack.Node) -> None:
        async with (
            await bob.start_server(reset) as server,
            alice.forward("0", (ipv4(bob), server.port)) as forward,
        ):
            reader, writer = await asyncio.open_connection(*forward.address)
            writer.write(b"x")
            with pytest.raises(ConnectionResetError):
                await reader.read()
            writer.close()

    on_lab(body)


def test_a_service_that_is_not_there(on_lab: OnLab) -> None:
    async def body(alice: ztstack.Node, bob: ztstack.Node) -> None:
        async with alice.forward("127.0.0.1:0", f"{ipv4(bob)}:9") as forward:
            reader, _ = await asyncio.open_connection(*forward.address)
            with pytest.raises(ConnectionResetError):
                await reader.read()
            assert isinstance(forward.error, ztstack.ConnectRefused)

    on_lab(body)


def test_no_more_than_may_be_open(on_lab: OnLab) -> None:
    async def body(alice: ztstack.Node, bob: ztstack.Node) -> None:
        async with (
            await bob.start_server(reverse) as server,
            alice.forward(0, (ipv4(bob), server.port), max_connections=1) as forward,
        ):
            first_reader, first = await asyncio.open_connection(*forward.address)
            second_reader, _ = await asyncio.open_connection(*forward.address)
            with pytest.raises(ConnectionResetError):
                await second_reader.read()
            first.write(b"one")
            first.write_eof()
            assert await first_reader.read() == b"eno"
            first.close()

    on_lab(body)


def test_the_block_ends_what_is_open(on_lab: OnLab) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"greeting")
        received.append(await reader.read())
        writer.close()

    received: list[bytes] = []

    async def body(alice: ztstack.Node, bob: ztstack.Node) -> None:
        async with await bob.start_server(greet) as server:
            async with alice.forward("0", (ipv4(bob), server.port)) as forward:
                address = forward.address
                reader, writer = await asyncio.open_connection(*address)
                assert await reader.readexactly(8) == b"greeting"
                late_reader, late = await asyncio.open_connection(*address)
            assert await reader.read() == b""
            with pytest.raises(ConnectionResetError):
                # The service was not reached yet.
                await late_reader.read()
            for one in (writer, late):
                one.close()
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(*address)
            server.close()
            await server.wait_closed()
        assert received == [b""]

    on_lab(body)


def test_a_local_port_in_use(on_lab: OnLab) -> None:
    async def body(alice: ztstack.Node, bob: ztstack.Node) -> None:
        with socket.create_server(("127.0.0.1", 0)) as held:
            with pytest.raises(OSError, match="address already in use") as failure:
                async with alice.forward(held.getsockname(), "10.0.0.1:80"):
                    pass
            assert failure.value.errno == errno.EADDRINUSE

    on_lab(body)


def test_blocking(tmp_path: Path) -> None:
    with BlockingLab(tmp_path) as lab:

        async def serve() -> ztstack.Server:
            return await lab.bob.node.start_server(reverse)

        server = lab.bob.run(serve())
        with (
            lab.alice.forward("127.0.0.1:0", (lab.bob_ip, server.port)) as forward,
            socket.create_connection(forward.address, 10) as sock,
        ):
            sock.sendall(b"hello")
            sock.shutdown(socket.SHUT_WR)
            assert receive_all(sock) == b"olleh"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("10.1.2.3:80", ("10.1.2.3", 80)),
        ("a1b2c3d4e5:22", ("a1b2c3d4e5", 22)),
        ("[fd00::1]:443", ("fd00::1", 443)),
        (("fd00::1", 443), ("fd00::1", 443)),
    ],
)
def test_places(text: str | tuple[str, int], place: tuple[str, int]) -> None:
    assert place_of(text) == place


@pytest.mark.parametrize(
    "text",
    ["", "host", "host:", "host:x", "host:0", "host:65536", ":80", "fd00::1:80", ("", 80), 80],
)
def test_no_places(text: str | int | tuple[str, int]) -> None:
    with pytest.raises(ztstack.InvalidConfig):
        place_of(text)
