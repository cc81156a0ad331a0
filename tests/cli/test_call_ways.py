"""zt call with HTTP by other ways: HTTP/2, proxies, other names; and what --write-out tells."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.test_call_http import OK, answering, fetch
from tests.cli.test_tls import certificate as certificate  # noqa: PLC0414 - a fixture
from tests.support.cli import Result, Zt, free_port, open_pipe, peer
from tests.support.h2_server import serve_h2
from tests.support.serving import serving
from ztcli.exit_codes import ExitCode

Behaviour = Callable[[socket.socket], None]


def over_tls(certificate: Path, protocols: list[str], serve: Behaviour) -> Behaviour:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.set_alpn_protocols(protocols)

    def behaviour(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as wrapped:
            serve(wrapped)

    return behaviour


def http_1(connection: socket.socket) -> None:
    answering(OK)(connection)  # type: ignore[operator]


# HTTP/2.


def test_http_2_without_tls_is_spoken_at_once(zt: Zt) -> None:
    body = b"x" * 200_000  # More than a first window of the protocol.
    with peer(serve_h2) as port:
        words = ["--http2", "-d", "@-", "-i", "-w", "%{http_version} %header{x-version}"]
        result = zt("call", f"http://127.0.0.1:{port}/a?b", *words, stdin=body)
    assert result.code == 0
    head, _, rest = result.stdout.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/2 200 OK\r\nx-version: 2")
    assert rest == b"POST /a?b 2000002 2"


@pytest.mark.parametrize(
    ("protocols", "serve", "stdout"),
    [(["h2"], serve_h2, b"GET / 02"), (["http/1.1"], http_1, b"\x00body1.1")],
)
def test_http_2_is_offered_with_tls(
    zt: Zt, certificate: Path, protocols: list[str], serve: Behaviour, stdout: bytes
) -> None:
    with peer(over_tls(certificate, protocols, serve)) as port:
        words = ["--http2", "--cacert", str(certificate), "-w", "%{http_version}"]
        result = zt("call", f"https://127.0.0.1:{port}/", *words)
    assert (result.code, result.stderr, result.stdout) == (0, "", stdout)


def test_without_the_option_nothing_but_http_1_is_offered(zt: Zt, certificate: Path) -> None:
    with peer(over_tls(certificate, ["h2", "http/1.1"], http_1)) as port:
        result = zt("call", f"https://127.0.0.1:{port}/", "--cacert", str(certificate))
    assert (result.code, result.stdout) == (0, b"\x00body")


def test_http_2_to_a_server_that_does_not_speak_it(zt: Zt) -> None:
    result, _ = fetch_2(zt, b"HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n")
    assert result.code == ExitCode.CONNECTION_LOST
    assert result.stderr.count("\n") == 1


def fetch_2(zt: Zt, answer: bytes) -> tuple[Result, int]:
    def serve(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(answer)

    with peer(serve) as port:
        return zt("call", f"http://127.0.0.1:{port}/", "--http2", "--timeout", "8s"), port


# Proxies and names.


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
@pytest.mark.parametrize("tls", [False, True])
def test_proxies(
    zt: Zt,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    certificate: Path,
    scheme: str,
    tls: bool,
) -> None:
    users = tmp_path / "users"
    users.write_text("me:secret\n")
    users.chmod(0o600)
    serve = over_tls(certificate, ["http/1.1"], http_1) if tls else http_1
    with (
        serving(zt, "-q", "proxy", "--listen", "0", "--auth-file", str(users)) as proxy,
        peer(serve) as port,
    ):
        url = f"{'https' if tls else 'http'}://127.0.0.1:{port}/x"
        way = f"{scheme}://me:secret@127.0.0.1:{proxy.port}"
        monkeypatch.setenv("ZT_CALL_PROXY", way)
        words = ["--cacert", str(certificate), "-w", "%{remote_port}"]
        result = zt("call", url, *words)
        assert (result.code, result.stderr) == (0, "")
        assert result.stdout == b"\x00body%d" % proxy.port


def test_a_proxy_that_refuses_and_one_that_is_not_there(zt: Zt, tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.write_text("me:secret\n")
    users.chmod(0o600)
    with serving(zt, "-q", "proxy", "--listen", "0", "--auth-file", str(users)) as proxy:
        for scheme in ("http", "socks5h"):
            result = zt(
                "call", "https://127.0.0.1:1/", "--proxy", f"{scheme}://127.0.0.1:{proxy.port}"
            )
            assert result.code == ExitCode.CANNOT_CONNECT
            assert "the proxy: " in result.stderr
    gone = zt("call", "http://127.0.0.1:1/", "--proxy", f"http://127.0.0.1:{free_port()}")
    assert gone.code == ExitCode.CANNOT_CONNECT


def test_another_name_for_tls(zt: Zt, certificate: Path) -> None:
    names: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.sni_callback = lambda _, name, __: names.append(name)

    def serve(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as wrapped:
            http_1(wrapped)

    with peer(serve) as port:
        words = ["-k", "--servername", "db.example"]
        assert zt("call", f"https://127.0.0.1:{port}/", *words).code == 0
    assert names == ["db.example"]


def test_a_redirect_does_not_name_our_files(
    zt: Zt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with peer(answering(OK)) as second:  # type: ignore[arg-type]
        moved = b"HTTP/1.1 302 F\r\nContent-Length: 0\r\nLocation: http://127.0.0.1:%d/evil\r\n\r\n"
        result, _ = fetch(zt, moved % second, "-L", "-O")
    assert result.code == 0  # type: ignore[attr-defined]
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["x"]


# What is told.


def test_variables_of_a_network(zt: Zt) -> None:
    result, _ = fetch(zt, OK, "-o", "/dev/null", "-w", "%{json}")
    told = json.loads(result.stdout)  # type: ignore[attr-defined]
    assert 0 < told["time_join"] <= told["time_connect"] <= told["time_path"]
    assert told["time_path"] <= told["time_starttransfer"] <= told["time_total"]
    assert (told["path"], told["peer_node"]) == ("direct", "")
    assert (told["http_code"], told["http_version"], told["method"]) == (200, "1.1", "GET")
    assert (told["size_download"], told["num_connects"], told["exitcode"]) == (5, 1, 0)
    assert (told["remote_ip"], told["filename_effective"]) == ("127.0.0.1", "/dev/null")
    assert told["url"] == told["url_effective"]


def test_a_template_of_many_kinds(zt: Zt, tmp_path: Path) -> None:
    template = tmp_path / "template"
    template.write_text("%{http_code}%%%{stderr}%header{content-length}\\n%{stdout}%{scheme}\\t!")
    result, _ = fetch(zt, OK, "-o", "/dev/null", "-w", f"@{template}")
    assert result.stdout == b"200%http\t!"  # type: ignore[attr-defined]
    assert result.stderr == "5\n"  # type: ignore[attr-defined]


def test_failures_are_told_too(zt: Zt) -> None:
    words = ["-f", "-w", "%{http_code} %{exitcode} %{errormsg}"]
    result, _ = fetch(zt, b"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno", *words)
    assert result.code == ExitCode.HTTP_STATUS  # type: ignore[attr-defined]
    stdout: bytes = result.stdout  # type: ignore[attr-defined]
    assert stdout.startswith(b"404 22 http://")
    assert stdout.endswith(b"HTTP 404")
    gone = zt("call", f"http://127.0.0.1:{free_port()}/", "-w", "%{http_code} %{exitcode}")
    assert (gone.code, gone.stdout) == (ExitCode.CANNOT_CONNECT, b"000 7")


def test_an_unknown_variable_is_told_at_once(zt: Zt) -> None:
    result = zt("call", "http://127.0.0.1:1/", "-w", "%{time_totl}")
    assert result.code == ExitCode.USAGE
    assert "did you mean %{time_total}?" in result.stderr


def test_how_much_has_passed(zt: Zt, tmp_path: Path) -> None:
    result, _ = fetch(zt, OK, "-o", str(tmp_path / "f"), "--progress")
    stderr: str = result.stderr  # type: ignore[attr-defined]
    assert ", received 5 B of 5 B (100%), " in stderr


def test_stdin_is_left_alone(zt: Zt) -> None:
    with open_pipe() as stdin, peer(answering(OK)) as port:  # type: ignore[arg-type]
        assert zt("call", f"http://127.0.0.1:{port}/", stdin=stdin).code == 0
