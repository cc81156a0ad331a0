"""What is open on a node, and what was closed and still has bytes on their way."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, Protocol

from ztstack.ip.tcp.connection import Connection
from ztstack.ip.tcp.state import State

MAX_CLOSING: Final = 4096
LINGER_S: Final = 5.0
_LOOK_S: Final = 0.01


class OpenSocket(Protocol):
    """What ends when its node stops."""

    def node_stops(self) -> None:
        """Close in good order."""

    def node_stopped(self) -> None:
        """End at once, if the order took too long."""


class OpenSockets:
    """The transports and servers of one node.

    A kernel sends what a closed socket holds even after the program ended; a node in this process
    cannot, so whoever stops it waits for the last acknowledgements first.
    """

    def __init__(self) -> None:
        self._open: dict[OpenSocket, None] = {}
        self._closing: deque[Connection] = deque(maxlen=MAX_CLOSING)

    def add(self, opened: OpenSocket) -> None:
        self._open[opened] = None

    def discard(self, opened: OpenSocket) -> None:
        self._open.pop(opened, None)

    def closed(self, connection: Connection) -> None:
        """Remember a connection that its user closed in good order."""
        closing = self._closing
        while closing and _is_done(closing[0]):
            closing.popleft()
        if not _is_done(connection):
            closing.append(connection)

    async def stop(self, limit: float = LINGER_S) -> None:
        """Close everything; wait until the peers have all, but not longer than `limit` seconds."""
        for one in list(self._open):
            one.node_stops()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + limit
        while (self._closing or self._open) and loop.time() < deadline:
            while self._closing and _is_done(self._closing[0]):
                self._closing.popleft()
            if self._closing or self._open:
                await asyncio.sleep(_LOOK_S)
        self._closing.clear()
        for one in list(self._open):
            one.node_stopped()


def _is_done(connection: Connection) -> bool:
    return connection.fin_acknowledged or connection.state is State.CLOSED
