"""A port of this machine whose connections lead to a service inside a network."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Final, Self, cast

from ztstack.base.errors import Closed, InvalidConfig, ZtError

LOOPBACK: Final = "127.0.0.1"
MAX_CONNECTIONS: Final = 100
LINGER_S: Final = 5.0
_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER of no time: what closes the socket resets the connection."""
_log = logging.getLogger("ztstack")

Place = tuple[str, int]
Named = str | int | Place
"""HOST:PORT, a port alone, or both as a pair."""
Connect = Callable[
    [Callable[[], asyncio.BaseProtocol], str, int],
    Awaitable[tuple[asyncio.Transport, asyncio.BaseProtocol]],
]


class _Half(asyncio.Protocol):
    """One of two connections that become one: bytes, ends and resets of this go to the other."""

    transport: asyncio.Transport

    def __init__(self, forward: Forward, other: _Half | None = None) -> None:
        self._forward = forward
        self.other = other
        self.is_local = other is None
        self.early = b""
        """What came before there was another; little, as reading is paused then."""
        self.at_end = False
        self.is_lost = False

    @property
    def _sink(self) -> asyncio.Transport | None:
        """The other's transport as long as something can be done with it."""
        other = self.other
        return None if other is None or other.transport.is_closing() else other.transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport, and not its name.
        self.transport = cast("asyncio.Transport", transport)
        other = self.other
        if other is None:
            # Nobody is there yet to take what comes. uvloop reads once all the same.
            self.transport.pause_reading()
            self._forward.came(self)
        elif other.is_lost:
            self.reset()
        else:
            self._forward.halves.add(self)
            other.other = self
            self.transport.write(other.early)
            other.early = b""
            if other.at_end:
                self.transport.write_eof()
            other.transport.resume_reading()

    def reset(self) -> None:
        """End it so that whoever is there knows that something is missing."""
        sock = self.transport.get_extra_info("socket") if self.is_local else None
        if sock is not None and sock.fileno() >= 0:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        sink = self._sink
        if sink is not None:
            sink.write(data)
        elif self.other is None:
            self.early += data
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        self.at_end = True
        sink = self._sink
        if sink is not None:
            sink.write_eof()
        if self.other is not None and self.other.at_end:
            self.other.transport.close()
            self.transport.close()
        return True

    def pause_writing(self) -> None:
        sink = self._sink
        if sink is not None:
            sink.pause_reading()

    def resume_writing(self) -> None:
        sink = self._sink
        if sink is not None:
            sink.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        if self._sink is not None and self.other is not None:
            if exc is None:
                self.other.transport.close()
            else:
                self.other.reset()
        self._forward.went(self)


class Forward:
    """Connections to a port of this machine lead to a service inside, as long as a block lasts.

    `async with node.forward("127.0.0.1:0", "10.147.20.7:5432") as forward:` listens; leaving the
    block ends the port, gives what is on its way up to five seconds, and ends the connections. A
    half-close goes through in both directions, and so does a reset; whoever comes while the service
    cannot be reached, or when `max_connections` are open, is reset.
    """

    def __init__(
        self,
        connect: Connect,
        local: Named,
        target: str | Place,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        self._connect = connect
        self._local = place_of(local, zero=True)
        self._target = place_of(target)
        self._max_connections = max_connections
        self._server: asyncio.Server | None = None
        self._address: Place | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._over = asyncio.Event()
        self.halves: set[_Half] = set()
        self.error: Exception | None = None
        """Why the last connection to the service failed, if one did."""

    @property
    def address(self) -> Place:
        """The local (IP address, port) to connect to; Closed outside the block."""
        if self._address is None:
            raise Closed("nothing is forwarded outside the block of `with`")
        return self._address

    async def __aenter__(self) -> Self:
        """Listen; OSError if this machine does not give the port."""
        loop = asyncio.get_running_loop()
        host, port = self._local
        server = await loop.create_server(lambda: _Half(self), host, port, start_serving=False)
        # Whoever comes first must find that the block has begun.
        self._server, self._address = server, server.sockets[0].getsockname()[:2]
        await server.start_serving()
        return self

    def came(self, half: _Half) -> None:
        """Lead a new connection to the service."""
        open_now = sum(one.is_local for one in self.halves)
        if self._address is None or open_now >= self._max_connections:
            half.reset()
            return
        self.halves.add(half)
        task = asyncio.get_running_loop().create_task(self._lead(half))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _lead(self, half: _Half) -> None:
        try:
            await self._connect(lambda: _Half(self, half), *self._target)
        except (OSError, ZtError) as error:
            self.error = error
            _log.warning("forward to %s port %d: %s", *self._target, error)
            half.reset()
        except asyncio.CancelledError:
            half.reset()
            raise

    def went(self, half: _Half) -> None:
        self.halves.discard(half)
        if not self.halves:
            self._over.set()

    async def __aexit__(self, *exception: object) -> None:
        self._address = None
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for half in list(self.halves):
            half.transport.close()
        try:
            async with asyncio.timeout(LINGER_S):
                while self.halves:
                    self._over.clear()
                    await self._over.wait()
        except TimeoutError:
            for half in list(self.halves):
                half.reset()


def place_of(place: Named, *, zero: bool = False) -> Place:
    """Return (host, port) of HOST:PORT, [IPV6]:PORT, or a port alone; InvalidConfig."""
    if isinstance(place, int):
        host, port = "", place
    elif isinstance(place, str):
        host, _, digits = place.rpartition(":")
        if not digits.isascii() or not digits.isdigit():
            raise InvalidConfig(f"{place}: is to be HOST:PORT")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise InvalidConfig(f"{place}: an IPv6 address is written [ADDRESS]:PORT")
        port = int(digits)
    else:
        host, port = place
    if not (0 if zero else 1) <= port <= 65535:
        raise InvalidConfig(f"a port is a number from {0 if zero else 1} to 65535, not {port}")
    if not host and not zero:
        raise InvalidConfig(f"{place}: names no host")
    return host or LOOPBACK, port
