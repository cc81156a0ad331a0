"""TCP through whole interfaces: handshake, data, end, errors, and ourselves."""

from __future__ import annotations

import pytest

from tests.support.ethernet import Host, Wire, ip
from ztstack.base.errors import ConnectRefused, Drop, PortInUse, Unreachable
from ztstack.base.frame import Frame
from ztstack.ip.addresses import ANY4
from ztstack.ip.neighbors import ASK_US
from ztstack.ip.ports import EPHEMERAL_FIRST
from ztstack.ip.tcp.connection import Connection
from ztstack.ip.tcp.control_block import TIME_WAIT_US
from ztstack.ip.tcp.listener import Listener
from ztstack.ip.tcp.state import State

A4, B4 = ip("10.0.0.1"), ip("10.0.0.2")
A6, B6 = ip("fd00::1"), ip("fd00::2:3456")
DATA = bytes(range(251)) * 4001  # about a megabyte, and no multiple of any segment size


def pair(mtu: int = 2800, *, bursts: bool = True) -> tuple[Host, Host, Wire]:
    a = Host(1, ["10.0.0.1/24", "fd00::1/64"], mtu)
    b = Host(2, ["10.0.0.2/24", "fd00::2:3456/64"], mtu)
    return a, b, Wire(a, b, bursts=bursts)


def established(
    one: Host, wire: Wire, listener: Listener, to: bytes
) -> tuple[Connection, Connection]:
    client = one.interface.connect(wire.now, to, listener.port)
    wire.settle()
    server = listener.accept()
    assert server is not None
    assert client.is_established
    return client, server


def transfer(wire: Wire, source: Connection, target: Connection, data: bytes) -> bytes:
    view = memoryview(data)
    received = bytearray()
    for _ in range(2000):
        if view:
            view = view[source.write(wire.now, view) :]
            if not view:
                source.shutdown(wire.now)
        wire.settle()
        for piece in target.read(wire.now, 1 << 20):
            received += piece
        if target.at_eof:
            return bytes(received)
        if source.write_room == 0 or not view:
            wire.wait(1000)
    raise AssertionError("the transfer does not end")


@pytest.mark.parametrize(("a", "b"), [(A4, B4), (A6, B6)])
@pytest.mark.parametrize(("mtu", "bursts"), [(2800, True), (2800, False), (1280, True)])
def test_both_directions_and_the_end(a: bytes, b: bytes, mtu: int, bursts: bool) -> None:
    one, two, wire = pair(mtu, bursts=bursts)
    listener = two.interface.listen(wire.now, None, 80)
    client, server = established(one, wire, listener, b)
    assert (client.local.ip, client.remote) == (a, server.local)
    assert server.remote == client.local
    assert transfer(wire, client, server, DATA) == DATA
    assert transfer(wire, server, client, DATA[::-1]) == DATA[::-1]
    assert client.fin_acknowledged
    assert server.fin_acknowledged
    assert client.error is server.error is None
    assert one.tracer.drops == two.tracer.drops == []
    assert max(len(frame.payload) for frame in one.sent + two.sent) <= mtu


@pytest.mark.parametrize("to", [A4, A6])
def test_to_ourselves(to: bytes) -> None:
    one, _, wire = pair()
    listener = one.interface.listen(wire.now, to, 0)
    client, server = established(one, wire, listener, to)
    assert transfer(wire, client, server, DATA) == DATA
    assert one.sent == []


def test_refused() -> None:
    one, _, wire = pair()
    client = one.interface.connect(wire.now, B4, 81)
    wire.settle()
    assert isinstance(client.error, ConnectRefused)


@pytest.mark.parametrize("to", [ip("10.0.0.77"), ip("fd00::77")])
def test_nobody_has_the_address(to: bytes) -> None:
    one, _, wire = pair()
    client = one.interface.connect(wire.now, to, 80)
    wire.wait(sum(ASK_US) - 100_000)
    assert client.error is None
    wire.wait(200_000)
    assert isinstance(client.error, Unreachable)


def test_ports() -> None:
    one, _, wire = pair()
    listener = one.interface.listen(wire.now, None, 0)
    assert listener.port >= 49152
    with pytest.raises(PortInUse):
        one.interface.listen(wire.now, A4, listener.port)
    client = one.interface.connect(wire.now, B4, 80, A4, 4000)
    assert client.local == (A4, 4000)


@pytest.mark.parametrize(
    ("bound", "there", "elsewhere"),
    [(ANY4, B4, B6), (B6, B6, B4), (B4, B4, B6)],
)
def test_only_what_a_listener_is_bound_to(bound: bytes, there: bytes, elsewhere: bytes) -> None:
    one, two, wire = pair()
    listener = two.interface.listen(wire.now, bound, 80)
    established(one, wire, listener, there)
    refused = one.interface.connect(wire.now, elsewhere, 80)
    wire.settle()
    assert isinstance(refused.error, ConnectRefused)
    # The other family is free for somebody else.
    other = two.interface.listen(wire.now, elsewhere, 80)
    established(one, wire, other, elsewhere)
    for taken in (None, bound):
        with pytest.raises(PortInUse):
            two.interface.listen(wire.now, taken, 80)


