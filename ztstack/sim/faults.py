"""Plans of faults: made by chance from a seed, carried out on a world, and reasoned about."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from ztstack.base.timers import MILLISECOND, SECOND
from ztstack.sim.host import Host
from ztstack.sim.network import Conditions
from ztstack.sim.scenario import World


class FaultKind(StrEnum):
    """What can go wrong, and for how long it does."""

    ROUGH = "rough link"
    """Loss, jitter, duplicates, disorder and damage on one host's link."""
    CUT = "cut"
    """Two members do not hear each other directly; others reach both."""
    ONE_WAY = "cut one way"
    FLAP = "flapping cut"
    PARTITION = "partition"
    """The hosts named hear only each other."""
    KILL = "killed"
    """The process dies at once and is started again at the end."""
    STOP = "stopped"
    """The process ends in good order and is started again at the end."""
    REINSTALL = "killed, caches lost"
    """As KILL, and nothing is left but the identity."""
    SLEEP = "asleep"
    ROAM = "roamed"
    """The host gets another address; that takes no time."""
    NEW_PORT = "restarted on another port"
    ROUTER = "router restarted"
    """A router forgets its mappings and has another address; that takes no time."""
    CLOCK = "clock set"
    """Killed and started again with a clock that shows another time."""


DOWN: Final = frozenset(
    (
        FaultKind.KILL,
        FaultKind.STOP,
        FaultKind.REINSTALL,
        FaultKind.SLEEP,
        FaultKind.NEW_PORT,
        FaultKind.CLOCK,
    )
)
"""What makes the host unreachable while it lasts."""

