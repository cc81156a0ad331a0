"""The node as an application sees it: join, connect, listen, datagrams, status."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, Protocol, Self

from ztstack.aio.netcheck import NetReport
from ztstack.aio.service import NodeConfig, Service
from ztstack.aio.status import NodeStatus
from ztstack.base.address import Address
from ztstack.base.errors import InvalidConfig, NameNotResolved, NotJoined, PortInUse, Unreachable
from ztstack.base.network_id import NetworkId
from ztstack.ip.addresses import ANY4
from ztstack.sockets.datagram import DatagramEndpoint
from ztstack.sockets.listener import Listener
from ztstack.sockets.mirror import BACKLOG, CONNECT_TIMEOUT_S, Mirror
from ztstack.sockets.open_sockets import OpenSockets
from ztstack.sockets.ping import SIZE, TIMEOUT_S, EchoReport, echo, ping
from ztstack.sockets.race import first_of
from ztstack.sockets.stream import Stream
from ztstack.wire.world import World

JOIN_TIMEOUT_S: Final = 60.0
_LOOK_S: Final = 0.02


class _Names(Protocol):
    async def address(self, host: str, family: int = 0) -> str: ...


class Node(Mirror):
    """A ZeroTier node in this process: `async with Node(network="8056c2e21c000001") as node:`.

    Entering starts it and waits for an address on every network of its configuration; leaving
    stops it. Failures are AccessDenied, NetworkNotFound, Offline and the others of ZtError.
    """

    def __init__(
        self,
        config: NodeConfig | None = None,
        *,
        network: str | None = None,
        state: str | Path | None = None,
        planet: bytes | None = None,
        join_timeout: float = JOIN_TIMEOUT_S,
    ) -> None:
        config = config if config is not None else NodeConfig()
        if network is not None:
            config = replace(config, networks=(*config.networks, NetworkId.parse(network)))
        if state is not None:
            config = replace(config, state=Path(state))
        if planet is not None:
            config = replace(config, planet=planet)
        self.config = config
        self._join_timeout = join_timeout
        self._service = Service(config)
        self._opened = OpenSockets()
        self._names: _Names | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        try:
            for network in self.config.networks:
                await self.join(network, self._join_timeout)
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start without waiting for any network."""
        await self._service.start()

    async def stop(self) -> None:
        """Close what is open, give it up to five seconds to send what it holds, and stop."""
        if self._service.is_running:
            await self._opened.stop()
        await self._service.stop()

    @property
    def service(self) -> Service:
        return self._service

    @property
    def address(self) -> Address:
        return self._service.node.identity.address

    async def online(self, timeout: float = 10.0) -> None:
        """Wait for a root; Offline after `timeout` seconds."""
        await self._service.wait_online(timeout)

    async def refreshed(self, timeout: float = 1.0) -> bool:
        """Wait until no network is as it was left in an earlier life, or for `timeout` seconds.

        Return whether that is so. Networks work before that too, but what their controllers changed
        since is not known.
        """
        members = self._service.node.members
        for _ in range(int(timeout / _LOOK_S) + 1):
            if all(member.network.is_up_to_date for member in members.values()):
                return True
            await asyncio.sleep(_LOOK_S)
        return False

    async def join(
        self, network: NetworkId | str, timeout: float = JOIN_TIMEOUT_S, wait_auth: float = 0.0
    ) -> None:
        """Join and wait for an address; keep asking for `wait_auth` seconds while denied."""
        parsed = NetworkId.parse(network) if isinstance(network, str) else network
        await self._service.join(parsed, timeout, wait_auth)

    def leave(self, network: NetworkId | str) -> None:
        self._service.leave(NetworkId.parse(network) if isinstance(network, str) else network)

    def addresses(self, network: NetworkId | str | None = None) -> list[str]:
        """Return this node's IP addresses on one network, or on all."""
        if network is None:
            return [ip for joined in self._service.networks() for ip in self.addresses(joined)]
        parsed = NetworkId.parse(network) if isinstance(network, str) else network
        return self._service.addresses(parsed)

    async def connect(
        self,
        host: str,
        port: int,
        timeout: float | None = CONNECT_TIMEOUT_S,
        *,
        family: int = 0,
        source: str | None = None,
        source_port: int = 0,
    ) -> Stream:
        """Open a TCP stream to an IP address, a node id or a name; `family` is 0, 4 or 6.

        A name may have addresses of both families: IPv4 is tried first, with a short head start.
        Raises NameNotResolved, Unreachable, ConnectRefused, TimeoutError.
        """
        check_port(port)
        if family or not self._is_name(host):
            return await self._connect(host, port, timeout, family, source, source_port)
        families = (4, 6) if source is None else (6,) if ":" in source else (4,)
        return await first_of(
            [
                partial(self._connect, host, port, timeout, one, source, source_port)
                for one in families
            ],
            Stream.abort,
        )

    def _is_name(self, host: str) -> bool:
        try:
            self._service.resolve(host)
        except NameNotResolved:
            return True
        except Unreachable:
            return False
        return False

    async def _connect(
        self,
        host: str,
        port: int,
        timeout: float | None,
        family: int,
        source: str | None,
        source_port: int,
    ) -> Stream:
        network, ip = self._service.resolve(await self.resolve(host, family), family)
        local = self._service.resolve_local(network, source) if source is not None else None
        interface = self._service.node.member(network).interface
        now = self._service.driver.now()
        connection = interface.connect(now, ip, port, local, source_port)
        stream = Stream(self._service, network, connection)
        self._service.driver.pump_soon()
        try:
            async with asyncio.timeout(timeout):
                await stream.wait_established()
        except TimeoutError:
            stream.abort()
            raise TimeoutError(f"{host}:{port}: no answer in {timeout:g} s") from None
        except BaseException:
            stream.abort()
            raise
        return stream

    def _bindings(self, host: str | None) -> list[tuple[NetworkId, bytes | None]]:
        """Return where to bind: with 0.0.0.0 every IPv4 address, with :: those of both families."""
        if host in ("", "::"):
            return self._service.bindings(None)
        if host == "0.0.0.0":  # noqa: S104 - inside the networks only
            return [(network, ANY4) for network, _ in self._service.bindings(None)]
        return self._service.bindings(host)

    async def listen(self, port: int, host: str | None = None, backlog: int = BACKLOG) -> Listener:
        """Listen on every address of every network, or on `host`; port 0 picks one.

        A `host` of 0.0.0.0 is every IPv4 address, and :: all of both families.
        """
        check_port(port, zero=True)
        backlogs = []
        now = self._service.driver.now()
        try:
            for network, ip in self._bindings(host):
                interface = self._service.node.member(network).interface
                opened = interface.listen(now, ip, port, backlog)
                backlogs.append((network, opened))
                port = opened.port
        except PortInUse:
            for _, opened in backlogs:
                opened.close(now)
            raise
        if not backlogs:
            raise NotJoined("there is no network to listen on")
        return Listener(self._service, backlogs)

    async def datagram(self, port: int = 0, host: str | None = None) -> DatagramEndpoint:
        """Bind a UDP port on every address of every network, or on `host` as `listen` has it."""
        check_port(port, zero=True)
        sockets = []
        now = self._service.driver.now()
        try:
            for network, ip in self._bindings(host):
                opened = self._service.node.member(network).interface.bind_udp(now, ip, port)
                sockets.append((network, opened))
                port = opened.port
        except PortInUse:
            for _, opened in sockets:
                opened.close()
            raise
        if not sockets:
            raise NotJoined("there is no network to bind on")
        return DatagramEndpoint(self._service, sockets)

    async def echo(
        self, node: Address | str, timeout: float | None = TIMEOUT_S, size: int = SIZE
    ) -> EchoReport:
        """Ask a node for a sign of life, whatever networks it is on; TimeoutError."""
        address = Address.parse(node) if isinstance(node, str) else node
        return await echo(self._service, address, timeout, size)

    async def ping(
        self, host: str, timeout: float | None = TIMEOUT_S, size: int = SIZE
    ) -> EchoReport:
        """Ask an IP address inside a network by ICMP.

        Raises NameNotResolved, Unreachable, TimeoutError.
        """
        return await ping(self._service, await self.resolve(host), timeout, size)

    async def resolve(self, host: str, family: int = 0) -> str:
        """Return an address for a name, asked of the networks' own DNS servers and nobody else.

        IP addresses and node ids are returned as they are. Raises NameNotResolved.
        """
        try:
            self._service.resolve(host, family)
        except NameNotResolved:
            if self._names is None:
                from ztstack.sockets.names import NameResolver  # noqa: PLC0415 - seldom needed

                self._names = NameResolver(self._service, self.datagram, self.connect)
            return await self._names.address(host, family)
        return host

    async def orbit(self, moon_id: int, seed: Address, timeout: float = JOIN_TIMEOUT_S) -> World:
        """Orbit a moon, of which `seed` is a root; Unreachable after `timeout` seconds."""
        driver = self._service.driver
        self._service.worlds.orbit(driver.now(), moon_id, seed)
        driver.pump_soon()
        return await self._service.worlds.wait(moon_id, timeout)

    def deorbit(self, moon_id: int) -> bool:
        """Forget a moon; False if there was none."""
        return self._service.worlds.deorbit(self._service.driver.now(), moon_id)

    def moons(self) -> list[World]:
        return self._service.worlds.moons() if self._service.is_running else []

    def status(self) -> NodeStatus:
        return self._service.status()

    def net_report(self) -> NetReport:
        """Return what the roots tell of the way to them."""
        return self._service.net_report()


def check_port(port: int, *, zero: bool = False) -> None:
    if not (0 if zero else 1) <= port <= 65535:
        raise InvalidConfig(f"a port is a number from {0 if zero else 1} to 65535, not {port}")
