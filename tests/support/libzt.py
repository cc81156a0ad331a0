"""Fetches the official user-space library, libzt, which is a peer in the interoperability tests.

Nothing of it is kept in the repository: the wheels come from the package index, are checked by
their SHA-256 and stay in the user's cache. The library inside is an extension for CPython 3.9 that
names a few symbols nobody defines (parts of the daemon that were left out, and private functions
of older interpreters); a small library of stubs, compiled here and loaded first, makes it load.
None of the stubs is reached by what we call.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.netns import Unavailable

_WHEEL: Final = "libzt-{version}-cp39-cp39-manylinux1_x86_64.whl"
_MEMBER: Final = "libzt/_libzt.cpython-39-x86_64-linux-gnu.so"
_SHA256: Final = {
    "1.4.2": "2f5e703dd49554bcaba122f4d849cda3abc7a11524889657939a0b087fd83c46",
    "1.8.4": "ebb5599763b5f2009845eed2e7df364241b256187e09df335f13dee05b52a311",
}
_DOWNLOAD_SECONDS: Final = 180.0

# A symbol of the interpreter wins over ours: the program comes first in the order of search.
_STUBS: Final = """
#define STUB(name) long name(void) { return 0; }
STUB(_PyTime_AsTimeval)
STUB(_PyTime_AsTimeval_noraise)
STUB(_PyTime_FromSecondsObject)
STUB(_PyTime_GetMonotonicClock)
STUB(_ZN8ZeroTier12LinuxNetLinkC1Ev)
STUB(_ZN8ZeroTier12LinuxNetLinkD1Ev)
STUB(_ZN8ZeroTier12LinuxNetLink8delRouteERKNS_11InetAddressES3_S3_PKc)
"""


@dataclass(frozen=True, slots=True)
class Library:
    """One version of libzt, ready to load: `stubs` first, with RTLD_GLOBAL, then `library`."""

    version: str
    stubs: Path
    library: Path


def library(version: str) -> Library:
    """Return a version of libzt, from the cache or the package index."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise Unavailable("the wheels of libzt that are known here are for Linux on x86_64")
    with _locked_cache() as cache:
        wheel = _wheel(cache, version)
        folder = cache / f"libzt-{version}"
        found = folder / Path(_MEMBER).name
        if not found.exists():
            folder.mkdir(exist_ok=True)
            partial = folder / "partial"
            with zipfile.ZipFile(wheel) as archive:
                partial.write_bytes(archive.read(_MEMBER))
            partial.replace(found)
        return Library(version, _compiled_stubs(cache), found)


@contextmanager
def _locked_cache() -> Iterator[Path]:
    """Give the cache folder to one process at a time."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    cache = Path(base) / "zt-tests"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield cache


def _wheel(cache: Path, version: str) -> Path:
    wheel = cache / _WHEEL.format(version=version)
    if not wheel.exists():
        _download(cache, version)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if digest != _SHA256[version]:
        wheel.unlink()
        raise Unavailable(f"{wheel.name} has SHA-256 {digest}, not the known one: removed")
    return wheel


def _download(cache: Path, version: str) -> None:
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
        *("--no-deps", "--only-binary=:all:", "--platform", "manylinux1_x86_64"),
        *("--python-version", "3.9", "--abi", "cp39", "--dest", str(cache), f"libzt=={version}"),
    ]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_DOWNLOAD_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"pip took over {_DOWNLOAD_SECONDS:.0f} s for libzt {version}") from None
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip().splitlines()
        raise Unavailable(f"pip cannot download libzt {version}: {words[-1] if words else '?'}")


def _compiled_stubs(cache: Path) -> Path:
    digest = hashlib.sha256(_STUBS.encode()).hexdigest()[:12]
    stubs = cache / f"stubs-{digest}.so"
    if stubs.exists():
        return stubs
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise Unavailable("a C compiler (gcc) is needed for the stubs of libzt")
    partial = stubs.with_suffix(".partial")
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", str(partial), "-x", "c", "-"],
        input=_STUBS.encode(),
        capture_output=True,
        timeout=60,
        check=True,
    )
    partial.replace(stubs)
    return stubs
