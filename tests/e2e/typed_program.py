"""A program that uses the public names; only its types are ever looked at."""

from __future__ import annotations

import asyncio
import io
import socket
import ssl
from typing import assert_type

import httpx

import ztstack
from ztstack.testing.factory import LabFactory


class Upper(asyncio.Protocol):
    """Answers in capitals."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data.upper())


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(await reader.read())
    await writer.drain()


async def asynchronous(context: ssl.SSLContext) -> bytes:
    async with ztstack.Node(network="8056c2e21c000001", state="state") as node:
        server: ztstack.Server = await node.start_server(echo, port=7)
        upper = await node.create_server(Upper)
        reader, writer = await node.open_connection(node.addresses()[0], server.port)
        assert_type(reader, asyncio.StreamReader)
        await writer.start_tls(context)
        transport, protocol = await node.create_connection(Upper, "10.0.0.1", upper.port)
        protocol.transport.write(transport.get_extra_info("zt_path").encode())
        async with node.forward(0, ("10.0.0.1", 5432)) as forward:
            host, _ = forward.address
            assert_type(host, str)
        async with httpx.AsyncClient(transport=node.httpx_transport()) as client:
            await client.get("http://10.0.0.1/")
        try:
            async with await node.connect("db", 5432) as stream:
                await stream.send(b"x")
                return await stream.receive()
        except (ztstack.ConnectRefused, ztstack.AccessDenied, ztstack.Offline) as error:
            also: OSError = error
            raise also from None


def blocking() -> str:
    with ztstack.connect("8056c2e21c000001") as node, node.forward("0", "10.0.0.1:80") as forward:
        port: int = forward.address[1]
        assert port
        with node.create_connection(("10.0.0.1", 7), timeout=3) as sock:
            sock.sendall(b"x")
            sock.shutdown(socket.SHUT_WR)
            with sock.makefile("r") as file:
                assert_type(file, io.TextIOWrapper)
                return file.read()


def of_pytest(zt_lab: LabFactory) -> None:
    lab = zt_lab(nodes=2, loss=0.05, latency="20ms")
    assert lab.nodes[0].ping(lab.nodes[1].addresses()[0]).rtt_ms > 0
