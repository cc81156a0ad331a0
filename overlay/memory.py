"""The in-process transport: nodes of one process, joined by a link that may lose and delay."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import Callable
from typing import Final

from overlay.errors import InvalidConfig, PortInUse
from overlay.messages import Place

Receive = Callable[[bytes, Place], None]
MAX_FLYING: Final = 4096
"""Frames on their way to one node; what is more is lost, as on any link."""
_NAME: Final = "node-"


class MemoryNetwork:
    """A link that nodes of this process share: `NodeConfig(memory=link)`.

    Frames are lost with probability `loss` and take `latency` seconds, and up to `jitter` more,
    in which case they may overtake one another. The same `seed` loses the same frames. On a loop
    in virtual time (`overlay.testing`) nothing waits, and runs are alike to the microsecond.
    """

    def __init__(
        self, *, loss: float = 0.0, latency: float = 0.0, jitter: float = 0.0, seed: int = 1
    ) -> None:
        if not 0 <= loss < 1 or latency < 0 or jitter < 0:
            raise InvalidConfig("loss is from 0 to below 1; latency and jitter are not negative")
        self.loss = loss
        self.latency = latency
        self.jitter = jitter
        self.sent = 0
        self.lost = 0
        self._random = random.Random(seed)  # noqa: S311 - a simulation, not a secret
        self._lock = threading.Lock()
        self._members: dict[int, MemoryTransport] = {}

    def attach(self, node: int, transport: MemoryTransport) -> None:
        with self._lock:
            if node in self._members:
                raise PortInUse(f"node {node:010x} runs already in this process")
            self._members[node] = transport

    def detach(self, node: int, transport: MemoryTransport) -> None:
        with self._lock:
            if self._members.get(node) is transport:
                del self._members[node]

    def has(self, node: int) -> bool:
        with self._lock:
            return node in self._members

    def carry(self, source: int, destination: int, frame: bytes) -> None:
        """Take a frame; whether it arrives is seen later, as everywhere."""
        with self._lock:
            self.sent += 1
            member = self._members.get(destination)
            lost = self.loss and self._random.random() < self.loss
            delay = self.latency + (self._random.random() * self.jitter if self.jitter else 0.0)
            if lost:
                self.lost += 1
        if member is not None and not lost:
            member.deliver(frame, place_of(source), delay)


SHARED: Final = MemoryNetwork()
"""Where nodes meet that were not given a link of their own."""


def place_of(node: int) -> Place:
    """Return the place of a node on a link in memory, which has no addresses: its number."""
    return f"{_NAME}{node:010x}", 0


class MemoryTransport:
    """One node's end of a link."""

    locals: tuple[Place, ...] = ()
    is_loopback = False

    def __init__(self, network: MemoryNetwork, node: int) -> None:
        self._network = network
        self._node = node
        self._loop: asyncio.AbstractEventLoop | None = None
        self._receive: Receive | None = None
        self._flying = 0
        # Frames come from the threads of other nodes, too.
        self._lock = threading.Lock()

    async def start(self, receive: Receive) -> None:
        self._network.attach(self._node, self)
        self._receive = receive
        self._loop = asyncio.get_running_loop()

    async def stop(self) -> None:
        self._network.detach(self._node, self)
        self._receive = None
        self._loop = None

    def place_of(self, node: int) -> Place | None:
        """Return where a node is that nobody told of: who is on the link is found by number."""
        return place_of(node) if self._network.has(node) else None

    def send(self, frame: bytes, place: Place) -> None:
        """Send, or lose what is for a place that is not on this link."""
        name, number = place[0][: len(_NAME)], place[0][len(_NAME) :]
        if name == _NAME:
            self._network.carry(self._node, int(number, 16), frame)

    def deliver(self, frame: bytes, source: Place, delay: float) -> None:
        """Hand a frame over at a later turn of this node's loop; any thread may call."""
        loop = self._loop
        with self._lock:
            if loop is None or self._flying >= MAX_FLYING:
                return
            self._flying += 1
        if _is_running(loop):
            self._schedule(loop, frame, source, delay)
            return
        with contextlib.suppress(RuntimeError):  # That loop is closed: nobody is there.
            loop.call_soon_threadsafe(self._schedule, loop, frame, source, delay)

    def _schedule(
        self, loop: asyncio.AbstractEventLoop, frame: bytes, source: Place, delay: float
    ) -> None:
        if delay:
            loop.call_later(delay, self._arrived, frame, source)
        else:
            loop.call_soon(self._arrived, frame, source)

    def _arrived(self, frame: bytes, source: Place) -> None:
        with self._lock:
            self._flying -= 1
        if self._receive is not None:
            self._receive(frame, source)


def _is_running(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False
