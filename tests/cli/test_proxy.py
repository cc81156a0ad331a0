"""zt proxy: SOCKS and HTTP clients of other people, and the bytes that they do not send."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from hypothesis import given, strategies as st
from python_socks import ProxyError, ProxyType
from python_socks.sync import Proxy

from tests.cli.test_expose import udp_echo
from tests.support.cli import Zt, free_port, make_engine, peer, receive_all
from tests.support.os_engine import OsEngine
from tests.support.serving import Serving, serving
from ztcli import socks
from ztcli.engine import Engine, Stream
from ztcli.environment import Environment
from ztcli.exit_codes import ExitCode
from ztcli.options import Settings
from ztstack.base.errors import NameNotResolved

NAME = "inside.example"


class _NamedEngine(OsEngine):
    """A network with one name; the system's resolver is never asked."""

    async def connect(
        self,
        host: str,
        port: int,
        timeout: float | None,
        *,
        family: int = 0,
        source: str | None = None,
        source_port: int = 0,
    ) -> Stream:
        if host == NAME:
            host = "127.0.0.1"
        if host != "127.0.0.1":
            raise NameNotResolved(f"{host}: there is no such name")
        return await super().connect(host, port, timeout)


def _named(env: Environment, settings: Settings) -> Engine:
    del env, settings
    return _NamedEngine()


@pytest.fixture
def proxy(zt: Zt) -> Iterator[Serving]:
    zt.factory = _named
    with serving(zt, "-q", "proxy", "--listen", "0") as running:
        yield running


