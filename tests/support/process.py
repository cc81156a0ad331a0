"""Runs the installed `zt` as separate processes, each with a state directory of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def command() -> list[str]:
    """Return the installed script, or the module where only that is there."""
    script = Path(sys.executable).with_name("zt")
    return [str(script)] if script.exists() else [sys.executable, "-m", "ztcli"]


class Failed(AssertionError):
    """A process did not do what it was started for."""


class Process:
    """A `zt` that stays."""

    def __init__(self, child: subprocess.Popen[bytes], folder: Path, name: str) -> None:
        self.child = child
        self._folder = folder
        self._name = name

    @property
    def stdout(self) -> bytes:
        return (self._folder / f"{self._name}.out").read_bytes()

    @property
    def stderr(self) -> str:
        return (self._folder / f"{self._name}.err").read_text()

    def wait_ready(self, limit: float = 60.0) -> dict[str, Any]:
        path = self._folder / f"{self._name}.ready"
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            if path.exists():
                found: dict[str, Any] = json.loads(path.read_text())
                return found
            if self.child.poll() is not None:
                raise Failed(f"{self._name} ended with {self.child.returncode}: {self.stderr}")
            time.sleep(0.02)
        raise Failed(f"{self._name} was not ready in {limit:g} s: {self.stderr}")

    def wait(self, limit: float = 30.0) -> int:
        try:
            return self.child.wait(limit)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self._name} did not end: {self.stderr}") from None

    def stop(self) -> int:
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
        try:
            return self.child.wait(15)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
            raise Failed(f"{self._name} ignored SIGTERM: {self.stderr}") from None


@dataclass
class World:
    """A folder with states, and the variables that every process of it gets."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)
    _started: int = 0

    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("ZT_")}
        home = {"HOME": str(self.folder), "XDG_STATE_HOME": str(self.folder / "xdg")}
        return {**kept, "PYTHONPATH": str(ROOT), **home, **self.variables}

    def run(
        self, *arguments: str, stdin: bytes | int = b"", limit: float = 60.0
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command to its end; `stdin` is its content or a descriptor."""
        return subprocess.run(
            [*command(), *arguments],
            stdin=stdin if isinstance(stdin, int) else None,
            input=stdin if isinstance(stdin, bytes) else None,
            capture_output=True,
            env=self.environment(),
            cwd=self.folder,
            timeout=limit,
            check=False,
        )

    @contextmanager
    def running(
        self, *arguments: str, stdin: int = subprocess.DEVNULL, ready: bool = True
    ) -> Iterator[Process]:
        """Start a command; the block's end stops it."""
        self._started += 1
        name = f"{self._started}-{arguments[-1].strip('-/')[:12].replace('/', '_')}"
        words = [*command(), *arguments]
        if ready:
            words += ["--ready-file", str(self.folder / f"{name}.ready")]
        out, err = self.folder / f"{name}.out", self.folder / f"{name}.err"
        with out.open("wb") as stdout, err.open("wb") as stderr:
            child = subprocess.Popen(
                words,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                env=self.environment(),
                cwd=self.folder,
            )
        process = Process(child, self.folder, name)
        try:
            yield process
        finally:
            process.stop()
