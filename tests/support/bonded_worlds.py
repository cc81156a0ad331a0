"""Two simulated hosts with two cables between them and random faults on those, run and judged."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from tests.support.tables import overfull
from ztstack.base.network_id import NetworkId
from ztstack.base.timers import MILLISECOND, SECOND
from ztstack.bonding.report import BondReport
from ztstack.bonding.settings import BondPolicy, BondSettings, PolicySettings
from ztstack.ip.events import Accepted, Established, Event, Readable, Writable
from ztstack.ip.tcp.connection import Connection
from ztstack.ip.udp_socket import UdpSocket
from ztstack.sim.host import Host
from ztstack.sim.network import Conditions
from ztstack.sim.scenario import Shape, World

PORT: Final = 7
CHUNK_BYTES: Final = 1 << 20
EVERY_US: Final = 50 * MILLISECOND
JOIN_LIMIT_US: Final = 20 * SECOND
WARM_UP_US: Final = 2 * SECOND
FAULTS_US: Final = 5 * SECOND
SETTLE_US: Final = 3 * SECOND // 2
FAULTS: Final = 3
PLAIN_LIMIT: Final = 1000
"""No container without a limit of its own may hold more."""

WITH_CABLE_US: Final = 1000 * MILLISECOND
"""Longest silence while one of the cables has been whole for some time."""
BACKUP_US: Final = 500 * MILLISECOND
"""The same for the policy with one path in use, if it is lost at once and both ways."""
BY_RELAY_US: Final = 2 * SECOND
MOST_LATENCY_US: Final = 150 * MILLISECOND
WHOLE_FOR_US: Final = 3 * SECOND
"""A cable that was broken has to prove itself; this long is enough the first time."""
_SHAPE: Final = Shape(roots=1, members=2, behind_router=0.0, with_ipv6=0.0, skew_us=0)


class CableFault(StrEnum):
    """What a cable can suffer."""

    DEAD = "dead"
    ONE_WAY = "dead one way"
    LOSSY = "lossy"
    SLOW = "slow"
    FLAP = "flapping"


@dataclass(frozen=True, slots=True)
class Trouble:
    """A fault of one cable, by its number, from `at` to `until`."""

    at: int
    until: int
    cable: int
    kind: CableFault

    def __str__(self) -> str:
        return f"{self.at / 1e6:.2f} to {self.until / 1e6:.2f}: cable {self.cable} {self.kind}"


class Counting:
    """An application that sends numbers to the other host, and notes those that come."""

    def __init__(self, host: Host, other: Host, network: NetworkId) -> None:
        self.heard: list[tuple[int, int]] = []
        self.sent_at: list[int] = []
        self._host = host
        self._other = other
        self._network = network
        interface = host.interface(network)
        assert interface is not None
        self._socket: UdpSocket = interface.bind_udp(host.now, None, PORT)
        host.on_socket = self._readable

    def start(self, until: int) -> None:
        clock = self._host.network
        ip = self._other.ip(self._network)
        assert ip is not None

        def send() -> None:
            self._socket.send(self._host.now, b"%d" % len(self.sent_at), ip, PORT)
            self.sent_at.append(clock.now)
            self._host.pump()
            if clock.now + EVERY_US < until:
                clock.at(clock.now + EVERY_US, send)

        clock.at(clock.now, send)

    def _readable(self, network: NetworkId, event: Event) -> None:
        if network == self._network and isinstance(event, Readable):
            self._socket.take_error()
            while (received := self._socket.receive()) is not None:
                self.heard.append((self._host.network.now, int(received[0])))


class Filling:
    """Streams from one host to the other that are always full; counts what comes."""

    def __init__(self, host: Host, other: Host, network: NetworkId, count: int) -> None:
        self.came = 0
        self._host = host
        self._other = other
        near, far = host.interface(network), other.interface(network)
        ip = other.ip(network)
        assert near is not None
        assert far is not None
        assert ip is not None
        self._listener = far.listen(other.now, None, PORT)
        host.on_socket = self._writable
        other.on_socket = self._readable
        for _ in range(count):
            near.connect(host.now, ip, PORT)
        host.pump()

    def _writable(self, _network: NetworkId, event: Event) -> None:
        if isinstance(event, Established | Writable):
            assert isinstance(event.socket, Connection)
            while event.socket.write(self._host.now, bytes(CHUNK_BYTES)) == CHUNK_BYTES:
                pass

    def _readable(self, _network: NetworkId, event: Event) -> None:
        if isinstance(event, Accepted):
            while self._listener.accept() is not None:
                pass
        elif isinstance(event, Readable) and isinstance(event.socket, Connection):
            parts = event.socket.read(self._other.now, CHUNK_BYTES)
            while parts:
                self.came += sum(map(len, parts))
                parts = event.socket.read(self._other.now, CHUNK_BYTES)


class BondedWorld:
    """A root, a controller, and two members whose only direct ways are cables."""

    def __init__(
        self,
        seed: int | str,
        policy: BondPolicy,
        latencies_us: tuple[int, ...],
        *,
        one_sided: bool = False,
        rates_mbit: tuple[float, ...] = (0.0, 0.0),
    ) -> None:
        self.world = World(f"bonded {seed}", _SHAPE)
        self.network = self.world.network
        self.left, self.right = self.world.members
        self.fine = [
            Conditions(latency_us=latency, rate_mbit=rate)
            for latency, rate in zip(latencies_us, rates_mbit, strict=True)
        ]
        settings = BondSettings(PolicySettings(policy))
        ends = []
        for number, host in enumerate((self.left, self.right), 1):
            own = [bytes((10, 77, cable, number)) for cable in range(1, len(self.fine) + 1)]
            self.network.move(host.machine, (*host.machine.ips, *own), None)
            host.has_socket_for_each_address = True
            host.bonding = None if one_sided and host is self.right else settings
            ends.append(own)
        self.ends = list(zip(*ends, strict=True))
        for (one, other), conditions in zip(self.ends, self.fine, strict=True):
            self.network.lay(one, other, conditions)
        # By the hub they reach the root, but not each other.
        hub = [host.machine.ips[0] for host in (self.left, self.right)]
        self.network.lay(hub[0], hub[1], Conditions(loss=1.0), only=False)

    def join(self) -> None:
        self.world.start_members(SECOND // 10)
        self.world.run_until(self.world.are_all_joined, JOIN_LIMIT_US)

    def treat(self, cable: int, there: Conditions | None, back: Conditions | None) -> None:
        """Give a cable other conditions in a direction; None is fine ones."""
        one, other = self.ends[cable]
        self.network.wires[one, other] = there or self.fine[cable]
        self.network.wires[other, one] = back or self.fine[cable]

    def begin(self, trouble: Trouble, chance: random.Random) -> None:
        """Let a fault happen when its time comes."""
        cable, fine = trouble.cable, self.fine[trouble.cable]
        dead = Conditions(loss=1.0)
        match trouble.kind:
            case CableFault.DEAD | CableFault.FLAP:
                there = back = dead
            case CableFault.ONE_WAY:
                there, back = (dead, fine) if chance.random() < 0.5 else (fine, dead)
            case CableFault.LOSSY:
                there = back = replace(fine, loss=chance.uniform(0.1, 0.5))
            case CableFault.SLOW:
                there = back = replace(
                    fine,
                    latency_us=fine.latency_us + chance.randrange(80 * MILLISECOND),
                    jitter_us=chance.randrange(1, 30 * MILLISECOND),
                )
        at, step = trouble.at, 700 * MILLISECOND
        if trouble.kind is not CableFault.FLAP:
            step = trouble.until - trouble.at
        while at < trouble.until:
            self.network.at(at, lambda: self.treat(cable, there, back))
            self.network.at(min(at + step, trouble.until), lambda: self.treat(cable, None, None))
            at += 2 * step

    def sent_bytes(self) -> list[int]:
        """Return how much the left one has sent to the right one on each cable."""
        links = self.reports()[0].links
        return [
            sum(link.sent_bytes for link in links if link.remote.ip == remote)
            for _, remote in self.ends
        ]

    def reports(self) -> list[BondReport]:
        """Return what each member says of its bond with the other."""
        found = []
        for host, other in ((self.left, self.right), (self.right, self.left)):
            assert host.node is not None
            if host.node.bonds is None:
                continue
            address = other.identity.address
            found += [one for one in host.node.bonds.reports() if one.peer == address]
        return found


@dataclass
class Outcome:
    """What became of a world; `complaints` is empty if all promises were kept."""

    seed: int
    policy: BondPolicy
    complaints: list[str] = field(default_factory=list)
    plan: list[Trouble] = field(default_factory=list)
    worst_us: int = 0
    lost: int = 0
    sent: int = 0


def run_seed(seed: int, policy: BondPolicy) -> Outcome:
    """Run the world of a seed; an exception is a complaint as well."""
    outcome = Outcome(seed, policy)
    try:
        _run(seed, policy, outcome)
    except Exception as error:  # noqa: BLE001 - nothing that the network does may raise
        outcome.complaints.append(f"{type(error).__name__}: {error}")
    return outcome


def _draw(chance: random.Random, start: int) -> list[Trouble]:
    found: list[Trouble] = []
    while len(found) < FAULTS:
        at = start + chance.randrange(FAULTS_US - SECOND)
        until = min(at + chance.randrange(SECOND, 4 * SECOND), start + FAULTS_US)
        cable = chance.randrange(2)
        if not any(t.cable == cable and t.at <= until and at <= t.until for t in found):
            found.append(Trouble(at, until, cable, chance.choice(list(CableFault))))
        elif chance.random() < 0.1:
            break
    return sorted(found, key=lambda trouble: trouble.at)


def _run(seed: int, policy: BondPolicy, outcome: Outcome) -> None:
    chance = random.Random(f"bonded {seed}")
    latencies = tuple(chance.randrange(1, 30) * MILLISECOND for _ in range(2))
    made = BondedWorld(seed, policy, latencies)
    made.join()
    network = made.network
    start = network.now + WARM_UP_US
    end = start + FAULTS_US + SETTLE_US
    both = [
        Counting(made.left, made.right, made.world.network_id),
        Counting(made.right, made.left, made.world.network_id),
    ]
    for counting in both:
        counting.start(end)
    plan = outcome.plan = _draw(chance, start)
    for trouble in plan:
        made.begin(trouble, chance)
    network.run(end + SECOND)
    for sender, receiver in (both, both[::-1]):
        _judge(outcome, sender.sent_at, receiver.heard, start, end)
    for host in (made.left, made.right):
        outcome.complaints.extend(overfull(host.node, PLAIN_LIMIT))
    for report in made.reports():
        _judge_report(outcome, report)


def _judge(
    outcome: Outcome, sent_at: list[int], heard: list[tuple[int, int]], start: int, end: int
) -> None:
    numbers = Counter(number for _, number in heard)
    twice = [number for number, count in numbers.items() if count > 1]
    if twice:
        outcome.complaints.append(f"{len(twice)} came twice, the first is number {twice[0]}")
    outcome.sent += len(sent_at)
    outcome.lost += len(sent_at) - len(numbers)
    if outcome.policy is BondPolicy.BROADCAST:
        lost = [number for number in range(len(sent_at)) if number not in numbers]
        missed = [n for n in lost if _whole(outcome.plan, sent_at[n], sent_at[n] + MOST_LATENCY_US)]
        if missed:
            outcome.complaints.append(f"{len(missed)} lost with a whole cable, first {missed[0]}")
    times = [start, *(at for at, _ in heard if start <= at <= end), end]
    for before, after in itertools.pairwise(times):
        silence = after - before
        outcome.worst_us = max(outcome.worst_us, silence)
        bound = _bound(outcome, before, after)
        if silence > bound:
            outcome.complaints.append(
                f"silent for {silence / 1e6:.2f} s from {(before - start) / 1e6:.2f} s on,"
                f" {bound / 1e6:.1f} s are allowed"
            )


def _bound(outcome: Outcome, before: int, after: int) -> int:
    whole = _whole(outcome.plan, before, after)
    if not whole:
        return BY_RELAY_US + EVERY_US
    kinds = {t.kind for t in outcome.plan if t.at <= after and before <= t.until}
    if outcome.policy is BondPolicy.ACTIVE_BACKUP and kinds <= {CableFault.DEAD}:
        return BACKUP_US + EVERY_US
    return WITH_CABLE_US + EVERY_US


def _whole(plan: list[Trouble], before: int, after: int) -> bool:
    """Tell whether some cable was whole all the time, and long enough before."""
    since = before - WHOLE_FOR_US
    troubled = {t.cable for t in plan if t.at <= after and since <= t.until}
    return len(troubled) < 2


def _judge_report(outcome: Outcome, report: BondReport) -> None:
    words = outcome.complaints
    if not 1 <= len(report.links) <= 2:
        words.append(f"{len(report.links)} paths at the end")
    for link in report.links:
        if not 0.0 <= link.loss <= 1.0 or not 0.0 <= link.share <= 1.0 or link.flows < 0:
            words.append(f"impossible figures: {link}")
    if sum(link.share for link in report.links) > 1.01:
        words.append(f"shares of {[link.share for link in report.links]}")
