"""asyncio's ways to open connections and servers, inside a network."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, Generic, TypeVar

from ztstack.aio.service import Service
from ztstack.base.errors import InvalidConfig
from ztstack.sockets.carrier import Accepting, Carrier, DatagramPort, Releasable
from ztstack.sockets.datagram import DatagramEndpoint, group_of
from ztstack.sockets.datagram_transport import DatagramTransport
from ztstack.sockets.extras import load
from ztstack.sockets.forwarding import MAX_CONNECTIONS, Forward, Named
from ztstack.sockets.listener import Listener
from ztstack.sockets.open_sockets import OpenSockets
from ztstack.sockets.server import Server
from ztstack.sockets.stream import Stream
from ztstack.sockets.tls import Tls, streams_loop
from ztstack.sockets.transport import Facts, StreamTransport

CONNECT_TIMEOUT_S: Final = 30.0
BACKLOG: Final = 128
READER_LIMIT: Final = 64 * 1024

StreamT = TypeVar("StreamT", bound=Releasable)
ProtocolT = TypeVar("ProtocolT", bound=asyncio.BaseProtocol)
Address = tuple[str, int]
Client = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None] | None]


class LoopMethods(ABC, Generic[StreamT]):
    """The methods of an event loop that open connections; a node has them too.

    Nothing is ever asked of the system's resolver.
    """

    _opened: OpenSockets

    @property
    @abstractmethod
    def _carrier(self) -> Carrier: ...

    @abstractmethod
    def _facts(self, stream: StreamT) -> Facts:
        """Return what the transport of a stream is to know."""

    @abstractmethod
    def _peer(self, host: str) -> str:
        """Return how the sender of a datagram from `host` is named."""

    @abstractmethod
    async def connect(
        self,
        host: str,
        port: int,
        timeout: float | None = CONNECT_TIMEOUT_S,
        *,
        family: int = 0,
        source: str | None = None,
        source_port: int = 0,
    ) -> StreamT: ...

    @abstractmethod
    async def listen(
        self, port: int, host: str | None = None, backlog: int = BACKLOG
    ) -> Accepting[StreamT]: ...

    @abstractmethod
    async def datagram(self, port: int = 0, host: str | None = None) -> DatagramPort: ...

    async def create_connection(  # noqa: PLR0913 - as asyncio has it
        self,
        protocol_factory: Callable[[], ProtocolT],
        host: str,
        port: int,
        *,
        ssl: ssl.SSLContext | bool | None = None,
        server_hostname: str | None = None,
        local_addr: Address | None = None,
        family: int = 0,
        timeout: float | None = CONNECT_TIMEOUT_S,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> tuple[asyncio.Transport, ProtocolT]:
        """Connect, as the event loop's method of this name; `family` is 0, 4 or 6.

        `timeout` are the seconds for TCP's handshake. Raises NameNotResolved, Unreachable,
        ConnectRefused, TimeoutError, and ssl.SSLError.
        """
        context = _client_context(server_hostname, ssl)
        source, source_port = local_addr if local_addr is not None else (None, 0)
        stream = await self.connect(
            host, port, timeout, family=family, source=source, source_port=source_port
        )
        protocol = protocol_factory()
        if context is None:
            raw = self._adopt(stream, protocol)
            raw.begin()
            # The protocol knows its transport when the caller goes on, as with asyncio.
            await asyncio.sleep(0)
            return raw, protocol
        waiter: asyncio.Future[None] = self._carrier.driver.loop.create_future()
        tls = Tls(
            protocol,
            context,
            waiter,
            server_hostname=server_hostname if server_hostname is not None else host,
            timeouts=(ssl_handshake_timeout, ssl_shutdown_timeout),
        )
        raw = self._adopt(stream, tls)
        raw.begin()
        try:
            await waiter
        except BaseException:
            raw.abort()
            raise
        return tls.transport(), protocol

    def _adopt(self, stream: StreamT, protocol: asyncio.BaseProtocol) -> StreamTransport:
        facts = self._facts(stream)
        return StreamTransport(self._carrier, self._opened, stream.release(), protocol, facts)

    async def create_server(  # noqa: PLR0913 - as asyncio has it
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: str | None = None,
        port: int = 0,
        *,
        ssl: ssl.SSLContext | None = None,
        backlog: int = BACKLOG,
        start_serving: bool = True,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> Server:
        """Listen, as the event loop's method of this name; without `host` on every address.

        Port 0 picks one. Raises PortInUse, InvalidConfig, NotJoined.
        """
        listener = await self.listen(port, host or None, backlog)
        loop = self._carrier.driver.loop

        def accepted(stream: StreamT) -> StreamTransport:
            protocol = protocol_factory()
            if ssl is not None:
                timeouts = (ssl_handshake_timeout, ssl_shutdown_timeout)
                protocol = Tls(protocol, ssl, None, server_side=True, timeouts=timeouts)
            return self._adopt(stream, protocol)

        server = Server(loop, listener, accepted, self._opened)
        if start_serving:
            await server.start_serving()
        return server

    async def open_connection(  # noqa: PLR0913 - as asyncio has it
        self,
        host: str,
        port: int,
        *,
        limit: int = READER_LIMIT,
        ssl: ssl.SSLContext | bool | None = None,
        server_hostname: str | None = None,
        local_addr: Address | None = None,
        family: int = 0,
        timeout: float | None = CONNECT_TIMEOUT_S,
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect and return asyncio's own reader and writer; raises as `create_connection`."""
        loop = streams_loop(self._carrier.driver.loop)
        reader = asyncio.StreamReader(limit=limit, loop=loop)
        transport, protocol = await self.create_connection(
            lambda: asyncio.StreamReaderProtocol(reader, loop=loop),
            host,
            port,
            ssl=ssl,
            server_hostname=server_hostname,
            local_addr=local_addr,
            family=family,
            timeout=timeout,
        )
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    def reader_writer(
        self, stream: StreamT, limit: int = READER_LIMIT
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Turn a stream into asyncio's reader and writer; the stream itself is closed by that."""
        loop = streams_loop(self._carrier.driver.loop)
        reader = asyncio.StreamReader(limit=limit, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport = self._adopt(stream, protocol)
        transport.begin()
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    async def start_server(  # noqa: PLR0913 - as asyncio has it
        self,
        client_connected_cb: Client,
        host: str | None = None,
        port: int = 0,
        *,
        limit: int = READER_LIMIT,
        ssl: ssl.SSLContext | None = None,
        backlog: int = BACKLOG,
        start_serving: bool = True,
    ) -> Server:
        """Listen, and call `client_connected_cb(reader, writer)` for every connection."""
        loop = streams_loop(self._carrier.driver.loop)

        def protocol() -> asyncio.StreamReaderProtocol:
            reader = asyncio.StreamReader(limit=limit, loop=loop)
            return asyncio.StreamReaderProtocol(reader, client_connected_cb, loop=loop)

        return await self.create_server(
            protocol, host, port, ssl=ssl, backlog=backlog, start_serving=start_serving
        )

    async def create_datagram_endpoint(
        self,
        protocol_factory: Callable[[], ProtocolT],
        local_addr: tuple[str | None, int] | None = None,
        remote_addr: Address | None = None,
    ) -> tuple[DatagramTransport, ProtocolT]:
        """Bind a UDP port, as the event loop's method of this name.

        With `remote_addr` it sends there by default and hears nobody else. Raises PortInUse,
        NotJoined, NameNotResolved, Unreachable.
        """
        host, port = local_addr if local_addr is not None else (None, 0)
        peer = None
        if remote_addr is not None:
            peer = (self._peer(remote_addr[0]), remote_addr[1])
        endpoint = await self.datagram(port, host or None)
        protocol = protocol_factory()
        transport = DatagramTransport(
            self._carrier.driver.loop, endpoint, protocol, self._opened, peer
        )
        transport.begin()
        await asyncio.sleep(0)
        return transport, protocol

    def forward(
        self,
        local: Named,
        target: str | Address,
        *,
        timeout: float | None = CONNECT_TIMEOUT_S,
        max_connections: int = MAX_CONNECTIONS,
    ) -> Forward:
        """Give a service inside a port of this machine, for programs that know nothing of nodes.

        Use it with `async with`. Both are "HOST:PORT" or (host, port); a `local` port alone is on
        127.0.0.1, and 0 picks one, which `address` of the result tells. `timeout` are the seconds
        for each connection to the target. Raises InvalidConfig; entering it, OSError.
        """
        connect = partial(self.create_connection, timeout=timeout)
        return Forward(connect, local, target, max_connections)

    # Under other libraries.

    def httpx_transport(self, **options: Any) -> Any:  # noqa: ANN401 - loaded only when asked for
        """Return `ztstack.integrations.httpx_transport.AsyncNodeTransport` for AsyncClient.

        Options: `verify` (True, False, a file, an SSLContext), `http2`, `limits`, `local_address`.
        """
        return load("httpx_transport").AsyncNodeTransport(self, **options)

    def aiohttp_connector(self, **options: Any) -> Any:  # noqa: ANN401 - loaded only when asked for
        """Return `ztstack.integrations.aiohttp_connector.NodeConnector` for ClientSession.

        Takes the options of aiohttp.TCPConnector. MissingExtra without aiohttp.
        """
        return load("aiohttp_connector", "aiohttp").NodeConnector(self, **options)

    def asyncssh_tunnel(self) -> Any:  # noqa: ANN401 - loaded only when asked for
        """Return `ztstack.integrations.asyncssh_tunnel.NodeTunnel`: the `tunnel` of asyncssh."""
        return load("asyncssh_tunnel").NodeTunnel(self)

    async def serve_asgi(
        self,
        app: Callable[..., Awaitable[None]],
        port: int,
        host: str | None = None,
        **options: Any,  # noqa: ANN401 - of a library that is loaded only now
    ) -> None:
        """Serve an ASGI application until cancelled; requests get five seconds to end then.

        Options: `ssl` (an SSLContext), `ready` (called with the Server once it listens), and
        those of uvicorn.Config. MissingExtra without uvicorn, PortInUse, NotJoined.
        """
        await load("asgi", "asgi").serve(self, app, port, host, **options)


AnyNode = LoopMethods[Any]
"""A node, whatever its streams are."""


class Mirror(LoopMethods[Stream]):
    """These methods on the stack, where hosts are IP addresses or node ids."""

    @property
    @abstractmethod
    def service(self) -> Service: ...

    @property
    def _carrier(self) -> Carrier:
        return self.service

    def _facts(self, stream: Stream) -> Facts:
        # The stream is gone when these are asked for.
        service, network, remote = self.service, stream.network, stream.remote_ip

        def path() -> str:
            node = service.node_of(network, remote)
            return service.link_to(node) if node is not None else "relay"

        return Facts(
            {"peername": stream.remote, "sockname": stream.local, "zt_network": network},
            {"zt_node": lambda: service.node_of(network, remote), "zt_path": path},
        )

    def _peer(self, host: str) -> str:
        return _numeric(self.service, host)

    @abstractmethod
    async def listen(
        self, port: int, host: str | None = None, backlog: int = BACKLOG
    ) -> Listener: ...

    @abstractmethod
    async def datagram(self, port: int = 0, host: str | None = None) -> DatagramEndpoint: ...


def _client_context(
    server_hostname: str | None,
    wanted: ssl.SSLContext | bool | None,  # noqa: FBT001 - as asyncio has it
) -> ssl.SSLContext | None:
    if isinstance(wanted, ssl.SSLContext):
        return wanted
    if wanted:
        return ssl.create_default_context()
    if server_hostname is not None:
        raise InvalidConfig("server_hostname is only meaningful with ssl")
    return None


def _numeric(service: Service, host: str) -> str:
    """Return the IP address that a host stands for; a group stands for itself."""
    if group_of(host) is not None:
        return host
    _, ip = service.resolve(host)
    return str(ipaddress.ip_address(ip))
