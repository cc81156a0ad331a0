"""zt with --stack overlay: two commands in one process, and two that meet over UDP."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from tests.support.cli import Zt, free_port, make_engine, peer
from ztcli.exit_codes import ExitCode

OVERLAY = ["--network", "0xCAFE2001", "--stack", "overlay"]


@pytest.fixture
def zt(tmp_path: Path) -> Zt:
    return Zt(tmp_path, make_engine)


@pytest.mark.parametrize("transport", ["inmem", "osudp"])
def test_http(zt: Zt, transport: str) -> None:
    port = free_port()
    listen = [*OVERLAY, "--transport", transport, "--ephemeral"]
    if transport == "osudp":
        listen += ["--udp-port", str(port)]
    with zt.background("listen", "8080", "--mode", "http", "--once", *listen) as running:
        node = running.ready["node"]
        arguments = [*OVERLAY, "--transport", transport, "--ephemeral"]
        if transport == "osudp":
            arguments += ["--peer", f"{node}@127.0.0.1:{port}"]
        url = "http://10.9.0.1:8080/hello"
        result = zt("call", *arguments, "--map-ip", f"10.9.0.1={node}", "--url", url)
    assert (result.code, result.stdout) == (0, b"ok\n")
    assert result.stderr == "warning: overlay stack is neither encrypted nor authenticated\n"


def test_join(zt: Zt, tmp_path: Path) -> None:
    state = str(tmp_path / "s")
    first = zt("join", "--once", "--state", state, *OVERLAY).stdout.decode().splitlines()
    second = zt("join", "--once", "--state", state, *OVERLAY).stdout.decode().splitlines()
    assert first[:2] == second[:2]
    assert first[2].startswith("Local UDP: ")


def test_names(zt: Zt) -> None:
    arguments = [*OVERLAY, "--ephemeral"]
    assert zt("call", "db", "80", *arguments).code == ExitCode.NOT_RESOLVED
    assert zt("call", "a1b2c3d4e5", "80", *arguments).code == ExitCode.CANNOT_CONNECT


def test_status(zt: Zt) -> None:
    result = zt("status", *OVERLAY, "--ephemeral", "--peer", "a1b2c3d4e5@127.0.0.1:9")
    assert b"peer     a1b2c3d4e5 leaf direct 127.0.0.1/9\n" in result.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["--planet", "x"],
        ["--mp-bond", "rr"],
        ["-n", "0xCAFE2002"],
        ["--peer", "nobody"],
        ["--udp-port", "70000"],
    ],
)
def test_usage(zt: Zt, arguments: list[str]) -> None:
    assert zt("join", "--once", *OVERLAY, *arguments).code == ExitCode.USAGE


INMEM = [*OVERLAY, "--ephemeral", "--transport", "inmem"]
WARNING = "warning: overlay stack is neither encrypted nor authenticated\n"


def test_the_built_in_peer_answers_http(zt: Zt) -> None:
    for host in ("builtin", "ec40ec40ec"):
        result = zt("call", *INMEM, "--url", f"http://{host}:5380/x")
        assert (result.code, result.stdout, result.stderr) == (0, b"ok\n", WARNING)
    mapped = ("--map-ip", "10.9.0.1=ec40ec40ec", "--url", "http://10.9.0.1:80/")
    assert zt("call", *INMEM, *mapped).stdout == b"ok\n"


@pytest.mark.parametrize(("host", "code"), [("10.9.0.1", 6), ("a1b2c3d4e5", 7)])
def test_nobody_else_answers_in_memory(zt: Zt, host: str, code: int) -> None:
    result = zt("call", *INMEM, host, "7", stdin=b"")
    assert result.code == code
    assert "nobody answers but builtin (ec40ec40ec)" in result.stderr


def test_the_built_in_peer_answers_streams(zt: Zt) -> None:
    data = bytes(range(256)) * 4000
    result = zt("call", *INMEM, "builtin", "7", stdin=data)
    assert (result.code, result.stdout) == (0, data)
    assert zt("call", *INMEM, "-z", "builtin", "20-22").stdout == b"20 open\n21 open\n22 open\n"


def test_the_built_in_peer_answers_datagrams(zt: Zt) -> None:
    arguments = ("--to", "builtin:9000", "--data", "ping", "--wait", "5s")
    result = zt("udp-send", *INMEM, *arguments)
    assert (result.code, result.stdout) == (0, b"pong\n")


def test_the_built_in_peer_answers_pings(zt: Zt) -> None:
    result = zt("ping", "ec40ec40ec", "-c", "1", *INMEM)
    assert result.code == 0, result.stderr
    assert b"pong from ec40ec40ec" in result.stdout


def test_in_memory_there_are_no_sockets(zt: Zt) -> None:
    given = ["--udp-port", "5", "--peer", "a1b2c3d4e5@127.0.0.1:7", "--advertise", "127.0.0.1"]
    result = zt("call", *INMEM, *given, "--url", "http://builtin/")
    assert (result.code, result.stdout) == (0, b"ok\n")
    told = "warning: in memory there are no sockets for --udp-port, --advertise, --peer\n"
    assert result.stderr == WARNING + told


@pytest.mark.parametrize("host", ["0xec40ec40ec", "ec40ec40ec.zt", "EC40EC40EC"])
def test_spellings_of_a_node(zt: Zt, host: str) -> None:
    assert zt("call", *INMEM, "--url", f"http://{host}/").stdout == b"ok\n"
    assert zt("call", *INMEM, host, "7", stdin=b"x").stdout == b"x"


def test_an_address_of_its_own(zt: Zt) -> None:
    mapped = ["--map-ip", "10.9.0.1=ec40ec40ec", "--map-ip", "fd00:0::1=ec40ec40ec"]
    assert zt("call", *INMEM, *mapped, "--url", "http://[fd00::1]:80/").stdout == b"ok\n"
    for host in ("10.9.0.1", "fd00::1"):
        assert zt("call", *INMEM, *mapped, host, "7", stdin=b"x").stdout == b"x"
    arguments = ("--to", "10.9.0.1:9000", "--data", "ping", "--wait", "5s")
    assert zt("udp-send", *INMEM, *mapped, *arguments).stdout == b"pong\n"


def test_memberships(zt: Zt, tmp_path: Path) -> None:
    kept = ["--stack", "overlay", "--state", str(tmp_path / "s")]
    nameless = zt("join", "--once", *kept)
    assert nameless.code == ExitCode.USAGE
    assert "no network is named" in nameless.stderr
    assert zt("join", "--once", "-n", "0xCAFE2001", *kept).code == 0
    # Joined once, it need not be named again.
    assert b"network  00000000cafe2001 OK" in zt("status", *kept).stdout
    told = json.loads(zt("networks", "--json", *kept).stdout)["networks"]
    assert [(one["network"], one["status"]) for one in told] == [("00000000cafe2001", "OK")]
    # The managed node of the same directory is member of nothing, and leaves nothing.
    other = ["--state", str(tmp_path / "s")]
    assert json.loads(zt("networks", "--json", *other).stdout)["networks"] == []
    assert zt("leave", "cafe2001", *other).code == ExitCode.USAGE
    assert zt("leave", "cafe2001", *kept).stdout == b"00000000cafe2001 left\n"
    assert zt("leave", "cafe2001", *kept).code == ExitCode.USAGE
    assert zt("status", *kept).code == ExitCode.USAGE


def test_join_in_memory(zt: Zt) -> None:
    lines = zt("join", "--once", *INMEM).stdout.decode().splitlines()
    assert lines[0] == "State: (none kept)"
    assert lines[2] == "Built-in peer: ec40ec40ec"


@pytest.mark.parametrize("family", ["127.0.0.1", "[::1]"])
def test_datagrams(zt: Zt, family: str) -> None:
    port = free_port()
    listen = [*OVERLAY, "--ephemeral", "--udp-port", str(port), "--count", "1"]
    with zt.background("udp-listen", "9000", *listen) as running:
        node = running.ready["node"]
        told = ["--peer", f"{node}@{family}:{port}", "--ephemeral"]
        send = ["--to", f"{node}:9000", "--data", "ping", "--wait", "5s"]
        result = zt("udp-send", *OVERLAY, *told, *send)
    assert (result.code, result.stdout) == (0, b"pong\n")
    assert running.result is not None
    assert running.result.stdout == b"ping\n"


def test_streams_end_as_on_the_managed_stack(zt: Zt) -> None:
    data = bytes(range(256)) * 8000
    port = free_port()
    listen = [*OVERLAY, "--ephemeral", "--udp-port", str(port)]
    with zt.background("listen", "7777", "--tcp", *listen, stdin=b"answer") as running:
        told = ["--peer", f"{running.ready['node']}@127.0.0.1:{port}", "--ephemeral"]
        result = zt("call", *OVERLAY, *told, running.ready["node"], "7777", stdin=data)
    assert (result.code, result.stdout) == (0, b"answer")
    assert running.result is not None
    assert (running.result.code, running.result.stdout) == (0, data)


def test_two_commands_with_the_default_state(zt: Zt) -> None:
    port = free_port()
    listen = [*OVERLAY, "--udp-port", str(port)]
    with zt.background("listen", "80", "--mode", "http", "--once", *listen) as running:
        told = ["--peer", f"{running.ready['node']}@127.0.0.1:{port}"]
        url = f"http://{running.ready['node']}/"
        result = zt("call", *OVERLAY, *told, "--url", url)
    assert (result.code, result.stdout) == (0, b"ok\n")
    assert "; using a fresh node id\n" in result.stderr


def test_a_state_that_was_named_is_not_shared(zt: Zt, tmp_path: Path) -> None:
    state = ["--state", str(tmp_path / "s")]
    with zt.background("listen", "80", "--tcp", *OVERLAY, *state, "--timeout", "1s"):
        assert zt("join", "--once", *OVERLAY, *state).code == ExitCode.STATE_IN_USE


@pytest.mark.parametrize(
    "arguments",
    [
        ["--peer", "a1b2c3d4e5@192.0.2.1:9993"],
        ["--peer", "a1b2c3d4e5@example.org:9993"],
        ["--advertise", "192.0.2.1"],
        ["--advertise", "[2001:db8::1]:9993"],
        ["--advertise", "0.0.0.0", "--bind-udp", "0.0.0.0"],
        ["--bind-udp", "127.0.0.1", "--peer", "a1b2c3d4e5@192.0.2.1:9993"],
        ["--bind-udp", "127.0.0.1", "--peer", "a1b2c3d4e5@[::1]:9993"],
        ["--bind-udp", "127.0.0.1:5", "--udp-port", "6"],
        ["--bind-udp", "192.0.2.1"],
        ["--bind-udp", "example.org"],
    ],
)
def test_loopback_is_not_left_by_accident(zt: Zt, arguments: list[str]) -> None:
    result = zt("join", "--once", *OVERLAY, "--ephemeral", *arguments)
    assert result.code == ExitCode.USAGE
    assert "[ZT-E002]" in result.stderr


def test_told_to_leave_loopback(zt: Zt) -> None:
    told = ["--bind-udp", "0.0.0.0", "--advertise", "192.0.2.1"]
    result = zt("join", "--once", *OVERLAY, "--ephemeral", *told)
    assert result.code == 0, result.stderr
    assert b"Local UDP: 0.0.0.0:" in result.stdout


def test_http_by_the_system(zt: Zt) -> None:
    def behaviour(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nos")

    with peer(behaviour) as port:
        url = f"http://127.0.0.1:{port}/"
        result = zt("call", *OVERLAY, "--ephemeral", "--http", "os", "--url", url)
    assert (result.code, result.stdout) == (0, b"os")