class _Answers(BaseHTTPRequestHandler):
    """Answers with what came: the path, the headers and the body's hash."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = f"{self.path} {sorted(name.lower() for name in self.headers)}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Kept", "yes")
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        digest = hashlib.sha256(body).hexdigest().encode()
        self.wfile.write(b"40\r\n" + digest + b"\r\n0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        return


@contextmanager
def _web() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join(10)


def backwards(connection: socket.socket) -> None:
    connection.sendall(receive_all(connection)[::-1])


def _raw(port: int, *parts: bytes) -> bytes:
    """Say something, end, and return all that is answered."""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        for part in parts:
            connection.sendall(part)
        connection.shutdown(socket.SHUT_WR)
        return receive_all(connection)


@pytest.mark.parametrize("kind", [ProxyType.SOCKS5, ProxyType.SOCKS4, ProxyType.HTTP])
@pytest.mark.parametrize("host", ["127.0.0.1", NAME])
def test_streams(proxy: Serving, kind: ProxyType, host: str) -> None:
    data = os.urandom(2_000_000)
    client = Proxy(kind, "127.0.0.1", proxy.port, rdns=True)
    with peer(backwards) as target, client.connect(host, target, timeout=10) as connection:
        sending = threading.Thread(target=connection.sendall, args=(data,))
        sending.start()
        sending.join()
        connection.shutdown(socket.SHUT_WR)
        assert receive_all(connection) == data[::-1]


@pytest.mark.parametrize("kind", [ProxyType.SOCKS5, ProxyType.SOCKS4, ProxyType.HTTP])
def test_nobody_there(proxy: Serving, kind: ProxyType) -> None:
    client = Proxy(kind, "127.0.0.1", proxy.port, rdns=True)
    with pytest.raises(ProxyError):
        client.connect("127.0.0.1", free_port(), timeout=10)
    with pytest.raises(ProxyError):
        client.connect("localhost", free_port(), timeout=10)


def test_refusal_has_its_number(proxy: Serving) -> None:
    question = b"\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01" + free_port().to_bytes(2, "big")
    assert _raw(proxy.port, question)[2:4] == bytes((5, socks.Outcome.REFUSED))


@pytest.mark.parametrize(
    ("request_5", "outcome"),
    [
        (b"\x05\x02\x00\x01\x7f\x00\x00\x01\x00\x50", socks.Outcome.NO_SUCH_COMMAND),
        (b"\x05\x09\x00\x01\x7f\x00\x00\x01\x00\x50", socks.Outcome.NO_SUCH_COMMAND),
        (b"\x05\x01\x00\x07\x7f\x00\x00\x01\x00\x50", socks.Outcome.NO_SUCH_ADDRESS_TYPE),
        (b"\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x00", socks.Outcome.NOT_ALLOWED),
    ],
)
def test_what_is_not_there(proxy: Serving, request_5: bytes, outcome: socks.Outcome) -> None:
    answer = _raw(proxy.port, b"\x05\x01\x00" + request_5)
    assert answer == b"\x05\x00" + bytes((5, outcome, 0, 1, 0, 0, 0, 0, 0, 0))


def test_a_client_that_wants_to_log_in_otherwise(proxy: Serving) -> None:
    assert _raw(proxy.port, b"\x05\x01\x01") == b"\x05\xff"


@pytest.mark.parametrize("noise", [b"", b"\x05", b"\x05\x03\x00", b"\x04\x01", b"\x00\r\n\r\n"])
def test_noise_ends_alone(proxy: Serving, noise: bytes) -> None:
    """The proxy goes on for others."""
    with socket.create_connection(("127.0.0.1", proxy.port), 10) as connection:
        connection.sendall(noise)
        connection.shutdown(socket.SHUT_WR)
        try:
            answer = receive_all(connection)
        except ConnectionResetError:
            answer = b""
    assert not answer or answer.startswith(b"HTTP/1.1 400 ")
    assert _raw(proxy.port, b"\x05\x01\x01") == b"\x05\xff"


def test_datagrams(proxy: Serving) -> None:
    with (
        socket.create_connection(("127.0.0.1", proxy.port), 10) as control,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
        udp_echo() as target,
    ):
        control.sendall(b"\x05\x01\x00\x05\x03\x00\x01\x00\x00\x00\x00\x00\x00")
        answer = b""
        while len(answer) < 12:
            answer += control.recv(100)
        assert answer[:10] == b"\x05\x00\x05\x00\x00\x01\x7f\x00\x00\x01"
        place = ("127.0.0.1", int.from_bytes(answer[10:12], "big"))
        sock.settimeout(10)
        header = b"\x01\x7f\x00\x00\x01" + target.to_bytes(2, "big")
        sock.sendto(b"\x00\x00\x01" + header + b"a fragment", place)
        sock.sendto(b"noise", place)
        sock.sendto(b"\x00\x00\x00" + header + b"hello", place)
        assert sock.recv(100) == b"\x00\x00\x00" + header + b"HELLO"


def test_plain_http(proxy: Serving) -> None:
    with _web() as port, httpx.Client(proxy=f"http://127.0.0.1:{proxy.port}") as client:
        found = client.get(f"http://{NAME}:{port}/a/b?c=d", headers={"X-Mine": "1"})
        assert found.status_code == 200
        assert found.headers["X-Kept"] == "yes"
        assert found.text.startswith("/a/b?c=d [")
        assert "'x-mine'" in found.text
        assert "proxy" not in found.text
        body = os.urandom(2_000_000)
        posted = client.post(f"http://127.0.0.1:{port}/", content=body)
        assert posted.text == hashlib.sha256(body).hexdigest()
        refused = client.get(f"http://127.0.0.1:{free_port()}/")
        assert refused.status_code == 502


def test_server_that_breaks_off(proxy: Serving) -> None:
    def half(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")

    with (
        peer(half) as port,
        httpx.Client(proxy=f"http://127.0.0.1:{proxy.port}") as client,
        pytest.raises(httpx.TransportError),
    ):
        client.get(f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize(
    "line", [b"GET / HTTP/1.1", b"GET https://a/ HTTP/1.1", b"CONNECT nowhere HTTP/1.1"]
)
def test_requests_that_are_not_for_a_proxy(proxy: Serving, line: bytes) -> None:
    answer = _raw(proxy.port, line + b"\r\nHost: a\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")


def test_early_bytes_of_a_tunnel(proxy: Serving) -> None:
    with peer(backwards) as port:
        line = f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: a\r\n\r\nearly".encode()
        assert _raw(proxy.port, line).endswith(b"\r\n\r\nylrae")


def test_passwords(zt: Zt, tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.write_text("me:secret\n")
    users.chmod(0o600)
    with (
        peer(lambda c: c.sendall(b"in")) as target,
        serving(zt, "-q", "proxy", "--listen", "0", "--auth-file", str(users)) as running,
    ):
        for kind in (ProxyType.SOCKS5, ProxyType.HTTP):
            for user, password in (("me", "wrong"), ("you", "secret"), ("", "")):
                client = Proxy(kind, "127.0.0.1", running.port, user or None, password or None)
                with pytest.raises(ProxyError):
                    client.connect("127.0.0.1", target, timeout=10)
        with pytest.raises(ProxyError):
            Proxy(ProxyType.SOCKS4, "127.0.0.1", running.port).connect("127.0.0.1", target, 10)
        client = Proxy(ProxyType.SOCKS5, "127.0.0.1", running.port, "me", "secret")
        with client.connect("127.0.0.1", target, timeout=10) as connection:
            assert receive_all(connection) == b"in"
        assert "secret" not in running.stdout.decode() + running.stderr


def test_ports(zt: Zt) -> None:
    with serving(zt, "-q", "proxy", "--listen", "0", "--allow-ports", "80,8000-8999") as running:
        question = b"\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x16"
        assert _raw(running.port, question)[3] == socks.Outcome.NOT_ALLOWED
        answer = _raw(running.port, b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 403 ")


def test_ready_line(zt: Zt) -> None:
    with serving(zt, "proxy", "--listen", "0") as running:
        pass
    place = f"127.0.0.1:{running.port}"
    assert running.stdout.decode() == f"Proxy: socks5h://{place} http://{place}\n"


def test_others_need_a_password(zt: Zt, tmp_path: Path) -> None:
    result = zt("proxy", "--listen", "0.0.0.0:0")
    assert result.code == ExitCode.USAGE
    assert "--auth-file" in result.stderr
    users = tmp_path / "users"
    users.write_text("me:secret\n")
    users.chmod(0o644)
    result = zt("proxy", "--auth-file", str(users))
    assert result.code == ExitCode.USAGE
    assert "secret" not in result.stderr
    assert zt("proxy", "--auth-file", str(tmp_path / "none")).code == ExitCode.CANNOT_READ


def test_port_in_use(zt: Zt) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        result = zt("proxy", "--listen", str(server.getsockname()[1]))
    assert result.code == ExitCode.PORT_IN_USE


@given(st.binary(max_size=300))
def test_datagrams_of_noise(noise: bytes) -> None:
    opened = socks.open_datagram(noise)
    if opened is not None:
        host, port, data = opened
        assert 0 < port < 65536
        assert host
        assert noise.endswith(data)


def test_datagrams_there_and_back() -> None:
    for host in ("10.1.2.3", "fd00::7"):
        wrapped = socks.wrap_datagram(b"data", host, 53)
        assert socks.open_datagram(wrapped) == (host, 53, b"data")
    assert socks.open_datagram(b"\0\0\0\x03\x02ab\x00\x35x") == ("ab", 53, b"x")


def test_overlay_stack(tmp_path: Path) -> None:
    zt = Zt(tmp_path, make_engine)
    overlay = ["-n", "0xCAFE2001", "--stack", "overlay", "--transport", "inmem", "--ephemeral"]
    with (
        serving(zt, "listen", "8080", "--echo", "-k", *overlay) as service,
        serving(zt, "proxy", "--listen", "0", *overlay) as running,
    ):
        client = Proxy(ProxyType.SOCKS5, "127.0.0.1", running.port, rdns=True)
        with client.connect(service.ready["node"], 8080, timeout=10) as connection:
            connection.sendall(b"hello")
            connection.shutdown(socket.SHUT_WR)
            assert receive_all(connection) == b"hello"
