"""The wheel: what is in it, and that it works alone in a fresh environment of each Python."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.support.process import ROOT

pytestmark = pytest.mark.timeout(180)

VERSIONS: Final = ("3.11", "3.12", "3.13")
OWN: Final = f"{sys.version_info[0]}.{sys.version_info[1]}"


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
        env={**kept, "HOME": str(folder), "PIP_CACHE_DIR": _cache()},
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


def find(version: str) -> str | None:
    """Return a Python of a version: this one, one on the PATH, or one of pyenv's."""
    if version == OWN:
        return sys.executable
    managed = Path(os.environ.get("PYENV_ROOT", "/nowhere")) / "versions"
    found = shutil.which(f"python{version}")
    candidates = [found] if found is not None else []
    candidates += [str(one) for one in managed.glob(f"{version}.*/bin/python{version}")]
    for candidate in candidates:
        words = [candidate, "-c", "import ensurepip, venv"]
        # A shim may have nothing behind it.
        if subprocess.run(words, capture_output=True, check=False).returncode == 0:
            return candidate
    return None


PYTHONS: Final = {
    version: python for version in sorted({*VERSIONS, OWN}) if (python := find(version)) is not None
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built of a copy of what git knows."""
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
    run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, source], folder)
    (made,) = folder.glob("*.whl")
    return made


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


@pytest.mark.parametrize("version", PYTHONS)
def test_it_works_alone(wheel: Path, tmp_path: Path, version: str) -> None:
    run([PYTHONS[version], "-m", "venv", tmp_path / "venv"], tmp_path)
    binaries = tmp_path / "venv" / "bin"
    run([binaries / "python", "-m", "pip", "install", "-q", wheel], tmp_path)
    zt = binaries / "zt"
    assert run([zt, "--version"], tmp_path).startswith("zt ")
    assert "ok" in run([zt, "selftest"], tmp_path)
    assert run([zt, "completion", "show", "bash"], tmp_path) == (
        ROOT / "completions" / "zt.bash"
    ).read_text("utf-8")
    code = "import overlay, ztstack, sys; print(sys.version_info[:2], ztstack.Node, overlay.Node)"
    major, minor = version.split(".")
    assert run([binaries / "python", "-c", code], tmp_path).startswith(f"({major}, {minor}) ")
