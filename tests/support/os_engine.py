"""An engine over the operating system's loopback, so that commands meet any kind of peer."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Iterable
from types import TracebackType
from typing import Self, cast

from ztcli.engine import Datagrams, Listener, NetCheck, Pong, RootCheck, Stream
from ztcli.local import LocalStream


class OsStream(LocalStream):
    """A TCP connection of the operating system."""

    network_name = "8056c2e21c000001"


class OsListener:
    """A listening TCP port."""

    def __init__(self, server: asyncio.Server, queue: asyncio.Queue[Stream]) -> None:
        self._server = server
        self._queue = queue

    @property
    def port(self) -> int:
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def addresses(self) -> list[tuple[str, int]]:
        return [("127.0.0.1", self.port)]

    async def accept(self) -> Stream:
        return await self._queue.get()

    def close(self) -> None:
        self._server.close()


class OsDatagrams(asyncio.DatagramProtocol):
    """A UDP port."""

    def __init__(self) -> None:
        self._queue: deque[tuple[bytes, tuple[str, int]] | OSError] = deque()
        self._arrived = asyncio.Event()
        self._transport: asyncio.DatagramTransport | None = None
        self.groups: list[str] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass, so there is nothing to assert.
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._queue.append((data, addr))
        self._arrived.set()

    def error_received(self, exc: Exception) -> None:
        assert isinstance(exc, OSError)
        self._queue.append(exc)
        self._arrived.set()

    @property
    def local_port(self) -> int:
        assert self._transport is not None
        return int(self._transport.get_extra_info("sockname")[1])

    @property
    def addresses(self) -> list[tuple[str, int]]:
        return [("127.0.0.1", self.local_port)]

    async def send(self, data: bytes, host: str, port: int) -> None:
        assert self._transport is not None
        self._transport.sendto(data, (host, port))

    async def receive(self) -> tuple[bytes, tuple[str, int], str]:
        while not self._queue:
            self._arrived.clear()
            await self._arrived.wait()
        item = self._queue.popleft()
        if isinstance(item, OSError):
            raise item
        return item[0], item[1], self.groups[0] if self.groups else "127.0.0.1"

    def join_group(self, group: str) -> None:
        """Note it, and call it the place of what arrives: loopback has no groups."""
        self.groups.append(group)

    def close(self) -> None:
        assert self._transport is not None
        self._transport.close()


ROOT = RootCheck("62f865ae71", "direct", 12, "203.0.113.7/9993", ("198.51.100.4/41211",), 240)
CHECK = NetCheck(
    udp=True,
    ipv4=True,
    ipv6=False,
    nat="endpoint-independent",
    external=("198.51.100.4/41211",),
    port_mapping="",
    tcp_relay="204.80.128.1/443",
    tcp_relay_state="off",
    roots=(ROOT,),
)


class OsEngine:
    """A node whose network is this machine's loopback; `failure` is raised by join.

    Its pings get the answers of `pongs`, one after the other, and silence after the last.
    """

    node_id = "a1b2c3d4e5"

    def __init__(
        self, failure: BaseException | None = None, pongs: Iterable[Pong | None] = ()
    ) -> None:
        self._failure = failure
        self._pongs = iter(pongs)
        self.check = CHECK
        self.extra_lines: list[str] = []
        self.networks = ["8056c2e21c000001"]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return

    async def join(self) -> None:
        if self._failure is not None:
            raise self._failure

    async def wait_online(self) -> None:
        return

    def addresses(self) -> list[str]:
        return ["fd00::1", "127.0.0.1"]

    async def connect(
        self,
        host: str,
        port: int,
        timeout: float | None,
        *,
        family: int = 0,
        source: str | None = None,
        source_port: int = 0,
    ) -> Stream:
        async with asyncio.timeout(timeout):
            return OsStream(*await asyncio.open_connection(host, port))

    async def listen(self, port: int, host: str | None = None) -> Listener:
        queue: asyncio.Queue[Stream] = asyncio.Queue()

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            queue.put_nowait(OsStream(reader, writer))

        server = await asyncio.start_server(connected, "127.0.0.1", port)
        return OsListener(server, queue)

    async def datagram(self, port: int = 0, host: str | None = None) -> Datagrams:
        loop = asyncio.get_running_loop()
        _, endpoint = await loop.create_datagram_endpoint(
            OsDatagrams, local_addr=("127.0.0.1", port)
        )
        return endpoint

    async def ping(self, target: str, timeout: float | None, *, icmp: bool, size: int) -> Pong:
        pong = next(self._pongs, None)
        if pong is None:
            raise TimeoutError(f"{target}: no answer in {timeout:g} s")
        return pong

    async def netcheck(self) -> NetCheck:
        return self.check

    async def status(self) -> dict[str, object]:
        peer = {
            "address": "62f865ae71",
            "role": "root",
            "version": "1.14.1",
            "link": "direct",
            "latency_ms": 12,
            "paths": ["203.0.113.7/9993"],
            "last_seen_ms": 2500,
        }
        network = {
            "network": "8056c2e21c000001",
            "name": "lab",
            "status": "OK",
            "detail": "",
            "addresses": ["10.0.0.1/24"],
            "routes": ["10.0.0.0/24"],
        }
        return {
            "node": self.node_id,
            "online": True,
            "version": "1.14.1",
            "planet": "0000000000000001",
            "local": ["0.0.0.0/9993"],
            "networks": [network],
            "peers": [peer],
            "drops": {"bad mac": 2},
        }


def reset(connection: socket.socket) -> None:
    """Close a connection of the operating system with a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
