"""The datagrams of zt proxy: those of one client, for as long as its connection lasts."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Final

from ztcli import socks
from ztcli.boundary import code_of
from ztcli.engine import Datagrams, Stream
from ztcli.exit_codes import ExitCode
from ztcli.flows import LocalPort, Port
from ztcli.inside import Outside

MAX_OUTSIDE: Final = 64
"""Places outside the networks that one client may have in use; the oldest is forgotten."""

_ANY: Final = {4: "0.0.0.0", 6: "::"}  # noqa: S104 - what answers comes back to these
_Place = tuple[str, int]


async def associated(
    inner: Stream,
    front: LocalPort,
    back: Datagrams,
    ports: frozenset[int] | None,
    outside: Outside | None,
) -> None:
    """Pass datagrams on until the client's connection ends; both ports are closed then."""
    association = _Association(front, back, inner.remote[0], ports, outside)
    try:
        async with asyncio.TaskGroup() as group:
            association.start(group)
            while await inner.receive():
                pass
            association.stop()
    finally:
        association.close()


class _Association:
    """The datagrams of one client, both ways; the first that it sends shows its port."""

    def __init__(
        self,
        front: LocalPort,
        back: Datagrams,
        client: str,
        ports: frozenset[int] | None,
        outside: Outside | None,
    ) -> None:
        self._front = front
        self._back = back
        self._client = client
        self._ports = ports
        self._outside = outside
        self._port = 0
        self._places: dict[_Place, str] = {}
        """Where places outside the networks are, as far as they were found."""
        self._outer: dict[int, LocalPort] = {}
        self._group: asyncio.TaskGroup | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._tasks = [
            group.create_task(self._there()),
            group.create_task(self._answer(self._back)),
        ]

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()

    def close(self) -> None:
        self._back.close()
        for port in (self._front, *self._outer.values()):
            port.close()

    async def _there(self) -> None:
        while True:
            try:
                data, (host, port), _ = await self._front.receive()
            except OSError:
                continue  # The client's port is closed; it may open again.
            if host != self._client or self._port not in (0, port):
                continue
            opened = socks.open_datagram(data)
            if opened is None or (self._ports is not None and opened[1] not in self._ports):
                continue
            self._port = port
            target, number, content = opened
            try:
                await self._send(content, (target, number))
            except Exception as error:
                # What cannot be sent is lost, as datagrams are.
                if code_of(error) is ExitCode.INTERNAL:
                    raise

    async def _send(self, data: bytes, place: _Place) -> None:
        address = self._places.get(place)
        if address is None:
            try:
                await self._back.send(data, *place)
            except Exception as error:
                if self._outside is None or not await self._outside.takes(place[0], code_of(error)):
                    raise
                address = await self._find(self._outside, place)
            else:
                return
        port = await self._outer_port(6 if ":" in address else 4)
        await port.send(data, address, place[1])

    async def _find(self, outside: Outside, place: _Place) -> str:
        address = (await outside.addresses(*place, socket.SOCK_DGRAM))[0]
        if len(self._places) >= MAX_OUTSIDE:
            del self._places[next(iter(self._places))]
        self._places[place] = address
        return address

    async def _outer_port(self, family: int) -> LocalPort:
        if family not in self._outer:
            port = await LocalPort.bound(_ANY[family], 0)
            self._outer[family] = port
            assert self._group is not None
            self._tasks.append(self._group.create_task(self._answer(port)))
        return self._outer[family]

    async def _answer(self, back: Port) -> None:
        while True:
            try:
                data, (host, port), _ = await back.receive()
            except OSError:
                continue  # What an ICMP message said of an earlier one.
            with contextlib.suppress(OSError):
                wrapped = socks.wrap_datagram(data, host, port)
                await self._front.send(wrapped, self._client, self._port)
