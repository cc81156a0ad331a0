"""zt status --watch: a picture that is drawn anew on a terminal, a list elsewhere."""

from __future__ import annotations

import json
import os
import re
import sys

import pytest

from tests.support.cli import Zt
from ztcli.exit_codes import ExitCode

WATCH = ["status", "--watch", "--timeout", "300ms"]
CLEAR = b"\x1b[H\x1b[2J"


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
@pytest.mark.parametrize(("more", "cleared"), [([], True), (["--json"], False)])
def test_terminal(zt: Zt, more: list[str], cleared: bool) -> None:
    leader, follower = os.openpty()
    try:
        code, _ = zt.run([*WATCH, *more], 0, follower)
        found = os.read(leader, 65536)
    finally:
        os.close(leader)
        os.close(follower)
    assert code == ExitCode.TIMED_OUT
    assert found.startswith(CLEAR) is cleared
    assert b"a1b2c3d4e5" in found
    table = re.search(rb"NODE +ROLE +VER .*PATH\r\n62f865ae71  root  1.14.1 ", found)
    assert (table is not None) is cleared


def test_dumb_terminal(zt: Zt) -> None:
    zt.variables["TERM"] = "dumb"
    leader, follower = os.openpty()
    try:
        zt.run(WATCH, 0, follower)
        assert os.read(leader, 65536).startswith(b"node     a1b2c3d4e5")
    finally:
        os.close(leader)
        os.close(follower)


def test_pipe(zt: Zt) -> None:
    result = zt(*WATCH, "--json")
    assert result.code == ExitCode.TIMED_OUT
    lines = result.stdout.splitlines()
    assert json.loads(lines[0])["node"] == "a1b2c3d4e5"
    assert CLEAR not in zt(*WATCH).stdout
