"""Where what is said goes: --log-file, --log-format, and what the library logs."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import pytest

from tests.support.cli import Zt, check_records, failing
from tests.support.os_engine import OsEngine
from ztcli.engine import Engine
from ztcli.environment import Environment
from ztcli.exit_codes import ExitCode
from ztcli.options import Settings
from ztstack.base import errors


def test_words_go_to_the_file_and_errors_to_both(tmp_path: Path) -> None:
    log = tmp_path / "zt.log"
    zt = Zt(tmp_path, failing(errors.Offline("no root answered")))
    result = zt("--log-file", str(log), "--ephemeral", "join", "--once")
    assert result.code == ExitCode.OFFLINE
    assert result.stderr.startswith("zt: no root answered [ZT-E080]")
    (line,) = log.read_text().splitlines()
    assert re.fullmatch(r"\d{4}-\S+T\S+ error no root answered \[ZT-E080\]", line)


def test_ready_lines_are_told_there(zt: Zt, tmp_path: Path) -> None:
    log = tmp_path / "zt.log"
    log.write_text("before\n")
    arguments = ("listen", "0", "--mode", "http", "--once", "--log-file", str(log))
    with zt.background(*arguments) as running:
        zt("call", f"http://127.0.0.1:{running.port}/")
    assert running.wait().stderr == ""
    lines = log.read_text().splitlines()
    assert lines[0] == "before"
    assert any(f"info Listen: http://127.0.0.1:{running.port}/" in line for line in lines)


def test_json_lines(zt: Zt, tmp_path: Path) -> None:
    result = zt("call", "-v", "127.0.0.1", "9", "--log-format", "json", "--json", "--no-stdin")
    assert result.code == ExitCode.CANNOT_CONNECT
    assert json.loads(result.stderr.splitlines()[-1])["type"] == "error"
    log = tmp_path / "log.json"
    words = ("--log-file", str(log), "--log-format", "JSON")
    assert zt(*words, "call", "127.0.0.1", "9").code == ExitCode.CANNOT_CONNECT
    check_records(log.read_bytes())
    (record,) = map(json.loads, log.read_text().splitlines())
    assert (record["v"], record["type"], record["level"]) == (1, "log", "error")
    assert "refused [ZT-E007]" in record["message"]


def test_a_file_that_cannot_be_written(zt: Zt, tmp_path: Path) -> None:
    result = zt("join", "--once", "--log-file", str(tmp_path / "none" / "log"))
    assert (result.code, result.stdout) == (ExitCode.CANNOT_WRITE, b"")
    assert "--log-file" in result.stderr


def test_no_such_format(zt: Zt) -> None:
    assert zt("join", "--once", "--log-format", "xml").code == ExitCode.USAGE


class _Talking(OsEngine):
    """An engine whose library has something to say."""

    async def join(self) -> None:
        for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
            logging.getLogger("ztstack").log(level, "at %d", level)


def _talking(env: Environment, settings: Settings) -> Engine:
    del env, settings
    return _Talking()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["-q"], [40]),
        ([], [30, 40]),
        (["-v"], [20, 30, 40]),
        (["-vv"], [10, 20, 30, 40]),
    ],
)
def test_library_is_told_as_wanted(tmp_path: Path, words: list[str], told: list[int]) -> None:
    zt = Zt(tmp_path, _talking)
    result = zt(*words, "join", "--once")
    assert result.code == 0
    assert [line for line in result.stderr.splitlines() if line.startswith("at ")] == [
        f"at {level}" for level in told
    ]
    assert logging.getLogger("ztstack").level == logging.NOTSET
