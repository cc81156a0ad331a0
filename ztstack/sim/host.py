"""A machine with a node on it: its clock, its sockets, and what it keeps over a restart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ztstack.base.datagram import ALL_SOCKETS, Datagram
from ztstack.base.endpoint import Endpoint
from ztstack.base.network_id import NetworkId
from ztstack.base.timers import MILLISECOND, SECOND
from ztstack.base.trace import CountingTracer
from ztstack.bonding.settings import BondSettings
from ztstack.controller.controller import Controller
from ztstack.controller.store import MemoryStore
from ztstack.crypto.identity import Identity
from ztstack.ip.events import Event as SocketEvent
from ztstack.ip.interface import Interface
from ztstack.node.events import (
    Event,
    IdentityToValidate,
    NetworkConfigured,
    OnlineChanged,
    Socket,
    WorldStored,
)
from ztstack.node.node import Node
from ztstack.root.multicast_store import MulticastStore
from ztstack.sim.entropy import IdentityMint, SeededEntropy
from ztstack.sim.network import Machine, Network
from ztstack.vl1.switch import PathPolicy
from ztstack.vl2.events import NetworkStatus
from ztstack.wire.world import World

VALIDATION_US: Final = 200 * MILLISECOND
"""So long the memory-hard check of an identity takes, beside everything else."""
SAVE_US: Final = 60 * SECOND
"""So often the peers are stored."""
NOTICE_US: Final = SECOND
"""So late a node that slept, or has other addresses, learns of it from its system."""


@dataclass(slots=True)
class ClockError:
    """How a clock goes wrong: ahead by `skew_us` at `origin_us`, it gains `drift_ppm` from then."""

    origin_us: int
    skew_us: int = 0
    drift_ppm: int = 0

    def local(self, now: int) -> int:
        return now + self.skew_us + (now - self.origin_us) * self.drift_ppm // 1_000_000

    def true(self, local: int) -> int:
        """Return a true time at which the clock shows `local` or a little more."""
        passed = local - self.skew_us - self.origin_us
        return self.origin_us + -(-passed * 1_000_000 // (1_000_000 + self.drift_ppm))


@dataclass(frozen=True, slots=True)
class Roles:
    """What a node is besides a member."""

    root: bool = False
    controller: bool = False


class Host:
    """One node on one machine; it can be stopped, killed, suspended and started again."""

    def __init__(  # noqa: PLR0913 - where it is, who it is, and what it does
        self,
        network: Network,
        machine: Machine,
        identity: Identity,
        planet: World,
        mint: IdentityMint,
        *,
        port: int = 9993,
        roles: Roles | None = None,
    ) -> None:
        self.network = network
        self.machine = machine
        self.identity = identity
        self.planet = planet
        self.port = port
        self.roles = roles or Roles()
        self.clock = ClockError(network.now)
        self.tracer = CountingTracer()
        self.store = MemoryStore()
        self.node: Node | None = None
        self.started = 0
        self.is_online = False
        self.is_suspended = False
        self.on_socket: Callable[[NetworkId, SocketEvent], None] | None = None
        self.on_started: Callable[[], None] | None = None
        self.joined: list[NetworkId] = []
        self.bonding: BondSettings | None = None
        self.has_socket_for_each_address = False
        self._mint = mint
        self._peers: list[bytes] = []
        self._configs: dict[NetworkId, bytes] = {}
        self._worlds: dict[int, bytes] = {}
        self._wake_at: int | None = None
        machine.receiver = self

    @property
    def name(self) -> str:
        return self.machine.name

    @property
    def now(self) -> int:
        """The time that this host's clock shows."""
        return self.clock.local(self.network.now)

    @property
    def is_running(self) -> bool:
        return self.node is not None and not self.is_suspended

    def __repr__(self) -> str:
        return f"Host({self.name})"

    # Start and stop.

    def start(self) -> None:
        assert self.node is None
        self.started += 1
        now = self.now
        entropy = SeededEntropy(f"{self.identity.address} {self.started}")
        world = World.parse(self._worlds[0]) if 0 in self._worlds else self.planet
        node = Node(now, self.identity, world, entropy, self.tracer, PathPolicy())
        if self.roles.root or self.roles.controller:
            node.multicast_store = MulticastStore(self.identity.address, entropy, self.tracer)
        if self.roles.controller:
            node.controller = Controller(now, self.identity, self.store, entropy, self.tracer)
        node.switch.load_peers(now, self._peers)
        self.node = node
        if self.bonding is not None:
            node.use_bonds(now, self.bonding, self)
        self._set_sockets()
        for moon_id, data in self._worlds.items():
            if moon_id:
                node.switch.load_moon(now, World.parse(data))
        for network in self.joined:
            node.join(now, network, self._configs.get(network))
        self._save_later()
        if self.on_started is not None:
            self.on_started()
        self.pump()

    def stop(self) -> None:
        """End in good order: the peers are stored, and what is ready is sent."""
        if self.node is not None:
            self.pump()
            self._save()
            self.kill()

    def kill(self) -> None:
        """End at once; what was stored stays."""
        self.node = None
        self.is_online = self.is_suspended = False
        self._wake_at = None

    def forget(self) -> None:
        """Lose the caches; the identity and the controller's records stay."""
        self._peers, self._configs, self._worlds = [], {}, {}

    def suspend(self) -> None:
        """Sleep: nothing is heard, no timer fires, and the clock goes on."""
        self.is_suspended = True

    def resume(self) -> None:
        if self.is_suspended:
            self.is_suspended = False
            self._ring()
            self._notice()

    def move(self, ips: tuple[bytes, ...]) -> None:
        """Take other addresses; the node learns of it a little later."""
        self.network.move(self.machine, ips, self.machine.router)
        self._notice()

    def join(self, network: NetworkId) -> None:
        if network not in self.joined:
            self.joined.append(network)
        if self.node is not None:
            self.node.join(self.now, network, self._configs.get(network))
            self.pump()

    def leave(self, network: NetworkId) -> None:
        if network in self.joined:
            self.joined.remove(network)
        self._configs.pop(network, None)
        if self.node is not None:
            self.node.leave(self.now, network)
            self.pump()

    # What others ask.

    @property
    def controller(self) -> Controller:
        assert self.node is not None
        assert self.node.controller is not None
        return self.node.controller

    def interface(self, network: NetworkId) -> Interface | None:
        """Return the IP host on a network; None while there is none."""
        member = self.node.members.get(network) if self.node is not None else None
        return member.interface if member is not None else None

    def status(self, network: NetworkId) -> NetworkStatus | None:
        member = self.node.members.get(network) if self.node is not None else None
        return member.network.status if member is not None else None

    def config_of(self, network: NetworkId) -> bytes | None:
        """Return the configuration that was stored last, as it came."""
        return self._configs.get(network)

    def ip(self, network: NetworkId, size: int = 4) -> bytes | None:
        """Return this node's address on a network, of 4 or 16 bytes."""
        member = self.node.members.get(network) if self.node is not None else None
        config = member.network.config if member is not None else None
        addresses = config.addresses if config is not None else ()
        return next((ip for ip, _ in addresses if len(ip) == size), None)

    # Datagrams and time.

    def receive(self, local: Endpoint, remote: Endpoint, data: bytes) -> None:
        """Take a datagram from the physical network."""
        if self.node is None or self.is_suspended or local.port != self.port:
            return
        self.node.receive(self.now, Datagram(self._socket(local.ip), remote, data))
        self.pump()

    def pump(self) -> None:
        """Send what is ready, deliver what happened, and set the alarm."""
        node = self.node
        if node is None or self.is_suspended:
            return
        more = True
        while more and self.node is node:
            now = self.now
            node.flush(now)
            datagrams, more = node.take_datagrams(now)
            for datagram in datagrams:
                self._send(datagram)
            for event in node.take_events():
                self._deliver(node, event)
        if self.node is node:
            self._rearm(node)

    def _send(self, datagram: Datagram) -> None:
        data, step = datagram.data, datagram.segment or len(datagram.data)
        for ip in self._sources(datagram):
            for at in range(0, len(data), step):
                piece = data[at : at + step]
                self.network.send(self.machine, self.port, datagram.remote, piece, datagram.ttl, ip)

    def _sources(self, datagram: Datagram) -> list[bytes | None]:
        """Return the addresses from which to send; None leaves it to the machine."""
        if not self.has_socket_for_each_address:
            assert datagram.socket in (0, 1, ALL_SOCKETS)
            return [None]
        ips = self.machine.ips
        if datagram.socket != ALL_SOCKETS:
            return [ips[datagram.socket]] if datagram.socket < len(ips) else []
        return [ip for ip in ips if len(ip) == len(datagram.remote.ip)]

    def _socket(self, ip: bytes) -> int:
        if self.has_socket_for_each_address:
            return self.machine.ips.index(ip)
        return 0 if len(ip) == 4 else 1

    def interface_to(self, socket: int, remote: Endpoint) -> str:
        """Name the link of a socket, for the bonds."""
        del remote
        return f"link{socket}"

    def _deliver(self, node: Node, event: Event) -> None:
        match event:
            case IdentityToValidate():
                ok = self._mint.is_genuine(event.identity)
                self.network.at(
                    self.network.now + VALIDATION_US,
                    lambda: self._validated(node, event.identity, ok=ok),
                )
            case NetworkConfigured():
                self._configs[event.network] = event.raw
            case WorldStored():
                self._worlds[event.moon_id] = event.raw
            case OnlineChanged():
                self.is_online = event.online
            case Socket():
                if self.on_socket is not None:
                    self.on_socket(event.network, event.event)
            case _:
                pass

    def _validated(self, node: Node, identity: Identity, *, ok: bool) -> None:
        if self.node is node:
            node.identity_validated(self.now, identity, ok=ok)
            self.pump()

    def _rearm(self, node: Node) -> None:
        at = max(self.clock.true(node.next_timer()), self.network.now)
        if self._wake_at is None or at < self._wake_at:
            self._wake_at = at
            self.network.at(at, self._woken)

    def _woken(self) -> None:
        # Alarms that were replaced by earlier ones still ring: then it is not yet time.
        if self._wake_at is not None and self._wake_at <= self.network.now:
            self._ring()

    def _ring(self) -> None:
        self._wake_at = None
        if self.is_running:
            assert self.node is not None
            self.node.handle_timer(self.now)
            self.pump()

    def _notice(self) -> None:
        self.network.at(self.network.now + NOTICE_US, self._noticed)

    def _noticed(self) -> None:
        if self.is_running:
            assert self.node is not None
            self._set_sockets()
            self.node.switch.interfaces_changed(self.now)
            self.pump()

    def _set_sockets(self) -> None:
        assert self.node is not None
        sockets = [(self._socket(ip), Endpoint(ip, self.port)) for ip in self.machine.ips]
        self.node.switch.set_sockets(self.now, sockets)

    # What is kept.

    def _save(self) -> None:
        if self.node is not None:
            self._peers = list(self.node.switch.peer_records().values())

    def _save_later(self) -> None:
        life = self.started

        def save() -> None:
            if self.node is not None and self.started == life:
                if not self.is_suspended:
                    self._save()
                self._save_later()

        self.network.at(self.network.now + SAVE_US, save)
