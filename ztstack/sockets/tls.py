"""asyncio's TLS over the transports of a node, on every event loop."""

from __future__ import annotations

import asyncio
import ssl
from asyncio import sslproto
from typing import cast


class Tls(sslproto.SSLProtocol):
    """asyncio's TLS, which also works where the loop's own `start_tls` knows only its sockets."""

    def __init__(  # noqa: PLR0913 - as asyncio has it
        self,
        protocol: asyncio.BaseProtocol,
        context: ssl.SSLContext,
        waiter: asyncio.Future[None] | None,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        timeouts: tuple[float | None, float | None] = (None, None),
        is_new: bool = True,
    ) -> None:
        self.keep: object = None
        handshake, shutdown = timeouts
        super().__init__(
            asyncio.get_running_loop(),
            protocol,
            context,
            waiter,  # type: ignore[arg-type] # asyncio's own servers pass None
            server_side,
            server_hostname,
            is_new,
            ssl_handshake_timeout=handshake,  # type: ignore[arg-type] # it may be a float
            ssl_shutdown_timeout=shutdown,
        )

    def feed(self, data: bytes) -> None:
        """Take what arrived before TLS had the connection."""
        view = memoryview(data)
        while view:
            buffer = self.get_buffer(len(view))
            size = min(len(buffer), len(view))
            buffer[:size] = view[:size]
            self.buffer_updated(size)
            view = view[size:]

    def transport(self) -> asyncio.Transport:
        """Return what the application writes to."""
        found: asyncio.Transport = self._get_app_transport()  # type: ignore[attr-defined] # 3.11 on
        return found


class _StreamsLoop:
    """An event loop as asyncio's streams see it, whose `start_tls` knows our transports as well."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def __getattr__(self, name: str) -> object:
        return getattr(self._loop, name)

    async def start_tls(  # noqa: PLR0913 - as asyncio has it
        self,
        transport: asyncio.Transport,
        protocol: asyncio.BaseProtocol,
        sslcontext: ssl.SSLContext,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> asyncio.Transport:
        del ssl_shutdown_timeout  # asyncio's default, as everywhere
        return await start_tls(
            transport,
            protocol,
            sslcontext,
            server_side=server_side,
            server_hostname=server_hostname,
            timeout=ssl_handshake_timeout,
            is_new=False,
        )


def streams_loop(loop: asyncio.AbstractEventLoop) -> asyncio.AbstractEventLoop:
    """Return what asyncio's streams are to take for the loop, so that their `start_tls` works.

    uvloop's own accepts only sockets of the system.
    """
    if isinstance(loop, asyncio.BaseEventLoop):
        return loop
    return cast("asyncio.AbstractEventLoop", _StreamsLoop(loop))


async def start_tls(  # noqa: PLR0913 - as asyncio has it
    transport: asyncio.Transport,
    protocol: asyncio.BaseProtocol,
    context: ssl.SSLContext,
    *,
    server_hostname: str | None = None,
    server_side: bool = False,
    timeout: float | None = None,
    early: bytes = b"",
    is_new: bool = True,
    keep: object = None,
) -> asyncio.Transport:
    """Put a connection under TLS for another protocol, on any event loop.

    The handshake takes `timeout` seconds at most, None means asyncio's 60. `early` is what was
    received of it already; a protocol that `is_new` hears that a connection is made; `keep` lives
    as long as the connection. Raises ssl.SSLError and ConnectionError.
    """
    loop = asyncio.get_running_loop()
    waiter: asyncio.Future[None] = loop.create_future()
    tls = Tls(
        protocol,
        context,
        waiter,
        server_side=server_side,
        server_hostname=server_hostname,
        timeouts=(timeout, None),
        is_new=is_new,
    )
    tls.keep = keep
    # What arrives from now on is TLS, and must not come before TLS has begun.
    transport.pause_reading()
    transport.set_protocol(tls)
    loop.call_soon(tls.connection_made, transport)
    loop.call_soon(tls.feed, early)
    loop.call_soon(transport.resume_reading)
    try:
        await waiter
    except BaseException:
        transport.abort()
        raise
    return tls.transport()
