"""Certificates are renewed long before they expire, and a member cut off from that drops out."""

from __future__ import annotations

from dataclasses import replace

from tests.support.nodes import SETTLE_US, NodeWorld, Place
from ztstack.base.network_id import NetworkId
from ztstack.base.timers import SECOND
from ztstack.ip.udp_socket import UdpSocket
from ztstack.vl2.events import NetworkStatus

MINUTE = 60 * SECOND
PORT = 7


def private(world: NodeWorld, window_ms: int = 1_800_000) -> tuple[NetworkId, Place, Place]:
    """Return a private network of two."""
    network = world.create(private=True)
    record = world.controller.network(network)
    assert record is not None
    world.controller.put_network(world.now, replace(record, credential_window_ms=window_ms))
    members = [world.add(), world.add()]
    for place in members:
        world.controller.authorize(world.now, network, place.node.identity.address)
        place.node.join(world.now, network)
    world.run(SETTLE_US)
    assert [place.status(network) for place in members] == [NetworkStatus.OK] * 2
    return network, members[0], members[1]


class Talk:
    """Datagrams between two members, and how many came."""

    def __init__(self, world: NodeWorld, network: NetworkId, one: Place, two: Place) -> None:
        self._world = world
        self._network = network
        self._ends = (one, two)
        self._sockets: list[UdpSocket] = [
            place.interface(network).bind_udp(world.now, None, PORT) for place in self._ends
        ]

    def heard(self) -> list[int]:
        """Send one datagram each way; return how many came to the first, and to the second."""
        world, network = self._world, self._network
        for place, other, socket in zip(
            self._ends, reversed(self._ends), self._sockets, strict=True
        ):
            interface = place.interface(network)
            interface.send_udp(world.now, socket, b"hello", other.ip(network), PORT)
        world.run(SETTLE_US)
        counts = []
        for socket in self._sockets:
            count = 0
            while socket.receive() is not None:
                count += 1
            counts.append(count)
        return counts


def test_for_an_hour_nobody_drops_out_even_with_the_shortest_window() -> None:
    world = NodeWorld()
    network, a, b = private(world, window_ms=300_000)
    talk = Talk(world, network, a, b)
    for _ in range(30):
        assert talk.heard() == [1, 1]
        config = a.node.member(network).network.config
        assert config is not None
        assert config.com is not None
        assert world.now // 1000 - config.com.timestamp < 70_000
        world.run(2 * MINUTE)


def test_idle_members_renew_too() -> None:
    world = NodeWorld()
    network, a, b = private(world)
    talk = Talk(world, network, a, b)
    assert talk.heard() == [1, 1]
    world.run(45 * MINUTE)
    assert talk.heard() == [1, 1]


def test_without_the_controller_a_member_is_out_when_the_window_closes() -> None:
    world = NodeWorld()
    network, a, b = private(world)
    talk = Talk(world, network, a, b)
    assert talk.heard() == [1, 1]
    own, hub, root = a.endpoint, world.controller_place.endpoint, world.root.endpoint
    # Neither directly nor by the root.
    world.passes = lambda source, to: own not in (source, to) or not {hub, root} & {source, to}
    world.run(28 * MINUTE)
    assert talk.heard() == [1, 1]
    world.run(4 * MINUTE)
    assert talk.heard() == [0, 0]
    # It is not told so, and keeps on asking; then everything is as before.
    assert a.status(network) is NetworkStatus.OK
    world.run(MINUTE)
    world.passes = lambda source, destination: True
    world.run(MINUTE)
    assert talk.heard() == [1, 1]
