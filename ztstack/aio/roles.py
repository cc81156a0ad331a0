"""Running a private root, a controller, or a whole lab on this machine."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from ztstack.aio.clock import Clock
from ztstack.aio.control import ControlServer
from ztstack.aio.controller_http import ApiServer
from ztstack.aio.controller_store import FileStore
from ztstack.aio.entropy import SystemEntropy
from ztstack.aio.identity_worker import generate_identity
from ztstack.aio.moons import MoonFiles
from ztstack.aio.planet import parse_planet
from ztstack.aio.service import NodeConfig, Service
from ztstack.aio.storage import Storage, write_atomically
from ztstack.base.endpoint import Endpoint
from ztstack.base.errors import IdentityError, InvalidConfig
from ztstack.base.network_id import NetworkId
from ztstack.controller.controller import Controller
from ztstack.crypto.identity import Identity
from ztstack.root.world_builder import make_planet
from ztstack.wire.planet import official_planet

DEFAULT_PORT: Final = 9993
LAB_POOL: Final = "10.147.20.0/24"


async def ensure_identity(
    state: Path,
    *,
    insecure: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Identity:
    """Return the identity of a state directory; generate and keep one if there is none."""
    storage = Storage(state)
    storage.open()
    try:
        identity = storage.load_identity(insecure=insecure)
        if identity is None:
            identity = await generate_identity(progress)
            storage.save_identity(identity)
        return identity
    finally:
        storage.close()


def keep_identity(state: Path, identity: Identity) -> None:
    """Make a secret identity that of a state directory; one that was there stays as `.old`.

    Raises IdentityError if it is not genuine or has no private key, and StorageError.
    """
    identity.validate()
    identity.check_keys()
    if not identity.has_private:
        raise IdentityError(f"the private key of {identity.address} is not there")
    storage = Storage(state)
    storage.open()
    try:
        secret = state / "identity.secret"
        if secret.exists():
            # An identity that is lost cannot be made again.
            secret.replace(state / "identity.secret.old")
        storage.save_identity(identity)
    finally:
        storage.close()


def controller_store(state: Path) -> FileStore:
    """Return the store of a controller whose state directory is `state`."""
    return FileStore(state / "controller.d")


class ControllerService:
    """A node that serves networks, and the control socket by which they are changed."""

    def __init__(self, config: NodeConfig, state: Path, *, api_port: int | None = None) -> None:
        """Keep the records below `state`; `api_port` serves the JSON interface on loopback."""
        self.service = Service(config)
        self._control = ControlServer(self.service, state)
        self.api = None if api_port is None else ApiServer(self.service, state, api_port)

    @property
    def controller(self) -> Controller:
        controller = self.service.node.controller
        assert controller is not None
        return controller

    async def start(self) -> None:
        await self.service.start()
        try:
            await self._control.start()
            if self.api is not None:
                await self.api.start()
        except BaseException:
            await self._control.stop()
            await self.service.stop()
            raise

    async def stop(self) -> None:
        if self.api is not None:
            await self.api.stop()
        await self._control.stop()
        await self.service.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.stop()


def root_config(
    state: Path, identity: Identity, planet: bytes | None, bind: tuple[Endpoint, ...]
) -> NodeConfig:
    """Return the configuration of a root of a planet, or of a moon in the state directory.

    InvalidConfig if none of them names it.
    """
    world = parse_planet(planet) if planet is not None else official_planet()
    worlds = (world, *MoonFiles(state).list())
    mine = [root for one in worlds for root in one.roots if root.identity == identity.public]
    if not mine:
        raise InvalidConfig(
            f"neither the planet nor a moon names {identity.address} as a root;"
            " make one with: zt planet make --root IDENTITY@IP:PORT"
        )
    if not bind:
        endpoints = [endpoint for root in mine for endpoint in root.endpoints]
        ports = {endpoint.port for endpoint in endpoints} or {DEFAULT_PORT}
        bind = tuple(Endpoint(bytes(size), port) for port in sorted(ports) for size in (4, 16))
        if all(endpoint.is_ipv4 for endpoint in endpoints):
            bind = tuple(endpoint for endpoint in bind if endpoint.is_ipv4)
    return NodeConfig(state=state, identity=identity, planet=planet, bind=bind, root=True)


@dataclass(frozen=True, slots=True)
class LabDetails:
    """What somebody needs to use a lab."""

    network: NetworkId
    planet: Path
    root: Endpoint


class Lab:
    """A root, a controller and one public network on this machine's loopback interface."""

    def __init__(
        self,
        state: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        pool: str = LAB_POOL,
        private: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self._state = state
        self._host = host
        self._port = port
        self._pool = pool
        self._private = private
        self._progress = progress
        self._running: ControllerService | None = None

    async def start(self) -> LabDetails:
        """Start, making identity, planet and network at the first time."""
        identity = await ensure_identity(self._state, progress=self._progress)
        planet_path = self._state / "planet"
        planet, endpoint = self._planet(identity, planet_path)
        store = controller_store(self._state)
        config = NodeConfig(
            state=self._state,
            identity=identity,
            planet=planet,
            bind=(endpoint,),
            root=True,
            controller=store,
        )
        running = ControllerService(config, self._state)
        await running.start()
        self._running = running
        return LabDetails(self._network(running), planet_path, endpoint)

    async def stop(self) -> None:
        if self._running is not None:
            await self._running.stop()
            self._running = None

    @property
    def service(self) -> Service:
        assert self._running is not None
        return self._running.service

    def _planet(self, identity: Identity, path: Path) -> tuple[bytes, Endpoint]:
        """Return the planet and our endpoint in it; both stay the same at the next start."""
        if path.exists():
            data = path.read_bytes()
            for root in parse_planet(data).roots:
                if root.identity == identity.public and root.endpoints:
                    return data, root.endpoints[0]
        endpoint = Endpoint.parse(f"{self._host}/{self._port or _free_port(self._host)}")
        now = Clock().now()
        world = make_planet(now, [(identity, (endpoint,))], identity, SystemEntropy())
        data = world.serialize()
        write_atomically(path, data, mode=0o644)
        return data, endpoint

    def _network(self, running: ControllerService) -> NetworkId:
        controller = running.controller
        networks = controller.networks()
        if networks:
            return networks[0].id
        now = running.service.clock.now()
        record = controller.create_network(
            now, name="lab", private=self._private, pools=[self._pool], rfc4193=True
        )
        running.service.driver.pump_soon()
        return record.id


def _free_port(host: str) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.bind((host, 0))
        port: int = sock.getsockname()[1]
    return port
