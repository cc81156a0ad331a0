"""zt proxy and zt bench between installed nodes of a real lab."""

from __future__ import annotations

import json
import os
import socket
import threading

import httpx
import pytest
from python_socks import ProxyError, ProxyType
from python_socks.sync import Proxy

from tests.e2e.test_lab import ipv4
from tests.support.cli import receive_all
from tests.support.process import World
from ztcli import socks

pytestmark = pytest.mark.timeout(120)


def test_streams_and_datagrams(lab: World) -> None:
    data = os.urandom(3_000_000)
    with (
        lab.running("--state", "s1", "listen", "7", "--echo", "-k") as service,
        lab.running("--state", "s2", "udp-listen", "9", "--echo") as udp_service,
        lab.running("--state", "p1", "proxy", "--listen", "0") as proxy,
    ):
        host, udp_host = ipv4(service.wait_ready()), ipv4(udp_service.wait_ready())
        port = int(str(proxy.wait_ready()["port"]))
        for kind in (ProxyType.SOCKS5, ProxyType.SOCKS4, ProxyType.HTTP):
            client = Proxy(kind, "127.0.0.1", port)
            with client.connect(host, 7, timeout=30) as connection:
                sending = threading.Thread(target=_send, args=(connection, data))
                sending.start()
                assert receive_all(connection) == data
                sending.join()
        with pytest.raises(ProxyError):
            Proxy(ProxyType.SOCKS5, "127.0.0.1", port).connect("192.0.2.1", 80, timeout=30)
        assert _datagram(port, udp_host) == b"hello"


def _send(connection: socket.socket, data: bytes) -> None:
    connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)


def _datagram(port: int, host: str) -> bytes:
    """Send a datagram through the proxy to port 9, and return what comes back."""
    with (
        socket.create_connection(("127.0.0.1", port), 30) as control,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
    ):
        control.sendall(b"\x05\x01\x00\x05\x03\x00\x01\x00\x00\x00\x00\x00\x00")
        answer = b""
        while len(answer) < 12:
            answer += control.recv(100)
        sock.settimeout(30)
        place = ("127.0.0.1", int.from_bytes(answer[10:12], "big"))
        sock.sendto(socks.wrap_datagram(b"hello", host, 9), place)
        opened = socks.open_datagram(sock.recv(2000))
    assert opened is not None
    assert opened[:2] == (host, 9)
    return opened[2]


def test_http(lab: World) -> None:
    serve = ["--mode", "http", "--body-bytes", "5M", "--requests", "2"]
    with (
        lab.running("--state", "s1", "listen", "8080", *serve) as service,
        lab.running("--state", "p1", "proxy", "--listen", "0") as proxy,
    ):
        url = f"http://{ipv4(service.wait_ready())}:8080/"
        with httpx.Client(
            proxy=f"http://127.0.0.1:{proxy.wait_ready()['port']}", timeout=30
        ) as client:
            for _ in range(2):
                assert client.get(url).content == b"a" * 5_000_000


@pytest.mark.parametrize("more", [[], ["--reverse"]])
def test_bench(lab: World, more: list[str]) -> None:
    with lab.running("--state", "s1", "bench", "serve", "0") as host:
        ready = host.wait_ready()
        target = [ipv4(ready), str(ready["port"]), "--bytes", "5M", "--json"]
        done = lab.run("--state", "p1", "bench", *target, *more)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["bytes"], found["path"]) == (5_000_000, "direct")
    assert found["latency_ms"]["count"] == 20
