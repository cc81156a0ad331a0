"""What asyncio's transports need from whoever runs the TCP under them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from typing import Protocol, TypeVar

from ztstack.ip.events import Event
from ztstack.ip.tcp.connection import Connection

Place = tuple[str, int]
AcceptedT_co = TypeVar("AcceptedT_co", covariant=True)


class Sink(Protocol):
    """Who hears of a socket's events."""

    def socket_event(self, event: Event) -> None: ...


class Pump(Protocol):
    """The loop, its clock, and who sends what TCP has to say."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...

    def now(self) -> int: ...
    def pump_soon(self) -> None: ...


class Carrier(Protocol):
    """A node as far as its TCP connections go: a Service of the stack, or the overlay's driver."""

    @property
    def is_running(self) -> bool: ...
    @property
    def driver(self) -> Pump: ...

    def attach(self, socket: Hashable, owner: Sink, /) -> None: ...
    def detach(self, socket: Hashable, /) -> None: ...


class Releasable(Protocol):
    """A stream that can give its connection away."""

    def release(self) -> Connection: ...
    def abort(self) -> None: ...


class Accepting(Protocol[AcceptedT_co]):
    """A listening port."""

    @property
    def port(self) -> int: ...
    @property
    def addresses(self) -> list[Place]: ...

    def close(self) -> None: ...
    def __aiter__(self) -> AsyncIterator[AcceptedT_co]: ...


class DatagramPort(Protocol):
    """A UDP port, or what stands for one."""

    @property
    def addresses(self) -> list[Place]: ...

    def send_now(self, data: bytes, host: str, port: int) -> None: ...
    async def receive(self) -> tuple[bytes, Place, str]: ...
    def join_group(self, group: str) -> None: ...
    def leave_group(self, group: str) -> None: ...
    def close(self) -> None: ...
