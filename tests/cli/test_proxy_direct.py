"""zt proxy --direct and --pac: what is inside goes inside, and all else as it always went."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from pypac.parser import PACFile  # type: ignore[import-untyped] # it has no types
from python_socks import ProxyError, ProxyType
from python_socks.sync import Proxy

from tests.cli.test_expose import udp_echo
from tests.support.cli import Zt, free_port, peer, receive_all
from tests.support.os_engine import OsDatagrams, OsEngine
from tests.support.serving import Serving, serving
from ztcli import socks
from ztcli.engine import Datagrams, Engine, Stream
from ztcli.environment import Environment
from ztcli.exit_codes import ExitCode
from ztcli.options import Settings
from ztstack.base.errors import NameNotResolved, NetworkUnreachable

INSIDE = "10.121.0.9"


class _Far(OsDatagrams):
    """A port from which nothing leads to this machine's loopback."""

    async def send(self, data: bytes, host: str, port: int) -> None:
        if host != INSIDE:
            raise NetworkUnreachable(f"{host}: no joined network leads there")
        await super().send(data, "127.0.0.1", port)


class _Apart(OsEngine):
    """A network with one host, which this machine plays; its loopback is outside."""

    async def status(self) -> dict[str, object]:
        report = {"addresses": ["10.121.0.5/24"], "routes": [], "dns_domain": "office.example"}
        return {"networks": [report]}

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
        if host == INSIDE:
            return await super().connect("127.0.0.1", port, timeout)
        if host.count(".") == 3 or ":" in host:
            raise NetworkUnreachable(f"{host}: no joined network leads there")
        raise NameNotResolved(f"{host}: there is no such name")

    async def datagram(self, port: int = 0, host: str | None = None) -> Datagrams:
        _, endpoint = await asyncio.get_running_loop().create_datagram_endpoint(
            _Far, local_addr=("127.0.0.1", port)
        )
        return endpoint


def _apart(env: Environment, settings: Settings) -> Engine:
    del env, settings
    return _Apart()


@contextmanager
def proxy(zt: Zt, *options: str) -> Iterator[Serving]:
    zt.factory = _apart
    listen = () if "--listen" in options else ("--listen", "0")
    with serving(zt, "-q", "proxy", *listen, *options) as running:
        yield running


@pytest.fixture
def users(tmp_path: Path) -> Path:
    path = tmp_path / "users"
    path.write_text("me:secret\n")
    path.chmod(0o600)
    return path


def backwards(connection: socket.socket) -> None:
    connection.sendall(receive_all(connection)[::-1])


