"""Nodes that a network names: members keep contact with them (vl2 section 3.4)."""

from __future__ import annotations

import pytest

from tests.support.nodes import NodeWorld, Place
from ztstack.base.network_id import NetworkId
from ztstack.base.timers import SECOND
from ztstack.vl2.network_config import (
    ROLE_ANCHOR,
    ROLE_BRIDGE,
    ROLE_REPLICATOR,
    NetworkConfig,
)
from ztstack.wire.rules import ACCEPT_ALL


def with_specialist(world: NodeWorld, role: int) -> tuple[Place, Place, NetworkId]:
    """Return a member of a network whose controller is gone, and the node that it names."""
    member, special = world.add(), world.add()
    network = NetworkId(0xABCDEF0123 << 24 | 1)
    config = NetworkConfig(
        network=network,
        issued_to=member.node.identity.address,
        is_public=True,
        rules=ACCEPT_ALL,
        specialists=(role | special.node.identity.address,),
    )
    member.node.join(world.now, network, config.to_dictionary())
    return member, special, network


@pytest.mark.parametrize(
    ("role", "kept"), [(ROLE_ANCHOR, True), (ROLE_REPLICATOR, True), (ROLE_BRIDGE, False)]
)
def test_contact_without_traffic(role: int, kept: bool) -> None:
    world = NodeWorld()
    member, special, network = with_specialist(world, role)
    address = special.node.identity.address
    world.run(40 * SECOND)
    switch = member.node.switch
    assert switch.has_direct_path(world.now, address) is kept
    if kept:
        latency = switch.direct_latency(address)
        assert latency is not None
        assert latency < 100
        member.node.leave(world.now, network)
        world.run(600 * SECOND)
    assert not switch.has_direct_path(world.now, address)
    assert switch.direct_latency(address) is None
