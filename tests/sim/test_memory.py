"""What nodes hold after a storm of faults is let go of when it is over."""

from __future__ import annotations

import gc
import tracemalloc
import weakref

import pytest

from tests.support.sim_worlds import (
    FAULTS,
    FAULTS_BEGIN_US,
    LONGEST_FAULT_US,
    probed,
    run_seed,
)
from tests.support.tables import held
from ztstack.base.timers import SECOND
from ztstack.sim.faults import Plan
from ztstack.sim.scenario import Shape, World

QUIET_US = 900 * SECOND
"""Longer than anything is remembered but cached peers."""


@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", [1, 2])
def test_tables_empty_when_it_is_quiet(seed: int) -> None:
    world = World(seed, Shape(members=10))
    world.start_members()
    world.run_until(world.are_all_joined, 20 * SECOND)
    probes = probed(world)
    world.run(60 * SECOND)
    # Everybody knows everybody now, and the members keep that up by themselves.
    calm = {host.name: held(host.node) for host in world.members}
    plan = Plan.by_chance(world, FAULTS, FAULTS_BEGIN_US, LONGEST_FAULT_US)
    plan.start()
    world.run(FAULTS_BEGIN_US + LONGEST_FAULT_US)
    probes.stop()
    world.run(QUIET_US)
    quiet = {host.name: held(host.node) for host in world.members}
    assert min(calm.values()) > 100
    for name, before in calm.items():
        assert quiet[name] < 1.2 * before, (name, before, quiet[name])


@pytest.mark.timeout(180)
def test_a_world_that_ended_leaves_nothing() -> None:
    run_seed(3)  # loads what is loaded once
    tracemalloc.start()
    try:
        gc.collect()
        first = tracemalloc.get_traced_memory()[0]
        world = World(4, Shape(members=5))
        world.start_members()
        world.run_until(world.are_all_joined, 20 * SECOND)
        ghosts = [weakref.ref(host) for host in world.hosts.values()]
        used = tracemalloc.get_traced_memory()[0] - first
        del world
        gc.collect()
        left = tracemalloc.get_traced_memory()[0] - first
    finally:
        tracemalloc.stop()
    assert [ghost() for ghost in ghosts] == [None] * len(ghosts)
    assert left < used / 20
