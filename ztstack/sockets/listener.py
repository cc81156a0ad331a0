"""Accepts streams on every joined network, or on one address."""

from __future__ import annotations

import asyncio

from ztstack.aio.service import Service
from ztstack.base.errors import Closed
from ztstack.base.network_id import NetworkId
from ztstack.ip.events import Event
from ztstack.ip.tcp.listener import Listener as Backlog
from ztstack.sockets.datagram import bound_addresses
from ztstack.sockets.stream import Stream


class Listener:
    """A listening TCP port; iterate over it, or call `accept`."""

    def __init__(self, service: Service, backlogs: list[tuple[NetworkId, Backlog]]) -> None:
        self._service = service
        self._backlogs = backlogs
        self._arrived = asyncio.Event()
        self._closed = False
        for _, backlog in backlogs:
            service.attach(backlog, self)

    @property
    def port(self) -> int:
        return self._backlogs[0][1].port

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Every address and port on which a connection can arrive now."""
        found = []
        for network, backlog in self._backlogs:
            own = self._service.addresses(network)
            found += [(ip, backlog.port) for ip in bound_addresses(backlog.ip, own)]
        return found

    async def accept(self) -> Stream:
        """Wait for a connection; Closed once `close` was called."""
        while True:
            if self._closed:
                raise Closed("the listener is closed")
            for network, backlog in self._backlogs:
                connection = backlog.accept()
                if connection is not None:
                    return Stream(self._service, network, connection)
            self._arrived.clear()
            await self._arrived.wait()

    def __aiter__(self) -> Listener:
        return self

    async def __anext__(self) -> Stream:
        try:
            return await self.accept()
        except Closed:
            raise StopAsyncIteration from None

    def close(self) -> None:
        """Stop listening; accepted streams live on."""
        if self._closed:
            return
        self._closed = True
        self._arrived.set()
        for _, backlog in self._backlogs:
            self._service.detach(backlog)
            if self._service.is_running:
                backlog.close(self._service.driver.now())

    def socket_event(self, event: Event) -> None:
        del event
        self._arrived.set()
