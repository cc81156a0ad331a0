"""A private network of 200 members that come and go: who is out stays out, who is in is reached."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field

import pytest

from ztstack.base.errors import Drop
from ztstack.base.timers import SECOND
from ztstack.sim.faults import Fault, FaultKind, Plan
from ztstack.sim.host import Host
from ztstack.sim.probes import Probes
from ztstack.sim.scenario import Shape, World

MEMBERS = 200
FRIENDS = 2
FIRST_SEED = 11
DURATION_US = 90 * SECOND
BOUND_US = 20 * SECOND
OUT_US = 40 * SECOND
"""So long at most nobody thinks of letting in again who was put out."""

REVOKED_US = 3 * SECOND
"""So long after it was put out nobody who hears the controller takes a frame of a member."""

RENEWED_US = 66 * SECOND
"""So long it may take one who did not hear it then, from when it does again."""

Times = list[tuple[int, int]]


@dataclass
class Membership:
    """When a member was let in and joined, and when it was put out, up to now."""

    host: Host
    inside: Times = field(default_factory=list)
    outside: Times = field(default_factory=list)
    since: int | None = None
    out_since: int | None = None
    out_until: int = 0


class Roster:
    """Lets members in and out at random moments."""

    def __init__(self, world: World, probes: Probes) -> None:
        self.world = world
        self.probes = probes
        self.chance = random.Random(f"roster {world.seed}")
        self.members = {host.name: Membership(host) for host in world.members}
        self.counts = {"left": 0, "joined": 0, "deauthorised": 0, "authorised": 0}

    def let_all_in(self) -> None:
        for member in self.members.values():
            self._authorise(member)
            member.since = self.world.network.now

    def act(self, until: int) -> None:
        """Change something, and again a moment later."""
        now = self.world.network.now
        if now >= until:
            return
        if self.world.controller.node is not None:
            member = self._choose()
            if member.out_since is not None:
                member.outside.append((member.out_since, now))
                member.out_since, member.since = None, now
                self._authorise(member)
                self.counts["authorised"] += 1
            elif member.since is None:
                member.since = now
                member.host.join(self.world.network_id)
                self.probes.open(member.host)
                self.counts["joined"] += 1
            else:
                member.inside.append((member.since, now))
                member.since = None
                if self.chance.random() < 0.5:
                    member.host.leave(self.world.network_id)
                    self.counts["left"] += 1
                else:
                    member.out_since = now
                    member.out_until = now + self.chance.randrange(OUT_US)
                    self._deauthorise(member)
                    self.counts["deauthorised"] += 1
        pause = self.chance.randrange(SECOND // 4, 2 * SECOND)
        self.world.network.at(now + pause, lambda: self.act(until))

    def _choose(self) -> Membership:
        """Take somebody who is in, or as often one who may come back, if there is any."""
        now = self.world.network.now
        present = [member for member in self.members.values() if member.since is not None]
        absent = [
            member
            for member in self.members.values()
            if member.since is None and member.out_until <= now
        ]
        if absent and self.chance.random() < 0.5:
            return self.chance.choice(absent)
        return self.chance.choice(present)

    def close(self) -> None:
        now = self.world.network.now
        for member in self.members.values():
            if member.since is not None:
                member.inside.append((member.since, now))
            if member.out_since is not None:
                member.outside.append((member.out_since, now))

    def _authorise(self, member: Membership) -> None:
        controller = self.world.controller
        address = member.host.identity.address
        controller.controller.authorize(controller.now, self.world.network_id, address)
        controller.pump()

    def _deauthorise(self, member: Membership) -> None:
        controller = self.world.controller
        address = member.host.identity.address
        controller.controller.deauthorize(controller.now, self.world.network_id, address)
        controller.pump()


def common(one: Times, other: Times) -> Times:
    """Return the times that lie in both."""
    both = [(max(a, c), min(b, d)) for a, b in one for c, d in other]
    return [(a, b) for a, b in both if b > a]


def faults(world: World, start: int) -> Plan:
    """Return controller restarts and partitions, one after the other, and both in any case."""
    chance = random.Random(f"membership faults {world.seed}")
    first = chance.sample((FaultKind.KILL, FaultKind.PARTITION), 2)
    found: list[Fault] = []
    at = start + 10 * SECOND
    while at < start + DURATION_US - 20 * SECOND:
        until = at + chance.randrange(4 * SECOND, 9 * SECOND)
        kind = first.pop() if first else chance.choice((FaultKind.KILL, FaultKind.PARTITION))
        if kind is FaultKind.KILL:
            found.append(Fault(at, until, kind, ("controller",)))
        else:
            part = [*chance.sample(world.members, MEMBERS // 3), chance.choice(world.roots)]
            found.append(Fault(at, until, kind, tuple(host.name for host in part)))
        at = until + chance.randrange(4 * SECOND, 8 * SECOND)
    return Plan(world, found)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        first = FIRST_SEED + metafunc.config.getoption("--sim-first-seed")
        count = metafunc.config.getoption("--member-seeds")
        metafunc.parametrize("seed", range(first, first + count))


@pytest.mark.timeout(300)
def test_members_come_and_go(seed: int) -> None:
    shape = Shape(members=MEMBERS, private=True, behind_router=0.3)
    world = World(seed, shape)
    world.start_members()
    probes = Probes(world.members, world.network_id)
    roster = Roster(world, probes)
    world.run(3 * SECOND)
    assert not any(world.is_joined(host) for host in world.members)
    roster.let_all_in()
    world.run_until(world.are_all_joined, 10 * SECOND)
    for number, host in enumerate(world.members):
        for step in range(1, FRIENDS + 1):
            friend = world.members[(number + step * 7) % MEMBERS]
            probes.add(host, friend, 4 if number % 2 else 16)
    start = world.network.now
    plan = faults(world, start)
    plan.start()
    roster.act(start + DURATION_US - BOUND_US)
    world.run(DURATION_US)
    roster.close()
    assert min(roster.counts.values()) >= 3
    assert {fault.kind for fault in plan.faults} == {FaultKind.KILL, FaultKind.PARTITION}
    nobody_outside_is_heard(world, probes, roster, plan)
    everybody_inside_is_reached(world, probes, roster, plan, start)


def told_within(late_us: int) -> int:
    """Return how long a member that hears the controller may know nothing of a revocation.

    Who was cut off when it was sent is told with its next configuration.
    """
    return REVOKED_US if late_us == 0 else RENEWED_US


def nobody_outside_is_heard(world: World, probes: Probes, roster: Roster, plan: Plan) -> None:
    owners = {}
    for member in roster.members.values():
        address = member.host.identity.address
        record = next(
            m for m in world.controller.controller.members(world.network_id) if m.address == address
        )
        owners.update(dict.fromkeys(record.ips, member))
    for host in world.members:
        owners.setdefault(host.ip(world.network_id, 16) or b"", roster.members[host.name])
    controller, checked = world.controller, 0
    hosts = {host.name: host for host in world.members}
    for at, receiver, ip in probes.heard:
        sender = owners.get(ip)
        for begin, end in sender.outside if sender is not None else []:
            told = plan.reachable(hosts[receiver], controller, begin, max(at, begin + REVOKED_US))
            sure = [since for since, until in told if until - since >= SECOND]
            by = min((since + told_within(since - begin) for since in sure), default=end)
            checked += by < end
            assert not by < at < end, (receiver, sender, at - begin)
    assert checked > 20
    # They went on sending, for a while, and it was the others who did not listen.
    assert sum(host.tracer.counts[Drop.NOT_MEMBER] for host in world.members) > 50


def everybody_inside_is_reached(
    world: World, probes: Probes, roster: Roster, plan: Plan, start: int
) -> None:
    worst = 0
    for pair in probes.pairs:
        inside = common(
            roster.members[pair.asker.name].inside, roster.members[pair.other.name].inside
        )
        # Who is let in anew needs the controller for its certificate.
        reachable = plan.reachable(pair.asker, pair.other, start, world.network.now)
        with_controller = plan.reachable(pair.asker, world.controller, start, world.network.now)
        for begin, until in common(common(inside, reachable), with_controller):
            heard = [begin, *(at for at in pair.answers if begin <= at <= until), until]
            for before, after in itertools.pairwise(heard):
                worst = max(worst, after - before)
                assert after - before <= BOUND_US, (pair, before - start, after - start)
    assert worst > SECOND
