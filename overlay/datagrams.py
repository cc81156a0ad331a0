"""Datagrams by node id and port."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from overlay.errors import Closed, InvalidConfig
from overlay.messages import MAX_DATAGRAM, Place, node_text

MAX_QUEUED: Final = 1024
MAX_QUEUED_BYTES: Final = 4 << 20
"""Of datagrams that nobody took yet; the oldest go."""

Send = Callable[[int, bytes, str, int], Awaitable[None]]
SendNow = Callable[[int, bytes, str, int], None]


class Datagrams:
    """One port of a node."""

    def __init__(
        self,
        node: int,
        port: int,
        send: Send,
        send_now: SendNow,
        forget: Callable[[int], None],
    ) -> None:
        self._node = node_text(node)
        self.local_port = port
        self._send = send
        self._send_now = send_now
        self._forget = forget
        self._queue: deque[tuple[bytes, Place]] = deque()
        self._bytes = 0
        self._arrived = asyncio.Event()
        self._closed = False
        self.dropped = 0

    @property
    def addresses(self) -> list[Place]:
        return [(self._node, self.local_port)]

    async def send(self, data: bytes, host: str, port: int) -> None:
        """Send one datagram; NameNotResolved, Unreachable, InvalidConfig if it is too long."""
        self._check(data)
        await self._send(self.local_port, data, host, port)

    def send_now(self, data: bytes, host: str, port: int) -> None:
        """Send as `send` does without waiting; to a node yet to be found it goes a little later."""
        self._check(data)
        self._send_now(self.local_port, data, host, port)

    def _check(self, data: bytes) -> None:
        if self._closed:
            raise Closed("the datagram endpoint is closed")
        if len(data) > MAX_DATAGRAM:
            raise InvalidConfig(f"a datagram holds {MAX_DATAGRAM} bytes, not {len(data)}")

    async def receive(self) -> tuple[bytes, Place, str]:
        """Wait for a datagram: data, (node id, port) of the sender, and our node id."""
        while not self._queue:
            if self._closed:
                raise Closed("the datagram endpoint is closed")
            self._arrived.clear()
            await self._arrived.wait()
        data, remote = self._queue.popleft()
        self._bytes -= len(data)
        return data, remote, self._node

    def join_group(self, group: str) -> None:
        """Refuse: nodes of the overlay are spoken to one by one."""
        raise InvalidConfig(f"{group}: the overlay has no multicast")

    def leave_group(self, group: str) -> None:
        self.join_group(group)

    def offer(self, data: bytes, source: int, port: int) -> None:
        """Queue what arrived."""
        self._queue.append((data, (node_text(source), port)))
        self._bytes += len(data)
        while len(self._queue) > MAX_QUEUED or self._bytes > MAX_QUEUED_BYTES:
            self._bytes -= len(self._queue.popleft()[0])
            self.dropped += 1
        self._arrived.set()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._arrived.set()
            self._forget(self.local_port)
