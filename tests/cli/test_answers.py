"""What join, ip, status, peers and version print; where options may stand."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import ztstack
from tests.support.cli import Zt
from ztcli.completion import FILES, script
from ztcli.exit_codes import ExitCode

COMPLETIONS = Path(__file__).parents[2] / "completions"


def test_join_once(zt: Zt) -> None:
    result = zt("join", "--once", "--state", "/tmp/s", "8056c2e21c000001")
    assert result.stdout.decode().splitlines() == [
        "State: /tmp/s",
        "NodeId: a1b2c3d4e5",
        "Managed IPs:",
        "  127.0.0.1",
        "  fd00::1",
    ]
    assert result.code == 0


def test_join_for_machines(zt: Zt) -> None:
    record = json.loads(zt("join", "--once", "--json").stdout)
    assert (record["v"], record["type"], record["node"]) == (1, "join", "a1b2c3d4e5")
    assert zt("join", "--once", "--print", "ip").stdout == b"127.0.0.1\nfd00::1\n"
    assert b"export ZT_NODE=a1b2c3d4e5\n" in zt("join", "--once", "--print", "env").stdout


def test_ip(zt: Zt) -> None:
    assert zt("ip").stdout == b"127.0.0.1\nfd00::1\n"
    assert zt("ip", "-4").stdout == b"127.0.0.1\n"
    assert zt("ip", "-6").stdout == b"fd00::1\n"


def test_status_and_peers(zt: Zt) -> None:
    lines = zt("status", "-n", "8056c2e21c000001").stdout.decode().splitlines()
    assert lines[0] == "node     a1b2c3d4e5"
    assert "network  8056c2e21c000001 lab OK 10.0.0.1/24" in lines
    record = json.loads(zt("--json", "status", "-n", "8056c2e21c000001").stdout)
    assert record["networks"][0]["status"] == "OK"
    rows = zt("peers", "-n", "8056c2e21c000001").stdout.decode().splitlines()
    assert rows[1].split("\t") == [
        "62f865ae71",
        "root",
        "1.14.1",
        "DIRECT",
        "12",
        "-",
        "0 B",
        "0 B",
        "2.5",
        "-",
        "203.0.113.7/9993",
    ]


@pytest.mark.parametrize(
    "arguments", [["--json", "join", "--once"], ["join", "--once", "--json"]], ids=" ".join
)
def test_options_stand_before_or_after(zt: Zt, arguments: list[str]) -> None:
    assert json.loads(zt(*arguments).stdout)["type"] == "join"


def test_options_from_variables(zt: Zt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZT_JSON", "1")
    assert json.loads(zt("join", "--once").stdout)["type"] == "join"


def test_decimal_network_is_told(zt: Zt) -> None:
    assert "read as decimal" in zt("join", "--once", "-n", "9223372036854775808").stderr


def test_network_that_is_too_short_is_told(zt: Zt) -> None:
    assert "less than sixteen" in zt("join", "--once", "-n", "8056c2e21c00000").stderr
    assert zt("join", "--once", "-n", "0x8056c2e21c00000").stderr == ""


def test_state_of_profiles(tmp_path: Path) -> None:
    zt = Zt(tmp_path, variables={"XDG_STATE_HOME": "/var/x"})
    lines = zt("join", "--once", "--profile", "ci").stdout.decode().splitlines()
    assert lines[0] == "State: /var/x/zt/ci"
    lines = Zt(tmp_path)("join", "--once").stdout.decode().splitlines()
    if sys.platform != "win32":
        assert lines[0] == f"State: {tmp_path}/.local/state/zt/default"


@pytest.mark.parametrize("shell", FILES)
def test_completions_are_up_to_date(zt: Zt, shell: str) -> None:
    wanted = script(shell)
    assert (COMPLETIONS / FILES[shell]).read_text("utf-8") == wanted
    assert zt("completion", "show", shell).stdout.decode() == wanted


def test_help_is_light() -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from ztcli.app import run\n"
        "from ztcli.engines import make_engine\n"
        "from ztcli.environment import Environment\n"
        "assert run(['--help'], Environment({}, Path('/'), make_engine)) == 0\n"
        "heavy = {'asyncio', 'ztstack', 'overlay', 'cryptography', 'nacl', 'numpy', 'httpx',\n"
        "         'h11', 'ssl', 'rich', 'uvloop', 'socket'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert b"Usage: zt" in done.stdout


@pytest.mark.parametrize(
    ("shell", "place"),
    [
        ("bash", ".local/share/bash-completion/completions/zt"),
        ("zsh", ".local/share/zsh/site-functions/_zt"),
        ("fish", ".config/fish/completions/zt.fish"),
    ],
)
def test_completions_are_installed(zt: Zt, shell: str, place: str) -> None:
    where = zt.home / place
    for words in ((), (shell,)):
        zt.variables["SHELL"] = f"/usr/bin/{shell}"
        result = zt("completion", "install", *words)
        assert (result.code, result.stdout.decode()) == (0, f"{where}\n")
        assert where.read_text("utf-8") == script(shell)
    assert [path.name for path in where.parent.iterdir()] == [where.name]


def test_completions_of_no_shell(zt: Zt) -> None:
    zt.variables["SHELL"] = "/bin/tcsh"
    result = zt("completion", "install")
    assert result.code == ExitCode.USAGE
    assert "bash, zsh, fish" in result.stderr


def test_completions_that_cannot_be_written(zt: Zt) -> None:
    (zt.home / "file").write_text("")
    zt.variables["XDG_DATA_HOME"] = str(zt.home / "file")
    result = zt("completion", "install", "bash")
    assert result.code == ExitCode.CANNOT_WRITE
    assert "Not a directory" in result.stderr


def test_version_is_that_of_the_library(zt: Zt) -> None:
    told = f"zt {ztstack.__version__}\n".encode()
    assert zt("--version").stdout == zt("version").stdout == told
    assert json.loads(zt("--version", "--json").stdout)["version"] == ztstack.__version__
    whole = subprocess.run(
        [sys.executable, "-m", "ztcli", "--version"], capture_output=True, check=False
    )
    assert (whole.returncode, whole.stdout, whole.stderr) == (0, told, b"")
