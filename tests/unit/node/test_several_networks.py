"""One node in several networks at once, and networks that nobody controls (vl2 section 1.3)."""

from __future__ import annotations

from tests.support.nodes import SETTLE_US, NodeWorld, Place
from ztstack.base.network_id import NetworkId
from ztstack.base.timers import SECOND
from ztstack.vl2.events import NetworkStatus

SSH_ONLY = NetworkId.parse("ff00160016000000")
# Not 10.0.0.0/8, in which the physical addresses of this world are.
HUB = NetworkId.parse("ff1e000000000001")


def reaches(world: NodeWorld, network: NetworkId, a: Place, b: Place, port: int, size: int) -> bool:
    """Tell whether a connection from one member to another comes about."""
    listener = b.interface(network).listen(world.now, None, port)
    one = a.interface(network).connect(world.now, b.ip(network, size), port)
    world.run(SETTLE_US)
    two = listener.accept()
    is_open = two is not None and one.is_established
    one.abort(world.now)
    if two is not None:
        two.abort(world.now)
    listener.close(world.now)
    world.run(SETTLE_US)
    return is_open


def test_what_happens_in_one_network_is_nothing_to_another() -> None:
    world = NodeWorld()
    networks = [world.create(private=private) for private in (True, True, False)]
    a, b = world.add(), world.add()
    for network in networks:
        for place in (a, b):
            if network is not networks[2]:
                world.controller.authorize(world.now, network, place.node.identity.address)
            place.node.join(world.now, network)
    world.run(SETTLE_US)
    for network in networks:
        assert [place.status(network) for place in (a, b)] == [NetworkStatus.OK] * 2
        assert reaches(world, network, a, b, 80, 4)
        assert reaches(world, network, b, a, 80, 4)

    world.controller.deauthorize(world.now, networks[0], b.node.identity.address)
    a.node.leave(world.now, networks[1])
    world.run(SETTLE_US)
    assert not reaches(world, networks[0], a, b, 81, 4)
    assert networks[1] not in a.node.members
    assert reaches(world, networks[2], a, b, 81, 4)

    # Let in and joined again, everything is as before.
    world.controller.authorize(world.now, networks[0], b.node.identity.address)
    a.node.join(world.now, networks[1])
    world.run(65 * SECOND)
    for network in networks:
        assert reaches(world, network, a, b, 82, 4)


def test_a_network_of_one_port_without_a_controller() -> None:
    world = NodeWorld()
    a, b = world.add(), world.add()
    for place in (a, b):
        place.node.join(world.now, SSH_ONLY)
    world.run(SETTLE_US)
    assert [place.status(SSH_ONLY) for place in (a, b)] == [NetworkStatus.OK] * 2
    assert reaches(world, SSH_ONLY, a, b, 22, 16)
    assert reaches(world, SSH_ONLY, b, a, 22, 16)
    assert not reaches(world, SSH_ONLY, a, b, 23, 16)


def test_a_network_of_ipv4_without_a_controller() -> None:
    """Its members find each other by the roots, where they say what they listen to."""
    world = NodeWorld()
    a, b = world.add(), world.add()
    for place in (a, b):
        place.node.join(world.now, HUB)
    world.run(5 * SECOND)
    assert a.ip(HUB)[0] == 30
    for size in (4, 16):
        assert reaches(world, HUB, a, b, 80, size)
        assert reaches(world, HUB, b, a, 8080, size)
