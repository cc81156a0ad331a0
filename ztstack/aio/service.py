"""Start, run, stop: puts the parts of a node together and keeps its state."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from ztstack.aio.bond_status import BondServer
from ztstack.aio.capture import CaptureFiles
from ztstack.aio.clock import Clock
from ztstack.aio.driver import Driver
from ztstack.aio.echoes import Echoes
from ztstack.aio.entropy import SystemEntropy
from ztstack.aio.identity_worker import generate_identity
from ztstack.aio.interface_watch import InterfaceWatch
from ztstack.aio.local_addresses import local_addresses
from ztstack.aio.local_conf import LocalConf, read_local_conf
from ztstack.aio.moons import KeptWorlds
from ztstack.aio.netcheck import NetReport, net_report
from ztstack.aio.network_conf import read_network_conf
from ztstack.aio.planet import parse_planet
from ztstack.aio.portmap import PortMapping, UpnpGateway, check_installed
from ztstack.aio.report import node_status, offline
from ztstack.aio.routes import Routes
from ztstack.aio.status import NodeStatus
from ztstack.aio.storage import Storage
from ztstack.aio.tcp_relay import DEFAULT_RELAY, RelayClient, choose_relay
from ztstack.aio.udp_bindings import open_bound, open_multipath, open_usual
from ztstack.aio.upstream_proxy import UpstreamProxy
from ztstack.base.address import Address
from ztstack.base.endpoint import Endpoint
from ztstack.base.errors import (
    AccessDenied,
    AuthenticationRequired,
    Closed,
    IdentityError,
    InvalidConfig,
    NameNotResolved,
    NetworkNotFound,
    NetworkUnreachable,
)
from ztstack.base.network_id import NetworkId
from ztstack.base.trace import CountingTracer
from ztstack.bonding.settings import Multipath
from ztstack.controller.controller import Controller
from ztstack.controller.store import Store
from ztstack.crypto.identity import Identity
from ztstack.ip.events import Event as SocketEvent
from ztstack.node.events import (
    Event,
    IdentityCollided,
    IdentityToValidate,
    NetworkChanged,
    NetworkConfigured,
    OnlineChanged,
    Socket,
    WorldStored,
)
from ztstack.node.node import Node
from ztstack.root.multicast_store import MulticastStore
from ztstack.vl1.events import EchoReply
from ztstack.vl1.switch import PathPolicy
from ztstack.vl2.events import NetworkStatus
from ztstack.wire.planet import official_planet
from ztstack.wire.world import World

OFFLINE_S: Final = 10.0
SAVE_PEERS_S: Final = 30.0
_log = logging.getLogger("ztstack")
_log.addHandler(logging.NullHandler())


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """What a node is to be; everything has a default.

    `state` is a directory, None means nothing is kept. `planet` is a world file's content; None is
    the one in the state directory, else the official one. `lab` allows loopback paths; None lets
    the planet decide: one with loopback endpoints only is a lab. `root` and `controller` add those
    roles. `port_mapping` asks the router for a port. `relay` is a TCP relay for where UDP is
    blocked, None means never; `force_relay` leaves UDP out, and `proxy` is how the relay is
    reached. The default relay serves the official planet only: nobody else's is to be told who
    talks to whom. `moons` are ids to orbit, each with the address of a root that has it.
    `multipath` uses several paths to a peer at once; None lets `local.conf` decide. `hints` say
    where roots and peers are worth a try. `use_cache` begins with the configurations that were
    kept. `capture` names files for what passes.
    """

    networks: tuple[NetworkId, ...] = ()
    state: Path | None = None
    identity: Identity | None = None
    planet: bytes | None = None
    bind: tuple[Endpoint, ...] = ()
    lab: bool | None = None
    root: bool = False
    controller: Store | None = None
    insecure_state: bool = False
    use_cache: bool = True
    port_mapping: bool = False
    relay: Endpoint | None = DEFAULT_RELAY
    force_relay: bool = False
    proxy: UpstreamProxy | None = None
    moons: tuple[tuple[int, Address], ...] = ()
    multipath: Multipath | None = None
    hints: tuple[tuple[Address, Endpoint], ...] = ()
    capture: CaptureFiles = field(default_factory=CaptureFiles)
    progress: Callable[[int], None] | None = field(default=None, compare=False)


class SocketOwner(Protocol):
    """What stands above one socket of the IP stack."""

    def socket_event(self, event: SocketEvent) -> None: ...


class Service:
    """A running node on the current event loop."""

    def __init__(self, config: NodeConfig) -> None:
        self.config = config
        self.clock = Clock()
        self.tracer = CountingTracer()
        self.online = asyncio.Event()
        self.echoes = Echoes()
        self._storage = Storage(config.state) if config.state is not None else None
        self._driver: Driver | None = None
        self._owners: dict[Hashable, SocketOwner] = {}
        self._changed = asyncio.Condition()
        self._validating = asyncio.Lock()
        self._details: dict[NetworkId, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._watch: InterfaceWatch | None = None
        self._port_mapping: PortMapping | None = None
        self._bond_server: BondServer | None = None
        self._local_conf = LocalConf()
        self._lab = False
        self._reachable_at: list[tuple[int, Endpoint]] = []
        self.collision: IdentityCollided | None = None

    # Start and stop.

    async def start(self) -> None:
        """Load or make the identity, bind the sockets, and say hello to the roots."""
        if self.config.port_mapping:
            check_installed()
        self._local_conf = read_local_conf(self.config.state).hinted(self.config.hints)
        if self._storage is not None:
            self._storage.open()
        try:
            identity = await self._identity()
            world = self._planet()
            lab = self.config.lab if self.config.lab is not None else world.is_lab
            loop = asyncio.get_running_loop()
            driver = Driver(loop, self.clock, self._deliver, self.config.capture)
            try:
                self._open_sockets(driver)
                self._start_node(driver, identity, world, lab=lab)
            except BaseException:
                driver.stop()
                self._driver = None
                raise
        except BaseException:
            if self._storage is not None:
                self._storage.close()
            raise
        self._driver = driver
        if driver.node.bonds is not None and self._storage is not None:
            self._bond_server = BondServer(self._storage.folder, driver.node.bonds.reports)
            await self._bond_server.start()
        self._spawn(self._save_regularly())
        self._spawn(self.worlds.follow(self.clock.now, driver.pump_soon))

    def _start_node(self, driver: Driver, identity: Identity, world: World, *, lab: bool) -> None:
        now = self.clock.now()
        node = Node(
            now, identity, world, SystemEntropy(), self.tracer, PathPolicy(allow_loopback=lab)
        )
        if self.config.controller is not None:
            node.controller = Controller(
                now, identity, self.config.controller, SystemEntropy(), self.tracer
            )
        if self.config.root or self.config.controller is not None:
            node.multicast_store = MulticastStore(identity.address, SystemEntropy(), self.tracer)
        if self._storage is not None:
            node.switch.load_peers(now, self._storage.load_peers())
        relay, forced = self._local_conf.relay_choice(
            self.config.relay, DEFAULT_RELAY, forced=self.config.force_relay
        )
        relay = choose_relay(relay, world, forced=forced)
        if relay is not None:
            driver.use_relay(RelayClient(now, relay, forced=forced), self.config.proxy)
        bonds = self._local_conf.bond_settings(self.config.multipath)
        if bonds is not None:
            node.use_bonds(now, bonds, Routes(driver.udp))
        self._lab = lab
        self._reachable_at = self._local_endpoints(driver)
        node.switch.set_physical(self._local_conf.physical_now())
        node.switch.set_sockets(now, self._reachable_at)
        driver.start(node)
        self._driver = driver
        self.worlds = KeptWorlds(node.switch, self._storage)
        self.worlds.load(now, self.config.moons)
        for network in self.config.networks:
            self._join(network)
        self._watch = InterfaceWatch(driver.loop, self._addresses_changed, self._woken)
        if self.config.port_mapping:
            self._map_port(driver)

    def _map_port(self, driver: Driver) -> None:
        for sock in driver.udp.sockets:
            if sock.local.is_ipv4:
                self._port_mapping = PortMapping(
                    UpnpGateway.find, sock.local.port, self._port_mapped
                )
                self._port_mapping.start()
                return

    def _port_mapped(self, _external: Endpoint | None) -> None:
        self._reachable_at = self._local_endpoints(self.driver)
        self.node.switch.set_sockets(self.clock.now(), self._reachable_at)
        self.driver.pump_soon()

    def _local_endpoints(self, driver: Driver) -> list[tuple[int, Endpoint]]:
        """Return where each socket can be reached: its number, and an address with its port."""
        unused = self._local_conf.unused_interfaces
        found = [
            (sock.number, Endpoint(ip, sock.local.port))
            for ip in local_addresses(loopback=self._lab, unused=unused)
            for sock in driver.udp.sockets
            if sock.local.ip == ip or sock.local.ip == bytes(len(ip))
        ]
        mapped = self._port_mapping.external if self._port_mapping is not None else None
        # The mapping is of the first socket with an IPv4 address.
        own = [sock.number for sock in driver.udp.sockets if sock.local.is_ipv4]
        return [*found, (own[0], mapped)] if mapped is not None else found

    def _addresses_changed(self) -> None:
        self.node.switch.set_physical(self._local_conf.physical_now())
        reachable_at = self._local_endpoints(self.driver)
        if reachable_at == self._reachable_at:
            if self.node.bonds is not None:
                # A link without its carrier keeps its addresses.
                self.node.bonds.interfaces_changed(self.clock.now())
                self.driver.pump_soon()
            return
        self._reachable_at = reachable_at
        self.node.switch.set_sockets(self.clock.now(), reachable_at)
        self._woken()

    def _woken(self) -> None:
        if self.driver.relay is not None:
            self.driver.relay.client.restart(self.clock.now())
        self.node.switch.interfaces_changed(self.clock.now())
        self.driver.pump_soon()

    def _open_sockets(self, driver: Driver) -> None:
        config = self.config
        wanted = config.multipath
        if not config.bind and wanted is not None and (wanted.bind or wanted.ports):
            open_multipath(driver.udp, wanted)
            return
        binds = config.bind or self._local_conf.endpoints()
        if binds:
            open_bound(driver.udp, binds)
        else:
            open_usual(driver.udp, self._storage)

    async def _identity(self) -> Identity:
        identity = self.config.identity
        if identity is not None:
            if not identity.has_private:
                raise IdentityError("the identity has no private key")
            return identity
        if self._storage is not None:
            identity = self._storage.load_identity(insecure=self.config.insecure_state)
        if identity is None:
            identity = await generate_identity(self.config.progress)
            if self._storage is not None:
                self._storage.save_identity(identity)
        return identity

    def _planet(self) -> World:
        if self.config.planet is not None:
            world = parse_planet(self.config.planet)
            if self._storage is not None:
                self._storage.save_planet(self.config.planet)
            return world
        if self._storage is not None:
            data = self._storage.load_planet()
            if data is not None:
                try:
                    world = parse_planet(data)
                    newer = official_planet()
                    return newer if world.should_be_replaced_by(newer) else world
                except InvalidConfig as error:
                    # The protocol falls back to the built-in planet (vl1 section 5.3).
                    _log.warning("%s: %s; the built-in planet is used", self._storage, error)
        return official_planet()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        if self._port_mapping is not None:
            await self._port_mapping.stop()
            self._port_mapping = None
        if self._bond_server is not None:
            await self._bond_server.stop()
            self._bond_server = None
        if self._driver is not None:
            self._save_peers()
            await self._driver.take_leave()
            self._driver.stop()
            self._driver = None
        if self._storage is not None:
            self._storage.close()

    # What the layers above use.

    @property
    def is_running(self) -> bool:
        return self._driver is not None

    @property
    def driver(self) -> Driver:
        if self._driver is None:
            raise Closed("the node is not running")
        return self._driver

    @property
    def node(self) -> Node:
        return self.driver.node

    def attach(self, socket: Hashable, owner: SocketOwner) -> None:
        self._owners[socket] = owner

    def detach(self, socket: Hashable) -> None:
        self._owners.pop(socket, None)

    async def wait_online(self, timeout: float) -> None:
        """Wait for a root's answer; Offline after `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self.online.wait()
        except TimeoutError:
            raise offline(timeout, self.node.switch.world, self.driver.relay) from None

    async def join(self, network: NetworkId, timeout: float, wait_auth: float = 0.0) -> None:
        """Wait until the network has given an address; see NodeConfig for the failures.

        Raises AccessDenied, AuthenticationRequired, NetworkNotFound or Offline.
        """
        self._join(network)
        loop = asyncio.get_running_loop()
        start = loop.time()
        deadline = start + max(timeout, wait_auth)
        while not self._is_ready(network):
            self._raise_refusal(network, final=loop.time() - start >= wait_auth)
            limit = deadline
            if not self.online.is_set():
                limit = min(deadline, start + OFFLINE_S)
            elif wait_auth and self._status(network) is NetworkStatus.ACCESS_DENIED:
                limit = min(deadline, start + wait_auth)
            try:
                async with asyncio.timeout_at(limit), self._changed:
                    await self._changed.wait()
            except TimeoutError:
                self._raise_refusal(network, final=True)
                if loop.time() >= deadline or not self.online.is_set():
                    self._raise_timeout(network, loop.time() - start)

    def _join(self, network: NetworkId) -> None:
        if network in self.node.members:
            return
        settings = read_network_conf(self.config.state, network)
        cached = self._storage.load_network(network) if self._storage is not None else None
        if self._storage is not None and cached is None:
            self._storage.save_network(network, b"")
        if not self.config.use_cache:
            cached = None
        self.node.join(self.clock.now(), network, cached or None, settings)
        self.driver.pump_soon()

    def leave(self, network: NetworkId) -> None:
        """Leave it, and do not come back at the next start."""
        self.node.leave(self.clock.now(), network)
        if self._storage is not None:
            self._storage.forget_network(network)

    def _status(self, network: NetworkId) -> NetworkStatus:
        return self.node.member(network).network.status

    def _is_ready(self, network: NetworkId) -> bool:
        ok = self._status(network) is NetworkStatus.OK
        return ok and bool(self.node.member(network).addresses)

    def _raise_refusal(self, network: NetworkId, *, final: bool) -> None:
        me = self.node.identity.address
        if self.collision is not None:
            raise IdentityError(
                f"another node has the address {me}: a root refused this identity"
                " (run: zt identity new --force)"
            )
        match self._status(network):
            case NetworkStatus.ACCESS_DENIED if final:
                raise AccessDenied(
                    f"network {network}: access denied: this node is {me} and is not authorised"
                )
            case NetworkStatus.NOT_FOUND if final:
                raise NetworkNotFound(
                    f"network {network}: the controller {network.controller} does not know it"
                )
            case NetworkStatus.OK if self.node.member(network).is_refused_by_settings:
                raise InvalidConfig(
                    f"network {network}: networks.d/{network}.local.conf allows no address of it"
                )
            case NetworkStatus.AUTHENTICATION_REQUIRED if final:
                url = self._details.get(network) or "the controller named no address"
                raise AuthenticationRequired(f"network {network}: sign-in required: {url}")
            case _:
                return

    def _raise_timeout(self, network: NetworkId, waited: float) -> None:
        if not self.online.is_set():
            raise offline(waited, self.node.switch.world, self.driver.relay)
        if self.node.member(network).network.config is not None:
            raise NetworkNotFound(f"network {network}: joined, but no address was assigned")
        raise NetworkNotFound(
            f"network {network}: the controller {network.controller}"
            f" did not answer in {waited:.0f} s"
        )

    # Names and routes.

    def networks(self) -> list[NetworkId]:
        return list(self.node.members)

    def addresses(self, network: NetworkId) -> list[str]:
        """Return this node's IP addresses on a network, without prefix lengths."""
        return [str(ipaddress.ip_address(ip)) for ip, _ in self.node.member(network).addresses]

    def resolve(self, host: str, family: int = 0) -> tuple[NetworkId, bytes]:
        """Return the network and address for an IP address or a node id.

        NameNotResolved if the text is neither; Unreachable if no joined network leads there.
        """
        ip = _parse_ip(host)
        if ip is None:
            return self._resolve_node(host, family)
        if family and len(ip) != (4 if family == 4 else 16):
            raise NameNotResolved(f"{host}: is not an IPv{family} address")
        for network, member in self.node.members.items():
            if member.interface.has_route(ip):
                return network, ip
        names = ", ".join(str(network) for network in self.node.members) or "none"
        raise NetworkUnreachable(f"{host}: no joined network leads there (joined: {names})")

    def _resolve_node(self, host: str, family: int) -> tuple[NetworkId, bytes]:
        """Turn a node id into the IPv6 address that the network derives from it (vl2 1.4, 1.5)."""
        text = host.removesuffix(".zt")
        try:
            address = Address.parse(text)
        except InvalidConfig:
            raise NameNotResolved(
                f"{host}: cannot be resolved; use an IP address or a node id"
            ) from None
        if family != 4:
            for network, member in self.node.members.items():
                for ip, bits in member.addresses:
                    if bits == 88 and ip[0] == 0xFD and ip[9:11] == b"\x99\x93":
                        return network, ip[:11] + address.packed
                    if bits == 40 and ip[0] == 0xFC:
                        return network, ip[:5] + address.packed + bytes(5) + b"\x01"
        raise NameNotResolved(
            f"{host}: no joined network derives an address from node ids; use its IP address"
        )

    def resolve_local(self, network: NetworkId, source: str) -> bytes:
        ip = _parse_ip(source)
        if ip is None or source not in self.addresses(network):
            raise InvalidConfig(f"{source}: is not an address of this node on {network}")
        return ip

    def bindings(self, host: str | None) -> list[tuple[NetworkId, bytes | None]]:
        """Return where a socket is to be bound: every network, or the one that has `host`."""
        if host is None:
            return [(network, None) for network in self.node.members]
        ip = _parse_ip(host)
        for network, member in self.node.members.items():
            if any(own == ip for own, _ in member.addresses):
                return [(network, ip)]
        raise InvalidConfig(f"{host}: is not an address of this node")

    def node_of(self, network: NetworkId, ip: bytes) -> Address | None:
        """Return the node that answered for `ip`, if its MAC is known."""
        member = self.node.members.get(network)
        mac = member.interface.neighbor(ip) if member is not None else None
        if mac is None or not mac.is_derived(network):
            return None
        return mac.node(network)

    def link_to(self, address: Address) -> str:
        """Return `direct` or `relay`."""
        return "direct" if self.node.switch.has_direct_path(self.clock.now(), address) else "relay"

    # Events of the node.

    def _deliver(self, event: Event) -> None:
        match event:
            case Socket():
                socket = getattr(event.event, "socket", None)
                owner = self._owners.get(socket)
                if owner is not None:
                    owner.socket_event(event.event)
                return
            case EchoReply():
                self.echoes.receive(event)
                return
            case OnlineChanged():
                _log.debug("a root answers" if event.online else "no root answers any more")
                if event.online:
                    self.online.set()
                else:
                    self.online.clear()
            case NetworkConfigured():
                if self._storage is not None:
                    self._storage.save_network(event.network, event.raw)
            case NetworkChanged():
                self._details[event.network] = event.detail
                _log.debug("network %s: %s", event.network, event.status.value)
            case WorldStored():
                self.worlds.store(event.raw, event.moon_id)
            case IdentityToValidate():
                self._spawn(self._validate(event.identity))
            case IdentityCollided():
                _log.error("another node has the address %s", self.node.identity.address)
                self.collision = event
        self._spawn(self._notify())

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _validate(self, identity: Identity) -> None:
        try:
            # One at a time: it is work for a processor, not waiting.
            async with self._validating:
                await asyncio.to_thread(identity.validate)
            ok = True
        except IdentityError:
            ok = False
        if self._driver is not None:
            self.node.identity_validated(self.clock.now(), identity, ok=ok)
            self.driver.pump_soon()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _save_regularly(self) -> None:
        while True:
            await asyncio.sleep(SAVE_PEERS_S)
            self._save_peers()

    def _save_peers(self) -> None:
        if self._storage is not None:
            self._storage.save_peers(self.node.switch.peer_records())

    # Reports.

    def status(self) -> NodeStatus:
        """Return a snapshot of everything."""
        local = tuple(str(sock.local) for sock in self.driver.udp.sockets)
        if self._port_mapping is not None and self._port_mapping.external is not None:
            local += (str(self._port_mapping.external),)
        now, online = self.clock.now(), self.online.is_set()
        return node_status(now, self.node, self._details, self.tracer, online=online, local=local)

    def net_report(self) -> NetReport:
        """Return what the roots tell of the way to them."""
        own = {endpoint for _, endpoint in self._reachable_at}
        mapped = self._port_mapping.external if self._port_mapping is not None else None
        return net_report(self.clock.now(), self.node, own, mapped, self.driver.relay)


def _parse_ip(text: str) -> bytes | None:
    try:
        return ipaddress.ip_address(text.strip("[]")).packed
    except ValueError:
        return None
