"""What a node holds for connections goes when they are over."""

from __future__ import annotations

from tests.support.nodes import NodeWorld, Place
from tests.support.tables import held
from ztstack.base.network_id import NetworkId
from ztstack.base.timers import SECOND
from ztstack.ip.tcp.control_block import TIME_WAIT_US
from ztstack.ip.tcp.listener import Listener
from ztstack.vl1.switch import HOUSEKEEPING_US

FORGOTTEN_US = max(TIME_WAIT_US, 2 * HOUSEKEEPING_US) + 2 * SECOND
AT_ONCE = 50


def exchange(world: NodeWorld, network: NetworkId, a: Place, b: Place, listener: Listener) -> None:
    """Open connections, have a byte sent each way, and close both ends."""
    interface, ip = a.interface(network), b.ip(network)
    clients = [interface.connect(world.now, ip, listener.port) for _ in range(AT_ONCE)]
    for client in clients:
        client.write(world.now, b"x")
    world.run(SECOND)
    servers = [server for _ in clients if (server := listener.accept()) is not None]
    for server in servers:
        server.write(world.now, bytes(server.read(world.now, 1)[0]))
    world.run(SECOND)
    assert [bytes(client.read(world.now, 1)[0]) for client in clients] == [b"x"] * AT_ONCE
    for client in clients:
        client.close(world.now)
    world.run(SECOND)
    for server in servers:
        assert server.at_eof
        server.close(world.now)
    world.run(SECOND)
    a.node.take_events()
    b.node.take_events()


def test_connections_leave_nothing_behind() -> None:
    world = NodeWorld()
    network = world.create()
    a, b = world.joined(network), world.joined(network)
    listener = b.interface(network).listen(world.now, None, 80, backlog=AT_ONCE)
    found: list[list[int]] = []
    for rounds in (1, 8):
        for _ in range(rounds):
            exchange(world, network, a, b, listener)
        assert held(a.node) > AT_ONCE  # TIME-WAIT is for the side that closes first.
        world.run(FORGOTTEN_US)
        found.append([held(a.node), held(b.node)])
    before, after = found
    assert max(now - then for now, then in zip(after, before, strict=True)) < AT_ONCE // 2
