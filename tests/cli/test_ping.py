"""zt ping and zt netcheck: what they print, and with which codes they end."""

from __future__ import annotations

import dataclasses
import json
import socket
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.support.cli import Zt, free_port, make_engine, peer
from tests.support.os_engine import CHECK, ROOT, OsEngine
from ztcli.engine import Engine, NetCheck, Pong
from ztcli.environment import Environment
from ztcli.exit_codes import ExitCode
from ztcli.options import Settings

NODE = "9f8e7d6c5b"
RELAYED = Pong(NODE, "", 212.4, "relay", "203.0.113.1/9993", "62f865ae71")
DIRECT = Pong(NODE, "10.121.15.99", 1.43, "direct", "203.0.113.7/9993", "")
FAST = ("-i", "200ms")


def pinging(home: Path, pongs: Iterable[Pong | None]) -> Zt:
    """Return a `zt` whose pings get these answers; None is silence."""

    def factory(env: Environment, settings: Settings) -> Engine:
        return OsEngine(pongs=pongs)

    return Zt(home, factory)


def checking(home: Path, found: NetCheck) -> Zt:
    def factory(env: Environment, settings: Settings) -> Engine:
        engine = OsEngine()
        engine.check = found
        return engine

    return Zt(home, factory)


def test_answers_are_told(tmp_path: Path) -> None:
    result = pinging(tmp_path, [RELAYED, DIRECT])("ping", NODE, "-c", "2", *FAST)
    assert result.code == ExitCode.OK
    assert result.stdout.decode().splitlines() == [
        f"pong from {NODE} via RELAY(62f865ae71) in 212 ms",
        f"pong from {NODE} (10.121.15.99) via 203.0.113.7:9993 in 1.4 ms",
    ]
    assert "2 sent, 2 answered" in result.stderr


def test_other_ways(tmp_path: Path) -> None:
    pongs = [
        dataclasses.replace(DIRECT, link="tunnel", path="2001:db8::7/443"),
        Pong("", "10.121.15.99", 20.0, "relay", "", ""),
    ]
    result = pinging(tmp_path, pongs)("ping", "10.121.15.99", "-c", "2", *FAST, "-q")
    assert result.stdout.decode().splitlines() == [
        f"pong from {NODE} (10.121.15.99) via TUNNEL([2001:db8::7]:443) in 1.4 ms",
        "pong from 10.121.15.99 via RELAY in 20 ms",
    ]
    assert result.stderr == ""


def test_one_answer_is_enough(tmp_path: Path) -> None:
    result = pinging(tmp_path, [None, DIRECT])("ping", NODE, "-c", "2", *FAST)
    assert result.code == ExitCode.OK
    assert f"{NODE}: no answer in 5 s" in result.stderr
    assert "2 sent, 1 answered" in result.stderr


@pytest.mark.parametrize("option", [[], ["--until-direct"]], ids=["plain", "until direct"])
def test_silence(tmp_path: Path, option: list[str]) -> None:
    result = pinging(tmp_path, [])("ping", NODE, "-c", "2", "--timeout", "1s", *FAST, *option)
    assert (result.code, result.stdout) == (ExitCode.TIMED_OUT, b"")
    assert "no answer in 1 s" in result.stderr


def test_until_direct_ends_with_the_first_direct_answer(tmp_path: Path) -> None:
    pongs = [RELAYED, None, DIRECT, RELAYED]
    result = pinging(tmp_path, pongs)("ping", NODE, "--until-direct", *FAST)
    assert result.code == ExitCode.OK
    assert len(result.stdout.splitlines()) == 2
    assert result.stdout.endswith(b"via 203.0.113.7:9993 in 1.4 ms\n")


@pytest.mark.parametrize("link", ["relay", "tunnel"])
def test_until_direct_and_never_direct(tmp_path: Path, link: str) -> None:
    pongs = [dataclasses.replace(RELAYED, link=link)] * 2
    result = pinging(tmp_path, pongs)("ping", NODE, "--until-direct", "-c", "2", *FAST)
    assert result.code == ExitCode.RELAYED_ONLY
    assert "zt netcheck" in result.stderr


