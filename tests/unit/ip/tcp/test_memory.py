"""A host gives memory back when its connections are over."""

from __future__ import annotations

import gc
import tracemalloc

from tests.support.tcp_pair import Pair
from ztstack.base.timers import MILLISECOND, SECOND
from ztstack.ip.tcp.control_block import TIME_WAIT_US
from ztstack.ip.tcp.listener import Listener

COUNT = 1000


def come_and_go(pair: Pair, listener: Listener, count: int) -> None:
    """Have connections opened and closed, until the last has left TIME-WAIT."""
    clients = [pair.connect(local_port=50_000 + number) for number in range(count)]
    pair.run(200 * MILLISECOND)
    servers = [server for _ in clients if (server := listener.accept()) is not None]
    assert len(servers) == count
    for client in clients:
        client.close(pair.now)
    pair.run(200 * MILLISECOND)
    for server in servers:
        server.close(pair.now)
    pair.run(200 * MILLISECOND)
    assert (len(pair.a.host.connections()), pair.b.host.connections()) == (count, [])
    pair.run(TIME_WAIT_US + SECOND)
    assert not pair.a.host.connections()
    pair.log.clear()
    for side in (pair.a, pair.b):
        side.events.clear()


def test_connections_that_are_over_take_no_room() -> None:
    pair = Pair()
    listener = pair.listen(backlog=COUNT)
    come_and_go(pair, listener, 1)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        come_and_go(pair, listener, COUNT)
        gc.collect()
        left = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert left < 40 * COUNT
