"""Transports for httpx: an asynchronous one on a node, a blocking one on the facade."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypedDict

import httpcore
import httpx

from ztstack.base.errors import ZtError
from ztstack.sockets.blocking import BlockingNode
from ztstack.sockets.blocking_socket import Socket
from ztstack.sockets.duplex import Duplex
from ztstack.sockets.mirror import AnyNode

Options = Iterable[Any]
Verify = ssl.SSLContext | str | bool

LIMITS: Final = httpx.Limits(max_connections=100, max_keepalive_connections=20)


class AsyncNodeTransport(httpx.AsyncHTTPTransport):
    """`httpx.AsyncClient(transport=node.httpx_transport())`.

    Hosts are IP addresses and node ids inside the networks of the node; nothing is asked of the
    system's resolver, and no proxy is used. Failures are httpx's: ConnectError, ConnectTimeout...
    """

    def __init__(
        self,
        node: AnyNode,
        *,
        verify: Verify = True,
        http2: bool = False,
        limits: httpx.Limits = LIMITS,
        local_address: str | None = None,
    ) -> None:
        context = _context(verify)
        super().__init__(verify=context)
        self._pool = httpcore.AsyncConnectionPool(
            **_limits(limits),
            ssl_context=context,
            http2=http2,
            local_address=local_address,
            network_backend=_AsyncBackend(node),
        )


class NodeTransport(httpx.HTTPTransport):
    """`httpx.Client(transport=node.httpx_transport())` on a blocking node."""

    def __init__(
        self,
        node: BlockingNode,
        *,
        verify: Verify = True,
        http2: bool = False,
        limits: httpx.Limits = LIMITS,
        local_address: str | None = None,
    ) -> None:
        context = _context(verify)
        super().__init__(verify=context)
        self._pool = httpcore.ConnectionPool(
            **_limits(limits),
            ssl_context=context,
            http2=http2,
            local_address=local_address,
            network_backend=_Backend(node),
        )


class _Limits(TypedDict):
    max_connections: int | None
    max_keepalive_connections: int | None
    keepalive_expiry: float | None


def _limits(limits: httpx.Limits) -> _Limits:
    return _Limits(
        max_connections=limits.max_connections,
        max_keepalive_connections=limits.max_keepalive_connections,
        keepalive_expiry=limits.keepalive_expiry,
    )


def _context(verify: Verify) -> ssl.SSLContext:
    if isinstance(verify, str):
        return ssl.create_default_context(cafile=verify)
    return verify if isinstance(verify, ssl.SSLContext) else httpx.create_ssl_context(verify)


@contextmanager
def _mapped(timeout: type[Exception], failure: type[Exception]) -> Iterator[None]:
    """Raise the failures of httpcore, which httpx knows."""
    try:
        yield
    except TimeoutError as error:
        raise timeout(str(error) or "timed out") from error
    except (ZtError, OSError, RuntimeError) as error:
        raise failure(str(error)) from error


def _info(names: tuple[object, object], ssl_object: object, *, readable: bool, info: str) -> object:
    match info:
        case "client_addr":
            return names[0]
        case "server_addr":
            return names[1]
        case "ssl_object":
            return ssl_object
        case "is_readable":
            return readable
        case _:
            return None


class _AsyncStream(httpcore.AsyncNetworkStream):
    def __init__(self, stream: Duplex) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with _mapped(httpcore.ReadTimeout, httpcore.ReadError):
            async with asyncio.timeout(timeout):
                return await self._stream.receive(max_bytes)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if not buffer:
            return
        with _mapped(httpcore.WriteTimeout, httpcore.WriteError):
            async with asyncio.timeout(timeout):
                await self._stream.send(buffer)

    async def aclose(self) -> None:
        self._stream.close()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        with _mapped(httpcore.ConnectTimeout, httpcore.ConnectError):
            async with asyncio.timeout(timeout):
                await self._stream.start_tls(ssl_context, server_hostname=server_hostname)
        return self

    def get_extra_info(self, info: str) -> object:
        ask = self._stream.writer.get_extra_info
        return _info(
            (ask("sockname"), ask("peername")),
            ask("ssl_object"),
            readable=self._stream.is_readable,
            info=info,
        )


class _AsyncBackend(httpcore.AsyncNetworkBackend):
    def __init__(self, node: AnyNode) -> None:
        self._node = node

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Options | None = None,
    ) -> httpcore.AsyncNetworkStream:
        del socket_options  # They belong to the system's sockets.
        with _mapped(httpcore.ConnectTimeout, httpcore.ConnectError):
            stream = await self._node.connect(host, port, timeout, source=local_address)
        return _AsyncStream(Duplex.over(self._node, stream))

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Options | None = None,
    ) -> httpcore.AsyncNetworkStream:
        del timeout, socket_options
        raise httpcore.ConnectError(f"{path}: there are no unix sockets inside a network")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class _Stream(httpcore.NetworkStream):
    def __init__(self, sock: Socket) -> None:
        self._sock = sock

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self._sock.settimeout(timeout)
        with _mapped(httpcore.ReadTimeout, httpcore.ReadError):
            return self._sock.recv(max_bytes)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if not buffer:
            return
        self._sock.settimeout(timeout)
        with _mapped(httpcore.WriteTimeout, httpcore.WriteError):
            self._sock.sendall(buffer)

    def close(self) -> None:
        self._sock.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        self._sock.settimeout(timeout)
        with _mapped(httpcore.ConnectTimeout, httpcore.ConnectError):
            self._sock.start_tls(ssl_context, server_hostname=server_hostname)
        return self

    def get_extra_info(self, info: str) -> object:
        sock = self._sock
        return _info(
            (sock.getsockname(), sock.getpeername()),
            sock.ssl_object,
            readable=sock.is_readable,
            info=info,
        )


class _Backend(httpcore.NetworkBackend):
    def __init__(self, node: BlockingNode) -> None:
        self._node = node

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Options | None = None,
    ) -> httpcore.NetworkStream:
        del socket_options  # They belong to the system's sockets.
        source = (local_address, 0) if local_address is not None else None
        with _mapped(httpcore.ConnectTimeout, httpcore.ConnectError):
            return _Stream(self._node.create_connection((host, port), timeout, source))

    def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Options | None = None,
    ) -> httpcore.NetworkStream:
        del timeout, socket_options
        raise httpcore.ConnectError(f"{path}: there are no unix sockets inside a network")
