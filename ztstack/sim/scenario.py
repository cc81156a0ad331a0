"""Worlds to run: roots, a controller, and members behind all kinds of routers."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ztstack.base.endpoint import Endpoint
from ztstack.base.network_id import NetworkId
from ztstack.base.timers import MILLISECOND, SECOND
from ztstack.root.world_builder import make_planet
from ztstack.sim.entropy import IdentityMint, SeededEntropy
from ztstack.sim.host import Host, Roles
from ztstack.sim.nat import Nat, NatKind
from ztstack.sim.network import Conditions, Machine, Network
from ztstack.vl2.events import NetworkStatus

START_US: Final = 1_700_000_000 * SECOND
PORT: Final = 9993
_STEP_US: Final = 100 * MILLISECOND


@dataclass(frozen=True, slots=True)
class Shape:
    """How many hosts a world has, and how they are connected.

    `behind_router` is the share of members behind a router of a random kind, `shared` the chance
    that such a member has the router of the one before. `skew_us` bounds how wrong clocks are.
    """

    roots: int = 2
    members: int = 17
    pool: str = "10.147.0.0/16"
    private: bool = False
    behind_router: float = 0.6
    shared: float = 0.25
    kinds: tuple[NatKind, ...] = tuple(NatKind)
    with_ipv6: float = 0.2
    skew_us: int = 3600 * SECOND
    drift_ppm: int = 100
    latency_us: tuple[int, int] = (2 * MILLISECOND, 60 * MILLISECOND)


class World:
    """Roots, a controller with one network, and members that join it; all is running.

    Everything follows from the seed. `run` lets time go on; the hosts are `roots`, `controller`
    and `members`, by name in `hosts`.
    """

    def __init__(self, seed: int | str, shape: Shape | None = None) -> None:
        self.seed = seed
        self.shape = shape or Shape()
        self.random = random.Random(f"world {seed}")
        self.network = Network(seed, START_US)
        self.mint = IdentityMint(SeededEntropy(f"identities {seed}"))
        self.hosts: dict[str, Host] = {}
        self.routers: dict[str, Nat] = {}
        self._numbers: dict[int, int] = {}
        identities = [self.mint.make() for _ in range(self.shape.roots)]
        places = [self._public_ip(80) for _ in identities]
        self.planet = make_planet(
            START_US,
            [(i, (Endpoint(ip, PORT),)) for i, ip in zip(identities, places, strict=True)],
            identities[0],
            SeededEntropy(f"planet {seed}"),
        )
        self.roots = [
            self._add(
                Host(
                    self.network,
                    self._machine(f"root{number}", (ip,), None),
                    identity,
                    self.planet,
                    self.mint,
                    roles=Roles(root=True),
                )
            )
            for number, (identity, ip) in enumerate(zip(identities, places, strict=True))
        ]
        self.controller = self._add(
            Host(
                self.network,
                self._machine("controller", (self._public_ip(81),), None),
                self.mint.make(),
                self.planet,
                self.mint,
                roles=Roles(controller=True),
            )
        )
        for host in (*self.roots, self.controller):
            host.start()
        self.network_id: NetworkId = self.controller.controller.create_network(
            self.controller.now, private=self.shape.private, pools=[self.shape.pool]
        ).id
        self.members: list[Host] = []
        for _ in range(self.shape.members):
            self.add_member()

    # Building.

    def add_member(self) -> Host:
        """Add a member at a place by chance, not yet started."""
        name = f"m{len(self.members)}"
        router = self._choose_router(name)
        ips = [self._private_ip(router) if router is not None else self._public_ip(82)]
        if self.random.random() < self.shape.with_ipv6:
            ips.append(bytes.fromhex("20010db8") + len(self.members).to_bytes(12, "big"))
        port = PORT if router is None else self.random.randrange(20_000, 60_000)
        machine = self._machine(name, tuple(ips), router)
        host = Host(self.network, machine, self.mint.make(), self.planet, self.mint, port=port)
        host.joined.append(self.network_id)
        self.members.append(self._add(host))
        return host

    def _add(self, host: Host) -> Host:
        self.hosts[host.name] = host
        skew, drift = self.shape.skew_us, self.shape.drift_ppm
        if skew and not host.roles.controller:
            host.clock.skew_us = self.random.randrange(-skew, skew)
            host.clock.drift_ppm = self.random.randrange(-drift, drift + 1)
        return host

    def _machine(self, name: str, ips: tuple[bytes, ...], router: Nat | None) -> Machine:
        machine = Machine(name, ips, router)
        low, high = self.shape.latency_us
        machine.conditions = Conditions(latency_us=self.random.randrange(low, high))
        self.network.attach(machine)
        return machine

    def _choose_router(self, name: str) -> Nat | None:
        if self.random.random() >= self.shape.behind_router:
            return None
        routers = list(self.routers.values())
        if routers and self.random.random() < self.shape.shared:
            return routers[-1]
        kind = self.random.choice(self.shape.kinds)
        router = Nat(kind, self._public_ip(90), f"router {self.seed} {name}")
        self.routers[name] = router
        return router

    def _public_ip(self, first: int) -> bytes:
        # Sites are strangers to each other, so their addresses are far apart.
        number = self._numbers[first] = self._numbers.get(first, 0) + 1
        return bytes((first, number * 37 % 256, number // 256, number * 101 % 256))

    def new_ip(self, host: Host) -> bytes:
        """Return a fresh IPv4 address for a host where it is."""
        router = host.machine.router
        return self._private_ip(router) if router is not None else self._public_ip(83)

    def new_router_ip(self) -> bytes:
        return self._public_ip(91)

    def _private_ip(self, router: Nat) -> bytes:
        number = self._numbers[id(router)] = self._numbers.get(id(router), 1) + 1
        return bytes((192, 168)) + number.to_bytes(2, "big")

    # Running.

    def start_members(self, within_us: int = SECOND) -> None:
        """Start all members in an order and at moments by chance."""
        for host in self.members:
            at = self.network.now + self.random.randrange(within_us)
            self.network.at(at, host.start)

    def run(self, duration_us: int) -> None:
        self.network.run(self.network.now + duration_us)

    def run_until(self, condition: Callable[[], bool], limit_us: int) -> int:
        """Run until something holds, and return how long that took; TimeoutError."""
        start = self.network.now
        while not condition():
            if self.network.now - start >= limit_us:
                raise TimeoutError(f"seed {self.seed}: not within {limit_us / 1e6:g} s")
            self.run(_STEP_US)
        return self.network.now - start

    def is_joined(self, host: Host) -> bool:
        has_address = host.ip(self.network_id) is not None
        return has_address and host.status(self.network_id) is NetworkStatus.OK

    def are_all_joined(self) -> bool:
        return all(self.is_joined(host) for host in self.members)
