"""zt with --stack overlay: two commands in one process, and two that meet over UDP."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cli import Zt, free_port, make_engine
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
