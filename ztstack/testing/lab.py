"""A root, a controller and joined nodes in one process, asynchronous or behind the facade."""

from __future__ import annotations

import contextlib
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final, Self

from ztstack.aio.identity_worker import generate_identity
from ztstack.aio.roles import Lab, LabDetails, ensure_identity
from ztstack.aio.service import NodeConfig, Service
from ztstack.aio.storage import Storage
from ztstack.base.errors import InvalidConfig, StorageError
from ztstack.crypto.identity import Identity
from ztstack.sockets.api import Node
from ztstack.sockets.background import Background
from ztstack.sockets.blocking import BlockingNode
from ztstack.testing.weather import RoughUdp, Weather, parse_latency

MAX_NODES: Final = 100
_identities: list[Identity] = []
"""Used again by the next lab of this process: to make one costs a processor seconds."""


class NodeLab:
    """A lab on loopback: `async with NodeLab(folder, nodes=3, loss=0.05, latency="20ms") as lab:`.

    `nodes` are joined and have addresses when it is entered; from then on every datagram of
    everybody is lost with probability `loss`, else `latency` late (seconds, or a text like 20ms).
    With `relay_only` nodes never meet directly. `seed` makes the same losses happen again.
    Identities are kept in the directory `identities` for the labs of later processes.
    """

    def __init__(  # noqa: PLR0913 - these are settings by name
        self,
        folder: Path,
        *,
        nodes: int = 2,
        loss: float = 0.0,
        latency: float | str = 0.0,
        relay_only: bool = False,
        seed: int = 0,
        identities: Path | None = None,
    ) -> None:
        if not 0 <= nodes <= MAX_NODES:
            raise InvalidConfig(f"a lab has from 0 to {MAX_NODES} nodes, not {nodes}")
        self._folder = folder
        self._count = nodes
        self._weather = Weather(loss, parse_latency(latency))
        self._relay_only = relay_only
        self._seed = seed
        self._kept = identities
        self._rough: list[RoughUdp] = []
        self._stack = AsyncExitStack()
        self.nodes: list[Node] = []
        self.details: LabDetails
        self.hub: Service
        """The node that is root and controller."""

    @property
    def network(self) -> str:
        return str(self.details.network)

    @property
    def planet(self) -> bytes:
        return self.details.planet.read_bytes()

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *exception: object) -> None:
        # What is still on its way gets there: stopping is not a part of the test.
        self.set_weather()
        await self._stack.aclose()

    async def _start(self) -> None:
        while len(_identities) <= self._count:
            _identities.append(await self._identity(len(_identities)))
        storage = Storage(self._folder)
        storage.open()
        storage.save_identity(_identities[0])
        storage.close()
        lab = Lab(self._folder)
        self.details = await lab.start()
        self.hub = lab.service
        self._stack.push_async_callback(lab.stop)
        self._rough.append(RoughUdp.install(lab.service, self._seed))
        for number in range(self._count):
            await self._add(_identities[number + 1])
        self.set_weather(self._weather.loss, self._weather.latency)

    async def _identity(self, number: int) -> Identity:
        if self._kept is not None:
            with contextlib.suppress(StorageError):  # Another process may be making it just now.
                return await ensure_identity(self._kept / str(number))
        return await generate_identity()

    async def _add(self, identity: Identity) -> None:
        config = NodeConfig(
            networks=(self.details.network,), identity=identity, planet=self.planet, relay=None
        )
        node = Node(config)
        await self._stack.enter_async_context(node)
        rough = RoughUdp.install(node.service, self._seed + len(self._rough))
        if self._relay_only:
            rough.allowed = self.details.root.__eq__
        self._rough.append(rough)
        self.nodes.append(node)

    def set_weather(self, loss: float = 0.0, latency: float | str = 0.0) -> None:
        """Change what happens to datagrams from now on."""
        weather = Weather(loss, parse_latency(latency))
        for rough in self._rough:
            rough.weather = weather

    @property
    def lost(self) -> int:
        """How many datagrams the weather took."""
        return sum(rough.lost for rough in self._rough)


class BlockingLab:
    """The same for tests that are not asynchronous: `nodes` are blocking ones."""

    def __init__(self, lab: NodeLab, loop: Background) -> None:
        self._lab = lab
        self._loop = loop
        self.nodes = [BlockingNode(node, loop) for node in lab.nodes]

    @classmethod
    def start(cls, lab: NodeLab, loop: Background) -> Self:
        """Start a lab on the event loop of another thread."""
        loop.run(lab.__aenter__())
        return cls(lab, loop)

    @property
    def network(self) -> str:
        return self._lab.network

    @property
    def planet(self) -> bytes:
        return self._lab.planet

    @property
    def lost(self) -> int:
        """How many datagrams the weather took."""
        return self._lab.lost

    def set_weather(self, loss: float = 0.0, latency: float | str = 0.0) -> None:
        """Change what happens to datagrams from now on."""

        async def change() -> None:
            self._lab.set_weather(loss, latency)

        self._loop.run(change())

    def stop(self) -> None:
        self._loop.run(self._lab.__aexit__(None, None, None))
