"""Managed routes by gateways: the longest prefix decides to which member a packet goes (9.2)."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

from tests.support.nodes import SETTLE_US, NodeWorld, Place
from ztstack.base.errors import Drop
from ztstack.base.network_id import NetworkId
from ztstack.controller.pools import ManagedRoute


def packed(text: str) -> bytes:
    return ipaddress.ip_address(text).packed


def set_routes(world: NodeWorld, network: NetworkId, routes: dict[str, Place | None]) -> None:
    """Have the controller push these routes besides the one to the network's own subnet."""
    record = world.controller.network(network)
    assert record is not None
    made = [
        ManagedRoute(
            ipaddress.ip_network(target),
            ipaddress.ip_address(gate.ip(network)) if gate is not None else None,
        )
        for target, gate in routes.items()
    ]
    world.controller.put_network(world.now, replace(record, routes=(record.routes[0], *made)))
    world.run(SETTLE_US)


def receivers(
    world: NodeWorld, network: NetworkId, sender: Place, target: str, others: list[Place]
) -> list[int]:
    """Send a datagram; return which of the others were asked to send it on.

    Members are hosts and no routers: they drop what is for somebody else, and count it.
    """
    for place in others:
        place.tracer.drops.clear()
    interface = sender.interface(network)
    socket = interface.bind_udp(world.now, None, 0)
    interface.send_udp(world.now, socket, b"to whom?", packed(target), 9)
    world.run(SETTLE_US)
    socket.close()
    return [n for n, place in enumerate(others) if Drop.NOT_LOCAL in place.tracer.drops]


def test_the_longest_prefix_and_what_is_pushed_later() -> None:
    world = NodeWorld()
    network = world.create()
    a, b, c, d = (world.joined(network) for _ in range(4))
    set_routes(world, network, {"0.0.0.0/0": b, "192.168.0.0/16": c, "192.168.7.0/24": d})
    gates = [b, c, d]
    for target, expected in (
        ("192.168.7.1", [2]),
        ("192.168.7.255", [2]),
        ("192.168.8.1", [1]),
        ("192.169.0.1", [0]),
        ("8.8.8.8", [0]),
    ):
        assert receivers(world, network, a, target, gates) == [*expected], target
    # The gateway itself does not go by itself: its own route is skipped, and the next one counts.
    assert receivers(world, network, d, "192.168.7.1", [b, c]) == [1]

    set_routes(world, network, {"192.168.7.0/24": b})
    assert receivers(world, network, a, "192.168.7.1", gates) == [0]
    assert not a.interface(network).has_route(packed("192.168.8.1"))
    # Nothing leads to the gateway of a gateway.
    set_routes(world, network, {"192.168.7.0/24": None})
    assert a.interface(network).has_route(packed("192.168.7.1"))
    set_routes(world, network, {})
    assert not a.interface(network).has_route(packed("192.168.7.1"))


def test_an_answer_comes_back_by_the_gateway() -> None:
    """The gateway's MAC is used for what is behind it, and a connection by it is one."""
    world = NodeWorld()
    network = world.create()
    a, b = world.joined(network), world.joined(network)
    set_routes(world, network, {"192.168.7.0/24": b})
    # The gateway plays all machines behind it.
    ip = packed("192.168.7.9")
    b.interface(network).set_addresses(world.now, [(b.ip(network), 24), (ip, 32)])
    listener = b.interface(network).listen(world.now, ip, 80)
    one = a.interface(network).connect(world.now, ip, 80)
    world.run(SETTLE_US)
    two = listener.accept()
    assert two is not None
    assert one.is_established
    one.write(world.now, b"by the gateway")
    world.run(SETTLE_US)
    assert b"".join(two.read(world.now, 100)) == b"by the gateway"
    assert a.interface(network).neighbor(ip) == b.interface(network).mac
