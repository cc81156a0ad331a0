"""Every shell block of README.md and docs/ runs, page by page, with `zt` on the PATH."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.process import ROOT, World, command
from tests.support.site import known_identities, put_identity
from ztcli.exit_codes import ExitCode

pytestmark = pytest.mark.timeout(180)

DOCS = ROOT / "docs"
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ALL = (ROOT / "README.md", *sorted(DOCS.glob("*.md")))
PAGES = [page for page in ALL if BLOCK.search(page.read_text("utf-8"))]
LIMIT = 150.0
STATES = (
    "states/zt/alice",
    "states/zt/bob",
    "states/zt/carol",
    "controller",
    "laptop",
    "here",
    "server",
    "client",
)
"""State directories that have their identity already, as to make one takes seconds."""


def test_pages_are_found() -> None:
    assert {page.stem for page in PAGES} >= {"README", "commands", "self-hosting", "ci", "networks"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page(lab: World, page: Path) -> None:
    folder = lab.folder / page.stem
    folder.mkdir()
    identities = known_identities()
    for state in STATES:
        put_identity(folder / state, identities)
    places = folder / "bin"
    places.mkdir()
    for name, words in (("zt", command()), ("python3", [sys.executable])):
        (places / name).write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        (places / name).chmod(0o755)
    script = "set -euo pipefail\n" + "\n".join(BLOCK.findall(page.read_text("utf-8")))
    with subprocess.Popen(
        ["bash", "-c", script],
        cwd=folder,
        env={
            **lab.environment(),
            "PATH": f"{places}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "XDG_STATE_HOME": str(folder / "states"),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as shell:
        try:
            # What a page leaves running keeps the pipe open, so its end is the shell's.
            code = shell.wait(LIMIT)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGTERM)
        told = shell.stdout.read() if shell.stdout is not None else ""
    assert code == 0, told


def test_every_exit_code_is_explained() -> None:
    page = (DOCS / "troubleshooting.md").read_text("utf-8")
    cells = re.findall(r"^\| ([0-9, ]+) \|", page, re.MULTILINE)
    explained = {int(number) for cell in cells for number in cell.split(",")}
    assert explained == {int(code) for code in ExitCode if code is not ExitCode.OK}
