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
    "states/zt/default",
)
"""State directories that have their identity already, as to make one takes seconds."""


ELSEWHERE = {
    "README.md": "pip install .",  # tests/e2e/test_wheel.py; that join and call are in other blocks
    "README.md 2": "make demo",  # test_demo; and this is `make test`
    "README.md 3": "zt lab up",  # the fixture `lab`
    "ci.md": "cat > ci.toml",  # tests/e2e/test_membership.py
    "simulation.md": ".venv/bin/pytest -m sim",  # what `make test` does with other numbers
}
"""Blocks that are shown as a dialogue, in their order, and who runs them."""


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


def test_few_blocks_run_elsewhere() -> None:
    """A block that is no `sh` block is run by somebody else, or is no command at all."""
    found = [
        (page.name, block.strip())
        for page in ALL
        for language, block in re.findall(
            r"^```(\w*)\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL
        )
        if language not in ("sh", "python", "json")
    ]
    names = [name.partition(" ")[0] for name in ELSEWHERE]
    assert [name for name, _ in found] == names
    for (_, block), first in zip(found, ELSEWHERE.values(), strict=True):
        assert block.startswith(f"$ {first}")


def test_files_that_pages_name_are_there() -> None:
    for page in ALL:
        text = page.read_text("utf-8")
        for name in re.findall(
            r"`((?:ztstack|ztcli|overlay|tests|docs|completions)/[^` ]*)`", text
        ):
            assert list(ROOT.glob(name)), (page.name, name)
        for link in re.findall(r"\]\(([\w/.-]+)\)", text):
            assert (page.parent / link).exists(), (page.name, link)
    text = (DOCS / "architecture.md").read_text("utf-8")
    code = "\n".join(path.read_text("utf-8") for path in (ROOT / "ztstack").rglob("*.py"))
    for owner, method in re.findall(r"`([A-Z]\w+)\.(\w+)`", text):
        if method != "md":
            assert re.search(rf"^class {owner}\b", code, re.MULTILINE), owner
            assert re.search(rf"^    (async )?def {method}\b", code, re.MULTILINE), method


def test_demo(tmp_path: Path) -> None:
    """What `make demo` does, with identities that need not be made."""
    pool, wrapper = tmp_path / "pool", tmp_path / "zt"
    identities = known_identities()
    for number in range(6):
        put_identity(pool / str(number), identities)
    wrapper.write_text(WRAPPER.format(pool=shlex.quote(str(pool)), zt=shlex.join(command())))
    wrapper.chmod(0o755)
    done = subprocess.run(
        ["bash", str(DOCS / "demo.sh")],
        capture_output=True,
        text=True,
        env={**os.environ, "ZT": str(wrapper), "TMPDIR": str(tmp_path)},
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All of it worked." in done.stdout
    assert "\033" not in done.stdout
    assert not list(tmp_path.glob("zt-demo.*"))


WRAPPER = """#!/bin/sh
before=
for word; do
    if [ "$before" = --state ] && [ ! -e "$word" ]; then
        mv "$(ls -d {pool}/* | head -n 1)" "$word"
    fi
    before=$word
done
exec {zt} "$@"
"""
"""Gives every new state directory an identity of the pool."""
