"""A thousand nodes that join within a second."""

from __future__ import annotations

import pytest

from tests.support.tables import overfull
from ztstack.base.timers import SECOND
from ztstack.sim.scenario import Shape, World

NODES = 1_000
LIMIT_US = 15 * SECOND


@pytest.mark.timeout(180)
def test_a_join_storm_ends_with_all_nodes_online() -> None:
    world = World(1, Shape(members=NODES))
    world.start_members(within_us=SECOND)
    world.run_until(world.are_all_joined, LIMIT_US)
    world.run(5 * SECOND)
    assert all(host.is_online for host in world.members)
    ips = {host.ip(world.network_id) for host in world.members}
    assert len(ips - {None}) == NODES
    # The limits that tables have of their own hold, and nothing else grows with the storm's square.
    for host in (*world.roots, world.controller):
        assert overfull(host.node, 3 * NODES) == []
