"""Every pair of router kinds: what may go directly does, and the rest is relayed."""

from __future__ import annotations

import itertools

import pytest

from tests.support.sim_worlds import probed
from ztstack.base.timers import MILLISECOND, SECOND
from ztstack.sim.host import Host
from ztstack.sim.nat import NatKind
from ztstack.sim.scenario import Shape, World

KINDS = [None, *NatKind]
PAIRS = list(itertools.combinations_with_replacement(KINDS, 2))
HOPELESS = {
    frozenset((NatKind.SYMMETRIC, NatKind.PORT_RESTRICTED)),
    frozenset((NatKind.SYMMETRIC,)),
}
"""Nobody can know the port from which a symmetric router lets the first datagram out."""


def place(world: World, kind: NatKind | None) -> Host:
    """Add a member behind a router of its own."""
    world.shape = Shape(
        behind_router=0.0 if kind is None else 1.0,
        shared=0.0,
        kinds=() if kind is None else (kind,),
        with_ipv6=0.0,
    )
    return world.add_member()


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=lambda kind: str(kind or "public"))
def test_two_members(one: NatKind | None, other: NatKind | None) -> None:
    world = World(f"{one} {other}", Shape(roots=1, members=0))
    a, b = place(world, one), place(world, other)
    world.start_members()
    world.run_until(world.are_all_joined, 10 * SECOND)
    (pair,) = probed(world).pairs
    world.run_until(lambda: bool(pair.answers), 5 * SECOND)
    world.run(30 * SECOND)
    assert a.node is not None
    assert b.node is not None
    direct = [
        a.node.switch.has_direct_path(a.now, b.identity.address),
        b.node.switch.has_direct_path(b.now, a.identity.address),
    ]
    assert direct == [frozenset((one, other)) not in HOPELESS] * 2
    # One answer every four seconds since, directly or by way of the root.
    gaps = [y - x for x, y in itertools.pairwise(pair.answers)]
    assert len(gaps) >= 6
    assert max(gaps) < 5 * SECOND


def test_a_router_forgets_idle_neighbours_but_not_kept_ones() -> None:
    world = World(5, Shape(roots=1, members=0))
    a, b = (place(world, NatKind.PORT_RESTRICTED) for _ in range(2))
    world.start_members()
    world.run_until(world.are_all_joined, 10 * SECOND)
    (pair,) = (probes := probed(world)).pairs
    world.run(10 * SECOND)
    probes.stop()
    # Longer than routers remember: the keep-alive alone holds the way open.
    world.run(200 * SECOND)
    assert a.node is not None
    assert a.node.switch.has_direct_path(a.now, b.identity.address)
    asked = world.network.now
    probes.is_stopped = False
    again = probes.add(a, b, 4)
    world.run(5 * SECOND)
    assert again.answers
    assert again.answers[0] - asked < SECOND + 300 * MILLISECOND
    assert pair.answers
