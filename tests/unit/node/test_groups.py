"""UDP multicast between whole nodes, in virtual time."""

from __future__ import annotations

import ipaddress

import pytest

from tests.support.nodes import SETTLE_US, NodeWorld, Place
from ztstack.base.errors import Drop, InvalidConfig
from ztstack.base.mac import Mac, MulticastGroup
from ztstack.base.network_id import NetworkId
from ztstack.base.timers import SECOND
from ztstack.ip.udp_socket import MAX_GROUPS, UdpSocket

PORT = 5353
GATHER_US = 61 * SECOND
GROUPS = ["239.1.2.3", "ff05::1:3"]


def packed(text: str) -> bytes:
    return ipaddress.ip_address(text).packed


def bound(world: NodeWorld, place: Place, network: NetworkId) -> UdpSocket:
    return place.interface(network).bind_udp(world.now, None, PORT)


def heard(sock: UdpSocket) -> list[tuple[bytes, bytes, bytes]]:
    found = []
    while (received := sock.receive()) is not None:
        data, remote, local = received
        found.append((data, remote.ip, local))
    return found


@pytest.mark.parametrize("group", GROUPS)
def test_who_joined_hears(group: str) -> None:
    world = NodeWorld()
    network = world.controller.create_network(
        world.now, private=False, pools=["10.147.20.0/24", "fd12::/64"]
    ).id
    places = [world.joined(network) for _ in range(3)]
    sender, joined, deaf = (bound(world, place, network) for place in places)
    ip = packed(group)
    joined.join_group(ip)
    world.run(SETTLE_US)

    sender.send(world.now, b"all", ip, PORT)
    world.run(SETTLE_US)
    own = places[0].ip(network, len(ip))
    assert heard(joined) == [(b"all", own, ip)]
    assert heard(deaf) == heard(sender) == []

    deaf.join_group(ip)
    sender.join_group(ip)
    joined.leave_group(ip)
    # A sender asks once a minute who else is in a group.
    world.run(GATHER_US)
    sender.send(world.now, b"again", ip, PORT)
    world.run(SETTLE_US)
    # Ourselves too, as everywhere where multicast is looped back.
    assert heard(deaf) == heard(sender) == [(b"again", own, ip)]
    assert heard(joined) == []


def test_a_group_is_announced_while_a_socket_is_in_it() -> None:
    world = NodeWorld()
    network = world.create()
    place = world.joined(network)
    ethernet = MulticastGroup(Mac.parse("01:00:5e:01:02:03"))
    first = bound(world, place, network)
    second = place.interface(network).bind_udp(world.now, None, 0)
    for sock in (first, second):
        sock.join_group(packed("239.1.2.3"))
        sock.join_group(packed("239.129.2.3"))  # the same MAC
    world.run(SETTLE_US)
    assert ethernet in place.node.member(network).network.groups
    first.close()
    second.leave_group(packed("239.1.2.3"))
    world.run(SETTLE_US)
    assert ethernet in place.node.member(network).network.groups
    second.leave_group(packed("239.129.2.3"))
    world.run(SETTLE_US)
    assert ethernet not in place.node.member(network).network.groups


def test_another_group_with_the_same_mac_is_not_for_us() -> None:
    world = NodeWorld()
    network = world.create()
    sender_place, place = (world.joined(network) for _ in range(2))
    sender, joined = bound(world, sender_place, network), bound(world, place, network)
    joined.join_group(packed("239.1.2.3"))
    world.run(SETTLE_US)
    before = place.tracer.drops.count(Drop.NOT_LOCAL)
    sender.send(world.now, b"x", packed("239.129.2.3"), PORT)
    world.run(SETTLE_US)
    assert heard(joined) == []
    assert place.tracer.drops.count(Drop.NOT_LOCAL) == before + 1


def test_a_large_datagram_to_a_group_goes_in_fragments() -> None:
    world = NodeWorld()
    network = world.create(mtu=1280)
    sender_place, place = (world.joined(network) for _ in range(2))
    sender, joined = bound(world, sender_place, network), bound(world, place, network)
    group = packed("239.1.2.3")
    for sock in (sender, joined):
        sock.join_group(group)
    world.run(SETTLE_US)
    data = bytes(range(256)) * 40
    sender.send(world.now, data, group, PORT)
    world.run(SETTLE_US)
    assert [item[0] for item in heard(joined)] == [item[0] for item in heard(sender)] == [data]


def test_what_cannot_be_joined() -> None:
    world = NodeWorld()
    network = world.create()
    sock = bound(world, world.joined(network), network)
    with pytest.raises(InvalidConfig):
        sock.join_group(packed("10.0.0.1"))
    with pytest.raises(InvalidConfig):
        sock.leave_group(packed("239.0.0.1"))
    for number in range(MAX_GROUPS):
        sock.join_group(packed("239.2.0.0")[:2] + number.to_bytes(2, "big"))
    sock.join_group(packed("239.2.0.0"))  # it is in that one already
    with pytest.raises(InvalidConfig):
        sock.join_group(packed("239.3.0.0"))
