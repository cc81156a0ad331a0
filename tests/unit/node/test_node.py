from __future__ import annotations

import random

import pytest

from tests.support.nodes import SETTLE_US, NodeWorld, Place, opened
from ztstack.base.endpoint import Endpoint
from ztstack.base.errors import ConnectRefused, NotJoined, Unreachable
from ztstack.base.network_id import NetworkId
from ztstack.base.timers import SECOND
from ztstack.ip.events import Pong
from ztstack.ip.tcp.connection import Connection
from ztstack.node.events import NetworkChanged, NetworkConfigured, OnlineChanged, Socket
from ztstack.vl2.events import NetworkStatus


def transferred(world: NodeWorld, one: Connection, two: Connection, data: bytes) -> bytes:
    sent = 0
    received = bytearray()
    for _ in range(20_000):
        sent += one.write(world.now, data[sent : sent + 500_000]) if sent < len(data) else 0
        if sent == len(data):
            one.shutdown(world.now)
        world.run(2_000)
        for view in two.read(world.now, 1 << 20):
            received += view
        if two.at_eof:
            return bytes(received)
    raise AssertionError(f"{len(received)} of {len(data)} bytes")


def test_joins_within_a_second() -> None:
    world = NodeWorld()
    network = world.create()
    member = world.add()
    member.node.join(world.now, network)
    world.run(1 * SECOND)
    assert member.status(network) is NetworkStatus.OK
    kinds = [type(event) for event in member.events]
    assert kinds.count(OnlineChanged) == 1
    assert NetworkConfigured in kinds
    assert NetworkChanged in kinds
    assert member.ip(network)[:3] == bytes((10, 147, 20))
    assert member.tracer.drops == []


@pytest.mark.parametrize("size", [4, 16])
@pytest.mark.parametrize("mtu", [1280, 2800, 8980])
def test_tcp(size: int, mtu: int) -> None:
    world = NodeWorld()
    network = world.create(mtu=mtu)
    a, b = world.joined(network), world.joined(network)
    one, two = opened(world, network, a, b, size)
    data = random.Random(1).randbytes(1_000_003)
    assert transferred(world, one, two, data) == data


def test_tcp_over_a_relay() -> None:
    world = NodeWorld()
    network = world.create()
    a, b = world.joined(network), world.joined(network)
    pair = {a.endpoint, b.endpoint}
    world.passes = lambda source, destination: {source, destination} != pair
    one, two = opened(world, network, a, b)
    data = random.Random(2).randbytes(300_001)
    assert transferred(world, one, two, data) == data
    assert not a.node.switch.has_direct_path(world.now, b.node.identity.address)


def test_tcp_with_loss() -> None:
    world = NodeWorld(seed=5)
    network = world.create()
    a, b = world.joined(network), world.joined(network)
    one, two = opened(world, network, a, b)
    world.loss = 0.02
    data = random.Random(3).randbytes(500_001)
    assert transferred(world, one, two, data) == data


def test_udp_and_ping() -> None:
    world = NodeWorld()
    network = world.create()
    a, b = world.joined(network), world.joined(network)
    server = b.interface(network).bind_udp(world.now, None, 53)
    client = a.interface(network).bind_udp(world.now, None, 0)
    big = random.Random(4).randbytes(20_000)
    client.send(world.now, b"small", b.ip(network), 53)
    client.send(world.now, big, b.ip(network, 16), 53)
    a.interface(network).ping(world.now, b.ip(network), 7, 1, b"x")
    world.run(SETTLE_US)
    received = [server.receive(), server.receive()]
    data = [item[0] for item in received if item is not None]
    # IPv6 is there first: its neighbour is computed and not asked for.
    assert sorted(data, key=len) == [b"small", big]
    pongs = [e.event for e in a.events if isinstance(e, Socket) and isinstance(e.event, Pong)]
    assert pongs == [Pong(b.ip(network), 7, 1, b"x")]


def test_refused_and_unreachable() -> None:
    world = NodeWorld()
    network = world.create()
    a, b = world.joined(network), world.joined(network)
    refused = a.interface(network).connect(world.now, b.ip(network), 81)
    nobody = a.interface(network).connect(world.now, bytes((10, 147, 20, 250)), 80)
    world.run(8 * SECOND)
    assert isinstance(refused.error, ConnectRefused)
    assert isinstance(nobody.error, Unreachable)


def test_a_private_network() -> None:
    world = NodeWorld()
    network = world.create(private=True)
    a = world.add()
    a.node.join(world.now, network)
    world.run(SETTLE_US)
    assert a.status(network) is NetworkStatus.ACCESS_DENIED
    world.controller.authorize(world.now, network, a.node.identity.address)
    world.run(SETTLE_US)
    assert a.status(network) is NetworkStatus.OK
    b = world.add()
    world.controller.authorize(world.now, network, b.node.identity.address)
    b.node.join(world.now, network)
    world.run(SETTLE_US)
    one, two = opened(world, network, a, b)
    assert transferred(world, one, two, b"members only") == b"members only"
    # One who is put out is not talked to any more.
    world.controller.deauthorize(world.now, network, b.node.identity.address)
    world.run(SETTLE_US)
    again = a.interface(network).connect(world.now, b.ip(network), 80)
    world.run(8 * SECOND)
    assert not again.is_established


def test_an_unknown_network() -> None:
    world = NodeWorld()
    place = world.add()
    network = NetworkId(world.create() ^ 1)
    place.node.join(world.now, network)
    world.run(SETTLE_US)
    assert place.status(network) is NetworkStatus.NOT_FOUND
    place.node.leave(world.now, network)
    with pytest.raises(NotJoined):
        place.node.member(network)


def test_a_restarted_node_uses_what_it_knew() -> None:
    world = NodeWorld()
    network = world.create()
    a, b = world.joined(network), world.joined(network)
    opened(world, network, a, b)
    raw = [e.raw for e in a.events if isinstance(e, NetworkConfigured)][-1]
    records = list(a.node.switch.peer_records().values())
    again = Place(world.now, a.node.identity, a.endpoint, world.planet)
    world.replace(again)
    again.node.switch.load_peers(world.now, records)
    again.node.join(world.now, network, raw)
    assert again.status(network) is NetworkStatus.OK
    one = again.interface(network).connect(world.now, b.ip(network), 81)
    world.run(200_000)
    assert isinstance(one.error, ConnectRefused)


def test_a_controller_is_a_member_of_its_own_network() -> None:
    world = NodeWorld()
    network = world.create()
    place = world.controller_place
    place.node.join(world.now, network)
    world.run(SETTLE_US)
    assert place.status(network) is NetworkStatus.OK
    member = world.joined(network)
    one, two = opened(world, network, member, place)
    assert transferred(world, one, two, b"hello controller") == b"hello controller"


def test_noise_does_no_harm() -> None:
    world = NodeWorld()
    network = world.create()
    a = world.joined(network)
    noise = random.Random(6)
    stranger = Endpoint(bytes((10, 9, 9, 9)), 1)
    me = a.node.identity.address.packed
    for _ in range(300):
        data = noise.randbytes(noise.randrange(1, 200))
        for packet in (data, data[:8] + me + data[8:]):
            a.node.receive_train(world.now, 0, stranger, memoryview(packet), len(packet))
    world.run(SETTLE_US)
    assert a.tracer.drops
    assert a.status(network) is NetworkStatus.OK
