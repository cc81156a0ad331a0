"""The meter of a transfer: its line, and when there is one."""

from __future__ import annotations

import asyncio
import io
import os
import pty
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.os_engine import OsEngine
from ztcli.environment import Environment
from ztcli.options import Settings
from ztcli.output.meter import amount, is_wanted, line, metered


class _Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal() -> Iterator[int]:
    ends = pty.openpty()
    yield ends[1]
    for end in ends:
        os.close(end)


@pytest.fixture
def env(tmp_path: Path) -> Environment:
    return Environment({}, tmp_path, lambda env, settings: OsEngine(), stderr=_Screen(), stdout=-1)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (999.6, "1.0 kB"),
        (1000, "1.0 kB"),
        (99_949, "99.9 kB"),
        (123_456, "123 kB"),
        (999_600, "1.0 MB"),
        (5_000_000_000, "5.0 GB"),
        (7e18, "7000000 TB"),
    ],
)
def test_amounts(count: float, text: str) -> None:
    assert amount(count) == text


def test_lines() -> None:
    assert line(0, 500, None, 0.0) == "sent 0 B, received 500 B, -/s, 0:00"
    assert line(0, 500, 2000, 1.0) == "sent 0 B, received 500 B of 2.0 kB (25%), 500 B/s, 0:01"
    assert line(10, 70, 50, 80.5) == "sent 10 B, received 70 B of 50 B (100%), 1 B/s, 1:20"


def test_only_beside_output_that_is_elsewhere(env: Environment, terminal: int) -> None:
    settings = Settings()
    shown = replace(env, stdout=terminal)
    quiet = replace(env, stderr=io.StringIO())
    assert is_wanted(env, settings, asked=False, to_file=False)
    assert is_wanted(shown, settings, asked=False, to_file=True)
    assert not is_wanted(shown, settings, asked=False, to_file=False)
    assert not is_wanted(quiet, settings, asked=False, to_file=False)
    assert not is_wanted(env, replace(settings, progress=False), asked=False, to_file=False)
    assert not is_wanted(env, replace(settings, json=True), asked=False, to_file=False)
    assert is_wanted(quiet, settings, asked=True, to_file=False)


@pytest.mark.parametrize("is_terminal", [True, False])
def test_the_last_line_stays(env: Environment, *, is_terminal: bool) -> None:
    out = _Screen() if is_terminal else io.StringIO()

    async def main(*, wanted: bool) -> None:
        with metered(replace(env, stderr=out), lambda: (3, 4, None), wanted=wanted):
            await asyncio.sleep(0)

    asyncio.run(main(wanted=False))
    assert out.getvalue() == ""
    asyncio.run(main(wanted=True))
    (last,) = out.getvalue().splitlines()[-1:]
    assert last.startswith("sent 3 B, received 4 B, ")
    assert out.getvalue().startswith("\r") == is_terminal
    assert out.getvalue().endswith("\n")
