"""Who keeps track of multicast groups: roots for everybody, a controller for its members."""

from __future__ import annotations

import pytest

from tests.support.nodes import NodeWorld, Place
from ztstack.base.network_id import NetworkId
from ztstack.base.timers import SECOND
from ztstack.root.multicast_store import MulticastStore


def heard(world: NodeWorld, network: NetworkId, a: Place, b: Place, limit_us: int) -> bool:
    """Let A send to B over IPv4, for which it must find B's MAC by multicast."""
    sockets = [place.interface(network).bind_udp(world.now, None, 9) for place in (a, b)]
    end = world.now + limit_us
    while world.now < end and sockets[1].is_empty:
        sockets[0].send(world.now, b"hello", b.ip(network), 9)
        world.run(SECOND // 2)
    found = not sockets[1].is_empty
    for sock in sockets:
        sock.close()
    return found


def world_without_tracking_root() -> NodeWorld:
    world = NodeWorld()
    world.root.node.multicast_store = None
    return world


@pytest.mark.parametrize("tracks", [True, False])
def test_a_controller_helps_members_to_find_each_other(tracks: bool) -> None:
    world = world_without_tracking_root()
    place = world.controller_place
    if tracks:
        place.node.multicast_store = MulticastStore(
            place.node.identity.address, place.entropy, place.tracer
        )
    network = world.create()
    a, b = world.joined(network), world.joined(network)
    world.run(20 * SECOND)
    assert heard(world, network, a, b, 3 * SECOND) is tracks


def test_a_restarted_root_learns_the_groups_at_once() -> None:
    world = NodeWorld()
    network = world.create()
    a, b = world.joined(network), world.joined(network)
    world.run(20 * SECOND)
    # Its process is new: it knows nobody, and nobody told it that it is.
    fresh = Place(world.now, world.root.node.identity, world.root.endpoint, world.planet)
    fresh.node.multicast_store = MulticastStore(
        fresh.node.identity.address, fresh.entropy, fresh.tracer
    )
    world.replace(fresh)
    world.run(10 * SECOND)
    assert heard(world, network, a, b, 3 * SECOND)
