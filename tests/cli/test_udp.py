"""zt udp-listen and zt udp-send."""

from __future__ import annotations

import json
import socket
import threading

import pytest

from tests.support.cli import Zt
from ztcli.exit_codes import ExitCode


def ask(port: int, data: bytes) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.sendto(data, ("127.0.0.1", port))
        return sock.recv(65536)


def test_ping_gets_pong(zt: Zt) -> None:
    with zt.background("udp-listen", "0", "--once") as running:
        assert ask(running.port, b"ping") == b"pong"
    assert running.result is not None
    assert (running.result.code, running.result.stdout) == (0, b"ping\n")
    assert f"UDP RX 127.0.0.1:{running.port} <- 127.0.0.1:" in running.result.stderr


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["--echo"], b"hello"),
        (["--reply", "fixed"], b"fixed"),
        (["--exec", "tr a-z A-Z", "--allow-any"], b"HELLO"),
    ],
)
def test_answers(zt: Zt, arguments: list[str], answer: bytes) -> None:
    with zt.background("udp-listen", "0", "--count", "1", *arguments) as running:
        assert ask(running.port, b"hello") == answer


def test_datagrams_as_json(zt: Zt) -> None:
    arguments = ["--format", "json", "--echo", "--once"]
    with zt.background("udp-listen", "0", *arguments) as running:
        ask(running.port, b"\xff")
    assert running.result is not None
    events = [json.loads(line) for line in running.result.stdout.splitlines()]
    assert [event["event"] for event in events] == ["ready", "datagram"]
    assert events[1]["data"] == "ff"


def test_groups_are_joined_and_told(zt: Zt) -> None:
    arguments = ["--group", "239.1.2.3", "--group", "ff05::77", "--json", "--once"]
    with zt.background("udp-listen", "0", *arguments) as running:
        ask(running.port, b"ping")
    assert running.result is not None
    events = [json.loads(line) for line in running.result.stdout.splitlines()]
    assert events[0]["groups"] == ["239.1.2.3", "ff05::77"]
    assert (events[1]["local"], events[1]["text"]) == ("239.1.2.3", "ping")
    assert f"try: zt udp-send --to 239.1.2.3:{running.port} " in running.result.stderr


def test_send_and_wait(zt: Zt) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(5)

        def answer() -> None:
            data, where = sock.recvfrom(65536)
            sock.sendto(b"got " + data, where)

        thread = threading.Thread(target=answer)
        thread.start()
        port = sock.getsockname()[1]
        result = zt("udp-send", "--to", f"127.0.0.1:{port}", "--data", "ping", "--wait", "5s")
        thread.join()
    assert (result.code, result.stdout) == (0, b"got ping\n")
    assert result.stderr.startswith("UDP Send: 127.0.0.1:")
    assert result.stderr.endswith(f" -> 127.0.0.1:{port} (4 bytes)\n")


def test_no_reply(zt: Zt) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        to = f"127.0.0.1:{sock.getsockname()[1]}"
        assert zt("udp-send", "--to", to, "--wait", "100ms").code == ExitCode.TIMED_OUT


def test_nobody_there(zt: Zt) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        to = f"127.0.0.1:{sock.getsockname()[1]}"
    result = zt("udp-send", "--to", to, "--data", "x", "--wait", "1s")
    assert result.code in (ExitCode.CANNOT_CONNECT, ExitCode.TIMED_OUT)


def test_lines_of_stdin(zt: Zt) -> None:
    with zt.background("udp-listen", "0", "--count", "2") as running:
        to = f"127.0.0.1:{running.port}"
        assert zt("udp-send", "--to", to, "--lines", stdin=b"one\ntwo\n").code == 0
    assert running.result is not None
    assert running.result.stdout == b"one\ntwo\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["udp-send", "--to", "10.0.0.1"],
        ["udp-send", "--to", "10.0.0.1:99999"],
        ["udp-send", "--to", "10.0.0.1:9", "--data", "xyz", "--hex"],
        ["udp-send", "--data", "x"],
        ["udp-listen", "9", "--echo", "--reply", "x"],
        ["udp-listen", "9", "--exec", "cat"],
        ["udp-listen", "9", "--group", "10.0.0.1"],
        ["udp-listen", "9", "--group", "everybody"],
    ],
)
def test_contradictions(zt: Zt, arguments: list[str]) -> None:
    assert zt(*arguments).code == ExitCode.USAGE


def test_too_long(zt: Zt) -> None:
    result = zt("udp-send", "--to", "10.0.0.1:9", stdin=b"x" * 65508)
    assert result.code == ExitCode.USAGE
