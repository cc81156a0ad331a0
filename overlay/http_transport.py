"""A transport of httpx whose connections are streams of a node; loaded only when it is used."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import anyio
import anyio.abc
import httpcore
import httpx
from anyio.streams.tls import TLSStream

from overlay.errors import OverlayError
from overlay.node import Node
from overlay.tcp import Stream

CHUNK: Final = 64 * 1024


class OverlayTransport(httpx.AsyncHTTPTransport):
    """`httpx.AsyncClient(transport=node.httpx_transport())`.

    Hosts are node ids and what the node's address book has; failures are those of httpx.
    """

    def __init__(self, node: Node, *, verify: ssl.SSLContext | bool = True) -> None:
        context = verify
        if not isinstance(context, ssl.SSLContext):
            context = httpx.create_ssl_context(verify=context)
        super().__init__(verify=context)
        # httpx has no door for a network of one's own; its transport is this pool and names.
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=context, network_backend=_Backend(node)
        )


@contextmanager
def _told(timeout: type[Exception], failure: type[Exception]) -> Iterator[None]:
    """Raise what httpcore has for it."""
    try:
        yield
    except TimeoutError as error:
        raise timeout(str(error) or "timed out") from error
    except (OverlayError, OSError, anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
        raise failure(str(error)) from error


class Bytes(anyio.abc.ByteStream):
    """A stream as anyio, which brings TLS, has them."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    async def receive(self, max_bytes: int = CHUNK) -> bytes:
        data = await self._stream.receive(max_bytes)
        if not data:
            raise anyio.EndOfStream
        return data

    async def send(self, item: bytes) -> None:
        await self._stream.send(item)

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.close()


class _Connection(httpcore.AsyncNetworkStream):
    def __init__(self, stream: Stream, layer: anyio.abc.ByteStream | None = None) -> None:
        self._stream = stream
        self._layer = layer if layer is not None else Bytes(stream)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with _told(httpcore.ReadTimeout, httpcore.ReadError):
            async with asyncio.timeout(timeout):
                try:
                    return await self._layer.receive(max_bytes)
                except anyio.EndOfStream:
                    return b""

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        with _told(httpcore.WriteTimeout, httpcore.WriteError):
            async with asyncio.timeout(timeout):
                await self._layer.send(buffer)

    async def aclose(self) -> None:
        await self._stream.close()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        with _told(httpcore.ConnectTimeout, httpcore.ConnectError):
            async with asyncio.timeout(timeout):
                layer = await TLSStream.wrap(
                    self._layer,
                    hostname=server_hostname,
                    ssl_context=ssl_context,
                    standard_compatible=False,
                )
        return _Connection(self._stream, layer)

    def get_extra_info(self, info: str) -> object:
        match info:
            case "client_addr":
                return self._stream.local
            case "server_addr":
                return self._stream.remote
            case "is_readable":
                return self._stream.is_readable
            case _:
                return None


class _Backend(httpcore.AsyncNetworkBackend):
    def __init__(self, node: Node) -> None:
        self._node = node

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        del socket_options
        with _told(httpcore.ConnectTimeout, httpcore.ConnectError):
            return _Connection(await self._node.connect(host, port, timeout, source=local_address))

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        del timeout, socket_options
        raise httpcore.ConnectError(f"{path}: there are no Unix sockets in the overlay")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
