"""Two nodes on a link in memory, and an event loop in virtual time, for tests of applications.

    async def script(a: overlay.Node, b: overlay.Node) -> None:
        listener = await a.listen(80)
        stream = await b.connect(a.address, 80)

    run_pair(script, loss=0.05, latency=0.02)

runs in no time, however long the script waits, and in the same way each time. The fixture
`overlay_pair` of `overlay.pytest_plugin` is this function.
"""

from __future__ import annotations

import asyncio
import hashlib
import selectors
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from overlay.config import NodeConfig
from overlay.memory import MemoryNetwork
from overlay.node import Node

NETWORK: Final = 0xCAFE2001
NODE_A: Final = 0xA1B2C3D4E5
NODE_B: Final = 0xB1B2C3D4E5

Script = Callable[[Node, Node], Awaitable[None]]


class SeededEntropy:
    """Bytes that follow from a seed; for tests and nothing else."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._count = 0

    def take(self, length: int) -> bytes:
        found = b""
        while len(found) < length:
            self._count += 1
            found += hashlib.blake2b(f"{self._seed}/{self._count}".encode()).digest()
        return found[:length]


class _Selector(selectors.DefaultSelector):
    """Turns waiting into time that has passed."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> Any:  # noqa: ANN401 - as inherited
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise RuntimeError("everybody waits, and nothing will ever happen")
        self.now += max(timeout, 0.0)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose clock stands still while anything runs, and jumps to the next timer."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        # Where no timer is due at once, the clock must get past it: its resolution is added.
        return self._virtual.now + 1e-9 * bool(self._virtual.now)


@asynccontextmanager
async def memory_pair(
    *, loss: float = 0.0, latency: float = 0.0, jitter: float = 0.0, seed: int = 1
) -> AsyncIterator[tuple[Node, Node]]:
    """Start two nodes on a link of their own, on any loop; the names `a` and `b` stand for them."""
    link = MemoryNetwork(loss=loss, latency=latency, jitter=jitter, seed=seed)
    names = {"a": NODE_A, "b": NODE_B}
    first, second = (
        Node(
            NodeConfig(
                networks=(NETWORK,),
                node=node,
                memory=link,
                addresses=names,
                entropy=SeededEntropy(seed << 8 | number),
            )
        )
        for number, node in enumerate((NODE_A, NODE_B))
    )
    async with first, second:
        yield first, second


def run_pair(
    script: Script,
    *,
    loss: float = 0.0,
    latency: float = 0.001,
    jitter: float = 0.0,
    seed: int = 1,
) -> float:
    """Run `script(a, b)` in virtual time; return how many seconds it took there."""

    async def main() -> float:
        async with memory_pair(loss=loss, latency=latency, jitter=jitter, seed=seed) as (a, b):
            await script(a, b)
            return asyncio.get_running_loop().time()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main())