_FOR_MEMBERS: Final = tuple(FaultKind)
_FOR_ROOTS: Final = (FaultKind.ROUGH, FaultKind.KILL, FaultKind.REINSTALL, FaultKind.SLEEP)
_FOR_CONTROLLERS: Final = (FaultKind.ROUGH, FaultKind.KILL, FaultKind.SLEEP)
_SHORTEST_US: Final = 2 * SECOND
_FLAP_US: Final = 1500 * MILLISECOND


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: from `at` to `until`, on hosts by name."""

    at: int
    until: int
    kind: FaultKind
    who: tuple[str, ...]

    def __str__(self) -> str:
        names = " ".join(self.who)
        return f"{self.at / 1e6:.1f} to {self.until / 1e6:.1f}: {names}: {self.kind}"


class Plan:
    """Faults in the order of their beginning, and what they leave possible."""

    def __init__(self, world: World, faults: Sequence[Fault]) -> None:
        self.world = world
        self.faults = sorted(faults, key=lambda fault: (fault.at, fault.until))

    @classmethod
    def by_chance(cls, world: World, count: int, duration_us: int, longest_us: int) -> Plan:
        """Draw `count` faults that begin within `duration_us`; no host has two at a time."""
        chance = random.Random(f"faults {world.seed}")
        start = world.network.now
        faults: list[Fault] = []
        while len(faults) < count:
            at = start + chance.randrange(duration_us)
            until = at + chance.randrange(_SHORTEST_US, longest_us)
            kind, who = _draw(chance, world)
            busy = {
                name
                for fault in faults
                if fault.at <= until + SECOND and at <= fault.until + SECOND
                for name in fault.who
            }
            if not busy.intersection(who):
                faults.append(Fault(at, until, kind, who))
        return cls(world, faults)

    def __str__(self) -> str:
        return "\n".join(str(fault) for fault in self.faults)

    # Carrying out.

    def start(self) -> None:
        """Let the faults happen when their time comes."""
        for number, fault in enumerate(self.faults):
            chance = random.Random(f"fault {self.world.seed} {number}")
            begin, end = _actions(self.world, fault, chance)
            self.world.network.at(fault.at, begin)
            self.world.network.at(fault.until, end)

    # Reasoning.

    def reachable(self, one: Host, other: Host, start: int, end: int) -> list[tuple[int, int]]:
        """Return the times within which the plan leaves two members a way to each other.

        It counts as one if both are up, are not parted, and some root hears both all the time.
        """
        times: list[tuple[int, int]] = []
        for root in self.world.roots:
            bad = [
                (fault.at, fault.until)
                for fault in self.faults
                if self._hinders(fault, one, other, root)
            ]
            times.extend(_gaps(bad, start, end))
        return times

    def is_rough(self, start: int, end: int) -> bool:
        """Tell whether some link loses datagrams at random within a time."""
        return any(
            fault.kind is FaultKind.ROUGH and fault.at <= end and start <= fault.until
            for fault in self.faults
        )

    def _hinders(self, fault: Fault, one: Host, other: Host, root: Host) -> bool:
        names = {one.name, other.name, root.name}
        if fault.kind in DOWN:
            if names.intersection(fault.who):
                return True
            # Who lost its caches needs the controller before it has an address again.
            forgetful = any(
                f.kind is FaultKind.REINSTALL and {one.name, other.name}.intersection(f.who)
                for f in self.faults
            )
            return forgetful and "controller" in fault.who
        if fault.kind is FaultKind.PARTITION:
            forgetful = any(f.kind is FaultKind.REINSTALL for f in self.faults)
            if forgetful:
                names.add("controller")
            inside = names.intersection(fault.who)
            return bool(inside) and inside != names
        return False


def _draw(chance: random.Random, world: World) -> tuple[FaultKind, tuple[str, ...]]:
    """Draw a kind of fault and those it happens to."""
    dice = chance.random()
    if dice < 0.12:
        return chance.choice(_FOR_ROOTS), (chance.choice(world.roots).name,)
    if dice < 0.18:
        return chance.choice(_FOR_CONTROLLERS), (world.controller.name,)
    kind = chance.choice(_FOR_MEMBERS)
    match kind:
        case FaultKind.CUT | FaultKind.ONE_WAY | FaultKind.FLAP:
            one, other = chance.sample(world.members, 2)
            return kind, (one.name, other.name)
        case FaultKind.PARTITION:
            hosts = [*world.members, world.controller]
            # A root goes with them: a part without one is a part without any promise.
            part = [*chance.sample(hosts, len(hosts) // 3), chance.choice(world.roots)]
            return kind, tuple(host.name for host in part)
        case FaultKind.ROUTER:
            router = chance.choice(list(world.routers.values()))
            behind = [host for host in world.members if host.machine.router is router]
            return kind, tuple(host.name for host in behind)
        case _:
            return kind, (chance.choice(world.members).name,)


def _rough(conditions: Conditions, chance: random.Random) -> Conditions:
    return replace(
        conditions,
        latency_us=conditions.latency_us + chance.randrange(100 * MILLISECOND),
        jitter_us=chance.randrange(1, 50 * MILLISECOND),
        loss=chance.uniform(0.0, 0.2),
        duplicate=chance.uniform(0.0, 0.1),
        reorder=chance.uniform(0.0, 0.1),
        corrupt=chance.uniform(0.0, 0.05),
    )


Action = Callable[[], None]


def _nothing() -> None:
    pass


def _actions(world: World, fault: Fault, chance: random.Random) -> tuple[Action, Action]:
    """Return what begins a fault, and what ends it."""
    hosts = [world.hosts[name] for name in fault.who]
    host, network = hosts[0], world.network
    match fault.kind:
        case FaultKind.ROUGH:
            fine = host.machine.conditions
            rough = _rough(fine, chance)
            return (
                lambda: setattr(host.machine, "conditions", rough),
                lambda: setattr(host.machine, "conditions", fine),
            )
        case FaultKind.CUT | FaultKind.ONE_WAY | FaultKind.FLAP:
            return _cut_actions(world, fault)
        case FaultKind.PARTITION:
            return _partition_actions(hosts)
        case FaultKind.SLEEP:
            return host.suspend, host.resume
        case FaultKind.ROAM:
            ips = (world.new_ip(host), *(ip for ip in host.machine.ips if len(ip) == 16))
            return (lambda: host.move(ips)), _nothing
        case FaultKind.ROUTER:
            router, ip = host.machine.router, world.new_router_ip()
            assert router is not None
            return (lambda: network.reboot(router, ip)), _nothing
        case _:
            return _restart_actions(host, fault.kind, chance)


def _cut_actions(world: World, fault: Fault) -> tuple[Action, Action]:
    one, other = (world.hosts[name].machine for name in fault.who)
    network = world.network

    def begin() -> None:
        network.cut(one, other)
        if fault.kind is not FaultKind.ONE_WAY:
            network.cut(other, one)
        if fault.kind is FaultKind.FLAP:
            network.at(network.now + _FLAP_US, pause)

    def pause() -> None:
        end()
        if network.now + _FLAP_US < fault.until:
            network.at(network.now + _FLAP_US, begin)

    def end() -> None:
        network.heal(one, other)
        network.heal(other, one)

    return begin, end


def _partition_actions(hosts: Sequence[Host]) -> tuple[Action, Action]:
    def part(sign: int) -> None:
        # Each bit of a group is a partition: those in force at the same time add up.
        for host in hosts:
            host.machine.group += sign * bit

    bit = 1 << int.from_bytes(hosts[-1].identity.address.packed[-2:], "big") % 32
    return (lambda: part(1)), (lambda: part(-1))


def _restart_actions(host: Host, kind: FaultKind, chance: random.Random) -> tuple[Action, Action]:
    port = chance.randrange(20_000, 60_000)
    skew = chance.randrange(-3600 * SECOND, 3600 * SECOND)

    def begin() -> None:
        if kind is FaultKind.STOP:
            host.stop()
        else:
            host.kill()
        if kind is FaultKind.REINSTALL:
            host.forget()
        elif kind is FaultKind.NEW_PORT:
            host.port = port
        elif kind is FaultKind.CLOCK:
            host.clock.skew_us += skew

    return begin, host.start


def _gaps(bad: Sequence[tuple[int, int]], start: int, end: int) -> list[tuple[int, int]]:
    """Return what is left of `start` to `end` without the bad times."""
    gaps, at = [], start
    for begin, until in sorted(bad):
        if begin > at:
            gaps.append((at, min(begin, end)))
        at = max(at, until)
    if at < end:
        gaps.append((at, end))
    return [(begin, until) for begin, until in gaps if until > begin]
