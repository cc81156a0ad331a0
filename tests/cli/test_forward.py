"""zt forward: local ports that lead into the network."""

from __future__ import annotations

import json
import os
import socket
import stat
import threading
from pathlib import Path

import pytest

from tests.cli.test_expose import udp_echo
from tests.support.cli import Zt, free_port, make_engine, peer, receive_all
from tests.support.os_engine import reset
from tests.support.serving import serving
from ztcli import specs
from ztcli.exit_codes import ExitCode
from ztcli.specs import Exposure, Forwarding, Local

OVERLAY = ["-n", "0xCAFE2001", "--stack", "overlay", "--ephemeral"]


def backwards(connection: socket.socket) -> None:
    connection.sendall(receive_all(connection)[::-1])


def ask(port: int, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        sending = threading.Thread(target=connection.sendall, args=(data,))
        sending.start()
        sending.join()
        connection.shutdown(socket.SHUT_WR)
        return receive_all(connection)


def test_stream(zt: Zt) -> None:
    data = os.urandom(3_000_000)
    with peer(backwards) as target, serving(zt, "forward", f"0:127.0.0.1:{target}") as running:
        assert ask(running.port, data) == data[::-1]
    line = running.stdout.decode()
    assert line == f"Forward: 127.0.0.1:{running.port} -> 127.0.0.1:{target}\n"


def reach(port: int) -> None:
    """Connect and read; a reset may come before the system says that the connection is there."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        receive_all(connection)


def test_nobody_there_is_a_reset(zt: Zt) -> None:
    with (
        serving(zt, "forward", f"0:127.0.0.1:{free_port()}") as running,
        pytest.raises(ConnectionResetError),
    ):
        reach(running.port)
    assert running.stderr.startswith("127.0.0.1:")


def test_a_reset_is_passed_on(zt: Zt) -> None:
    with (
        peer(reset) as target,
        serving(zt, "forward", f"0:127.0.0.1:{target}") as running,
        pytest.raises(ConnectionResetError),
    ):
        reach(running.port)


def test_udp(zt: Zt) -> None:
    with (
        udp_echo() as target,
        serving(zt, "forward", f"0:127.0.0.1:{target}/udp") as running,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
    ):
        sock.settimeout(10)
        for text in (b"one", b"two"):
            sock.sendto(text, ("127.0.0.1", running.port))
            assert sock.recv(100) == text.upper()
    line = running.stdout.decode()
    assert line == f"Forward: 127.0.0.1:{running.port}/udp -> 127.0.0.1:{target}\n"


def test_unix_socket(zt: Zt, tmp_path: Path) -> None:
    path = tmp_path / "door"
    with peer(backwards) as target:
        command = ("forward", f"unix:{path}:127.0.0.1:{target}")
        with serving(zt, *command):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(path))
                connection.sendall(b"hello")
                connection.shutdown(socket.SHUT_WR)
                assert receive_all(connection) == b"olleh"
    assert not path.exists()


def test_stdio(zt: Zt) -> None:
    with peer(backwards) as target:
        result = zt("forward", f"-:127.0.0.1:{target}", stdin=b"hello")
    assert (result.code, result.stdout, result.stderr) == (0, b"olleh", "")


def test_port_in_use(zt: Zt) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        result = zt("forward", f"{port}:127.0.0.1:1")
    assert result.code == ExitCode.PORT_IN_USE


def test_json(zt: Zt) -> None:
    with peer(backwards) as target:
        command = ("forward", f"0:127.0.0.1:{target}", "--json")
        with serving(zt, *command) as running:
            assert ask(running.port, b"12345") == b"54321"
    events = [json.loads(line) for line in running.stdout.splitlines()]
    assert [event["event"] for event in events] == ["ready", "open", "close"]
    assert (events[2]["received"], events[2]["sent"]) == (5, 5)


def test_overlay_to_the_built_in_peer(tmp_path: Path) -> None:
    zt = Zt(tmp_path, make_engine)
    command = ["forward", "0:builtin:7", *OVERLAY, "--transport", "inmem"]
    with serving(zt, *command) as running:
        assert ask(running.port, b"hello") == b"hello"


V6 = "[fd00::1]"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("5432:db:5433", Forwarding(Local("127.0.0.1", 5432), "db", 5433, udp=False)),
        ("5432:db", Forwarding(Local("127.0.0.1", 5432), "db", 5432, udp=False)),
        ("0:db:1", Forwarding(Local("127.0.0.1", 0), "db", 1, udp=False)),
        ("53:10.0.0.1:53/udp", Forwarding(Local("127.0.0.1", 53), "10.0.0.1", 53, udp=True)),
        (f"[::1]:80:{V6}:81", Forwarding(Local("::1", 80), "fd00::1", 81, udp=False)),
        ("0.0.0.0:80:db:81", Forwarding(Local("0.0.0.0", 80), "db", 81, udp=False)),
        ("unix:/a:b:db:1", Forwarding(Local(path="/a:b"), "db", 1, udp=False)),
        (f"unix:/a:{V6}:1", Forwarding(Local(path="/a"), "fd00::1", 1, udp=False)),
        ("-:db:22", Forwarding(Local(is_stdio=True), "db", 22, udp=False)),
    ],
)
def test_forwarding(text: str, wanted: Forwarding) -> None:
    assert specs.forwarding(text) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("80", Exposure(None, 80, Local("127.0.0.1", 80), udp=False)),
        ("80/udp", Exposure(None, 80, Local("127.0.0.1", 80), udp=True)),
        ("80:db:5000", Exposure(None, 80, Local("db", 5000), udp=False)),
        ("80:[::1]:5000", Exposure(None, 80, Local("::1", 5000), udp=False)),
        ("0:unix:/x", Exposure(None, 0, Local(path="/x"), udp=False)),
    ],
)
def test_exposure(text: str, wanted: Exposure) -> None:
    assert specs.exposure(text, None, None, udp=False) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "80",
        ":80:db:1",
        "80:db:0",
        "0:db",
        "x:db:1",
        "1:2:3:4:5",
        "-:db",
        "-:db:1/udp",
        "unix:/a:1",
        "unix::db:1",
        "80:[::1:1",
    ],
)
def test_usage(zt: Zt, text: str) -> None:
    assert zt("forward", text).code == ExitCode.USAGE


def test_stdio_is_forwarded_alone(zt: Zt) -> None:
    assert zt("forward", "-:db:1", "0:db:2").code == ExitCode.USAGE
