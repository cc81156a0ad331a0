"""Whole nodes without any input or output, on a network in virtual time."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable

from tests.support.switches import START_US, SeededEntropy, known_identities, planet_of
from ztstack.base.datagram import ALL_SOCKETS
from ztstack.base.endpoint import Endpoint
from ztstack.base.network_id import NetworkId
from ztstack.base.timers import SECOND
from ztstack.base.trace import ListTracer
from ztstack.controller.controller import Controller
from ztstack.controller.store import MemoryStore
from ztstack.crypto.identity import Identity
from ztstack.ip.interface import Interface
from ztstack.ip.tcp.connection import Connection
from ztstack.node.events import Event, IdentityToValidate
from ztstack.node.node import Node
from ztstack.root.multicast_store import MulticastStore
from ztstack.vl1.switch import PathPolicy
from ztstack.vl2.events import NetworkStatus
from ztstack.wire.world import World

LATENCY_US = 5_000


class Place:
    """One node at one physical address."""

    def __init__(self, now: int, identity: Identity, endpoint: Endpoint, planet: World) -> None:
        self.endpoint = endpoint
        self.tracer = ListTracer()
        self.entropy = SeededEntropy(int(identity.address))
        self.node = Node(now, identity, planet, self.entropy, self.tracer, PathPolicy())
        self.node.switch.set_sockets(now, [(0, endpoint)])
        self.events: list[Event] = []

    def status(self, network: NetworkId) -> NetworkStatus:
        return self.node.member(network).network.status

    def interface(self, network: NetworkId) -> Interface:
        return self.node.member(network).interface

    def ip(self, network: NetworkId, size: int = 4) -> bytes:
        config = self.node.member(network).network.config
        assert config is not None
        return next(ip for ip, _ in config.addresses if len(ip) == size)


class NodeWorld:
    """A root, a controller and members."""

    def __init__(self, seed: int = 1, loss: float = 0.0) -> None:
        self.now = START_US
        self.loss = loss
        self.random = random.Random(seed)
        self.identities = known_identities()
        self.passes: Callable[[Endpoint, Endpoint], bool] = lambda source, destination: True
        self._places: dict[Endpoint, Place] = {}
        self._flying: list[tuple[int, int, Endpoint, Endpoint, bytes, int]] = []
        self._count = itertools.count()
        where = Endpoint(bytes((10, 9, 0, 1)), 9993)
        self.planet = planet_of([(self.identities[0], where)])
        self.root = self.add()
        root = self.root.node
        root.multicast_store = MulticastStore(
            root.identity.address, self.root.entropy, self.root.tracer
        )
        place = self.controller_place = self.add()
        self.controller = Controller(
            self.now, place.node.identity, MemoryStore(), place.entropy, place.tracer
        )
        place.node.controller = self.controller

    def add(self) -> Place:
        number = len(self._places)
        endpoint = Endpoint(bytes((10, 9, 0, number + 1)), 9993)
        place = Place(self.now, self.identities[number], endpoint, self.planet)
        self._places[endpoint] = place
        return place

    def replace(self, place: Place) -> None:
        """Put a restarted node where the old one was."""
        self._places[place.endpoint] = place

    def create(self, *, private: bool = False, mtu: int = 2800) -> NetworkId:
        return self.controller.create_network(
            self.now, private=private, pools=["10.147.20.0/24"], mtu=mtu
        ).id

    def joined(self, network: NetworkId) -> Place:
        """Add a node and run until it is in the network."""
        place = self.add()
        place.node.join(self.now, network)
        for _ in range(100):
            self.run(100_000)
            if place.status(network) is NetworkStatus.OK:
                return place
        raise AssertionError(f"still {place.status(network)}")

    def run(self, duration_us: int) -> None:
        end = self.now + duration_us
        while True:
            for place in list(self._places.values()):
                self._collect(place)
            due = [p.node.next_timer() for p in self._places.values()]
            nearest = min(due, default=end + 1)
            if self._flying:
                nearest = min(nearest, self._flying[0][0])
            if nearest > end:
                self.now = end
                return
            self.now = max(self.now, nearest)
            while self._flying and self._flying[0][0] <= self.now:
                _, _, source, destination, data, step = heapq.heappop(self._flying)
                target = self._places.get(destination)
                if target is not None:
                    target.node.receive_train(self.now, 0, source, memoryview(data), step)
            for place in self._places.values():
                place.node.handle_timer(self.now)

    def _collect(self, place: Place) -> None:
        node = place.node
        node.flush(self.now)
        more = True
        while more:
            datagrams, more = node.take_datagrams(self.now)
            for datagram in datagrams:
                assert datagram.socket in (0, ALL_SOCKETS)
                if datagram.ttl or not self.passes(place.endpoint, datagram.remote):
                    continue
                step = datagram.segment or len(datagram.data)
                for at in self._survivors(datagram.data, step):
                    item = (
                        self.now + LATENCY_US,
                        next(self._count),
                        place.endpoint,
                        datagram.remote,
                        at,
                        step,
                    )
                    heapq.heappush(self._flying, item)
        for event in node.take_events():
            place.events.append(event)
            if isinstance(event, IdentityToValidate):
                node.identity_validated(self.now, event.identity, ok=True)

    def _survivors(self, data: bytes, step: int) -> list[bytes]:
        """Return the train, or what loss leaves of it, datagram by datagram."""
        if not self.loss:
            return [data]
        pieces = [data[at : at + step] for at in range(0, len(data), step)]
        return [piece for piece in pieces if self.random.random() >= self.loss]


SETTLE_US = 2 * SECOND


def opened(
    world: NodeWorld, network: NetworkId, a: Place, b: Place, size: int = 4
) -> tuple[Connection, Connection]:
    """Open a TCP connection between two members; return both of its ends."""
    listener = b.interface(network).listen(world.now, None, 80)
    one = a.interface(network).connect(world.now, b.ip(network, size), 80)
    for _ in range(50):
        world.run(100_000)
        two = listener.accept()
        if two is not None:
            return one, two
    raise AssertionError(f"no connection: {one.error}")
