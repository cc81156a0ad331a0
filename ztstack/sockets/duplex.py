"""asyncio's reader and writer as one object that can be put under TLS on any event loop."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Final, Self

from ztstack.base.errors import ConnectReset
from ztstack.sockets.carrier import Releasable
from ztstack.sockets.mirror import AnyNode
from ztstack.sockets.tls import start_tls

LIMIT: Final = 1 << 20


class Duplex:
    """A byte stream, plain or under TLS, for one reader and one writer at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    def over(cls, node: AnyNode, stream: Releasable) -> Self:
        """Take over a stream of a node."""
        return cls(*node.reader_writer(stream, LIMIT))

    async def start_tls(
        self,
        context: ssl.SSLContext,
        *,
        server_hostname: str | None = None,
        server_side: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Go on under TLS; the handshake takes `timeout` seconds at most, None means 60.

        Raises ssl.SSLError, ConnectionError; the connection is over then.
        """
        loop = asyncio.get_running_loop()
        below = self.writer.transport
        assert isinstance(below, asyncio.Transport)
        # Nothing more is for the reader.
        below.pause_reading()
        early = await self._received()
        reader = asyncio.StreamReader(limit=LIMIT, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        above = await start_tls(
            below,
            protocol,
            context,
            server_hostname=server_hostname,
            server_side=server_side,
            timeout=timeout,
            early=early,
            # A writer that is collected closes its transport, which TLS still uses.
            keep=self.writer,
        )
        self.reader = reader
        self.writer = asyncio.StreamWriter(above, protocol, reader, loop)

    async def _received(self) -> bytes:
        """Return what the reader holds: a peer may begin TLS before we do."""
        await self.writer.drain()
        try:
            async with asyncio.timeout(0):
                data = await self.reader.read(4 * LIMIT)
        except TimeoutError:
            return b""
        if not data:
            raise ConnectReset("the peer ended before TLS began")
        return data

    @property
    def is_readable(self) -> bool:
        """Whether an idle connection has something to say, which is most often its end."""
        return (
            self.reader.at_eof()
            or self.reader.exception() is not None
            or self.writer.transport.is_closing()
        )

    async def receive(self, limit: int) -> bytes:
        return await self.reader.read(limit)

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def close(self) -> None:
        self.writer.close()

    def abort(self) -> None:
        self.writer.transport.abort()

    async def wait_closed(self) -> None:
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()