def test_json(tmp_path: Path) -> None:
    result = pinging(tmp_path, [RELAYED, None])("--json", "ping", NODE, "-c", "2", *FAST)
    assert (result.code, result.stderr) == (ExitCode.OK, "")
    pong, lost = (json.loads(line) for line in result.stdout.splitlines())
    assert {key: pong[key] for key in ("event", "seq", "node", "rtt_ms", "link", "relay")} == {
        "event": "pong",
        "seq": 1,
        "node": NODE,
        "rtt_ms": 212.4,
        "link": "relay",
        "relay": "62f865ae71",
    }
    assert (lost["event"], lost["seq"]) == ("timeout", 2)


def test_tcp(zt: Zt) -> None:
    def wait_for_end(connection: socket.socket) -> None:
        connection.recv(1)

    with peer(wait_for_end) as port:
        result = zt("ping", "127.0.0.1", "--tcp", str(port), "-c", "1")
    assert result.code == ExitCode.OK
    assert result.stdout.startswith(b"pong from 127.0.0.1 via DIRECT in ")


def test_tcp_refused(zt: Zt) -> None:
    result = zt("ping", "127.0.0.1", "--tcp", str(free_port()), "-c", "1")
    assert result.code == ExitCode.CANNOT_CONNECT


@pytest.mark.parametrize(
    "arguments",
    [
        ["ping"],
        ["ping", NODE, "-c", "0"],
        ["ping", NODE, "-i", "50ms"],
        ["ping", NODE, "-i", "off"],
        ["ping", NODE, "--size", "7"],
        ["ping", NODE, "--tcp", "80", "--icmp"],
        ["ping", NODE, "--tcp", "80", "--size", "9"],
        ["ping", NODE, "--tcp", "0"],
        ["ping", NODE, "--icmp", "--stack", "overlay", "-n", "1", "--transport", "inmem"],
        ["netcheck", "--stack", "overlay", "-n", "1", "--transport", "inmem"],
        ["netcheck", "--every", "off"],
    ],
)
def test_contradictions(tmp_path: Path, arguments: list[str]) -> None:
    overlay = "overlay" in arguments
    zt = Zt(tmp_path, make_engine) if overlay else pinging(tmp_path, [DIRECT])
    result = zt(*arguments, *(("--ephemeral",) if overlay else ()))
    assert (result.code, result.stdout) == (ExitCode.USAGE, b"")


def test_netcheck(zt: Zt) -> None:
    result = zt("netcheck")
    assert result.code == ExitCode.OK
    assert result.stdout.decode().splitlines() == [
        "udp out    yes (1 of 1 roots)",
        "ipv4       yes",
        "ipv6       no",
        "nat        endpoint-independent",
        "external   198.51.100.4:41211",
        "port map   none",
        "tcp relay  204.80.128.1:443 not in use",
        "root       62f865ae71 DIRECT 203.0.113.7:9993 12 ms sees 198.51.100.4:41211",
        "clock skew 0.2 s",
    ]


def test_netcheck_with_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ztcli.commands.netcheck.PATIENCE_S", 0.0)
    silent = dataclasses.replace(
        ROOT, link="relay", latency_ms=-1, path="", seen_as=(), clock_skew_ms=None
    )
    found = dataclasses.replace(
        CHECK, udp=False, ipv4=False, nat="unknown", external=(), tcp_relay="", roots=(silent,)
    )
    lines = checking(tmp_path, found)("netcheck").stdout.decode().splitlines()
    assert lines[0] == "udp out    no (0 of 1 roots)"
    assert lines[4] == "external   unknown"
    assert lines[-1] == "root       62f865ae71 SILENT"


def test_netcheck_as_json(zt: Zt) -> None:
    record = json.loads(zt("netcheck", "--json").stdout)
    assert (record["type"], record["udp"], record["nat"]) == (
        "netcheck",
        True,
        "endpoint-independent",
    )
    assert record["roots"][0]["seen_as"] == ["198.51.100.4/41211"]
