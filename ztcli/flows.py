"""Passes datagrams on between two sides, a flow for each sender, until it is silent."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

MAX_FLOWS: Final = 1024
UDP_IDLE_S: Final = 120.0
MAX_WAITING: Final = 256
"""Datagrams of one local port that nobody took yet; the oldest go."""

Sender = tuple[str, int]


class Port(Protocol):
    """A bound port, as engines have them."""

    async def send(self, data: bytes, host: str, port: int) -> None: ...
    async def receive(self) -> tuple[bytes, Sender, str]: ...
    def close(self) -> None: ...


@dataclass(slots=True)
class _Flow:
    """One sender's own port on the other side."""

    port: Port
    task: asyncio.Task[None]
    active: float


class Flows:
    """Takes datagrams from `front`; each sender gets a port on the other side by `open_port`."""

    def __init__(
        self,
        front: Port,
        open_port: Callable[[], Awaitable[Port]],
        target: Sender,
        idle: float | None,
        say: Callable[[str], None],
    ) -> None:
        self._front = front
        self._open_port = open_port
        self._target = target
        self._idle = idle
        self._say = say
        self._flows: OrderedDict[Sender, _Flow] = OrderedDict()
        self._loop = asyncio.get_running_loop()

    async def run(self, admits: Callable[[str], bool]) -> None:
        """Pass datagrams on until cancelled."""
        sweeping = asyncio.create_task(self._sweep())
        try:
            while True:
                try:
                    data, sender, _ = await self._front.receive()
                except OSError as error:
                    self._say(f"reply: {error}")
                    continue
                if not admits(sender[0]):
                    self._say(f"denied: {sender[0]}")
                    continue
                await self._pass(data, sender)
        finally:
            sweeping.cancel()
            for sender in list(self._flows):
                self._end(sender)

    async def _pass(self, data: bytes, sender: Sender) -> None:
        flow = self._flows.get(sender)
        try:
            if flow is None:
                flow = await self._open(sender)
            flow.active = self._loop.time()
            self._flows.move_to_end(sender)
            await flow.port.send(data, *self._target)
        except OSError as error:
            self._say(f"{self._target[0]}:{self._target[1]}: {error}")

    async def _open(self, sender: Sender) -> _Flow:
        if len(self._flows) >= MAX_FLOWS:
            self._end(next(iter(self._flows)))
        port = await self._open_port()
        task = asyncio.create_task(self._answers(port, sender))
        self._flows[sender] = flow = _Flow(port, task, self._loop.time())
        return flow

    async def _answers(self, port: Port, sender: Sender) -> None:
        while True:
            try:
                data, _, _ = await port.receive()
                await self._front.send(data, *sender)
            except OSError as error:
                self._say(f"{sender[0]}:{sender[1]}: {error}")
                await asyncio.sleep(0)
                continue
            flow = self._flows.get(sender)
            if flow is not None:
                flow.active = self._loop.time()

    def _end(self, sender: Sender) -> None:
        flow = self._flows.pop(sender)
        flow.task.cancel()
        flow.port.close()

    async def _sweep(self) -> None:
        while self._idle is not None:
            await asyncio.sleep(self._idle / 4)
            limit = self._loop.time() - self._idle
            for sender in [one for one, flow in self._flows.items() if flow.active < limit]:
                self._end(sender)


class LocalPort(asyncio.DatagramProtocol):
    """A UDP port of the operating system."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[tuple[bytes, Sender] | OSError] = asyncio.Queue(MAX_WAITING)
        self._transport: asyncio.DatagramTransport | None = None
        self._remote: Sender | None = None

    @classmethod
    async def bound(cls, host: str, port: int) -> LocalPort:
        """Bind a port for whoever sends to it."""
        loop = asyncio.get_running_loop()
        transport, endpoint = await loop.create_datagram_endpoint(cls, local_addr=(host, port))
        endpoint._transport = transport  # noqa: SLF001 - the same class
        return endpoint

    @classmethod
    async def connected(cls, host: str, port: int) -> LocalPort:
        """Bind any port, to speak with one peer only."""
        loop = asyncio.get_running_loop()
        transport, endpoint = await loop.create_datagram_endpoint(cls, remote_addr=(host, port))
        endpoint._transport, endpoint._remote = transport, (host, port)  # noqa: SLF001 - the same
        return endpoint

    @property
    def address(self) -> Sender:
        assert self._transport is not None
        host, port = self._transport.get_extra_info("sockname")[:2]
        return str(host), int(port)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._put((data, (addr[0], addr[1])))

    def error_received(self, exc: Exception) -> None:
        if isinstance(exc, OSError):
            self._put(exc)

    def _put(self, item: tuple[bytes, Sender] | OSError) -> None:
        if self._waiting.full():
            with contextlib.suppress(asyncio.QueueEmpty):
                self._waiting.get_nowait()
        self._waiting.put_nowait(item)

    async def send(self, data: bytes, host: str, port: int) -> None:
        assert self._transport is not None
        self._transport.sendto(data, None if self._remote is not None else (host, port))

    async def receive(self) -> tuple[bytes, Sender, str]:
        item = await self._waiting.get()
        if isinstance(item, OSError):
            raise item
        return item[0], item[1], ""

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
