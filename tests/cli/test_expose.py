"""zt expose: services of this machine inside the network."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.cli import Zt, free_port, make_engine, peer, receive_all
from tests.support.os_engine import reset
from tests.support.serving import serving
from ztcli.commands.expose import proxy_head
from ztcli.exit_codes import ExitCode

OVERLAY = ["-n", "0xCAFE2001", "--stack", "overlay", "--ephemeral"]


@contextmanager
def udp_echo() -> Iterator[int]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(10)

        def serve() -> None:
            for _ in range(2):
                try:
                    data, place = sock.recvfrom(65536)
                except OSError:
                    return
                sock.sendto(data.upper(), place)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(sock.getsockname()[1])


def test_both_directions_end_by_themselves(zt: Zt) -> None:
    data = os.urandom(3_000_000)

    def behaviour(connection: socket.socket) -> None:
        # The answer begins after the end of the question.
        received = receive_all(connection)
        connection.sendall(hashlib.sha256(received).digest() + received)

    with peer(behaviour) as target:
        command = ("expose", f"0:127.0.0.1:{target}")
        with serving(zt, *command) as running:
            result = zt("call", "127.0.0.1", str(running.port), stdin=data)
    assert (result.code, result.stdout) == (0, hashlib.sha256(data).digest() + data)
    line = running.stdout.decode()
    assert line == f"Expose: http://127.0.0.1:{running.port}/ -> 127.0.0.1:{target}\n"


def test_a_service_that_is_down_is_a_reset(zt: Zt) -> None:
    down = free_port()
    with serving(zt, "expose", f"0:127.0.0.1:{down}") as running:
        result = zt("call", "127.0.0.1", str(running.port), "--keep-sending")
    assert result.code == ExitCode.CONNECTION_LOST
    assert f"127.0.0.1:{down}: " in running.stderr


def test_a_reset_of_the_service_is_passed_on(zt: Zt) -> None:
    with peer(reset) as target, serving(zt, "expose", f"0:127.0.0.1:{target}") as running:
        result = zt("call", "127.0.0.1", str(running.port), "--recv-only", "--no-shutdown")
    assert result.code == ExitCode.CONNECTION_LOST


def test_check(zt: Zt) -> None:
    down = free_port()
    result = zt("expose", f"0:127.0.0.1:{down}", "--check")
    assert result.code == ExitCode.CANNOT_CONNECT
    assert result.stdout == b""


def test_unix_socket(zt: Zt, tmp_path: Path) -> None:
    path = tmp_path / "service"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        server.settimeout(10)

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(receive_all(connection)[::-1])

        threading.Thread(target=serve, daemon=True).start()
        command = ("expose", "80", "--listen", "0", "--to", f"unix:{path}")
        with serving(zt, *command) as running:
            result = zt("call", "127.0.0.1", str(running.port), stdin=b"hello")
    assert (result.code, result.stdout) == (0, b"olleh")


def test_udp(zt: Zt) -> None:
    with udp_echo() as target:
        command = ("expose", f"0:127.0.0.1:{target}/udp")
        with serving(zt, *command) as running:
            to = f"127.0.0.1:{running.port}"
            result = zt("udp-send", "--to", to, "--data", "hello", "--wait", "5s")
    assert result.stdout == b"HELLO\n"
    assert f"-> 127.0.0.1:{target}\n" in running.stdout.decode()


def test_denied(zt: Zt) -> None:
    with peer(receive_all_and_forget) as target:
        command = ("expose", f"0:127.0.0.1:{target}", "--deny", "127.0.0.0/8")
        with serving(zt, *command) as running:
            result = zt("call", "127.0.0.1", str(running.port), "--recv-only", "--no-shutdown")
            with socket.create_connection(("127.0.0.1", target)):
                pass
    assert result.code == ExitCode.CONNECTION_LOST
    assert "denied: 127.0.0.1" in running.stderr


def receive_all_and_forget(connection: socket.socket) -> None:
    receive_all(connection)


def test_json(zt: Zt) -> None:
    with peer(receive_all_and_forget) as target:
        command = ("expose", f"0:127.0.0.1:{target}", "--json")
        with serving(zt, *command) as running:
            zt("call", "127.0.0.1", str(running.port), stdin=b"12345")
    events = [json.loads(line) for line in running.stdout.splitlines()]
    assert [event["event"] for event in events] == ["ready", "open", "close"]
    assert events[0]["exposes"][0]["target"] == f"127.0.0.1:{target}"
    assert (events[2]["received"], events[2]["sent"]) == (5, 0)


@pytest.mark.parametrize("version", [1, 2])
def test_proxy_protocol(zt: Zt, version: int) -> None:
    heads: list[bytes] = []
    with peer(lambda connection: heads.append(receive_all(connection))) as target:
        command = ("expose", f"0:127.0.0.1:{target}", "--proxy-protocol", str(version))
        with serving(zt, *command) as running:
            zt("call", "127.0.0.1", str(running.port), stdin=b"x")
    if version == 1:
        assert heads[0].startswith(b"PROXY TCP4 127.0.0.1 127.0.0.1 ")
        assert heads[0].endswith(f" {running.port}\r\nx".encode())
    else:
        known = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01"
        assert heads[0].startswith(known)
        assert heads[0].endswith(running.port.to_bytes(2, "big") + b"x")


def test_proxy_protocol_of_nodes() -> None:
    class Stream:
        local, remote = ("a1b2c3d4e5", 80), ("b1b2c3d4e5", 49152)

    assert proxy_head(1, Stream()) == b"PROXY UNKNOWN\r\n"  # type: ignore[arg-type] # has the two
    assert proxy_head(2, Stream()).endswith(b"\x21\0\0\0")  # type: ignore[arg-type] # has the two


@pytest.mark.parametrize(
    "arguments",
    [
        ["80", "81", "--to", "127.0.0.1:5"],
        ["80", "--to", "127.0.0.1"],
        ["80", "--listen", "http://x:1"],
        ["80:127.0.0.1"],
        ["0"],
        ["80/udp", "--to", "unix:/x"],
        ["80", "--udp", "--check"],
        ["80", "--udp", "--proxy-protocol", "1"],
        ["80", "--proxy-protocol", "3"],
        ["80", "--allow", "everybody"],
        ["80", "--to", "unix:"],
    ],
)
def test_usage(zt: Zt, arguments: list[str]) -> None:
    assert zt("expose", *arguments).code == ExitCode.USAGE


def test_overlay_by_node_and_by_address(tmp_path: Path) -> None:
    zt = Zt(tmp_path, make_engine)
    udp = free_port()

    def behaviour(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        receive_all(connection)

    for form in ("node", "ip"):
        with peer(behaviour) as target:
            arguments = [*OVERLAY, "--udp-port", str(udp), "--listen", "28080"]
            to = ["--to", f"127.0.0.1:{target}"]
            with serving(zt, "expose", "5005", *arguments, *to) as running:
                node = running.ready["node"]
                told = [*OVERLAY, "--peer", f"{node}@127.0.0.1:{udp}"]
                host = "10.9.0.1" if form == "ip" else node
                if form == "ip":
                    told += ["--map-ip", f"10.9.0.1={node}"]
                result = zt("call", *told, "--url", f"http://{host}:28080/hello")
        assert (result.code, result.stdout) == (0, b"hi")
        assert running.stdout.decode() == f"Expose: http://{node}:28080/ -> 127.0.0.1:{target}\n"
