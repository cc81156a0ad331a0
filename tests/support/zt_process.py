"""`zt` as separate processes inside the machines of a `Lan`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.support.netns import Machine

ROOT: Final = Path(__file__).parents[2]
READY_SECONDS: Final = 60.0
STOP_SECONDS: Final = 10.0


class ProcessFailure(Exception):
    """A process ended early or was silent; the message has its last words."""


def environment() -> dict[str, str]:
    """Return our variables without those that `zt` reads, and with the tree that is tested."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ZT_")}
    return {**kept, "PYTHONPATH": str(ROOT)}


def wait_until(what: str, ask: Callable[[], bool], seconds: float) -> None:
    """Ask until it is so; ProcessFailure when the time is over."""
    deadline = time.monotonic() + seconds
    while not ask():
        if time.monotonic() > deadline:
            raise ProcessFailure(f"{what}: not in {seconds:.0f} s")
        time.sleep(0.02)


@dataclass(slots=True)
class Running:
    """A command that goes on; its output goes to files in its folder."""

    process: subprocess.Popen[bytes]
    stdout: Path
    stderr: Path
    ready_file: Path | None

    def ready(self, seconds: float = READY_SECONDS) -> dict[str, Any]:
        """Wait for the ready record and return it."""
        assert self.ready_file is not None
        deadline = time.monotonic() + seconds
        while not self.ready_file.exists():
            if self.process.poll() is not None:
                raise ProcessFailure(f"ended with {self.process.returncode}: {self.words()}")
            if time.monotonic() > deadline:
                raise ProcessFailure(f"not ready in {seconds:.0f} s: {self.words()}")
            time.sleep(0.01)
        record: dict[str, Any] = json.loads(self.ready_file.read_text())
        return record

    def words(self) -> str:
        return self.stderr.read_text(errors="replace")[-2000:]

    def wait(self, seconds: float) -> int:
        """Wait for the end and return the exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise ProcessFailure(f"not ended in {seconds:.0f} s: {self.words()}") from None

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Ask it to end; kill it if it does not."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                return self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
        return self.process.returncode


@dataclass(slots=True)
class Zt:
    """`zt` on one machine with one state directory; `options` are given before each command."""

    machine: Machine
    state: Path
    options: tuple[str, ...] = ()
    started: list[Running] = field(default_factory=list)

    def node_id(self) -> str:
        """Return the id of the node whose identity lies in the state directory."""
        return (self.state / "identity.public").read_text().partition(":")[0]

    def argv(self, *arguments: str) -> list[str]:
        state = ("--state", str(self.state))
        return [sys.executable, "-m", "ztcli", *state, *self.options, *arguments]

    def run(
        self, *arguments: str, data: bytes | None = None, seconds: float = 60.0
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command to its end, whatever its code."""
        return self.machine.run(
            self.argv(*arguments), seconds=seconds, data=data, env=environment()
        )

    def text(self, *arguments: str) -> str:
        """Run a command that must succeed and return its output without the line end."""
        done = self.run(*arguments)
        if done.returncode:
            words = done.stderr.decode(errors="replace")
            raise ProcessFailure(f"zt {' '.join(arguments)} ended with {done.returncode}: {words}")
        return done.stdout.decode().rstrip("\n")

    def start(self, *arguments: str, stdin: Path | None = None, ready: bool = True) -> Running:
        """Start a command; with `ready` it is one that takes --ready-file."""
        self.state.parent.mkdir(parents=True, exist_ok=True)
        base = self.state.with_name(f"{self.state.name}-{len(self.started)}")
        ready_file = base.with_suffix(".ready") if ready else None
        extra = ("--ready-file", str(ready_file)) if ready else ()
        stdout, stderr = base.with_suffix(".out"), base.with_suffix(".err")
        with (
            stdout.open("wb") as out,
            stderr.open("wb") as err,
            (stdin or Path(os.devnull)).open("rb") as given,
        ):
            process = self.machine.popen(
                self.argv(*arguments, *extra),
                stdin=given,
                stdout=out,
                stderr=err,
                env=environment(),
            )
        running = Running(process, stdout, stderr, ready_file)
        self.started.append(running)
        return running

    def stop_all(self) -> None:
        for running in self.started:
            running.stop()
