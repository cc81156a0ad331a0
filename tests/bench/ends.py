"""What the benches share: rows of the table, nodes as programs, and what processes used."""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.support.netns import Machine
from tests.support.site import Site
from tests.support.zt_process import ProcessFailure, Zt, environment

LIMIT_SECONDS = 600.0


@dataclass(slots=True)
class Row:
    """One figure of the table: the median of some runs, and what it is measured against."""

    name: str
    unit: str
    runs: list[float]
    target: str = ""
    note: str = ""
    details: dict[str, object] = field(default_factory=dict)
    is_optional: bool = False

    @property
    def median(self) -> float | None:
        return statistics.median(self.runs) if self.runs else None

    def record(self) -> dict[str, object]:
        return {
            "name": self.name,
            "unit": self.unit,
            "median": None if self.median is None else round(self.median, 3),
            "runs": [round(one, 3) for one in self.runs],
            "target": self.target,
            "note": self.note,
            **self.details,
        }


@dataclass(frozen=True, slots=True)
class Course:
    """Where the benches run, and how often."""

    world: Site
    runs: int
    megabytes: int


def children_cpu_s() -> float:
    """Return what the children that ended and were waited for have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def process_cpu_s(machine: Machine, pid: int) -> float:
    """Return what a process that still runs has used, in ticks of a hundredth."""
    told = machine.run(["cat", f"/proc/{pid}/stat"], seconds=10.0).stdout.decode()
    fields = told.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def middle(values: Sequence[float], digits: int = 2) -> float:
    return round(statistics.median(values), digits)


class Agent:
    """The bench's hold of a `tests.bench.agent`."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.answer()

    def answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise ProcessFailure("an agent of the bench has ended")
        told: dict[str, Any] = json.loads(line)
        return told

    def begin(self, do: str, **values: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **values}).encode() + b"\n")
        self._process.stdin.flush()

    def listen(self, do: str, **values: object) -> str:
        """Begin a command that listens; return the IPv4 address."""
        self.begin(do, **values)
        addresses: list[str] = self.answer()["listening"]
        return next(ip for ip in addresses if ":" not in ip)


@contextmanager
def agent(zt: Zt, network: str, planet: str) -> Iterator[Agent]:
    """Run an agent with the state of a `Zt` and kill it at the end."""
    command = [sys.executable, "-m", "tests.bench.agent", str(zt.state), planet, network]
    with zt.state.with_suffix(".agent-err").open("wb") as errors:
        process = zt.machine.popen(command, stdin=subprocess.PIPE, stderr=errors, env=environment())
    try:
        yield Agent(process)
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