def _empty(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.0 204 No\r\n\r\n")


@pytest.mark.parametrize("kind", [ProxyType.SOCKS5, ProxyType.SOCKS4, ProxyType.HTTP])
@pytest.mark.parametrize("host", [INSIDE, "127.0.0.1", "localhost"])
def test_streams(zt: Zt, kind: ProxyType, host: str) -> None:
    data = os.urandom(100_000)
    with proxy(zt, "--direct") as running, peer(backwards) as target:
        client = Proxy(kind, "127.0.0.1", running.port, rdns=True)
        with client.connect(host, target, timeout=10) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            assert receive_all(connection) == data[::-1]


def test_without_the_option_there_is_no_outside(zt: Zt) -> None:
    with proxy(zt) as running, socket.create_server(("127.0.0.1", 0)) as server:
        client = Proxy(ProxyType.SOCKS5, "127.0.0.1", running.port)
        for host in ("127.0.0.1", "localhost"):
            with pytest.raises(ProxyError):
                client.connect(host, server.getsockname()[1], timeout=10)


@pytest.mark.parametrize("words", [["--dns", "system"], []])
def test_names_that_only_the_system_knows(zt: Zt, words: list[str]) -> None:
    """They are asked of it on demand alone, and lead to what is inside."""
    data = os.urandom(1000)
    with proxy(zt, *words) as running, peer(backwards) as target:
        client = Proxy(ProxyType.SOCKS5, "127.0.0.1", running.port, rdns=True)
        if not words:
            # Nobody comes: let the peer go.
            with pytest.raises(ProxyError):
                client.connect("10.121.9", target, timeout=10)
            socket.create_connection(("127.0.0.1", target)).close()
            return
        with client.connect("10.121.9", target, timeout=10) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            assert receive_all(connection) == data[::-1]
        # What is outside stays there.
        with pytest.raises(ProxyError):
            client.connect("127.1", target, timeout=10)


def test_no_such_resolver(zt: Zt) -> None:
    assert zt("proxy", "--dns", "isp").code == ExitCode.USAGE


def test_refusals_outside(zt: Zt) -> None:
    with proxy(zt, "--direct") as running:
        client = Proxy(ProxyType.SOCKS5, "127.0.0.1", running.port)
        with pytest.raises(ProxyError) as caught:
            client.connect("127.0.0.1", free_port(), timeout=10)
    assert caught.value.error_code == socks.Outcome.REFUSED


def test_who_comes_from_elsewhere_does_not_reach_this_machine(zt: Zt, users: Path) -> None:
    words = ["--direct", "--listen", "0.0.0.0:0", "--auth-file", str(users)]
    with proxy(zt, *words) as running, socket.create_server(("127.0.0.1", 0)) as server:
        client = Proxy(ProxyType.SOCKS5, "127.0.0.1", running.port, "me", "secret")
        with pytest.raises(ProxyError) as caught:
            client.connect("127.0.0.1", server.getsockname()[1], timeout=10)
    assert caught.value.error_code == socks.Outcome.NOT_ALLOWED


def test_datagrams(zt: Zt) -> None:
    with (
        proxy(zt, "--direct") as running,
        socket.create_connection(("127.0.0.1", running.port), 10) as control,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
        udp_echo() as inner,
        udp_echo() as outer,
    ):
        control.sendall(b"\x05\x01\x00\x05\x03\x00\x01\x00\x00\x00\x00\x00\x00")
        answer = b""
        while len(answer) < 12:
            answer += control.recv(100)
        place = ("127.0.0.1", int.from_bytes(answer[10:12], "big"))
        sock.settimeout(10)
        for host, target in ((INSIDE, inner), ("127.0.0.1", outer)):
            number = target.to_bytes(2, "big")
            for text in (b"first", b"second"):
                to = b"\x00\x00\x00\x01" + socket.inet_aton(host) + number
                sock.sendto(to + text, place)
                answer = b"\x00\x00\x00\x01\x7f\x00\x00\x01" + number + text.upper()
                assert sock.recv(100) == answer


def test_the_script_for_browsers(zt: Zt, users: Path) -> None:
    with proxy(zt, "--pac", "--auth-file", str(users)) as running:
        url = f"http://127.0.0.1:{running.port}/proxy.pac"
        assert running.ready["pac"] == url
        found = httpx.get(url, trust_env=False)
        assert found.headers["Content-Type"] == "application/x-ns-proxy-autoconfig"
        script = PACFile(found.text)
        way = f"SOCKS5 127.0.0.1:{running.port}"
        for host in (INSIDE, "db.office.example"):
            assert script.find_proxy_for_url(f"http://{host}/", host).startswith(way)
        assert script.find_proxy_for_url("http://192.0.2.1/", "192.0.2.1") == "DIRECT"
        # A page whose name leads here does not learn anything.
        for name in ("evil.example", "[::1", ""):
            other = httpx.get(url, trust_env=False, headers={"Host": name})
            assert other.status_code in (400, 407)
    assert running.stdout.decode().endswith(f"PAC: {url}\n")


def test_no_script_unless_it_is_asked_for(zt: Zt) -> None:
    with proxy(zt) as running:
        url = f"http://127.0.0.1:{running.port}/proxy.pac"
        assert httpx.get(url, trust_env=False).status_code == 400
    assert b"PAC" not in running.stdout


def test_a_program_reaches_both(zt: Zt) -> None:
    zt.factory = _apart
    fetch = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).status, flush=True)"
    for host in (INSIDE, "127.0.0.1"):
        with peer(_empty) as port:
            words = ["run", "--direct", "--", sys.executable, "-c", fetch]
            assert zt(*words, f"http://{host}:{port}/").code == 0
