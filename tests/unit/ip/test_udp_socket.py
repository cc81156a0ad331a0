"""UDP sockets and their table."""

from __future__ import annotations

import pytest

from tests.support.events import taken
from ztstack.base.endpoint import Endpoint
from ztstack.base.errors import Closed, ConnectRefused, Drop, PortInUse
from ztstack.base.trace import ListTracer
from ztstack.ip.events import Readable
from ztstack.ip.udp_socket import MAX_QUEUED, MAX_QUEUED_BYTES, UdpSocket, UdpTable

A, B = bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2))
REMOTE = Endpoint(bytes((10, 0, 0, 9)), 999)


class Sender:
    """Notes what a socket sends."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, int, bytes, bytes, int]] = []

    def send_udp(self, now: int, socket: UdpSocket, data: bytes, ip: bytes, port: int) -> None:
        self.sent.append((now, socket.port, data, ip, port))


class Zero:
    """Entropy of zeros."""

    def take(self, length: int) -> bytes:
        return bytes(length)


def table() -> tuple[UdpTable, ListTracer]:
    tracer = ListTracer()
    return UdpTable(Zero(), tracer, []), tracer


def test_receives_in_order_and_tells_once() -> None:
    sockets, _ = table()
    sock = sockets.bind(Sender(), None, 7)
    assert sock.receive() is None
    assert sockets.receive(b"one", REMOTE, Endpoint(A, 7))
    assert sockets.receive(b"two", REMOTE, Endpoint(B, 7))
    assert taken(sockets.events) == [Readable(sock)]
    assert sock.receive() == (b"one", REMOTE, A)
    assert sock.receive() == (b"two", REMOTE, B)
    assert sock.receive() is None
    assert taken(sockets.events) == []


def test_the_socket_of_the_address() -> None:
    sockets, tracer = table()
    first = sockets.bind(Sender(), A, 7)
    second = sockets.bind(Sender(), B, 7)
    assert sockets.find(A, 7) is first
    assert sockets.find(B, 7) is second
    assert not sockets.receive(b"", REMOTE, Endpoint(REMOTE.ip, 7))
    assert tracer.drops == [Drop.NO_SOCKET]


@pytest.mark.parametrize(("held", "wanted"), [(A, A), (A, None), (None, A), (None, None)])
def test_port_in_use(held: bytes | None, wanted: bytes | None) -> None:
    sockets, _ = table()
    sock = sockets.bind(Sender(), held, 7)
    with pytest.raises(PortInUse):
        sockets.bind(Sender(), wanted, 7)
    sock.close()
    assert sockets.bind(Sender(), wanted, 7).port == 7


def test_port_zero_picks_one() -> None:
    sockets, _ = table()
    assert [sockets.bind(Sender(), None, 0).port for _ in range(3)] == [49152, 49153, 49154]


def test_the_queue_is_bounded() -> None:
    sockets, tracer = table()
    sock = sockets.bind(Sender(), None, 7)
    for _ in range(MAX_QUEUED + 1):
        assert sockets.receive(b"x", REMOTE, Endpoint(A, 7))
    assert tracer.drops == [Drop.QUEUE_FULL]
    while sock.receive() is not None:
        pass
    for _ in range(MAX_QUEUED_BYTES // 65000 + 1):
        sockets.receive(bytes(65000), REMOTE, Endpoint(A, 7))
    assert tracer.drops == [Drop.QUEUE_FULL] * 2


def test_an_error_is_told_once() -> None:
    sockets, _ = table()
    sock = sockets.bind(Sender(), None, 7)
    error = ConnectRefused("nobody")
    sockets.receive_error(Endpoint(A, 8), error)
    assert taken(sockets.events) == []
    sockets.receive_error(Endpoint(A, 7), error)
    assert taken(sockets.events) == [Readable(sock)]
    assert sock.take_error() is error
    assert sock.take_error() is None


def test_closed() -> None:
    sockets, _ = table()
    sender = Sender()
    sock = sockets.bind(sender, None, 7)
    sock.send(3, b"data", A, 9)
    assert sender.sent == [(3, 7, b"data", A, 9)]
    sockets.receive(b"x", REMOTE, Endpoint(A, 7))
    sock.close()
    sock.close()
    assert sock.receive() is None
    assert sockets.find(A, 7) is None
    with pytest.raises(Closed):
        sock.send(3, b"data", A, 9)
