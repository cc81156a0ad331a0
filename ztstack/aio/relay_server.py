"""A TCP relay: records of clients become UDP datagrams, and the other way round (vl1 6.16)."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from dataclasses import dataclass, field
from typing import Final

from ztstack.aio.tcp_relay import HEAD, LONGEST, RECORD, SHORTEST, TO_IPV4
from ztstack.base.endpoint import Endpoint, Scope
from ztstack.base.errors import PortInUse

MAX_CLIENTS: Final = 1024
IDLE_S: Final = 300.0
QUEUE_BYTES: Final = 1 << 20
FIRST_PORT: Final = 1025
"""Lower ports are those of other services: a relay is no way to reach them."""
LARGEST_RECORD: Final = 4096
_GREETING_BYTES: Final = 4
_ADDRESS_BYTES: Final = 7


class _Outside(asyncio.DatagramProtocol):
    """The UDP socket of one client."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        queued = self._writer.transport.get_write_buffer_size()
        if not SHORTEST <= len(data) <= LONGEST or queued > QUEUE_BYTES:
            return
        ip = ipaddress.ip_address(addr[0]).packed
        head = TO_IPV4.pack(RECORD, _ADDRESS_BYTES + len(data), 4, ip, addr[1])
        self._writer.write(head + data)


@dataclass(slots=True)
class RelayServer:
    """Serves nodes whose UDP is blocked; each gets a UDP socket at the address it called.

    It leads to the Internet, and to what is of the same kind as that address: a relay of a lab
    to the lab, one in a private network to that network, and none to its own machine's loopback.
    """

    ip: str = "127.0.0.1"
    port: int = 0
    max_clients: int = MAX_CLIENTS
    outward: int = 0
    refused: int = 0
    greetings: int = 0
    _clients: dict[asyncio.Task[None] | None, asyncio.StreamWriter] = field(default_factory=dict)
    _server: asyncio.Server | None = None

    @property
    def clients(self) -> int:
        return len(self._clients)

    async def start(self) -> None:
        """Listen; PortInUse if somebody else does."""
        try:
            self._server = await asyncio.start_server(self._serve, self.ip, self.port)
        except OSError as error:
            raise PortInUse(f"{self.ip} port {self.port}: {error.strerror or error}") from error
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the door and cut every client off."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
            self.cut()
            tasks = [task for task in self._clients if task is not None]
            if tasks:
                await asyncio.wait(tasks)
            await server.wait_closed()

    def cut(self) -> None:
        for writer in self._clients.values():
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._clients) >= self.max_clients:
            self.refused += 1
            writer.transport.abort()
            return
        task = asyncio.current_task()
        self._clients[task] = writer
        own = str(writer.get_extra_info("sockname")[0])
        scopes = frozenset((Scope.GLOBAL, Endpoint.of(ipaddress.ip_address(own).packed, 0).scope))
        outside: asyncio.DatagramTransport | None = None
        try:
            outside, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                lambda: _Outside(writer), local_addr=(own, 0)
            )
            while payload := await _record(reader):
                self._forward(outside, payload, scopes)
        except (OSError, asyncio.IncompleteReadError):
            pass  # The client went away, or was silent for too long.
        finally:
            if outside is not None:
                outside.close()
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            del self._clients[task]

    def _forward(
        self, outside: asyncio.DatagramTransport, payload: bytes, scopes: frozenset[Scope]
    ) -> None:
        if len(payload) == _GREETING_BYTES:
            self.greetings += 1
            return
        data = payload[_ADDRESS_BYTES:]
        if payload[0] != 4 or not SHORTEST <= len(data) <= LONGEST:
            self.refused += 1
            return
        remote = Endpoint(payload[1:5], int.from_bytes(payload[5:7], "big"))
        if remote.port < FIRST_PORT or remote.scope not in scopes:
            self.refused += 1
            return
        self.outward += 1
        outside.sendto(data, (remote.host, remote.port))


async def _record(reader: asyncio.StreamReader) -> bytes:
    """Return what is in the next record; nothing if it is none of a node's."""
    async with asyncio.timeout(IDLE_S):
        record, size = HEAD.unpack(await reader.readexactly(HEAD.size))
        if record != RECORD or not 0 < size <= LARGEST_RECORD:
            return b""
        return await reader.readexactly(size)
