"""Socket options of connections inside a network, as programs set them on the system's sockets."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import Iterator

import pytest
from aiohttp.tcp_helpers import tcp_keepalive, tcp_nodelay
from uvicorn.protocols.utils import get_local_addr, get_remote_addr

import ztstack
from tests.support.loopback import BlockingLab, OnLab, ipv4
from ztstack.sockets.options import (
    COUNT,
    IDLE,
    INTERVAL,
    KEEPALIVE,
    LINGER,
    NODELAY,
    USER_TIMEOUT,
    ConnectionSocket,
    Option,
)

SEND_BUFFER = socket.SOL_SOCKET, socket.SO_SNDBUF
RECEIVE_BUFFER = socket.SOL_SOCKET, socket.SO_RCVBUF
RESET = struct.pack("ii", 1, 0)


@pytest.fixture(scope="module")
def on_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnLab]:
    made = OnLab(tmp_path_factory.mktemp("lab"))
    yield made
    made.stop()


async def connected(
    alice: ztstack.Node, bob: ztstack.Node
) -> tuple[ztstack.Stream, ztstack.Stream]:
    listener = await bob.listen(0)
    client = await alice.connect(ipv4(bob), listener.port)
    server = await listener.accept()
    listener.close()
    return client, server


async def drain(stream: ztstack.Stream) -> None:
    while await stream.receive():
        pass


@pytest.mark.parametrize(
    ("option", "first", "then"),
    [
        (NODELAY, 1, 0),
        (KEEPALIVE, 0, 1),
        (IDLE, 7200, 30),
        (INTERVAL, 75, 3),
        (COUNT, 9, 4),
        (USER_TIMEOUT, 0, 5000),
        (SEND_BUFFER, 1 << 20, 65_536),
        (RECEIVE_BUFFER, 1 << 18, 65_536),
    ],
)
def test_what_is_set_is_what_is_there(on_lab: OnLab, option: Option, first: int, then: int) -> None:
    async def body(alice: ztstack.Node, bob: ztstack.Node) -> None:
        client, server = await connected(alice, bob)
        for stream in (client, server):
            found = stream.socket
            assert found.getsockopt(*option) == first
            found.setsockopt(*option, then)
            assert found.getsockopt(*option) == then
            found.setsockopt(*option, struct.pack("=i", first))
            assert found.getsockopt(*option, 4) == struct.pack("=i", first)
        client.abort()
        server.abort()

    on_lab(body)


@pytest.mark.parametrize(
    ("option", "value", "code"),
    [
        ((socket.IPPROTO_TCP, 99), 1, errno.ENOPROTOOPT),
        ((socket.SOL_SOCKET, socket.SO_BROADCAST), 1, errno.ENOPROTOOPT),
        (IDLE, 0, errno.EINVAL),
        (COUNT, 128, errno.EINVAL),
        (USER_TIMEOUT, -1, errno.EINVAL),
        (NODELAY, b"\1", errno.EINVAL),
        (LINGER, 1, errno.EINVAL),
        (LINGER, bytes(3), errno.EINVAL),
    ],
)
def test_what_cannot_be(on_lab: OnLab, option: Option, value: int | bytes, code: int) -> None:
    async def body(alice: ztstack.Node, bob: ztstack.Node) -> None:
        client, server = await connected(alice, bob)
        with pytest.raises(OSError) as caught:  # noqa: PT011 - its number is what matters
            client.socket.setsockopt(*option, value)
        assert caught.value.errno == code
        client.abort()
        server.abort()

    on_lab(body)


def test_options_that_can_only_be_asked_for(on_lab: OnLab) -> None:
    async def body(alice: ztstack.Node, bob: ztstack.Node) -> None:
        client, server = await connected(alice, bob)
        found = client.socket
        assert found.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM
        assert found.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        server.abort()
        with pytest.raises(ConnectionResetError):
            await client.receive()
        assert found.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET
        assert (found.family, found.type, found.fileno()) == (
            socket.AF_INET,
            socket.SOCK_STREAM,
            -1,
        )
        client.abort()

    on_lab(body)


def test_a_bounded_send_buffer_takes_no_more(on_lab: OnLab) -> None:
    async def body(alice: ztstack.Node, bob: ztstack.Node) -> None:
        client, server = await connected(alice, bob)
        server.socket.setsockopt(*RECEIVE_BUFFER, 20_000)
        client.socket.setsockopt(*SEND_BUFFER, 30_000)
        sending = asyncio.ensure_future(client.send(bytes(2_000_000)))
        received = 0
        while received < 2_000_000:
            piece = await server.receive()
            # What was advertised before is kept: the edge of a window does not move back.
            assert len(piece) <= 1 << 18
            received += len(piece)
        await sending
        assert client.socket.getsockopt(*SEND_BUFFER) == 30_000
        assert server.socket.getsockopt(*RECEIVE_BUFFER) == 20_000
        client.abort()
        server.abort()

    on_lab(body)


@pytest.mark.parametrize("option", [RESET, struct.pack("HH", 1, 0)])
def test_lingering_for_no_time_is_a_reset(on_lab: OnLab, option: bytes) -> None:
    async def body(alice: ztstack.Node, bob: ztstack.Node) -> None:
        client, server = await connected(alice, bob)
        client.socket.setsockopt(*LINGER, option)
        assert client.socket.getsockopt(*LINGER, 8) == RESET
        await client.close()
        with pytest.raises(ConnectionResetError):
            await server.receive()
        server.abort()

    on_lab(body)


def test_lingering_for_a_time_is_the_usual_end(on_lab: OnLab) -> None:
    async def body(alice: ztstack.Node, bob: ztstack.Node) -> None:
        client, server = await connected(alice, bob)
        _, writer = alice.reader_writer(client)
        writer.get_extra_info("socket").setsockopt(*LINGER, struct.pack("ii", 1, 5))
        # Closed before its protocol knew of it, which learns of both all the same.
        writer.close()
        await writer.wait_closed()
        assert await server.receive() == b""
        server.abort()

    on_lab(body)


def test_a_transport_that_lingers_for_no_time_is_reset(on_lab: OnLab) -> None:
    async def body(alice: ztstack.Node, bob: ztstack.Node) -> None:
        client, server = await connected(alice, bob)
        _, writer = alice.reader_writer(client)
        writer.get_extra_info("socket").setsockopt(*LINGER, RESET)
        writer.write(b"lost")
        writer.close()
        with pytest.raises(ConnectionResetError):
            await drain(server)
        server.abort()

    on_lab(body)


def test_what_aiohttp_and_uvicorn_do_with_a_socket(on_lab: OnLab) -> None:
    async def body(alice: ztstack.Node, bob: ztstack.Node) -> None:
        client, server = await connected(alice, bob)
        names = client.local, client.remote
        _, writer = alice.reader_writer(client)
        transport = writer.transport
        found = transport.get_extra_info("socket")
        assert isinstance(found, ConnectionSocket)
        assert isinstance(transport, asyncio.Transport)
        tcp_nodelay(transport, value=False)
        tcp_keepalive(transport)
        assert (found.getsockopt(*NODELAY), found.getsockopt(*KEEPALIVE)) == (0, 1)
        assert (get_local_addr(transport), get_remote_addr(transport)) == names
        writer.transport.abort()
        server.abort()

    on_lab(body)


def test_a_blocking_socket(tmp_path_factory: pytest.TempPathFactory) -> None:
    with BlockingLab(tmp_path_factory.mktemp("lab")) as lab:
        server = lab.bob.create_server((None, 0))
        client = lab.alice.create_connection((lab.bob_ip, server.port), timeout=10)
        other, _ = server.accept()
        assert client.getsockopt(*NODELAY) == 1
        client.setsockopt(*KEEPALIVE, 1)
        client.setsockopt(*IDLE, 60)
        assert client.getsockopt(*IDLE) == 60
        with pytest.raises(OSError) as caught:  # noqa: PT011 - its number is what matters
            client.setsockopt(socket.IPPROTO_TCP, 99, 1)
        assert caught.value.errno == errno.ENOPROTOOPT
        client.setsockopt(*LINGER, RESET)
        client.close()
        with pytest.raises(ConnectionResetError):
            other.recv(1)
        other.close()
        server.close()
        with pytest.raises(OSError) as caught:  # noqa: PT011 - its number is what matters
            client.getsockopt(*NODELAY)
        assert caught.value.errno == errno.EBADF
