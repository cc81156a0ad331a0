"""HTTP libraries over a pair of nodes, the built-in peer, and the address book."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest

from overlay import AddressBook, InvalidConfig, MemoryNetwork, NameNotResolved, Node, NodeConfig
from overlay.builtin import BUILTIN_NODE, MAX_PORTS, BuiltinPeer
from overlay.testing import memory_pair, run_pair
from tests.cli.test_tls import certificate

A = 0xA1B2C3D4E5

__all__ = ["certificate"]


async def serve(node: Node, requests: int) -> None:
    listener = await node.listen(80)
    for _ in range(requests):
        stream = await listener.accept()
        head = b""
        while b"\r\n\r\n" not in head:
            head += await stream.receive()
        body = head.split(b"\r\n")[0]
        size = f"{len(body)}".encode()
        await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: " + size + b"\r\n\r\n" + body)
        await stream.close()


def test_requests_by_name_and_by_node() -> None:
    async def script(a: Node, b: Node) -> None:
        serving = asyncio.create_task(serve(a, 2))
        async with httpx.AsyncClient(transport=b.httpx_transport()) as client:
            for host in ("a", a.address):
                answer = await client.get(f"http://{host}/x?y=1")
                assert answer.text == "GET /x?y=1 HTTP/1.1"
        await serving

    run_pair(script, loss=0.05, latency=0.01)


def test_failures_are_those_of_httpx() -> None:
    async def script(a: Node, b: Node) -> None:
        async with httpx.AsyncClient(transport=b.httpx_transport()) as client:
            for url in ("http://a:81/", "http://nobody/", "http://0000000001/"):
                with pytest.raises(httpx.ConnectError):
                    await client.get(url)
            listener = await a.listen(82)
            with pytest.raises(httpx.ReadTimeout):
                await client.get("http://a:82/", timeout=2)
            (await listener.accept()).abort()

    run_pair(script)


def test_tls(certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    async def serve_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"GET / HTTP/1.1\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret")
        writer.close()

    async def script() -> None:
        async with memory_pair() as (a, b):
            b.book.add("127.0.0.1", a.address)
            server = await a.start_server(serve_tls, port=443, ssl=context)
            trusting = ssl.create_default_context(cafile=str(certificate))
            async with httpx.AsyncClient(transport=b.httpx_transport(verify=trusting)) as client:
                assert (await client.get("https://127.0.0.1/", timeout=10)).text == "secret"
            server.close()

    asyncio.run(script())


def test_tls_with_somebody_else() -> None:
    """Nobody here speaks TLS, and that is said as httpx says it."""

    async def script() -> None:
        async with memory_pair() as (a, b):
            serving = asyncio.create_task(answer_plainly(a))
            context = ssl.create_default_context()
            transport = b.httpx_transport(verify=context)
            async with httpx.AsyncClient(transport=transport) as client:
                with pytest.raises(httpx.ConnectError, match=r"(?i)ssl|version"):
                    await client.get("https://a:443/", timeout=10)
            await serving

    asyncio.run(script())


async def answer_plainly(node: Node) -> None:
    stream = await (await node.listen(443)).accept()
    assert (await stream.receive())[:2] == b"\x16\x03"
    await stream.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await stream.close()


async def application(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": f"served {scope['path']}".encode()})


def test_an_application_and_aiohttp() -> None:
    async def script() -> None:
        async with memory_pair(loss=0.02) as (a, b):
            ready = asyncio.Event()
            serving = asyncio.create_task(
                a.serve_asgi(application, 80, ready=lambda _: ready.set(), lifespan="off")
            )
            await ready.wait()
            async with (
                aiohttp.ClientSession(connector=b.aiohttp_connector()) as session,
                session.get(f"http://{a.address}/x") as answer,
            ):
                assert await answer.text() == "served /x"
            async with httpx.AsyncClient(transport=b.httpx_transport(http2=False)) as client:
                assert (await client.get("http://a/y")).text == "served /y"
            serving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await serving

    asyncio.run(script())


def test_the_built_in_peer() -> None:
    async def script() -> None:
        link = MemoryNetwork()
        config = NodeConfig((1,), A, memory=link, addresses={"builtin": BUILTIN_NODE})
        async with BuiltinPeer(link, (1,)), Node(config) as node:
            async with httpx.AsyncClient(transport=node.httpx_transport()) as client:
                for port in (80, 5380):
                    url = f"http://builtin:{port}/x"
                    assert (await client.get(url)).text == "ok\n"
                    assert (await client.head(url)).text == ""
                    assert (await client.put(url, content=bytes(200_000))).text == "ok\n"
            stream = await node.connect("builtin", 7)
            for text in (b"GET", b" me", b"\nGET / HTTP/1.1\r\n"):
                await stream.send(text)
            await stream.send_eof()
            received = b""
            while part := await stream.receive():
                received += part
            assert received == b"GET me\nGET / HTTP/1.1\r\n"
            endpoint = await node.datagram()
            for question, answer in ((b"ping", b"pong"), (b"other", b"other")):
                await endpoint.send(question, "builtin", 9000)
                assert (await endpoint.receive())[0] == answer

    asyncio.run(script())


def test_the_built_in_peer_has_so_many_ports() -> None:
    async def script() -> None:
        link = MemoryNetwork()
        async with BuiltinPeer(link, (1,)), Node(NodeConfig((1,), A, memory=link)) as node:
            host = BuiltinPeer.address
            for port in range(1, MAX_PORTS + 1):
                (await node.connect(host, port)).abort()
            with pytest.raises(ConnectionRefusedError):
                await node.connect(host, MAX_PORTS + 1)

    asyncio.run(script())


def test_address_book() -> None:
    book = AddressBook({"10.0.0.1": A, "DB": "b1b2c3d4e5"})
    assert book.resolve("10.0.0.1") == A
    assert book.resolve("db") == 0xB1B2C3D4E5
    for spelling in ("C1B2C3D4E5", "0xc1b2c3d4e5", "0XC1B2C3D4E5", "c1b2c3d4e5.zt"):
        assert book.resolve(spelling) == 0xC1B2C3D4E5
    assert book.resolve("0x12") == 0x12
    book.add("[FD00:0::1]", 7)
    assert book.resolve("fd00::1") == book.resolve("fd00:0:0::1") == 7
    book.remove("fd00:0::1")
    assert list(book) == [("10.0.0.1", "a1b2c3d4e5"), ("db", "b1b2c3d4e5")]
    book.remove("DB")
    assert len(book) == 1
    with pytest.raises(NameNotResolved):
        book.resolve("db")
    for name, node in (("", A), ("x", 0), ("x", 1 << 40), ("x", "nonsense"), ("x", "a1b2")):
        with pytest.raises(InvalidConfig):
            book.add(name, node)
