"""zt bench against zt bench serve, and against whoever speaks otherwise."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cli import Zt, free_port, make_engine, os_engine, peer, receive_all
from tests.support.os_engine import OsEngine, OsStream
from tests.support.serving import Serving, Terminal, serving
from ztcli.app import run
from ztcli.commands.bench_wire import MAGIC, QUESTION, Mode
from ztcli.engine import Engine, Stream
from ztcli.environment import Environment
from ztcli.exit_codes import ExitCode
from ztcli.options import Settings

MANY = 3_000_000


@pytest.fixture
def host(zt: Zt) -> Iterator[Serving]:
    with serving(zt, "-q", "bench", "serve", "0") as running:
        yield running


@pytest.mark.parametrize("direction", ["sent", "received"])
def test_so_many_bytes(zt: Zt, host: Serving, direction: str) -> None:
    more = ["--reverse"] if direction == "received" else []
    arguments = ["127.0.0.1", str(host.port), "--bytes", str(MANY), "--parallel", "2", *more]
    result = zt("bench", *arguments, "--json")
    assert result.code == 0, result.stderr
    found = json.loads(result.stdout)
    assert (found["v"], found["type"], found["path"]) == (1, "bench", "direct")
    assert (found["direction"], found["streams"], found["bytes"]) == (direction, 2, 2 * MANY)
    assert found["bytes_per_second"] == pytest.approx(found["bytes"] / found["seconds"], rel=0.01)
    latency = found["latency_ms"]
    assert 0 < latency["min"] <= latency["median"] <= latency["max"]


@pytest.mark.parametrize("more", [[], ["--reverse"]])
def test_so_much_time(zt: Zt, host: Serving, more: list[str]) -> None:
    arguments = ["127.0.0.1", str(host.port), "--time", "300ms", *more]
    result = zt("bench", *arguments)
    assert (result.code, result.stderr) == (0, "")
    latency, throughput, loaded = result.stdout.decode().splitlines()
    assert latency.startswith("latency     ")
    assert throughput.startswith("throughput  ")
    assert loaded.startswith("under load  ")
    assert latency.endswith(" direct")
    assert loaded.endswith(" direct")


def test_both_at_once(zt: Zt, host: Serving) -> None:
    arguments = ["127.0.0.1", str(host.port), "--bytes", str(MANY), "--bidir", "--json"]
    found = json.loads(zt("bench", *arguments).stdout)
    assert (found["direction"], found["bytes"]) == ("sent", MANY)
    assert (found["reverse"]["direction"], found["reverse"]["bytes"]) == ("received", MANY)


@pytest.mark.parametrize("more", [["--bytes", "200k"], ["--bytes", "200k", "--reverse"]])
def test_rate_is_kept(zt: Zt, host: Serving, more: list[str]) -> None:
    arguments = ["127.0.0.1", str(host.port), "--bitrate", "4M", "--json", *more]
    found = json.loads(zt("bench", *arguments).stdout)
    assert found["bytes"] == 200_000
    assert 350_000 < found["bytes_per_second"] < 600_000


@pytest.mark.parametrize("direction", ["sent", "received"])
def test_datagrams(zt: Zt, host: Serving, direction: str) -> None:
    more = ["--reverse"] if direction == "received" else []
    arguments = ["127.0.0.1", str(host.port), "--udp", "--bitrate", "4M", "--time", "300ms", *more]
    result = zt("bench", *arguments, "--json")
    assert result.code == 0, result.stderr
    found = json.loads(result.stdout)
    counts = found["datagrams"]
    assert found["direction"] == direction
    assert 60 < counts["sent"] < 150
    assert counts["sent"] == counts["received"] + counts["lost"]
    assert found["bytes"] == 1400 * counts["received"] > 0
    assert b"datagrams   " in zt("bench", *arguments).stdout


def test_live_line(zt: Zt, host: Serving, tmp_path: Path) -> None:
    stderr = Terminal()
    with (tmp_path / "out").open("wb") as stdout:
        env = Environment(
            variables={},
            home=zt.home,
            stdout=stdout.fileno(),
            stderr=stderr,
            engine_factory=os_engine,
            handle_signals=False,
        )
        code = run(["bench", "127.0.0.1", str(host.port), "--time", "1200ms"], env)
    assert code == 0
    assert " MB/s" in stderr.getvalue()
    assert stderr.getvalue().endswith("\r")


def test_live_line_of_the_host(zt: Zt) -> None:
    with serving(zt, "bench", "serve", "0", terminal=True) as host:
        assert zt("bench", "127.0.0.1", str(host.port), "--time", "1200ms").code == 0
    assert re.search(r"\r\d at work  \d+\.\d MB/s", host.stderr)


def test_nobody_serves(zt: Zt) -> None:
    assert zt("bench", "127.0.0.1", str(free_port())).code == ExitCode.CANNOT_CONNECT


@pytest.mark.parametrize("says", [b"", b"SSH-2.0-x\r\n"])
def test_somebody_else_serves(zt: Zt, says: bytes) -> None:
    with peer(lambda c: c.sendall(says)) as port:
        result = zt("bench", "127.0.0.1", str(port))
    assert result.code == ExitCode.CONNECTION_LOST


def _ask(port: int, question: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        try:
            connection.sendall(question)
            connection.shutdown(socket.SHUT_WR)
            return receive_all(connection)
        except OSError:
            # It was broken off, perhaps before we had said everything.
            return b""


@pytest.mark.parametrize(
    "question",
    [
        b"",
        MAGIC,
        os.urandom(QUESTION.size),
        QUESTION.pack(MAGIC, 9, 0, 0, 0, 0),
        QUESTION.pack(MAGIC, Mode.SEND, 0, 0, 0, 0),
        QUESTION.pack(MAGIC, Mode.SEND_DATAGRAMS, 0, 100, 0, 1000),
        QUESTION.pack(MAGIC, Mode.SEND_DATAGRAMS, 9, 100, 0, 0),
    ],
    ids=["nothing", "short", "noise", "no-such-mode", "endless", "nowhere", "flood"],
)
def test_noise_ends_alone(host: Serving, question: bytes) -> None:
    assert _ask(host.port, question) in (b"", MAGIC)
    assert _ask(host.port, QUESTION.pack(MAGIC, Mode.RETURN, 0, 0, 0, 0) + b"x") == MAGIC + b"x"


class _RelayedEngine(OsEngine):
    """A network without direct paths."""

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
        stream = await super().connect(host, port, timeout)
        assert isinstance(stream, OsStream)
        stream.path = "relay"
        return stream


def _relayed(env: Environment, settings: Settings) -> Engine:
    del env, settings
    return _RelayedEngine()


def test_relays_are_not_loaded(zt: Zt, host: Serving, tmp_path: Path) -> None:
    zt.factory = _relayed
    target = ["127.0.0.1", str(host.port), "--bytes", "1k", "--connect-timeout", "300ms"]
    result = zt("bench", *target)
    assert result.code == ExitCode.RELAYED_ONLY
    assert zt("bench", *target, "--via-relay").code == ExitCode.USAGE
    planet = tmp_path / "planet"
    planet.write_bytes(b"")
    result = zt("--planet", str(planet), "bench", *target, "--via-relay")
    assert result.code == 0
    assert b" relay\n" in result.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["serve", "--reverse"],
        ["serve", "--time", "1s"],
        ["a", "--ready-file", "x"],
        ["a", "--allow", "10.0.0.0/8"],
        ["a", "--time", "1s", "--bytes", "1"],
        ["a", "--time", "off"],
        ["a", "--bytes", "0"],
        ["a", "--bidir", "--reverse"],
        ["a", "--bitrate", "10"],
        ["serve", "--udp"],
        ["local", "--udp"],
        ["a", "notaport"],
        ["a", "--parallel", "33"],
    ],
)
def test_contradictions(zt: Zt, arguments: list[str]) -> None:
    assert zt("bench", *arguments).code == ExitCode.USAGE


def test_overlay_stack(tmp_path: Path) -> None:
    zt = Zt(tmp_path, make_engine)
    overlay = ["-n", "0xCAFE2001", "--stack", "overlay", "--transport", "inmem", "--ephemeral"]
    with serving(zt, "bench", "serve", "0", *overlay) as running:
        node, port = running.ready["node"], str(running.port)
        result = zt("bench", node, port, "--bytes", "1M", "--json", *overlay)
    assert result.code == 0, result.stderr
    assert json.loads(result.stdout)["bytes"] == 1_000_000
