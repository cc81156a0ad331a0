"""The config file: what wins, what is refused, and what is told of it."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, strategies as st

from tests.support.cli import Zt
from ztcli.exit_codes import ExitCode

NWID = "8056c2e21c000001"
FILE = f"""\
network = "lab"
connect_timeout = "5s"

[networks]
lab = "{NWID}"

[hosts]
db = "10.121.15.99"

[bond.list]
watch = false

[[forward]]
spec = "5432:db:5432"

[[expose]]
port = 8080
to = "127.0.0.1:5000"
allow = ["a1b2c3d4e5"]

[profile.ci]
ephemeral = true
network = ["lab", "8056c2e21c000002"]
[profile.ci.call]
idle-timeout = "1m"
"""


@pytest.fixture
def file(zt: Zt, tmp_path: Path) -> Path:
    path = tmp_path / ".config" / "zt" / "config.toml"
    path.parent.mkdir(parents=True)
    path.write_text(FILE)
    return path


def shown(zt: Zt, *arguments: str) -> dict[str, Any]:
    done = zt(*arguments, "config", "show", "--json")
    assert done.code == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    found["options"] = {one["option"]: (one["value"], one["origin"]) for one in found["options"]}
    return found


def test_show_without_a_file(zt: Zt) -> None:
    found = shown(zt)
    assert (found["file"], found["options"]) == (None, {})
    assert zt("config", "check").code == ExitCode.USAGE


def test_show_says_who_said_so(zt: Zt, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZT_JOIN_TIMEOUT", "7s")
    found = shown(zt, "--wait-auth", "1s")
    assert found["options"] == {
        "network": (["lab"], f"{file}:1"),
        "connect_timeout": ("5s", f"{file}:2"),
        "join_timeout": ("7s", "ZT_JOIN_TIMEOUT"),
        "wait_auth": ("1s", "flag"),
    }
    assert found["networks"] == {"lab": NWID}
    assert found["hosts"] == {"db": "10.121.15.99"}
    table = zt("config", "show", "--origin").stdout.decode().splitlines()
    assert table[1] == f"network\tlab\t{file}:1"
    text = zt("config", "show").stdout.decode()
    assert text.startswith('network = ["lab"]\njoin_timeout = "7s"\nconnect_timeout = "5s"\n')


def test_a_profile_is_chosen_by_word_or_variable(
    zt: Zt, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = {
        "network": (["lab", "8056c2e21c000002"], f"{file}:23"),
        "ephemeral": (True, f"{file}:22"),
        "connect_timeout": ("5s", f"{file}:2"),
    }
    chosen = shown(zt, "--profile", "ci")["options"]
    assert chosen.pop("profile") == ("ci", "flag")
    assert chosen == expected
    zt.variables["ZT_PROFILE"] = "ci"
    monkeypatch.setenv("ZT_PROFILE", "ci")
    chosen = shown(zt)["options"]
    assert chosen.pop("profile") == ("ci", "ZT_PROFILE")
    assert chosen == expected


def test_the_file_is_chosen_by_word_or_variable(zt: Zt, file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text('timeout = "3s"\n')
    assert shown(zt, "--config", str(other))["options"] == {"timeout": ("3s", f"{other}:1")}
    zt.variables["ZT_CONFIG"] = str(other)
    assert shown(zt)["file"] == str(other)
    assert shown(zt, "--config", "none")["file"] is None
    checked = zt("config", "check", f"--config={file}")
    assert (checked.code, checked.stdout.decode()) == (0, f"{file}: ok\n")
    missing = zt("--config", str(tmp_path / "none.toml"), "config", "show")
    assert missing.code == ExitCode.USAGE


TIMES = st.none() | st.integers(1, 99).map(lambda number: f"{number}s")


@given(after=TIMES, before=TIMES, variable=TIMES, profile=TIMES, top=TIMES)
def test_which_value_wins(
    after: str | None,
    before: str | None,
    variable: str | None,
    profile: str | None,
    top: str | None,
) -> None:
    """Behind the command, before it, variable, profile, top of the file, default."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "config.toml"
        lines = [f'join_timeout = "{top}"'] if top else []
        lines += ["[profile.p]", f'join_timeout = "{profile}"'] if profile else []
        path.write_text("\n".join(lines))
        zt = Zt(Path(name))
        words = ["--config", str(path), "--profile", "p"]
        words += ["--join-timeout", before] if before else []
        words += ["config", "show", "--json"]
        words += ["--join-timeout", after] if after else []
        variables = {"ZT_JOIN_TIMEOUT": variable} if variable else {}
        with patch.dict(os.environ, variables):
            found = json.loads(zt(*words).stdout)["options"]
    values = [one["value"] for one in found if one["option"] == "join_timeout"]
    wins = next((one for one in (after, before, variable, profile, top) if one), None)
    assert values == ([wins] if wins else [])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("network = [", "config.toml: "),
        ('\nnetwrk = "x"', "line 2: netwrk: there is no such option"),
        ('timeout = "5 apples"', "line 1: timeout: a duration is written"),
        ("timeout = true", "line 1: timeout: is a text or a number"),
        ('ephemeral = "yes"', "line 1: ephemeral: is true or false"),
        ("verbose = 9", "line 1: verbose: is a number from 0 to 3"),
        ('stack = "tcp"', "line 1: stack: a stack is"),
        ('config = "x"', "line 1: config: there is no such option"),
        ("[networks]\nlab = 'x'", "line 2: networks.lab: a network id is"),
        ("[hosts]\ndb = 'else.where'", "line 2: hosts.db: a host's address is"),
        ("[nonsense]\nx = 1", "line 1: nonsense: there is no such section or command"),
        ("[call]\nwhat = 1", "line 2: call.what: there is no such option"),
        ("[call]\ntimeout = 1", "line 2: call.timeout: there is no such option"),
        ("[proxy]\nmax_conns = 0", "line 2: proxy.max_conns: 0 is not in the range"),
        ("[bond.list]\nwatch = 1", "line 2: bond.list.watch: is true or false"),
        ("[[forward]]\nname = 'x'", "line 1: forward: the spec is missing"),
        ("[[forward]]\nspec = '1:a:1'\nready_file = 'x'", "line 3: forward.ready_file: there is"),
        ("[profile.other]\ntimeout = 'x'", "line 2: profile.other.timeout: a duration"),
        ("profile = 'x'", "line 1: profile: is a section: write [profile]"),
        ("[proxy]\nlisten = 0\n[[forward]]\nname = 'proxy'\nspec = '1:a:1'", "are named 'proxy'"),
    ],
)
def test_what_is_wrong_is_refused_by_every_command(
    zt: Zt, file: Path, text: str, expected: str
) -> None:
    file.write_text(text)
    done = zt("join", "--once", NWID)
    assert done.code == ExitCode.USAGE
    assert expected in done.stderr
    # Who asks what is possible gets an answer nevertheless.
    assert zt("version").code == 0


def test_a_command_has_its_own_section(zt: Zt, file: Path) -> None:
    file.write_text('[listen]\nbody-bytes = "7"\nmode = "http"\nonce = true\n[ping]\ncount = 1\n')
    with zt.background("listen", "0") as running:
        fetched = zt("call", f"http://127.0.0.1:{running.port}/")
    assert fetched.stdout == b"a" * 7
    file.write_text('[listen]\nbody-bytes = "7 apples"\n')
    assert "a size is written" in zt("listen", "0").stderr
    file.write_text('[listen]\nmode = "carrier pigeon"\n')
    assert "line 2: listen.mode: " in zt("listen", "0").stderr


def test_help_lists_the_variables(zt: Zt) -> None:
    lines = zt("help", "env").stdout.decode().splitlines()
    assert "ZT_CONNECT_TIMEOUT\t--connect-timeout\tall" in lines
    assert "ZT_WAIT_FOR\t--for\twait" in lines
    assert "ZT_NETWORK_CREATE_POOL\t--pool\tnetwork create" in lines
    assert zt("help", "nothing").code == ExitCode.USAGE
