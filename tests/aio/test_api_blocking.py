"""The blocking facade: sockets of threads over two nodes of a lab on loopback."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import ztstack
from tests.support.loopback import BlockingLab, tls_for


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlockingLab]:
    with BlockingLab(tmp_path_factory.mktemp("lab")) as made:
        yield made


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as made:
        yield made


def served(
    lab: BlockingLab, threads: ThreadPoolExecutor, body: Callable[[ztstack.Socket], None]
) -> tuple[tuple[str, int], Future[None]]:
    """Serve one connection in a thread; return where, and how that went."""
    server = lab.bob.create_server((None, 0))

    def serve() -> None:
        with server:
            connection, _ = server.accept()
            with connection:
                body(connection)

    return (lab.bob_ip, server.port), threads.submit(serve)


def test_files_and_half_close(lab: BlockingLab, threads: ThreadPoolExecutor) -> None:
    def upper(connection: ztstack.Socket) -> None:
        with connection.makefile("rwb") as both:
            for line in both:
                both.write(line.upper())
                both.flush()

    address, done = served(lab, threads, upper)
    with lab.alice.create_connection(address, timeout=10) as sock:
        assert sock.gettimeout() == 10
        assert sock.getpeername() == address
        assert sock.getsockname()[0] == lab.alice_ip
        assert sock.family == socket.AF_INET
        text = sock.makefile("r", encoding="ascii")
        sock.sendall(b"one\ntwo\n")
        assert text.readline() == "ONE\n"
        sock.shutdown(socket.SHUT_WR)
        with pytest.raises(BrokenPipeError):
            sock.send(b"late")
        assert text.read() == "TWO\n"
        text.close()
    done.result(10)
    with pytest.raises(OSError, match="closed") as caught:
        sock.recv(1)
    assert caught.value.errno == errno.EBADF


def test_large_both_ways(lab: BlockingLab, threads: ThreadPoolExecutor) -> None:
    def echo(connection: ztstack.Socket) -> None:
        buffer = bytearray(100_000)
        while size := connection.recv_into(buffer):
            connection.sendall(memoryview(buffer)[:size])

    address, done = served(lab, threads, echo)
    data = bytes(range(256)) * 12_000
    with lab.alice.create_connection(address) as sock:

        def send() -> None:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)

        sending = threads.submit(send)
        with sock.makefile("rb") as file:
            sock.close()  # The file keeps it open.
            assert file.read() == data
        sending.result(10)
    done.result(10)


def wait(event: threading.Event) -> None:
    assert event.wait(10)


def test_timeouts(lab: BlockingLab, threads: ThreadPoolExecutor) -> None:
    release = threading.Event()
    address, done = served(lab, threads, lambda _: wait(release))
    with lab.alice.create_connection(address) as sock:
        sock.settimeout(0.01)
        with pytest.raises(TimeoutError):
            sock.recv(1)
        sock.setblocking(False)
        assert not sock.getblocking()
        with pytest.raises(BlockingIOError):
            sock.recv(1)
        with pytest.raises(ValueError, match="negative"):
            sock.settimeout(-1)
        sock.settimeout(None)
        assert sock.getblocking()
        release.set()
        assert sock.recv(1) == b""
        assert sock.is_readable
    done.result(10)
    with lab.bob.create_server((lab.bob_ip, 0)) as server:
        assert server.getsockname() == (lab.bob_ip, server.port)
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_refusals(lab: BlockingLab) -> None:
    with pytest.raises(ConnectionRefusedError):
        lab.alice.create_connection((lab.bob_ip, 1))
    with pytest.raises(ztstack.Unreachable):
        lab.alice.create_connection(("192.0.2.1", 1))
    with pytest.raises(OSError, match="cannot be resolved"):
        lab.alice.create_connection(("localhost", 1))
    with lab.bob.create_server((None, 80)), pytest.raises(ztstack.LocalError, match="80"):
        lab.bob.create_server((None, 80))


def test_reset(lab: BlockingLab, threads: ThreadPoolExecutor) -> None:
    listener = lab.bob.run(lab.bob.node.listen(0))

    async def reset() -> None:
        (await listener.accept()).abort()
        listener.close()

    done = threads.submit(lab.bob.run, reset())
    with (
        lab.alice.create_connection((lab.bob_ip, listener.port), timeout=10) as sock,
        pytest.raises(ConnectionResetError),
    ):
        sock.recv(1)
    done.result(10)


def test_tls(lab: BlockingLab, threads: ThreadPoolExecutor, tmp_path: Path) -> None:
    tls = tls_for(tmp_path, "db.lab")

    def serve(connection: ztstack.Socket) -> None:
        connection.start_tls(tls.server, server_side=True)
        connection.sendall(connection.recv(100)[::-1])

    address, done = served(lab, threads, serve)
    with lab.alice.create_connection(address) as sock:
        assert sock.getpeercert() is None
        assert sock.start_tls(tls.client, server_hostname="db.lab") is sock
        assert sock.ssl_object is not None
        assert sock.getpeercert()["subjectAltName"] == (("DNS", "db.lab"),)
        assert sock.ssl_object.version() == "TLSv1.3"
        with pytest.raises(OSError, match="half-closed"):
            sock.shutdown(socket.SHUT_WR)
        sock.sendall(b"abc")
        assert sock.recv(100) == b"cba"
        assert sock.recv(100) == b""
    done.result(10)


def test_closing_wakes_who_waits(lab: BlockingLab, threads: ThreadPoolExecutor) -> None:
    server = lab.bob.create_server((None, 0))
    waiting = threads.submit(server.accept)
    server.close()
    with pytest.raises(OSError, match="closed"):
        waiting.result(10)


def test_datagrams(lab: BlockingLab) -> None:
    with lab.bob.create_datagram((None, 53)) as server, lab.alice.create_datagram() as client:
        with pytest.raises(OSError, match="not connected"):
            client.send(b"x")
        client.connect((lab.bob_ip, 53))
        assert client.send(b"question") == 8
        data, asker = server.recvfrom(5)
        assert (data, asker) == (b"quest", (lab.alice_ip, client.port))
        server.sendto(b"answer", asker)
        assert client.recv(100) == b"answer"
        client.settimeout(0)
        with pytest.raises(BlockingIOError):
            client.recv(100)
    with pytest.raises(OSError, match="closed"):
        client.recv(1)


def test_node(lab: BlockingLab) -> None:
    assert lab.alice.status().address == lab.alice.address
    assert lab.alice_ip in lab.alice.addresses()
    assert lab.alice.ping(lab.bob_ip).node == lab.bob.address

    async def inside() -> None:
        lab.alice.addresses()

    with pytest.raises(RuntimeError, match="blocking call"):
        lab.alice.run(inside())


def test_a_closed_node(lab: BlockingLab, tmp_path: Path, threads: ThreadPoolExecutor) -> None:
    def loops() -> int:
        return sum(thread.name == "ztstack" for thread in threading.enumerate())

    before = loops()
    with ztstack.connect(config=lab.config, state=tmp_path / "third") as third:
        assert loops() == before + 1
        server, datagrams = third.create_server((None, 7)), third.create_datagram()
        waiting: list[Future[Any]] = [
            threads.submit(server.accept),
            threads.submit(datagrams.recv, 1),
        ]
    assert loops() == before
    for one in waiting:
        with pytest.raises((OSError, ztstack.LocalError)):
            one.result(10)
    server.close()
    datagrams.close()
    with pytest.raises(ztstack.LocalError, match="stopped"):
        third.addresses()
    third.close()
