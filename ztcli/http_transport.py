"""Lets httpx speak through an engine's streams."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable
from typing import Any

import httpcore
import httpx

from ztcli.engine import Engine, Stream
from ztcli.tls import wrap

Options = Iterable[Any]


class OverlayConnection(httpcore.AsyncNetworkStream):
    """One stream, as httpcore wants it."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        async with asyncio.timeout(timeout):
            return await self._stream.receive(max_bytes)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if not buffer:
            return
        async with asyncio.timeout(timeout):
            await self._stream.send(buffer)

    async def aclose(self) -> None:
        await self._stream.close()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> OverlayConnection:
        try:
            async with asyncio.timeout(timeout):
                wrapped = await wrap(self._stream, ssl_context, server_name=server_hostname)
        except BaseException:
            self._stream.abort()
            raise
        return OverlayConnection(wrapped)

    def get_extra_info(self, info: str) -> object:
        match info:
            case "client_addr":
                return self._stream.local
            case "server_addr":
                return self._stream.remote
            case "path":
                return self._stream.path
            case "is_readable":
                # An idle connection that is readable was closed; we do not keep idle ones.
                return False
            case _:
                return None


class OverlayBackend(httpcore.AsyncNetworkBackend):
    """Opens connections in the network, to other addresses where `places` says so."""

    def __init__(
        self,
        engine: Engine,
        connect_timeout: float | None,
        family: int = 0,
        places: dict[tuple[str, int], str] | None = None,
    ) -> None:
        self._engine = engine
        self._connect_timeout = connect_timeout
        self._family = family
        self._places = places or {}
        self.last_path = ""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Options | None = None,
    ) -> OverlayConnection:
        del timeout, socket_options
        stream = await self._engine.connect(
            self._places.get((host, port), host),
            port,
            self._connect_timeout,
            family=self._family,
            source=local_address,
        )
        self.last_path = stream.path
        return OverlayConnection(stream)

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Options | None = None,
    ) -> OverlayConnection:
        raise NotImplementedError

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class _Body(httpx.AsyncByteStream):
    """A response's body, read as it arrives."""

    def __init__(self, stream: Any) -> None:  # noqa: ANN401 - a private type of httpcore
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._stream:
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


class OverlayTransport(httpx.AsyncBaseTransport):
    """A transport of httpx whose connections are streams of an engine."""

    def __init__(
        self, backend: OverlayBackend, context: ssl.SSLContext, local_address: str | None = None
    ) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=context,
            network_backend=backend,
            http1=True,
            max_keepalive_connections=0,
            local_address=local_address,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.AsyncByteStream)
        response = await self._pool.handle_async_request(
            httpcore.Request(
                method=request.method,
                url=httpcore.URL(
                    scheme=request.url.raw_scheme,
                    host=request.url.raw_host,
                    port=request.url.port,
                    target=request.url.raw_path,
                ),
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        return httpx.Response(
            status_code=response.status,
            headers=response.headers,
            stream=_Body(response.stream),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        await self._pool.aclose()
