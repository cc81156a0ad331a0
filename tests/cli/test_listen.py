"""zt listen: streams, HTTP, the choice between them, who may come."""

from __future__ import annotations

import http.client
import json
import os
import socket
import time
from pathlib import Path

import pytest

from tests.support.cli import Zt, open_pipe, receive_all
from tests.support.os_engine import reset
from ztcli.exit_codes import ExitCode


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def get(
    port: int, path: str = "/", method: str = "GET", body: bytes | None = None
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def test_stream_to_stdout(zt: Zt) -> None:
    data = os.urandom(1_000_000)
    with zt.background("listen", "0", "--tcp") as running, connect(running.port) as peer:
        peer.sendall(data)
        peer.shutdown(socket.SHUT_WR)
        assert receive_all(peer) == b""
    assert running.result is not None
    assert (running.result.code, running.result.stdout) == (0, data)
    assert running.result.stderr == (
        f"Listen: tcp://127.0.0.1:{running.port}\ntry: zt call 127.0.0.1 {running.port}\n"
    )
    assert running.ready["addresses"] == ["127.0.0.1"]
    assert running.ready["mode"] == "tcp"


def test_stdin_is_sent(zt: Zt) -> None:
    with (
        zt.background("listen", "0", "--tcp", stdin=b"hello") as running,
        connect(running.port) as peer,
    ):
        assert receive_all(peer) == b"hello"
    assert running.result is not None
    assert running.result.code == 0


def test_reset_is_no_success(zt: Zt) -> None:
    with zt.background("listen", "0", "--tcp") as running:
        peer = connect(running.port)
        peer.sendall(b"part")
        time.sleep(0.2)
        reset(peer)
    assert running.result is not None
    assert running.result.code == ExitCode.CONNECTION_LOST


def test_echo_and_keep_open(zt: Zt) -> None:
    with zt.background("listen", "0", "--echo", "-k", "--timeout", "1s") as running:
        for _ in range(2):
            with connect(running.port) as slow, connect(running.port) as peer:
                slow.sendall(b"x")
                peer.sendall(b"hello")
                peer.shutdown(socket.SHUT_WR)
                assert receive_all(peer) == b"hello"


def test_command_for_each_connection(zt: Zt) -> None:
    command = "read line; echo $line $ZT_REMOTE_ADDR; exit 4"
    arguments = ["listen", "0", "--sh", command, "--allow-any"]
    with zt.background(*arguments) as running, connect(running.port) as peer:
        peer.sendall(b"hi\n")
        assert receive_all(peer) == b"hi 127.0.0.1\n"
    assert running.result is not None
    assert running.result.code == 4


def test_a_command_knows_both_ends(zt: Zt) -> None:
    names = ("REMOTE_ADDR", "REMOTE_PORT", "REMOTE_NODE", "LOCAL_ADDR", "LOCAL_PORT", "NETWORK")
    command = "; ".join(f"echo $ZT_{name}" for name in (*names, "PROTO"))
    with (
        zt.background("listen", "0", "--sh", command, "--allow-any") as running,
        socket.create_connection(("127.0.0.1", running.port), timeout=10) as connection,
    ):
        own = str(connection.getsockname()[1])
        told = receive_all(connection).decode().splitlines()
    assert told[:2] == ["127.0.0.1", own]
    assert told[3:5] == ["127.0.0.1", str(running.port)]
    assert told[6:] == ["tcp"]


def test_command_for_nobody_in_particular_is_refused(zt: Zt) -> None:
    assert zt("listen", "0", "--exec", "cat").code == ExitCode.USAGE


def test_denied_peer_is_reset(zt: Zt) -> None:
    arguments = ["--tcp", "--deny", "127.0.0.0/8", "--timeout", "1s"]
    # A quick reset is met by the connecting already.
    with (
        zt.background("listen", "0", *arguments) as running,
        pytest.raises(ConnectionResetError),
        connect(running.port) as peer,
    ):
        peer.recv(1)
    assert running.result is not None
    assert "denied: 127.0.0.1" in running.result.stderr


def test_http_of_the_seed(zt: Zt) -> None:
    with zt.background("listen", "0", "--mode", "http", "--once") as running:
        response, body = get(running.port, "/a?b")
    assert (response.status, body) == (200, b"ok\n")
    assert response.headers["Content-Type"].startswith("text/plain")
    assert running.result is not None
    assert running.result.code == 0
    assert b" 127.0.0.1 GET /a?b 200 3\n" in running.result.stdout
    assert f"Listen: http://127.0.0.1:{running.port}/\n" in running.result.stderr


def test_http_of_so_many_bytes(zt: Zt) -> None:
    with zt.background("listen", "0", "--body-bytes", "1Mi", "--once") as running:
        response, body = get(running.port)
    assert body == b"a" * 1048576
    assert response.headers["Content-Type"] == "application/octet-stream"
    assert response.headers["Connection"] == "close"


def test_http_files(zt: Zt, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "index.html").write_text("index")
    (tmp_path / "secret").write_text("secret")
    (folder / "link").symlink_to(tmp_path / "secret")
    with zt.background("listen", "0", "--dir", str(folder), "--requests", "5") as running:
        assert get(running.port)[1] == b"index"
        assert get(running.port, "/../secret")[0].status == 404
        assert get(running.port, "/%2e%2e/secret")[0].status == 404
        assert get(running.port, "/link")[0].status == 404
        assert get(running.port, "/", "POST", b"x")[0].status == 405


def test_http_saves_bodies(zt: Zt, tmp_path: Path) -> None:
    arguments = ["--save", str(tmp_path), "--status", "201", "--body", "kept", "--json", "--once"]
    with zt.background("listen", "0", *arguments) as running:
        response, body = get(running.port, "/up", "PUT", b"content" * 1000)
    assert (response.status, body) == (201, b"kept")
    assert (tmp_path / "request-0001").read_bytes() == b"content" * 1000
    assert running.result is not None
    events = [json.loads(line) for line in running.result.stdout.splitlines()]
    assert [event["event"] for event in events] == ["ready", "request"]
    assert events[1]["received"] == 7000


def test_noise_is_answered_with_400(zt: Zt) -> None:
    with zt.background("listen", "0", "--mode", "http", "--once") as running:
        peer = connect(running.port)
        with peer:
            peer.sendall(b"\x00\x01\r\n\r\n")
            assert receive_all(peer).startswith(b"HTTP/1.1 400")


def test_auto_finds_http(zt: Zt) -> None:
    with zt.background("listen", "0", "--once") as running:
        assert get(running.port)[1] == b"ok\n"
    assert running.ready["mode"] == "auto"


def test_auto_finds_a_stream(zt: Zt) -> None:
    with zt.background("listen", "0") as running, connect(running.port) as peer:
        peer.sendall(b"just bytes")
        peer.shutdown(socket.SHUT_WR)
        assert receive_all(peer) == b""
    assert running.result is not None
    assert (running.result.code, running.result.stdout) == (0, b"just bytes")


def test_waiting_input_means_a_stream(zt: Zt) -> None:
    with zt.background("listen", "0", stdin=b"data") as running, connect(running.port) as peer:
        assert receive_all(peer) == b"data"
    assert running.ready["mode"] == "tcp"


def test_port_in_use(zt: Zt) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, open_pipe() as stdin:
        port = server.getsockname()[1]
        result = zt("listen", str(port), "--tcp", stdin=stdin)
    assert result.code == ExitCode.PORT_IN_USE


@pytest.mark.parametrize(
    "arguments",
    [
        ["notaport"],
        ["80", "--mode", "http", "--echo"],
        ["80", "--tcp", "--dir", "."],
        ["80", "--serial", "--parallel"],
        ["80", "--echo", "--discard"],
        ["http://80", "--tcp"],
        ["80", "--allow", "what is this"],
        ["80", "--header", "Content-Length: 3"],
        ["80", "--ready-fd", "999"],
    ],
)
def test_contradictions(zt: Zt, arguments: list[str]) -> None:
    assert zt("listen", *arguments).code == ExitCode.USAGE
