"""A program that uses what is installed: streams, TLS and forward() between two nodes of a lab."""

from __future__ import annotations

import asyncio
import ssl
import sys
from pathlib import Path

import uvloop

import ztstack
from ztstack.testing.lab import NodeLab

IDENTITIES, CERTIFICATE, KEY = map(Path, sys.argv[1:4])


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer a line, go on under TLS, and answer what comes then the other way round."""
    writer.write(await reader.readline())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE, KEY)
    await writer.start_tls(context)
    writer.write((await reader.readline())[::-1])
    writer.close()


async def main() -> list[bytes]:
    trust = ssl.create_default_context(cafile=str(CERTIFICATE))
    async with NodeLab(Path.cwd() / "lab", identities=IDENTITIES) as lab:
        alice, bob = lab.nodes
        async with await bob.start_server(serve) as server:
            where = (bob.addresses()[0], server.port)
            said = []
            reader, writer = await alice.open_connection(*where)
            async with alice.forward(0, where) as forward:
                through = await asyncio.open_connection(*forward.address)
                for one, other in ((reader, writer), through):
                    other.write(b"tls\n")
                    assert await one.readline() == b"tls\n"
                    await other.start_tls(trust, server_hostname="db.lab")
                    other.write(b"abc\n")
                    said.append(await one.read())
                    other.close()
        try:
            await alice.open_connection(*where)
        except ztstack.ConnectRefused:
            return said
    return []


if __name__ == "__main__":
    for loop in (asyncio, uvloop):
        with asyncio.Runner(loop_factory=loop.new_event_loop) as runner:
            assert runner.run(main()) == [b"\ncba", b"\ncba"]
