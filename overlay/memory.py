"""The in-process transport: engines of one process, one hub for each network."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from overlay.errors import PortInUse, Unreachable
from overlay.messages import Message

Receiver = Callable[[Message], None]
_hubs: dict[int, dict[int, MemoryTransport]] = {}


class MemoryTransport:
    """Reaches the other engines of this process that are on the same network."""

    local = ""

    def __init__(self, network: int, node: int) -> None:
        self._network = network
        self._node = node
        self._receiver: Receiver | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self, receiver: Receiver) -> None:
        hub = _hubs.setdefault(self._network, {})
        if self._node in hub:
            raise PortInUse(f"node {self._node:010x} runs already in this process")
        self._receiver = receiver
        self._loop = asyncio.get_running_loop()
        hub[self._node] = self

    async def stop(self) -> None:
        hub = _hubs.get(self._network, {})
        if hub.get(self._node) is self:
            del hub[self._node]
        if not hub:
            _hubs.pop(self._network, None)
        self._receiver = None

    def send(self, message: Message) -> None:
        """Deliver at the next turn of the other engine's loop."""
        peer = _hubs.get(self._network, {}).get(message.destination)
        if peer is None or peer._loop is None:  # noqa: SLF001 - the same class
            raise Unreachable(f"{message.destination:010x}: is not in this process")
        peer._loop.call_soon_threadsafe(peer._deliver, message)  # noqa: SLF001

    def _deliver(self, message: Message) -> None:
        if self._receiver is not None:
            self._receiver(message)
