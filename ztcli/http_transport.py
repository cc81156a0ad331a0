"""Lets httpx speak through an engine's streams."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpcore
import httpx

from ztcli.engine import Engine, Stream
from ztcli.journal import Journal
from ztcli.tls import wrap

Options = Iterable[Any]


class OverlayConnection(httpcore.AsyncNetworkStream):
    """One stream, as httpcore wants it."""

    def __init__(self, stream: Stream, journal: Journal, closed: Callable[[], None]) -> None:
        self._stream = stream
        self._journal = journal
        self._closed = closed

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        async with asyncio.timeout(timeout):
            data = await self._stream.receive(max_bytes)
        self._journal.received += len(data)
        self._journal.see(self._stream)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if not buffer:
            return
        async with asyncio.timeout(timeout):
            await self._stream.send(buffer)
        self._journal.sent += len(buffer)

    async def aclose(self) -> None:
        self._closed()
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
            self._closed()
            self._stream.abort()
            raise
        self._journal.secured = self._journal.now()
        return OverlayConnection(wrapped, self._journal, self._closed)

    def get_extra_info(self, info: str) -> object:
        match info:
            case "client_addr":
                return self._stream.local
            case "server_addr":
                return self._stream.remote
            case "path":
                return self._stream.path
            case "ssl_object":
                return getattr(self._stream, "ssl_object", None)
            case "is_readable":
                # An idle connection that is readable was closed; we do not keep idle ones.
                return False
            case _:
                return None


@dataclass(frozen=True, slots=True)
class Route:
    """How connections are made: from where, by which family, and names that are known better."""

    family: int = 0
    source: str | None = None
    source_port: int = 0
    places: Mapping[tuple[str, int], str] = field(default_factory=dict)


class OverlayBackend(httpcore.AsyncNetworkBackend):
    """Opens connections in the network, to other addresses where the route says so."""

    def __init__(
        self,
        engine: Engine,
        connect_timeout: float | None,
        route: Route | None = None,
        journal: Journal | None = None,
    ) -> None:
        self._engine = engine
        self._connect_timeout = connect_timeout
        self._route = route or Route()
        self._journal = journal or Journal()
        self._open: set[Stream] = set()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Options | None = None,
    ) -> OverlayConnection:
        del timeout, local_address, socket_options
        route = self._route
        stream = await self._engine.connect(
            route.places.get((host, port), host),
            port,
            self._connect_timeout,
            family=route.family,
            source=route.source,
            source_port=route.source_port,
        )
        self._journal.connect(stream)
        self._open.add(stream)
        return OverlayConnection(stream, self._journal, lambda: self._open.discard(stream))

    def abort(self) -> None:
        """Break off what is still open: httpcore forgets a proxy that refuses."""
        for stream in self._open:
            stream.abort()
        self._open.clear()

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


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy inside the network; `user` and `password` are empty if it asks for none."""

    scheme: str
    host: str
    port: int
    user: str = ""
    password: str = ""

    @property
    def is_http(self) -> bool:
        return self.scheme in ("http", "https")

    @property
    def auth(self) -> tuple[str, str] | None:
        return (self.user, self.password) if self.user else None


class OverlayTransport(httpx.AsyncBaseTransport):
    """A transport of httpx whose connections are streams of an engine."""

    def __init__(
        self,
        backend: OverlayBackend,
        context: ssl.SSLContext,
        *,
        http2: bool = False,
        proxy: Proxy | None = None,
    ) -> None:
        self._backend = backend
        self._context = context
        self._http2 = http2
        self._proxy = proxy
        self._pools: dict[str, httpcore.AsyncConnectionPool] = {}

    def _pool(self, scheme: str) -> httpcore.AsyncConnectionPool:
        if scheme not in self._pools:
            self._pools[scheme] = self._new_pool(scheme)
        return self._pools[scheme]

    def _new_pool(self, scheme: str) -> httpcore.AsyncConnectionPool:
        # Without TLS nothing can be agreed on: then HTTP/2 is spoken at once (RFC 9113, 3.3).
        http1 = not self._http2 or scheme == "https"
        proxy = self._proxy
        if proxy is None:
            return httpcore.AsyncConnectionPool(
                ssl_context=self._context,
                max_keepalive_connections=0,
                http1=http1,
                http2=self._http2,
                network_backend=self._backend,
            )
        url = httpcore.URL(scheme=proxy.scheme, host=proxy.host, port=proxy.port, target="/")
        if proxy.is_http:
            return httpcore.AsyncHTTPProxy(
                url,
                proxy_auth=proxy.auth,
                ssl_context=self._context,
                proxy_ssl_context=self._context if proxy.scheme == "https" else None,
                max_keepalive_connections=0,
                http2=self._http2,
                network_backend=self._backend,
            )
        return httpcore.AsyncSOCKSProxy(
            url,
            proxy_auth=proxy.auth,
            ssl_context=self._context,
            max_keepalive_connections=0,
            http1=http1,
            http2=self._http2,
            network_backend=self._backend,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.AsyncByteStream)
        response = await self._pool(request.url.scheme).handle_async_request(
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
        for pool in self._pools.values():
            await pool.aclose()
        self._backend.abort()
