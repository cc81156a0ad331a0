"""asyncio's Server over a listener inside a network."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from functools import partial
from typing import Self, TypeVar

from ztstack.base.errors import Closed
from ztstack.sockets.carrier import Accepting, Releasable
from ztstack.sockets.open_sockets import OpenSockets
from ztstack.sockets.transport import StreamTransport

StreamT = TypeVar("StreamT", bound=Releasable)


class ListeningName:
    """One address on which a server listens, with the few methods of a socket that tell of it."""

    type = socket.SOCK_STREAM
    proto = socket.IPPROTO_TCP

    def __init__(self, host: str, port: int) -> None:
        self._name = (host, port)
        self.family = socket.AF_INET6 if ":" in host else socket.AF_INET

    def getsockname(self) -> tuple[str, int]:
        return self._name


class Server(asyncio.AbstractServer):
    """Accepts connections and gives each a protocol; closes as asyncio's does since 3.12.

    `wait_closed` returns when `close` was called and every connection is over.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listener: Accepting[StreamT],
        accepted: Callable[[StreamT], StreamTransport],
        opened: OpenSockets,
    ) -> None:
        self._loop = loop
        self._listener: Accepting[Releasable] = listener
        self._accept = partial(self._accept_from, listener, accepted)
        self._opened = opened
        self._transports: dict[StreamTransport, None] = {}
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self._over = asyncio.Event()
        opened.add(self)

    @property
    def port(self) -> int:
        return self._listener.port

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Every address and port on which a connection can arrive now."""
        return [] if self._closed else self._listener.addresses

    @property
    def sockets(self) -> tuple[ListeningName, ...]:
        """The addresses as objects with `getsockname`; none once the server is closed."""
        return tuple(ListeningName(host, port) for host, port in self.addresses)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def is_serving(self) -> bool:
        return self._task is not None and not self._closed

    async def start_serving(self) -> None:
        """Accept connections; doing it twice does nothing."""
        if self._closed:
            raise Closed("the server is closed")
        if self._task is None:
            self._task = self._loop.create_task(self._accept())

    async def serve_forever(self) -> None:
        """Accept connections until the task is cancelled, then close."""
        await self.start_serving()
        assert self._task is not None
        try:
            await asyncio.wait((self._task,))
        finally:
            self.close()
            await self.wait_closed()

    async def _accept_from(
        self, listener: Accepting[StreamT], accepted: Callable[[StreamT], StreamTransport]
    ) -> None:
        async for stream in listener:
            try:
                transport = accepted(stream)
            except Exception as error:  # noqa: BLE001 - of the factory, as asyncio treats it
                stream.abort()
                self._loop.call_exception_handler(
                    {"message": "a protocol could not be made", "exception": error}
                )
                continue
            self._transports[transport] = None
            transport.on_lost = self._forget
            transport.begin()

    def _forget(self, transport: StreamTransport) -> None:
        self._transports.pop(transport, None)
        if self._closed and not self._transports:
            self._over.set()

    def close(self) -> None:
        """Stop listening; open connections live on."""
        if self._closed:
            return
        self._closed = True
        self._opened.discard(self)
        self._listener.close()
        if not self._transports:
            self._over.set()

    def close_clients(self) -> None:
        for transport in list(self._transports):
            transport.close()

    def abort_clients(self) -> None:
        for transport in list(self._transports):
            transport.abort()

    def node_stops(self) -> None:
        self.close()

    def node_stopped(self) -> None:
        self.close()

    async def wait_closed(self) -> None:
        await self._over.wait()
        if self._task is not None:
            await asyncio.wait((self._task,))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        self.close()
        await self.wait_closed()
