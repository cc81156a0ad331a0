"""A TCP stream: receive, send, half-close, back-pressure."""

from __future__ import annotations

import asyncio
from typing import Final, Self

from ztstack.aio.service import Service
from ztstack.base.address import Address
from ztstack.base.endpoint import Endpoint
from ztstack.base.errors import Closed
from ztstack.base.network_id import NetworkId
from ztstack.ip.events import Event
from ztstack.ip.tcp.connection import Connection
from ztstack.sockets.options import ConnectionSocket

RECEIVE_LIMIT: Final = 1 << 20


class Stream:
    """One TCP connection inside a network, for one reader and one writer at a time."""

    def __init__(self, service: Service, network: NetworkId, connection: Connection) -> None:
        self._service = service
        self._network = network
        self._connection = connection
        self._waiters: list[asyncio.Future[None]] = []
        self._closed = False
        self._socket: ConnectionSocket | None = None
        self.bytes_received = 0
        self.bytes_sent = 0
        service.attach(connection, self)

    # What it is.

    @property
    def network(self) -> NetworkId:
        return self._network

    @property
    def local(self) -> tuple[str, int]:
        return _name(self._connection.local)

    @property
    def remote(self) -> tuple[str, int]:
        return _name(self._connection.remote)

    @property
    def remote_ip(self) -> bytes:
        return self._connection.remote.ip

    @property
    def remote_node(self) -> Address | None:
        """The node that holds the remote address, if its MAC is known."""
        return self._service.node_of(self._network, self._connection.remote.ip)

    @property
    def path(self) -> str:
        """`direct`, or `relay` where packets go through a root."""
        node = self.remote_node
        return self._service.link_to(node) if node is not None else "relay"

    @property
    def socket(self) -> ConnectionSocket:
        """What knows the options of this connection: TCP_NODELAY, SO_KEEPALIVE and others."""
        if self._socket is None:
            self._socket = ConnectionSocket(self._service, self._connection)
        return self._socket

    # Receiving.

    async def receive_views(self, limit: int = RECEIVE_LIMIT) -> list[memoryview]:
        """Return what arrived, at most `limit` bytes in pieces; [] is the end of the stream.

        Raises ConnectReset, or TimeoutError if the peer vanished. What arrived before is
        delivered first.
        """
        connection, driver = self._connection, self._service.driver
        while True:
            self._check_open()
            views = connection.read(driver.now(), limit)
            if views:
                self.bytes_received += sum(map(len, views))
                driver.pump_soon()  # The window may have opened.
                return views
            if connection.at_eof:
                return []
            if connection.error is not None:
                raise connection.error
            await self._wait()

    async def receive(self, limit: int = RECEIVE_LIMIT) -> bytes:
        """Return what arrived, at most `limit` bytes; b"" is the end of the stream."""
        return b"".join(await self.receive_views(limit))

    # Sending.

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        """Return when all of `data` is in the send buffer; waits while that is full."""
        view = memoryview(data)
        driver = self._service.driver
        connection = self._connection
        while view:
            self._check_open()
            if connection.error is not None:
                raise connection.error
            taken = connection.write(driver.now(), view)
            if taken:
                self.bytes_sent += taken
                driver.pump_soon()
                view = view[taken:]
            else:
                await self._wait()

    async def send_eof(self) -> None:
        """Half-close: what was sent goes out, then FIN; receiving goes on."""
        self._check_open()
        self._connection.shutdown(self._service.driver.now())
        self._service.driver.pump_soon()

    async def wait_sent(self, timeout: float | None = None) -> None:
        """Wait until the peer acknowledged our FIN; TimeoutError after `timeout` seconds."""
        async with asyncio.timeout(timeout):
            while not self._connection.fin_acknowledged:
                if self._connection.error is not None:
                    raise self._connection.error
                await self._wait()

    # The end.

    async def close(self) -> None:
        """Close both directions; data in the send buffer still goes out."""
        if self._closed:
            return
        if self._socket is not None and self._socket.resets_on_close:
            self.abort()
            return
        self._closed = True
        self._wake()
        self._service.detach(self._connection)
        if self._service.is_running:
            self._connection.close(self._service.driver.now())
            self._service.driver.pump_soon()

    def abort(self) -> None:
        """Reset the connection at once."""
        if self._closed:
            return
        self._closed = True
        self._wake()
        self._service.detach(self._connection)
        if self._service.is_running:
            self._connection.abort(self._service.driver.now())
            self._service.driver.pump_soon()

    def release(self) -> Connection:
        """Give the connection to somebody else; this object is closed afterwards."""
        self._check_open()
        self._closed = True
        self._wake()
        self._service.detach(self._connection)
        return self._connection

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            await self.close()
        else:
            self.abort()

    # Waiting.

    async def wait_established(self) -> None:
        """Wait for the handshake; raises ConnectRefused, Unreachable, ConnectReset."""
        while not self._connection.is_established:
            if self._connection.error is not None:
                raise self._connection.error
            await self._wait()

    def socket_event(self, event: Event) -> None:
        del event
        self._wake()

    def _check_open(self) -> None:
        if self._closed:
            raise Closed("the stream is closed")

    async def _wait(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


def _name(endpoint: Endpoint) -> tuple[str, int]:
    return endpoint.host, endpoint.port