def test_a_listener_on_everything_takes_both_families_and_many() -> None:
    one, two, wire = pair()
    listener = two.interface.listen(wire.now, None, 80)
    clients = [one.interface.connect(wire.now, to, 80) for to in (B4, B6) for _ in range(20)]
    wire.settle()
    accepted = {server.remote for server in iter(listener.accept, None)}
    assert accepted == {client.local for client in clients}
    assert all(client.is_established for client in clients)


def test_a_chosen_port_is_no_listeners_and_no_connections() -> None:
    one, two, wire = pair()
    listener = two.interface.listen(wire.now, None, 80)
    # The next port for these ends is known: the one behind that of a connection before.
    first, _ = established(one, wire, listener, B4)
    port = first.local.port
    following = [EPHEMERAL_FIRST + (port + step) % 16_384 for step in (1, 2, 3)]
    one.interface.listen(wire.now, None, following[0])
    one.interface.connect(wire.now, B4, 80, local_port=following[1])
    second, _ = established(one, wire, listener, B4)
    assert second.local.port == following[2]


def test_a_port_whose_connection_is_in_time_wait_is_not_chosen() -> None:
    one, two, wire = pair()
    listener = two.interface.listen(wire.now, None, 80)
    client, server = established(one, wire, listener, B4)
    client.close(wire.now)
    wire.settle()
    server.close(wire.now)
    wire.settle()
    assert client.state is State.TIME_WAIT
    first = client.local.port
    with pytest.raises(PortInUse):
        one.interface.connect(wire.now, B4, 80, local_port=first)
    # To another port of the peer it is free.
    other = one.interface.connect(wire.now, B4, 81, local_port=first)
    assert other.local.port == first
    wire.wait(TIME_WAIT_US + 1_000_000)
    again = one.interface.connect(wire.now, B4, 80, local_port=first)
    assert again.local.port == first


@pytest.mark.parametrize("to", [B4, B6])
def test_an_mtu_that_becomes_less_shortens_segments(to: bytes) -> None:
    one, two, wire = pair(2800)
    listener = two.interface.listen(wire.now, None, 80)
    client, server = established(one, wire, listener, to)
    client.write(wire.now, DATA[:500_000])
    wire.step()
    for host in (one, two):
        host.interface.set_mtu(wire.now, 1400)
        host.sent.clear()
    client.write(wire.now, DATA[500_000:])
    client.shutdown(wire.now)
    received = bytearray()
    while not server.at_eof:
        wire.wait(10_000)
        for piece in server.read(wire.now, 1 << 20):
            received += piece
    assert received == DATA
    assert max(len(frame.payload) for frame in one.sent) == 1400
    assert transfer(wire, server, client, DATA) == DATA
    assert max(len(frame.payload) for frame in two.sent) == 1400


@pytest.mark.parametrize("every", [7, 50])
def test_frames_are_lost(every: int) -> None:
    one, two, wire = pair()
    listener = two.interface.listen(wire.now, None, 80)
    client, server = established(one, wire, listener, B4)
    count = 0

    def loses(frame: Frame) -> bool:
        nonlocal count
        count += 1
        return count % every == 0

    wire.loses = loses
    assert transfer(wire, client, server, DATA) == DATA
    # What was repeated without need is all that is dropped.
    assert {*one.tracer.drops, *two.tracer.drops} <= {Drop.NOT_ACCEPTABLE}


@pytest.mark.parametrize("to", [B4, B6])
def test_packets_of_a_length_that_travels_best(to: bytes) -> None:
    one, two, wire = pair(9000)
    one.interface.set_mtu(wire.now, 9000, 8980)
    listener = two.interface.listen(wire.now, None, 80)
    client, server = established(one, wire, listener, to)
    for source, target in ((client, server), (server, client)):
        assert transfer(wire, source, target, DATA) == DATA
    assert max(len(frame.payload) for frame in one.sent) == 8980
    assert max(len(frame.payload) for frame in two.sent) == 8980
    assert one.interface.mtu == 9000


def test_an_mtu_of_tcp_is_at_most_that_of_the_network() -> None:
    one, two, wire = pair(2800)
    one.interface.set_mtu(wire.now, 1400, 2800)
    listener = two.interface.listen(wire.now, None, 80)
    client, server = established(one, wire, listener, B4)
    assert transfer(wire, client, server, DATA) == DATA
    assert max(len(frame.payload) for frame in one.sent) == 1400
