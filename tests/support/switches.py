"""Switches on a network in virtual time: each datagram takes one latency, none is lost unasked."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable

from tests.support.vectors import load
from ztstack.base.address import Address
from ztstack.base.datagram import ALL_SOCKETS, Datagram
from ztstack.base.endpoint import Endpoint
from ztstack.base.trace import ListTracer
from ztstack.crypto.identity import Identity
from ztstack.vl1.events import Event, Inbound, InboundBurst, ValidateIdentity
from ztstack.vl1.switch import PathPolicy, Switch
from ztstack.wire.verbs import Verb
from ztstack.wire.world import Root, World, WorldType

LATENCY_US = 10_000
START_US = 1_700_000_000_000_000


class SeededEntropy:
    """Random bytes that are the same in every run."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def take(self, length: int) -> bytes:
        return self._random.randbytes(length)


def known_identities() -> list[Identity]:
    """Return valid identities with private keys, from the known answers."""
    cases = load("identity.json")["cases"]
    return [Identity.parse(case["secret"]) for case in cases if case["kind"] == "valid"]


def planet_of(roots: list[tuple[Identity, Endpoint]], timestamp: int = 1) -> World:
    signer = roots[0][0]
    assert signer.private_key is not None
    world = World(
        type=WorldType.PLANET,
        id=0x1234567890,
        timestamp=timestamp,
        signer_key=signer.public_key,
        roots=tuple(Root(identity.public, (endpoint,)) for identity, endpoint in roots),
    )
    return world.signed_with(signer.private_key, signer.public_key)


class Host:
    """One switch at one physical address."""

    def __init__(self, now: int, identity: Identity, endpoint: Endpoint, planet: World) -> None:
        self.identity = identity
        self.address: Address = identity.address
        self.endpoint = endpoint
        self.tracer = ListTracer()
        seed = int(identity.address)
        self.switch = Switch(now, identity, planet, SeededEntropy(seed), self.tracer, PathPolicy())
        self.switch.set_sockets(now, [(0, endpoint)])
        self.inbound: list[Inbound | InboundBurst] = []
        self.events: list[Event] = []
        self.trusted = False

    def drain(self, now: int) -> None:
        for message in self.switch.take_inbound():
            self.inbound.append(message)
            self.switch.accept(now, message, trusted=self.trusted)
        for event in self.switch.take_events():
            self.events.append(event)
            if isinstance(event, ValidateIdentity):
                event.identity.validate()
                self.switch.identity_validated(now, event.identity, ok=True)

    def payloads(self, verb: Verb) -> list[bytes]:
        return [m.payload for m in self.inbound if isinstance(m, Inbound) and m.verb == verb]


class VirtualNetwork:
    """Hosts joined by a network that delivers in order after one latency."""

    def __init__(self) -> None:
        self.now = START_US
        self.hosts: dict[Endpoint, Host] = {}
        self.sent: list[tuple[int, Endpoint, Endpoint, bytes]] = []
        self.lengths: dict[tuple[Endpoint, Endpoint], set[int]] = {}
        self.passes: Callable[[Endpoint, Endpoint], bool] = lambda source, destination: True
        self._flying: list[tuple[int, int, Endpoint, Endpoint, bytes, int]] = []
        self._count = itertools.count()

    def add(self, identity: Identity, endpoint: Endpoint, planet: World) -> Host:
        host = Host(self.now, identity, endpoint, planet)
        self.hosts[endpoint] = host
        return host

    def move(self, host: Host, endpoint: Endpoint) -> None:
        """Give a running host another physical address; nothing tells it."""
        del self.hosts[host.endpoint]
        host.endpoint = endpoint
        self.hosts[endpoint] = host

    def _collect(self, host: Host) -> None:
        host.drain(self.now)
        for datagram in host.switch.take_datagrams():
            assert datagram.socket in (0, ALL_SOCKETS)
            self.sent.append((self.now, host.endpoint, datagram.remote, datagram.data))
            lengths = self.lengths.setdefault((host.endpoint, datagram.remote), set())
            lengths.add(datagram.segment or len(datagram.data))
            if datagram.ttl or not self.passes(host.endpoint, datagram.remote):
                continue
            item = (
                self.now + LATENCY_US,
                next(self._count),
                host.endpoint,
                datagram.remote,
                datagram.data,
                datagram.segment,
            )
            heapq.heappush(self._flying, item)

    def run(self, until_us: int) -> None:
        """Advance by `until_us` microseconds."""
        end = self.now + until_us
        while True:
            for host in list(self.hosts.values()):
                self._collect(host)
            nearest = min(h.switch.next_timer() for h in self.hosts.values())
            if self._flying:
                nearest = min(nearest, self._flying[0][0])
            if nearest > end:
                self.now = end
                return
            self.now = max(self.now, nearest)
            while self._flying and self._flying[0][0] <= self.now:
                _, _, source, destination, data, segment = heapq.heappop(self._flying)
                host_ = self.hosts.get(destination)
                if host_ is None:
                    continue
                if segment:
                    view = memoryview(data)
                    host_.switch.receive_train(self.now, 0, source, view, segment)
                else:
                    host_.switch.receive(self.now, Datagram(0, source, data))
            for host in list(self.hosts.values()):
                host.switch.handle_timer(self.now)
