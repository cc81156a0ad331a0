"""One run for each exit code that an engine's failure leads to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.cli import Zt, failing
from ztcli.engines import make_engine
from ztcli.exit_codes import ExitCode
from ztstack.base import errors


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (errors.NameNotResolved("x"), ExitCode.NOT_RESOLVED),
        (errors.Unreachable("x"), ExitCode.CANNOT_CONNECT),
        (errors.ConnectRefused("x"), ExitCode.CANNOT_CONNECT),
        (errors.ConnectReset("x"), ExitCode.CONNECTION_LOST),
        (TimeoutError("x"), ExitCode.TIMED_OUT),
        (errors.Offline("x"), ExitCode.OFFLINE),
        (errors.NetworkNotFound("x"), ExitCode.NETWORK_NOT_FOUND),
        (errors.AccessDenied("x"), ExitCode.ACCESS_DENIED),
        (errors.AuthenticationRequired("x"), ExitCode.AUTHENTICATION_REQUIRED),
        (errors.StateInUse("x"), ExitCode.STATE_IN_USE),
        (errors.IdentityError("x"), ExitCode.BAD_IDENTITY),
        (errors.PortInUse("x"), ExitCode.PORT_IN_USE),
        (errors.InvalidConfig("x"), ExitCode.USAGE),
        (ZeroDivisionError("x"), ExitCode.INTERNAL),
        (ExceptionGroup("g", [ValueError("y"), errors.Offline("x")]), ExitCode.OFFLINE),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_failure_of_joining(tmp_path: Path, failure: Exception, code: ExitCode) -> None:
    result = Zt(tmp_path, failing(failure))("join", "--once")
    assert (result.code, result.stdout) == (code, b"")
    assert result.stderr.startswith("zt: ")
    assert f"[ZT-E{int(code):03}]" in result.stderr.splitlines()[0]


def test_interrupted(tmp_path: Path) -> None:
    result = Zt(tmp_path, failing(KeyboardInterrupt()))("join", "--once")
    assert (result.code, result.stderr) == (ExitCode.INTERRUPTED, "")


def test_very_quiet_is_silent(tmp_path: Path) -> None:
    result = Zt(tmp_path, failing(errors.Offline("x")))("-qq", "join", "--once")
    assert (result.code, result.stderr) == (ExitCode.OFFLINE, "")


def test_trace_shows_the_traceback(tmp_path: Path) -> None:
    result = Zt(tmp_path, failing(errors.Offline("x")))("join", "--once", "--trace")
    assert "Traceback" in result.stderr


def test_json_error(tmp_path: Path) -> None:
    result = Zt(tmp_path, failing(errors.AccessDenied("no")))("--json", "join", "--once")
    assert json.loads(result.stderr)["code"] == ExitCode.ACCESS_DENIED


@pytest.mark.parametrize(
    "arguments",
    [
        ["fly"],
        ["call"],
        ["call", "--nonsense"],
        ["call", "host"],
        ["call", "ftp://host/"],
        ["call", "host", "80", "-X", "GET"],
        ["call", "http://host/", "--crlf"],
        ["call", "host", "20-30"],
        ["call", "host", "80", "-4", "-6"],
        ["call", "http://host/", "--http2", "--http1.1"],
        ["call", "http://host/", "--http2", "--proxy", "http://host:8080"],
        ["call", "http://host/", "--proxy", "host:8080"],
        ["call", "http://host/", "--proxy", "ftp://host:8080"],
        ["call", "http://host/", "-w", "%{http_cod}"],
        ["call", "http://host/", "-x", "file"],
        ["call", "host", "80", "--http2"],
        ["udp-listen", "0", "--raw", "--format", "hex"],
        ["join", "--once", "--network", "xyz"],
        ["join", "--once", "--stack", "none"],
        ["join", "--once", "--timeout", "soon"],
        ["join", "--once", "--transport", "osudp"],
        ["join", "--once", "--ephemeral", "--state", "x"],
        ["join", "--once", "--root-hint", "1@2"],
        ["join", "--once", "--root-hint", "a1b2c3d4e5@root.example:9993"],
        ["join", "--once", "--upstream-proxy", "ftp://proxy:1"],
        ["join", "--once", "--upstream-proxy", "http://me:word@proxy:1"],
        ["join", "--once", "--upstream-proxy", "http://proxy:1", "--relay", "off"],
        ["join", "--once", "--network", "123"],
        ["join", "--once", "--network", "0000000000000000"],
        ["join", "--once", "--moon", "1@2"],
        ["join", "--once", "--pcap", "file", "--pcap-wire", "file"],
        ["join", "--once", "--pcap", "file", "--stack", "overlay"],
        ["join", "--once", "--authorize"],
        ["join", "--once", "--multipath", "--stack", "overlay"],
        ["join", "--once", "--mp-bond", "rr", "--relay", "tcp://10.0.0.1:443"],
        ["join", "--once", "--mp-bond", "nonsense"],
        ["join", "--once", "--mp-udp-sockets", "9"],
        ["join", "--once", "--mp-udp-sockets", "2", "--mp-udp-ports", "1,2,3"],
        ["join", "--once", "--mp-warmup-root", "perhaps"],
        ["join", "--once", "--mp-bind", "eth0"],
        ["bond"],
        ["bond", "show"],
        ["bond", "show", "somebody"],
        ["bond", "list", "a1b2c3d4e5"],
    ],
    ids=" ".join,
)
def test_usage(zt: Zt, arguments: list[str]) -> None:
    result = zt(*arguments)
    assert result.code == ExitCode.USAGE
    assert result.stdout == b""
    assert 1 <= result.stderr.count("\n") <= 2


def test_no_command_at_all(zt: Zt) -> None:
    result = zt()
    assert (result.code, result.stdout) == (ExitCode.USAGE, b"")
    assert result.stderr.startswith("Usage: zt ")
    assert "\n  listen  " in result.stderr
    assert "\n  nc " not in result.stderr


def test_agent_required(tmp_path: Path) -> None:
    zt = Zt(tmp_path, make_engine)
    for words in (("join", "--once"), ("--ephemeral", "ip"), ("call", "10.0.0.1", "80")):
        result = zt(*words, "--agent", "require")
        assert result.code == ExitCode.NO_AGENT
        assert "agent" in result.stderr


def test_command_is_suggested(zt: Zt) -> None:
    assert "did you mean: zt listen" in zt("lisen").stderr
