"""zt forward, expose and proxy with --dry-run: all is checked, and nothing is started."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from tests.support.cli import Zt, free_port
from ztcli.engine import Engine
from ztcli.environment import Environment
from ztcli.exit_codes import ExitCode
from ztcli.options import Settings

NETWORK = ["-n", "8056c2e21c000001"]


def _forbidden(env: Environment, settings: Settings) -> Engine:
    raise AssertionError("there is to be no node")


@pytest.fixture
def still(zt: Zt) -> Zt:
    """A `zt` that may not start a node."""
    zt.factory = _forbidden
    return zt


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (
            ["forward", "5432:db:5432", "0:nas:443", "[::1]:53:10.121.0.2:53/udp"],
            [
                "Forward: 127.0.0.1:5432 -> db:5432",
                "Forward: 127.0.0.1:0 -> nas:443",
                "Forward: [::1]:53/udp -> 10.121.0.2:53",
            ],
        ),
        (["forward", "-:db:22"], ["Forward: - -> db:22"]),
        (
            ["expose", "80:127.0.0.1:5000", "53/udp"],
            ["Expose: tcp://*:80 -> 127.0.0.1:5000", "Expose: udp://*:53 -> 127.0.0.1:53"],
        ),
        (
            ["expose", "5000", "--listen", "10.121.0.5:80", "--to", "unix:/run/web"],
            ["Expose: tcp://10.121.0.5:80 -> unix:/run/web"],
        ),
        (
            ["proxy", "--pac"],
            [
                "Proxy: socks5h://127.0.0.1:1080 http://127.0.0.1:1080",
                "PAC: http://127.0.0.1:1080/proxy.pac",
            ],
        ),
    ],
)
def test_what_would_be_done(still: Zt, words: list[str], lines: list[str]) -> None:
    result = still(*NETWORK, *words, "--dry-run")
    assert (result.code, result.stdout.decode().splitlines()) == (0, lines)
    assert result.stderr == "dry run: nothing was started\n"


def test_no_port_is_touched(still: Zt) -> None:
    """Not even one that is taken, nor a service that is down."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        assert still(*NETWORK, "forward", f"{taken}:db:80", "--dry-run").code == 0
    words = ["expose", str(free_port()), "--check", "--dry-run"]
    assert still(*NETWORK, *words).code == 0


@pytest.mark.parametrize(
    ("words", "key"),
    [(["forward", "80:db:81"], "forwards"), (["expose", "80"], "exposes"), (["proxy"], "urls")],
)
def test_as_json(still: Zt, words: list[str], key: str) -> None:
    result = still(*NETWORK, *words, "--dry-run", "--json", "-q")
    told = json.loads(result.stdout)
    assert (told["type"], told["command"]) == ("dry-run", words[0])
    assert told["networks"] == ["8056c2e21c000001"]
    assert told[key]
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["forward", "80:db:81"], ExitCode.USAGE),
        ([*NETWORK, "forward", "80:db:81:82:83"], ExitCode.USAGE),
        ([*NETWORK, "forward", "80:db:81", "--ready-fd", "999"], ExitCode.USAGE),
        ([*NETWORK, "forward", "80:db:81", "--ready-file", "/none/x"], ExitCode.CANNOT_WRITE),
        ([*NETWORK, "expose", "80", "--udp", "--check"], ExitCode.USAGE),
        ([*NETWORK, "expose", "80", "--health", "high"], ExitCode.USAGE),
        ([*NETWORK, "proxy", "--listen", "0.0.0.0:80"], ExitCode.USAGE),
        ([*NETWORK, "proxy", "--auth-file", "/none/x"], ExitCode.CANNOT_READ),
    ],
)
def test_what_is_wrong_is_told(still: Zt, words: list[str], code: ExitCode) -> None:
    result = still(*words, "--dry-run")
    assert (result.code, result.stdout) == (code, b"")


def test_a_socket_that_is_there_already(still: Zt, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    path.touch()
    result = still(*NETWORK, "forward", f"unix:{path}:db:80", "--dry-run")
    assert result.code == ExitCode.PORT_IN_USE


def test_a_remembered_network_is_enough(still: Zt, tmp_path: Path) -> None:
    state = tmp_path / "state"
    (state / "networks.d").mkdir(parents=True)
    (state / "networks.d" / "8056c2e21c000001.conf").touch()
    assert still("--state", str(state), "forward", "80:db:81", "--dry-run").code == 0
