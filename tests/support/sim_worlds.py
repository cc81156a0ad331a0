"""One simulated world with random faults, run and judged."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field

from tests.support.tables import overfull
from ztstack.base.errors import Drop
from ztstack.base.timers import SECOND
from ztstack.sim.faults import Plan
from ztstack.sim.probes import Pair, Probes
from ztstack.sim.scenario import Shape, World

JOIN_LIMIT_US = 20 * SECOND
SETTLE_US = 5 * SECOND
FAULTS = 10
FAULTS_BEGIN_US = 40 * SECOND
LONGEST_FAULT_US = 15 * SECOND
BOUND_US = 15 * SECOND
"""Whoever has a way to somebody hears from him within this, the 4 s between questions included."""
ROUGH_BOUND_US = 25 * SECOND
"""The same where a link on the way loses up to a fifth of all datagrams in each direction."""
PLAIN_LIMIT = 2_000
"""No container without a limit of its own may hold more in a world of twenty nodes."""


@dataclass
class Outcome:
    """What became of a world; `complaints` is empty if all invariants held."""

    seed: int
    complaints: list[str] = field(default_factory=list)
    worst_us: int = 0
    delivered: int = 0
    digest: str = ""
    drops: Counter[Drop] = field(default_factory=Counter)
    plan: str = ""


def probed(world: World) -> Probes:
    """Let every member ask every other, one family per pair."""
    probes = Probes(world.members, world.network_id)
    for number, (one, other) in enumerate(itertools.combinations(world.members, 2)):
        probes.add(one, other, 4 if number % 2 else 16)
    return probes


def run_seed(seed: int, shape: Shape | None = None) -> Outcome:
    """Run the world of a seed; an exception of a node is a complaint as well."""
    outcome = Outcome(seed)
    world = World(seed, shape)
    try:
        _run(world, outcome)
    except Exception as error:  # noqa: BLE001 - nothing that the network does may raise
        outcome.complaints.append(f"{type(error).__name__}: {error}")
    outcome.delivered = world.network.delivered
    outcome.digest = world.network.digest.hexdigest()
    for host in world.hosts.values():
        outcome.drops.update(host.tracer.counts)
    return outcome


def _run(world: World, outcome: Outcome) -> None:
    world.start_members()
    world.run_until(world.are_all_joined, JOIN_LIMIT_US)
    probes = probed(world)
    world.run(SETTLE_US)
    start = world.network.now
    plan = Plan.by_chance(world, FAULTS, FAULTS_BEGIN_US, LONGEST_FAULT_US)
    outcome.plan = str(plan)
    plan.start()
    world.run(FAULTS_BEGIN_US + LONGEST_FAULT_US)
    complaints = outcome.complaints
    for host in world.hosts.values():
        complaints.extend(f"{host.name}: {words}" for words in overfull(host.node, PLAIN_LIMIT))
    world.run(BOUND_US)
    for host in world.hosts.values():
        if not host.is_online:
            complaints.append(f"{host.name} is not online at the end")
    for pair in probes.pairs:
        _judge(plan, pair, start, world.network.now, outcome)


def _judge(plan: Plan, pair: Pair, start: int, end: int, outcome: Outcome) -> None:
    """Complain of each time in which a pair had a way to each other, and was silent too long."""
    for begin, until in plan.reachable(pair.asker, pair.other, start, end):
        heard = [begin, *(at for at in pair.answers if begin <= at <= until), until]
        for before, after in itertools.pairwise(heard):
            outcome.worst_us = max(outcome.worst_us, after - before)
            bound = ROUGH_BOUND_US if plan.is_rough(before, after) else BOUND_US
            if after - before > bound:
                outcome.complaints.append(
                    f"{pair}: nothing heard from {(before - start) / 1e6:.1f} s"
                    f" to {(after - start) / 1e6:.1f} s"
                )
