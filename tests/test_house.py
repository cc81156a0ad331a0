"""What the tools do not see: size, first sentences, and words that are not the project's."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("ztstack", "ztcli", "overlay")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
LINES = 600
MACHINE_PATHS = re.compile(r"/(home|Users|work|root)/[a-z]")


def tracked() -> list[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False, text=True
    )
    if listing.returncode:
        return [*MODULES, ROOT / "README.md", ROOT / "Makefile"]
    return [ROOT / name for name in listing.stdout.split("\0") if name]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_module(path: Path) -> None:
    text = path.read_text("utf-8")
    assert text.count("\n") <= LINES
    docstring = ast.get_docstring(ast.parse(text))
    assert docstring
    assert docstring.split("\n\n")[0].rstrip().endswith((".", ":"))


def test_no_path_of_a_machine_is_written_down() -> None:
    found = [
        str(path.relative_to(ROOT))
        for path in tracked()
        if path.suffix in (".py", ".md", ".toml", ".sh", "")
        and path.is_file()
        and path != Path(__file__)
        and "vectors" not in path.parts
        and MACHINE_PATHS.search(path.read_text("utf-8", "replace"))
    ]
    assert found == []


def test_units_have_tests() -> None:
    """Each package of the core has a folder of unit tests."""
    packages = {
        path.parent.relative_to(ROOT / "ztstack").parts[0]
        for path in MODULES
        if path.is_relative_to(ROOT / "ztstack") and path.parent != ROOT / "ztstack"
    }
    tested = {path.name for path in (ROOT / "tests" / "unit").iterdir()} | {
        path.name for path in (ROOT / "tests").iterdir()
    }
    # Bonding and the simulation have no code yet; what stands on the shell is tested through whole
    # nodes in tests/aio.
    assert packages - tested <= {"bonding", "integrations", "sim", "sockets", "testing"}


@pytest.mark.parametrize(
    ("variable", "marks"),
    [("SLOW", ("sim", "slow")), ("LIVE", ("interop", "netns", "e2e"))],
)
def test_make_finds_every_test_of_a_kind(variable: str, marks: tuple[str, ...]) -> None:
    """What is read for a kind of tests holds all files with its marks, and the folders named so."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    line = re.search(rf"^{variable} := (.*)$", makefile, re.MULTILINE)
    assert line is not None
    places = [ROOT / word for word in line[1].split()]
    marked = re.compile(rf"mark\.({'|'.join(marks)})\b")
    found = [
        path
        for path in (ROOT / "tests").rglob("test_*.py")
        if path.relative_to(ROOT).parts[1] in marks or marked.search(path.read_text("utf-8"))
    ]
    assert found
    assert [path for path in found if not any(path.is_relative_to(p) for p in places)] == []
