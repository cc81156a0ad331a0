"""Every MTU that a network may have, and one that changes while connections are open (vl2 6.11)."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from tests.support.nodes import SETTLE_US, NodeWorld, Place, opened
from ztstack.base.errors import Drop, InvalidConfig
from ztstack.base.network_id import NetworkId
from ztstack.ip.tcp.connection import Connection
from ztstack.vl2.network_config import MTU_MAX, MTU_MIN, NetworkConfig

DATA = random.Random(4).randbytes(150_000)


def carried(world: NodeWorld, one: Connection, two: Connection, data: bytes) -> bytes:
    """Send data by an open connection, and return what came of it."""
    sent, received = 0, bytearray()
    for _ in range(5_000):
        sent += one.write(world.now, data[sent:]) if sent < len(data) else 0
        world.run(2_000)
        for view in two.read(world.now, 1 << 20):
            received += view
        if len(received) >= len(data):
            return bytes(received)
    raise AssertionError(f"{len(received)} of {len(data)} bytes")


def change_mtu(world: NodeWorld, network: NetworkId, mtu: int) -> None:
    record = world.controller.network(network)
    assert record is not None
    world.controller.put_network(world.now, replace(record, mtu=mtu))


def datagram(world: NodeWorld, network: NetworkId, a: Place, b: Place, size: int) -> bool:
    """Tell whether a UDP datagram of so many bytes arrives."""
    sender = a.interface(network).bind_udp(world.now, None, 0)
    receiver = b.interface(network).bind_udp(world.now, None, 0)
    data = DATA[:size]
    sender.send(world.now, data, b.ip(network), receiver.port)
    world.run(SETTLE_US)
    received = receiver.receive()
    sender.close()
    receiver.close()
    return received is not None and received[0] == data


MTUS = (1280, 1281, 1432, 1500, 2800, 4096, 9000, 9868, 9869, 9890, 9891, 9987, 10_000)


@pytest.mark.parametrize("mtu", MTUS)
def test_streams_and_datagrams(mtu: int) -> None:
    world = NodeWorld()
    network = world.create(mtu=mtu)
    a, b = world.joined(network), world.joined(network)
    assert a.interface(network).mtu == mtu
    one, two = opened(world, network, a, b)
    assert carried(world, one, two, DATA) == DATA
    # In one piece, just not in one, and in many.
    for size in (mtu - 28, mtu - 27, 30_000):
        assert datagram(world, network, a, b, size)
    assert Drop.TOO_LONG not in b.tracer.drops


def test_to_a_group_too() -> None:
    """Such frames have longer headers, and would not fit where others just do."""
    world = NodeWorld()
    network = world.create(mtu=10_000)
    a, b = world.joined(network), world.joined(network)
    sender = a.interface(network).bind_udp(world.now, None, 0)
    receiver = b.interface(network).bind_udp(world.now, None, 0)
    group = bytes((239, 1, 2, 3))
    receiver.join_group(group)
    world.run(SETTLE_US)
    for size in (9_839, 9_840, 9_841, 20_000):
        sender.send(world.now, DATA[:size], group, receiver.port)
        world.run(SETTLE_US)
        received = receiver.receive()
        assert received is not None
        assert received[0] == DATA[:size]


@pytest.mark.parametrize("mtus", [(1280, 10_000, 2800), (10_000, 1280, 9000), (2800, 1400, 1280)])
def test_open_connections_follow_a_change(mtus: tuple[int, ...]) -> None:
    world = NodeWorld()
    network = world.create(mtu=mtus[0])
    a, b = world.joined(network), world.joined(network)
    one, two = opened(world, network, a, b)
    for mtu in mtus:
        change_mtu(world, network, mtu)
        # It comes in the midst of a transfer, to one member sooner than to the other.
        assert carried(world, one, two, DATA) == DATA
        assert carried(world, two, one, DATA) == DATA
        assert [place.interface(network).mtu for place in (a, b)] == [mtu, mtu]
    assert one.error is None
    assert two.error is None


@pytest.mark.parametrize(
    ("pushed", "used"), [(0, MTU_MIN), (1279, MTU_MIN), (10_001, MTU_MAX), (1 << 63, MTU_MAX)]
)
def test_a_configuration_with_an_mtu_out_of_range_is_used_with_the_nearest(
    pushed: int, used: int
) -> None:
    config = NetworkConfig(NetworkId(0x1234567890 << 24 | 1), NodeWorld().identities[0].address)
    text = config.to_dictionary().replace(b"mtu=%016x" % config.mtu, b"mtu=%016x" % pushed)
    assert NetworkConfig.from_dictionary(text).mtu == used


@pytest.mark.parametrize("mtu", [0, -1, 1279, 10_001])
def test_a_controller_of_ours_takes_no_such_network(mtu: int) -> None:
    world = NodeWorld()
    with pytest.raises(InvalidConfig, match="1280"):
        world.create(mtu=mtu)
