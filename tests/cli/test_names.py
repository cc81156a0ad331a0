"""Names of networks and hosts in commands, and the commands that keep them."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.support.cli import Zt
from tests.support.os_engine import OsEngine
from tests.support.serving import serving
from ztcli.commands import call_http, forward, host, listen_run, networks, udp
from ztcli.engine import Engine, Pong, Stream
from ztcli.engine_around import NamedEngine
from ztcli.engines import around
from ztcli.environment import Environment
from ztcli.exit_codes import ExitCode
from ztcli.names import Names
from ztcli.options import Settings

NWID = "8056c2e21c000001"
OTHER = "8056c2e21c000002"
COMPLETIONS = Path(__file__).parents[2] / "completions"
LOADED = (call_http, forward, host, listen_run, networks, udp)
"""Here, and not in a thread while pytest rewrites them."""


def factory(env: Environment, settings: Settings) -> Engine:
    return around(env, settings, OsEngine())


@pytest.fixture
def zt(tmp_path: Path) -> Zt:
    return Zt(tmp_path, factory)


def test_join_remembers_a_name(zt: Zt) -> None:
    assert zt("join", "--once", f"lab={NWID}").code == 0
    assert zt("network", "alias").stdout.decode() == f"ALIAS\tNWID\nlab\t{NWID}\n"
    assert zt("join", "--once", "lab").code == 0
    assert zt("join", "--once", "-n", "lab").code == 0
    again = zt("join", "--once", f"lab={OTHER}")
    assert again.code == ExitCode.USAGE
    assert f"lab is the network {NWID}" in again.stderr
    unknown = zt("join", "--once", "-n", "office")
    assert unknown.code == ExitCode.USAGE
    assert "zt join office=NWID" in unknown.stderr


def test_a_node_that_keeps_nothing_knows_the_names(zt: Zt) -> None:
    assert zt("join", "--once", "--ephemeral", f"lab={NWID}").code == 0
    assert zt("network", "alias").stdout.decode() == "ALIAS\tNWID\n"
    assert zt("network", "alias", "lab", NWID).code == 0
    assert zt("join", "--once", "--ephemeral", "lab").code == 0
    assert zt("--ephemeral", "network", "alias", "home", OTHER).code == ExitCode.USAGE


def test_aliases_come_and_go(zt: Zt) -> None:
    assert zt("network", "alias", "lab").code == ExitCode.USAGE
    assert zt("network", "alias", "lab", "-n", NWID).stdout.decode() == f"lab {NWID}\n"
    assert zt("network", "alias", "lab", OTHER).code == 0
    listed = zt("network", "alias", "--json")
    assert json.loads(listed.stdout)["aliases"] == [{"alias": "lab", "network": OTHER}]
    assert zt("network", "alias", "--rm", "lab").stdout == b"lab removed\n"
    assert zt("network", "alias", "--rm", "lab").code == ExitCode.USAGE


def test_networks_that_are_only_known(zt: Zt) -> None:
    assert zt("networks").stdout.count(b"\n") == 1
    zt("network", "alias", "lab", NWID)
    found = json.loads(zt("networks", "--json").stdout)["networks"]
    assert [(one["alias"], one["network"], one["status"]) for one in found] == [
        ("lab", NWID, "not joined")
    ]
    refused = zt("leave", "lab")
    assert (refused.code, "no member" in refused.stderr) == (ExitCode.USAGE, True)
    assert zt("leave", "lab", "--forget").stdout.decode() == f"{NWID} forgotten\n"
    assert json.loads(zt("networks", "--json").stdout)["networks"] == []
    assert zt("--ephemeral", "leave", NWID).code == ExitCode.USAGE


def test_hosts_come_and_go(zt: Zt) -> None:
    assert zt("host", "add", "DB", "10.1.2.3").stdout == b"db 10.1.2.3\n"
    assert zt("host", "add", "web", "a1b2c3d4e5", "--json").code == 0
    listed = zt("host", "list").stdout.decode()
    assert listed == "NAME\tADDRESS\ndb\t10.1.2.3\nweb\ta1b2c3d4e5\n"
    assert zt("host", "rm", "Web").stdout == b"web removed\n"
    assert zt("host", "rm", "web").code == ExitCode.USAGE
    assert zt("host", "add", "x", "not.an.address").code == ExitCode.USAGE
    assert zt("--ephemeral", "host", "add", "x", "10.0.0.1").code == ExitCode.USAGE


def test_what_the_file_says_is_changed_there(zt: Zt, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f'[networks]\nlab = "{NWID}"\n[hosts]\ndb = "10.0.0.1"\n')
    config = ("--config", str(file))
    for words in (
        ("host", "add", "db", "10.0.0.2"),
        ("host", "rm", "db"),
        ("network", "alias", "lab", OTHER),
        ("network", "alias", "--rm", "lab"),
        ("join", "--once", f"lab={OTHER}"),
    ):
        done = zt(*config, *words)
        assert done.code == ExitCode.USAGE, words
    assert zt(*config, "join", "--once", "lab").code == 0


def test_a_host_is_called_by_its_name(zt: Zt) -> None:
    zt("host", "add", "me", "127.0.0.1")
    with serving(zt, "listen", "0", "--mode", "http", "--allow", "me") as running:
        fetched = zt("call", f"http://ME:{running.port}/")
        with serving(zt, "forward", f"0:me:{running.port}") as forwarding:
            forwarded = zt("call", f"http://127.0.0.1:{forwarding.port}/")
    assert (fetched.code, fetched.stdout) == (0, b"ok\n")
    assert (forwarded.code, forwarded.stdout) == (0, b"ok\n")
    with serving(zt, "udp-listen", "0") as running:
        sent = zt("udp-send", "--to", f"me:{running.port}", "--data", "ping", "--wait", "5s")
    assert sent.stdout.strip() == b"pong", sent.stderr


class Recorder(OsEngine):
    """Remembers whom it was asked for."""

    def __init__(self) -> None:
        super().__init__(pongs=self._always())
        self.asked: list[str] = []

    @staticmethod
    def _always() -> Iterable[Pong]:
        while True:
            yield Pong("a1b2c3d4e5", "10.0.0.1", 1.0, "direct", "", "")

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
        self.asked.append(host)
        raise ConnectionRefusedError

    async def ping(self, target: str, timeout: float | None, *, icmp: bool, size: int) -> Pong:
        self.asked.append(target)
        return await super().ping(target, timeout, icmp=icmp, size=size)


def test_an_engine_is_never_asked_for_a_name() -> None:
    """Whatever is asked inside, a name of ours is an address by then, and no resolver hears it."""
    recorder = Recorder()
    engine = NamedEngine(recorder, Names(hosts={"db": "10.0.0.1"}))

    async def main() -> None:
        with pytest.raises(ConnectionRefusedError):
            await engine.connect("DB", 1, 1.0)
        with pytest.raises(ConnectionRefusedError):
            await engine.connect("else.where", 1, 1.0)
        await engine.ping("db", 1.0, icmp=True, size=8)

    asyncio.run(main())
    assert recorder.asked == ["10.0.0.1", "else.where", "10.0.0.1"]


BASH = """
source {completions}/zt.bash
ask() {{ COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _zt; echo "${{COMPREPLY[*]}}"; }}
ask zt call -n "" ; ask zt leave la ; ask zt ping d ; ask zt host rm ""
"""


def test_completion_knows_the_names_of_the_files(zt: Zt, tmp_path: Path) -> None:
    zt("network", "alias", "lab", NWID)
    zt("host", "add", "db", "10.1.2.3")
    file = tmp_path / ".config" / "zt" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text(
        f'network = "{OTHER}"\n[networks]\noffice = "{OTHER}"  # far away\n'
        '[hosts]\nnas.lan = "fd00::1"\n[[expose]]\nport = 1\nto = "127.0.0.1:5000"\n'
    )
    done = subprocess.run(
        ["bash", "-euc", BASH.format(completions=COMPLETIONS)],
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    networks, leaving, pinging, removing = done.stdout.splitlines()
    assert networks == "lab office"
    assert leaving == "lab"
    assert pinging == "db"
    assert {"db", "nas.lan"} <= set(removing.split())
    assert "to" not in removing.split()
