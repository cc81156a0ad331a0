"""The wheel: what is in it, its types, and that it works alone: each Python, pip, uv and pipx."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.support.loopback import tls_for
from tests.support.process import ROOT
from tests.support.site import known_identities, put_identity

pytestmark = pytest.mark.timeout(180)

VERSIONS: Final = ("3.11", "3.12", "3.13")
OWN: Final = f"{sys.version_info[0]}.{sys.version_info[1]}"
OTHERS: Final = tuple(version for version in VERSIONS if version != OWN)
UV: Final = Path(sys.executable).with_name("uv")
PIPX: Final = UV.with_name("pipx")
PROGRAM: Final = Path(__file__).with_name("api_program.py")
USER: Final = Path(__file__).with_name("typed_program.py")
"""What somebody's program looks like whose types are checked strictly."""


def run(words: Sequence[str | Path], folder: Path) -> str:
    """Run a program that sees neither this checkout nor this environment; return its stdout."""
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(("ZT_", "PYTHON"))
    }
    done = subprocess.run(
        [str(word) for word in words],
        capture_output=True,
        text=True,
        cwd=folder,
        env={
            **kept,
            "HOME": str(folder),
            "PIP_CACHE_DIR": _cache(),
            "UV_CACHE_DIR": str(Path("~/.cache/uv").expanduser()),
            "UV_PYTHON_DOWNLOADS": "never",
        },
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, (words, done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout


def _cache() -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "cache", "dir"], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def find(version: str) -> str:
    """Return a Python of a version: one on the PATH, or one of pyenv's."""
    managed = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = shutil.which(f"python{version}")
    candidates = [found] if found is not None else []
    candidates += [str(one) for one in managed.glob(f"{version}.*/bin/python{version}")]
    for candidate in candidates:
        # A shim may have nothing behind it.
        if subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode == 0:
            return candidate
    if os.environ.get("ZT_REQUIRE_PYTHONS") == "1":
        pytest.fail(f"there is no Python {version}: install python{version}, or let pyenv do it")
    pytest.skip(f"there is no Python {version} here")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built of the source distribution, and that of a copy of what git knows."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, source / name)
    run([UV, "build", "-q", "--python", sys.executable, "-o", folder, source], folder)
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The binaries of a fresh environment of this Python, filled by pip."""
    folder = tmp_path_factory.mktemp("installed")
    run([sys.executable, "-m", "venv", folder / "venv"], folder)
    binaries = folder / "venv" / "bin"
    run([binaries / "python", "-m", "pip", "install", "-q", wheel], folder)
    return binaries


def check(binaries: Path, version: str, folder: Path) -> None:
    """Let what is installed prove that nothing is missing."""
    zt = binaries / "zt"
    assert run([zt, "--version"], folder).startswith("zt ")
    assert "ok" in run([zt, "selftest"], folder)
    assert run([zt, "completion", "show", "bash"], folder) == (
        ROOT / "completions" / "zt.bash"
    ).read_text("utf-8")
    code = "import overlay, ztstack, sys; print(sys.version_info[:2], ztstack.Node, overlay.Node)"
    major, minor = version.split(".")
    assert run([binaries / "python", "-c", code], folder).startswith(f"({major}, {minor}) ")
    identities = known_identities()
    for number in range(3):
        put_identity(folder / "identities" / str(number), identities)
    pem = tls_for(folder, "db.lab").cert
    files = (folder / "identities", pem, pem.with_name("key.pem"))
    run([binaries / "python", "-W", "error", PROGRAM, *files], folder)


def test_contents(wheel: Path) -> None:
    assert wheel.name.endswith("-py3-none-any.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "ztstack",
        "ztcli",
        "overlay",
    }
    for package in ("ztstack", "ztcli", "overlay"):
        assert f"{package}/py.typed" in names
        for path in (ROOT / package).rglob("*.py"):
            assert str(path.relative_to(ROOT)) in names
    assert not [name for name in names if name.endswith((".pyc", ".so"))]


def test_the_source_distribution(wheel: Path) -> None:
    """Whoever packages it has the tests, and what they read."""
    (made,) = wheel.parent.glob("*.tar.gz")
    with tarfile.open(made) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for folder in ("ztstack", "ztcli", "overlay", "tests", "docs", "completions"):
        for path in (ROOT / folder).rglob("*.*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert str(path.relative_to(ROOT)) in names
    assert {"LICENSE", "README.md", "Makefile", ".ci/run", "pyproject.toml"} <= names


def test_it_works_alone(installed: Path, tmp_path: Path) -> None:
    check(installed, OWN, tmp_path)


@pytest.mark.parametrize("version", OTHERS)
def test_it_works_on(wheel: Path, tmp_path: Path, version: str) -> None:
    run([UV, "venv", "-q", "--python", find(version), tmp_path / "venv"], tmp_path)
    binaries = tmp_path / "venv" / "bin"
    run([UV, "pip", "install", "-q", "--python", binaries / "python", wheel], tmp_path)
    check(binaries, version, tmp_path)


def test_without_an_environment(wheel: Path, tmp_path: Path) -> None:
    python = ("--python", sys.executable)
    uvx = (UV, "tool", "run", *python, "--from", wheel)
    assert run([*uvx, "zt", "--version"], tmp_path).startswith("zt ")
    run([PIPX, "install", *python, wheel], tmp_path)
    assert run([tmp_path / ".local" / "bin" / "zt", "--version"], tmp_path).startswith("zt ")


def test_types(installed: Path, tmp_path: Path) -> None:
    """A program is checked strictly against what is installed, and against nothing else."""
    cache = ("--cache-dir", tmp_path / "cache")
    python = ("--python-executable", installed / "python")
    told = run([UV.with_name("mypy"), "--strict", *cache, *python, USER], tmp_path)
    assert told.startswith("Success: ")
