"""asyncio's own streams and protocols over two nodes of a lab on loopback."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import ztstack
from tests.support.loopback import LOOPS, Nodes, OnLab, ipv4, ipv6, tls_for, two_nodes
from ztstack.sockets.duplex import Duplex


@pytest.fixture(scope="module", params=LOOPS)
def on_lab(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OnLab]:
    made = OnLab(tmp_path_factory.mktemp("lab"), request.param)
    yield made
    made.stop()


def run(folder: Path, body: Nodes) -> None:
    async def main() -> None:
        async with asyncio.timeout(15), two_nodes(folder) as (alice, bob):
            await body(alice, bob)

    asyncio.run(main())


class Recorder(asyncio.Protocol):
    """Writes down what its transport tells it."""

    def __init__(self, *, keeps_open: bool = False) -> None:
        self.calls: list[str] = []
        self.data = bytearray()
        self.keeps_open = keeps_open
        self.lost = asyncio.get_running_loop().create_future()
        self.changed = asyncio.Event()

    def _note(self, call: str) -> None:
        self.calls.append(call)
        self.changed.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._note("made")

    def data_received(self, data: bytes) -> None:
        self.data += data
        self.changed.set()

    def eof_received(self) -> bool:
        self._note("eof")
        return self.keeps_open

    def pause_writing(self) -> None:
        self._note("pause")

    def resume_writing(self) -> None:
        self._note("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self._note("lost")
        self.lost.set_result(exc)

    async def until(self, happened: Callable[[], bool]) -> None:
        while not happened():
            self.changed.clear()
            await self.changed.wait()


@dataclass(frozen=True, slots=True)
class Pair:
    """A connection with a Recorder at both ends."""

    client: Recorder
    server: Recorder
    listening: ztstack.Server


async def pair(
    alice: ztstack.Node,
    bob: ztstack.Node,
    *,
    keeps_open: bool = False,
    tls: tuple[ssl.SSLContext, ssl.SSLContext] | None = None,
) -> Pair:
    accepted: asyncio.Queue[Recorder] = asyncio.Queue()

    def make() -> Recorder:
        made = Recorder(keeps_open=keeps_open)
        accepted.put_nowait(made)
        return made

    listening = await bob.create_server(make, ssl=tls[0] if tls else None)
    _, client = await alice.create_connection(
        lambda: Recorder(keeps_open=keeps_open),
        ipv4(bob),
        listening.port,
        ssl=tls[1] if tls else None,
    )
    server = await accepted.get()
    await server.until(lambda: "made" in server.calls)
    return Pair(client, server, listening)


def test_streams_with_half_close(on_lab: OnLab) -> None:
    async def body(alice: ztstack.Node, bob: ztstack.Node) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            assert writer.get_extra_info("zt_node") == alice.address
            writer.write((await reader.read())[::-1])
            await writer.drain()
            writer.close()
            await writer.wait_closed()

        server = await bob.start_server(serve, port=7)
        for address in (ipv4(bob), ipv6(bob), str(bob.address)):
            reader, writer = await alice.open_connection(address, 7)
            writer.write(b"ab" * 3_000_000)
            await writer.drain()
            writer.write_eof()
            assert await reader.read() == b"ba" * 3_000_000
            writer.close()
            await writer.wait_closed()
        server.close()
        await server.wait_closed()
        with pytest.raises(ConnectionRefusedError):
            await alice.open_connection(ipv4(bob), 7)

    on_lab(body)


def test_names_of_a_connection(on_lab: OnLab) -> None:
    async def body(alice: ztstack.Node, bob: ztstack.Node) -> None:
        both = await pair(alice, bob)
        client, server = both.client.transport, both.server.transport
        assert client.get_extra_info("peername") == server.get_extra_info("sockname")
        assert client.get_extra_info("sockname") == server.get_extra_info("peername")
        assert client.get_extra_info("peername")[0] == ipv4(bob)
        assert client.get_extra_info("zt_node") == bob.address
        assert client.get_extra_info("zt_path") == "direct"
        assert client.get_extra_info("socket").getpeername() == client.get_extra_info("peername")
        assert client.get_extra_info("nothing", 5) == 5
        assert client.can_write_eof()
        assert client.get_protocol() is both.client

    on_lab(body)


def test_close_after_writing_delivers_everything(tmp_path: Path) -> None:
    """Even if the node stops right afterwards: a kernel would send it too."""
    received = bytearray()

    async def body(alice: ztstack.Node, bob: ztstack.Node) -> None:
        both = await pair(alice, bob)
        both.client.transport.write(bytes(6_000_000))
        both.client.transport.close()
        assert both.client.transport.is_closing()
        assert await both.client.lost is None
        await alice.stop()
        assert await both.server.lost is None
        received.extend(both.server.data)
        assert both.server.calls == ["made", "eof", "lost"]

    run(tmp_path, body)
    assert len(received) == 6_000_000


def test_end_of_stream_closes_unless_the_protocol_keeps_it(on_lab: OnLab) -> None:
    async def body(alice: ztstack.Node, bob: ztstack.Node) -> None:
        both = await pair(alice, bob)
        both.client.transport.write_eof()
        with pytest.raises(RuntimeError):
            both.client.transport.write(b"late")
        assert await both.server.lost is None
        assert both.server.calls == ["made", "eof", "lost"]
        assert await both.client.lost is None

        both = await pair(alice, bob, keeps_open=True)
        both.client.transport.write(b"question")
        both.client.transport.write_eof()
        await both.server.until(lambda: "eof" in both.server.calls)
        assert not both.server.transport.is_closing()
        both.server.transport.write(b"answer")
        both.server.transport.close()
        await both.client.until(lambda: "eof" in both.client.calls)
        assert both.server.data == b"question"
        assert both.client.data == b"answer"

    on_lab(body)


def test_abort_resets(on_lab: OnLab) -> None:
    async def body(alice: ztstack.Node, bob: ztstack.Node) -> None:
        both = await pair(alice, bob)
        both.client.transport.abort()
        both.client.transport.abort()
        assert await both.client.lost is None
        assert isinstance(await both.server.lost, ConnectionResetError)
        assert both.server.calls == ["made", "lost"]
        both.server.transport.write(b"to nobody")

    on_lab(body)


def test_water_marks(on_lab: OnLab) -> None:
    async def body(alice: ztstack.Node, bob: ztstack.Node) -> None:
        both = await pair(alice, bob)
        client, server = both.client.transport, both.server.transport
        assert client.get_write_buffer_limits() == (16_384, 65_536)
        client.set_write_buffer_limits(high=1000)
        assert client.get_write_buffer_limits() == (250, 1000)
        with pytest.raises(ValueError, match="low <= high"):
            client.set_write_buffer_limits(high=1, low=2)
        server.pause_reading()
        assert not server.is_reading()
        size = 0
        # The way there takes some of it, perhaps after a first pause.
        while client.get_write_buffer_size() <= 1000:
            client.write(bytes(100_000))
            size += 100_000
            assert size < 40_000_000
            await asyncio.sleep(0)
        assert both.client.calls[-1] == "pause"
        assert not both.server.data
        server.resume_reading()
        await both.client.until(lambda: both.client.calls[-1] == "resume")
        await both.server.until(lambda: len(both.server.data) == size)
        assert client.get_write_buffer_size() == 0

    on_lab(body)


def test_a_failing_protocol_loses_its_connection_only(on_lab: OnLab) -> None:
    async def body(alice: ztstack.Node, bob: ztstack.Node) -> None:
        told: list[dict[str, object]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, found: told.append(found))
        both = await pair(alice, bob)
        other = await pair(alice, bob)

        class Broken(asyncio.Protocol):
            def data_received(self, data: bytes) -> None:
                raise LookupError(data)

        both.server.transport.set_protocol(Broken())
        both.client.transport.write(b"x")
        assert isinstance(await both.client.lost, ConnectionResetError)
        assert isinstance(told[0]["exception"], LookupError)
        other.client.transport.write(b"fine")
        await other.server.until(lambda: other.server.data == b"fine")

    on_lab(body)


def test_buffered_protocol(on_lab: OnLab) -> None:
    class Buffered(asyncio.BufferedProtocol):
        def __init__(self) -> None:
            self.buffer = bytearray(1000)
            self.data = bytearray()
            self.ended = asyncio.Event()

        def get_buffer(self, sizehint: int) -> bytearray:
            return self.buffer

        def buffer_updated(self, nbytes: int) -> None:
            self.data += self.buffer[:nbytes]

        def eof_received(self) -> None:
            self.ended.set()

    async def body(alice: ztstack.Node, bob: ztstack.Node) -> None:
        made = Buffered()
        server = await bob.create_server(lambda: made)
        _, writer = await alice.open_connection(ipv4(bob), server.port)
        data = bytes(range(256)) * 500
        writer.write(data)
        writer.close()
        await made.ended.wait()
        assert made.data == data

    on_lab(body)


def test_tls_from_the_start(on_lab: OnLab, tmp_path: Path) -> None:
    async def body(alice: ztstack.Node, bob: ztstack.Node) -> None:
        tls = tls_for(tmp_path, ipv4(bob))
        both = await pair(alice, bob, tls=(tls.server, tls.client))
        assert both.client.transport.get_extra_info("ssl_object").version() == "TLSv1.3"
        assert both.client.transport.get_extra_info("peername")[0] == ipv4(bob)
        data = bytes(range(256)) * 8000
        both.client.transport.write(data)
        await both.server.until(lambda: both.server.data == data)
        both.server.transport.write(b"answer")
        both.server.transport.close()
        await both.client.until(lambda: "eof" in both.client.calls)
        assert both.client.data == b"answer"

        with pytest.raises(ssl.SSLCertVerificationError):
            await alice.open_connection(ipv4(bob), both.listening.port, ssl=True)
        with pytest.raises(ztstack.LocalError):
            await alice.open_connection(ipv4(bob), 1, server_hostname="without.ssl")

    on_lab(body)


def test_tls_begun_in_mid_stream(on_lab: OnLab, tmp_path: Path) -> None:
    async def body(alice: ztstack.Node, bob: ztstack.Node) -> None:
        tls = tls_for(tmp_path, "db.lab")

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            assert await reader.readline() == b"STARTTLS\n"
            writer.write(b"go on\n")
            await writer.start_tls(tls.server)
            writer.write(b"secret " + await reader.readline())
            await writer.drain()
            writer.close()

        server = await bob.start_server(serve)
        reader, writer = await alice.open_connection(ipv4(bob), server.port)
        writer.write(b"STARTTLS\n")
        assert await reader.readline() == b"go on\n"
        await writer.start_tls(tls.client, server_hostname="db.lab")
        assert writer.get_extra_info("cipher") is not None
        writer.write(b"hello\n")
        assert await reader.readline() == b"secret hello\n"
        assert await reader.read() == b""
        writer.close()

    on_lab(body)


def test_tls_that_the_peer_began_first(on_lab: OnLab, tmp_path: Path) -> None:
    async def body(alice: ztstack.Node, bob: ztstack.Node) -> None:
        tls = tls_for(tmp_path, ipv4(bob))
        listener = await bob.listen(0)

        async def ask() -> bytes:
            reader, writer = await alice.open_connection(ipv4(bob), listener.port, ssl=tls.client)
            found = await reader.read()
            writer.close()
            return found

        asking = asyncio.create_task(ask())
        served = Duplex.over(bob, await listener.accept())
        while not served.reader._buffer:  # type: ignore[attr-defined] # noqa: ASYNC110 - nothing public tells it
            await asyncio.sleep(0)
        await served.start_tls(tls.server, server_side=True)
        await served.send(b"hello")
        served.close()
        assert await asking == b"hello"

        ending = await alice.connect(ipv4(bob), listener.port)
        served = Duplex.over(bob, await listener.accept())
        await ending.close()
        assert await served.receive(1) == b""
        with pytest.raises(ConnectionResetError, match="before TLS"):
            await served.start_tls(tls.server, server_side=True)
        served.close()
        listener.close()

    on_lab(body)


def test_server(on_lab: OnLab) -> None:
    async def body(alice: ztstack.Node, bob: ztstack.Node) -> None:
        server = await bob.create_server(Recorder, ipv4(bob), 80, start_serving=False)
        assert not server.is_serving()
        assert [name.getsockname() for name in server.sockets] == [(ipv4(bob), 80)]
        with pytest.raises(OSError, match="80"):
            await bob.create_server(Recorder, port=80)
        forever = asyncio.create_task(server.serve_forever())
        _, client = await alice.create_connection(Recorder, ipv4(bob), 80)
        assert server.is_serving()
        forever.cancel()
        await asyncio.sleep(0)
        assert not server.is_serving()
        assert not forever.done()  # It waits for the connection.
        client.transport.close()
        with pytest.raises(asyncio.CancelledError):
            await forever
        assert server.sockets == ()
        with pytest.raises(ztstack.LocalError):
            await server.start_serving()

    on_lab(body)


def test_clients_of_a_server(on_lab: OnLab) -> None:
    async def body(alice: ztstack.Node, bob: ztstack.Node) -> None:
        both = await pair(alice, bob)
        server = both.listening
        server.close_clients()
        assert await both.client.lost is None
        both = await pair(alice, bob)
        server = both.listening
        async with server:
            server.abort_clients()
        assert isinstance(await both.client.lost, ConnectionResetError)

    on_lab(body)


def test_a_stopped_node_ends_everything(tmp_path: Path) -> None:
    async def body(alice: ztstack.Node, bob: ztstack.Node) -> None:
        both = await pair(alice, bob)
        await bob.stop()
        assert isinstance(await both.server.lost, ztstack.LocalError)
        await both.listening.wait_closed()

    run(tmp_path, body)


class Datagrams(asyncio.DatagramProtocol):
    """Keeps what comes."""

    def __init__(self) -> None:
        self.received: asyncio.Queue[tuple[bytes, tuple[str, int]]] = asyncio.Queue()
        self.errors: asyncio.Queue[Exception] = asyncio.Queue()
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.received.put_nowait((data, addr))

    def error_received(self, exc: Exception) -> None:
        self.errors.put_nowait(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


@pytest.mark.parametrize(
    ("host", "families"), [("0.0.0.0", [4]), ("::", [4, 6]), ("", [4, 6]), (None, [4, 6])]
)
def test_wildcards(on_lab: OnLab, host: str | None, families: list[int]) -> None:
    async def body(alice: ztstack.Node, bob: ztstack.Node) -> None:
        server = await bob.create_server(Recorder, host, 0)
        found = [ip for ip, _ in server.addresses]
        assert found == [ip for ip in bob.addresses() if (6 if ":" in ip else 4) in families]
        for family in families:
            to = ipv4(bob) if family == 4 else ipv6(bob)
            (await alice.connect(to, server.port)).abort()
        if families == [4]:
            with pytest.raises(ConnectionRefusedError):
                await alice.connect(ipv6(bob), server.port)
        endpoint = await bob.datagram(0, host)
        assert [ip for ip, _ in endpoint.addresses] == found
        endpoint.close()
        server.close()

    on_lab(body)


def test_datagrams(on_lab: OnLab) -> None:
    async def body(alice: ztstack.Node, bob: ztstack.Node) -> None:
        served, server = await bob.create_datagram_endpoint(Datagrams, (None, 53))
        sent, client = await alice.create_datagram_endpoint(Datagrams, remote_addr=(ipv4(bob), 53))
        assert sent.get_extra_info("peername") == (ipv4(bob), 53)
        sent.sendto(b"question")
        data, asker = await server.received.get()
        assert (data, asker[0]) == (b"question", ipv4(alice))
        # A stranger's datagram does not reach a connected endpoint.
        other, _ = await bob.create_datagram_endpoint(Datagrams)
        other.sendto(b"stranger", asker)
        served.sendto(b"answer", asker)
        assert await client.received.get() == (b"answer", (ipv4(bob), 53))
        with pytest.raises(ValueError, match="only"):
            sent.sendto(b"", (ipv4(bob), 54))
        with pytest.raises(ValueError, match="no address"):
            served.sendto(b"")

        served.sendto(b"", ("192.0.2.1", 1))
        assert "no joined network" in str(await server.errors.get())
        served.close()
        assert await server.lost is None
        assert served.is_closing()
        sent.sendto(b"refused")
        assert isinstance(await client.errors.get(), ConnectionRefusedError)

    on_lab(body)


def test_names_never_reach_the_system(on_lab: OnLab, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(alice: ztstack.Node, bob: ztstack.Node) -> None:
        def leak(*question: object) -> None:
            raise AssertionError(f"the system was asked: {question}")

        monkeypatch.setattr("socket.getaddrinfo", leak)
        with pytest.raises(OSError, match=r"db\.lab: cannot be resolved"):
            await alice.open_connection("db.lab", 5432)
        with pytest.raises(OSError, match=r"db\.lab: cannot be resolved"):
            await alice.create_datagram_endpoint(Datagrams, remote_addr=("db.lab", 53))

    on_lab(body)
