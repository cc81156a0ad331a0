"""asyncio's own streams, protocols, servers and datagrams over the overlay, in virtual time."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import overlay
from overlay.testing import run_pair
from tests.support.loopback import tls_for

BIG = bytes(range(256)) * 2000


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


@pytest.mark.parametrize("loss", [0.0, 0.05])
def test_reader_and_writer(loss: float) -> None:
    async def script(a: overlay.Node, b: overlay.Node) -> None:
        server = await a.start_server(echo)
        reader, writer = await b.open_connection(a.address, server.port)
        writer.write(BIG)
        writer.write_eof()
        assert await reader.read() == BIG
        assert writer.get_extra_info("peername") == (a.address, server.port)
        assert writer.get_extra_info("sockname")[0] == b.address
        assert writer.get_extra_info("zt_node") == a.address
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    run_pair(script, loss=loss)


def test_tls_begun_later(tmp_path: Path) -> None:
    tls = tls_for(tmp_path, "a.zt")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readline() == b"STARTTLS\n"
        writer.write(b"go\n")
        await writer.drain()
        await writer.start_tls(tls.server)
        await echo(reader, writer)

    async def script(a: overlay.Node, b: overlay.Node) -> None:
        server = await a.start_server(serve)
        reader, writer = await b.open_connection(a.address, server.port)
        writer.write(b"STARTTLS\n")
        assert await reader.readline() == b"go\n"
        await writer.start_tls(tls.client, server_hostname="a.zt")
        writer.write(b"secret")
        assert await reader.readexactly(6) == b"secret"
        assert writer.get_extra_info("ssl_object") is not None
        writer.close()
        await writer.wait_closed()
        server.close()

    run_pair(script)


def test_tls_from_the_start(tmp_path: Path) -> None:
    tls = tls_for(tmp_path, "a.zt")

    async def script(a: overlay.Node, b: overlay.Node) -> None:
        server = await a.start_server(echo, ssl=tls.server)
        reader, writer = await b.open_connection(
            a.address, server.port, ssl=tls.client, server_hostname="a.zt"
        )
        writer.write(b"secret")
        assert await reader.readexactly(6) == b"secret"
        writer.close()
        await writer.wait_closed()
        server.close()

    run_pair(script)


class Talker(asyncio.Protocol):
    """Writes down what happens to it."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.calls.append("made")

    def data_received(self, data: bytes) -> None:
        self.calls.append(data.decode())

    def eof_received(self) -> None:
        self.calls.append("eof")

    def connection_lost(self, exc: Exception | None) -> None:
        self.calls.append(f"lost {exc}")
        self.lost.set_result(None)


def test_protocols() -> None:
    async def script(a: overlay.Node, b: overlay.Node) -> None:
        served: asyncio.Future[Talker] = asyncio.get_running_loop().create_future()

        def serve() -> Talker:
            served.set_result(Talker())
            return served.result()

        server = await a.create_server(serve)
        transport, talker = await b.create_connection(Talker, a.address, server.port)
        assert talker.calls == ["made"]
        transport.write(b"hello")
        transport.close()
        await talker.lost
        await (await served).lost
        assert talker.calls == ["made", "lost None"]
        assert served.result().calls == ["made", "hello", "eof", "lost None"]

    run_pair(script)


def test_a_stop_sends_what_was_written_and_tells_the_protocol() -> None:
    async def script(a: overlay.Node, b: overlay.Node) -> None:
        got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            got.set_result(await reader.read())
            writer.close()

        server = await a.start_server(serve)
        transport, talker = await b.create_connection(Talker, a.address, server.port)
        transport.write(BIG)
        await b.stop()
        await talker.lost
        assert talker.calls == ["made", "lost the node was stopped"]
        assert await got == BIG

    run_pair(script, loss=0.02)


def test_refused() -> None:
    async def script(a: overlay.Node, b: overlay.Node) -> None:
        with pytest.raises(overlay.ConnectRefused):
            await b.open_connection(a.address, 9)

    run_pair(script)


class Datagrams(asyncio.DatagramProtocol):
    """Queues what comes."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[tuple[bytes, tuple[str, int]]] = asyncio.Queue()
        self.errors: list[Exception] = []

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.queue.put_nowait((data, addr))

    def error_received(self, exc: Exception) -> None:
        self.errors.append(exc)


def test_datagram_endpoints() -> None:
    async def script(a: overlay.Node, b: overlay.Node) -> None:
        near, heard = await a.create_datagram_endpoint(Datagrams, ("", 5000))
        far, answers = await b.create_datagram_endpoint(Datagrams, remote_addr=("a", 5000))
        # Nobody met anybody yet: it goes when the node is found.
        far.sendto(b"first")
        data, where = await heard.queue.get()
        assert (data, where[0]) == (b"first", b.address)
        near.sendto(b"back", where)
        assert await answers.queue.get() == (b"back", (a.address, 5000))
        far.sendto(bytes(1 << 20))
        assert len(answers.errors) == 1
        near.close()
        far.close()

    run_pair(script)


def test_no_multicast() -> None:
    async def script(a: overlay.Node, b: overlay.Node) -> None:
        endpoint = await a.datagram()
        with pytest.raises(overlay.InvalidConfig):
            endpoint.join_group("239.1.2.3")

    run_pair(script)
