"""Programs that do as they are told, line by line: a TCP host of ours, and the kernel's.

    host, kernel = Scripted.ours(machine), Scripted.kernel(machine)
    host("listen", 7200); kernel("connect", "a", "10.77.1.2", 7200); host("accept", "a")

A command is a JSON list on standard input, its answer a JSON value on standard output; the names
of commands are those of the methods of `scripted_host.py` and `scripted_kernel.py`.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from tests.support.netns import Machine

ANSWER_S: Final = 40.0
LIMIT_S: Final = 20.0
"""How long a command waits for what it was told to wait for."""
_ROOT: Final = Path(__file__).parents[2]


class Failed(AssertionError):
    """A program could not do what it was told."""


@dataclass(slots=True)
class Scripted:
    """One running program."""

    process: subprocess.Popen[bytes]

    @classmethod
    def ours(cls, machine: Machine) -> Self:
        """Start a host of ours at the bare end of `direct_link(..., 1)`."""
        return cls._start(machine, "scripted_host")

    @classmethod
    def kernel(cls, machine: Machine) -> Self:
        return cls._start(machine, "scripted_kernel")

    @classmethod
    def _start(cls, machine: Machine, module: str) -> Self:
        return cls(
            subprocess.Popen(
                [*machine.wrap, sys.executable, "-m", f"tests.support.{module}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=_ROOT,
            )
        )

    def __call__(self, command: str, *arguments: object) -> Any:  # noqa: ANN401 - as JSON has it
        """Have something done and return what came of it."""
        process = self.process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps([command, *arguments]).encode() + b"\n")
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], ANSWER_S)
        line = process.stdout.readline() if ready else b""
        if not line:
            raise Failed(f"{command} {arguments}: no answer")
        done, value = json.loads(line)
        if not done:
            raise Failed(f"{command} {arguments}: {value}")
        return value

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


def answer(program: object, line: bytes) -> bytes:
    """Do what a line says with the methods of `program`."""
    command, *arguments = json.loads(line)
    try:
        result = [True, getattr(program, command)(*arguments)]
    except (OSError, TimeoutError, KeyError) as error:
        result = [False, f"{type(error).__name__}: {error}"]
    return json.dumps(result).encode() + b"\n"
