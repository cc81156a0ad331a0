"""Two nodes with two cables, each case of `tests/support/bond_cases.py` at its full size; as JSON.

    python -m tests.bench.bonding_cables [--case NAME ...] [--runs N] [--seconds N] [--bytes N]

For each case it prints what was wanted, what came of each run, and whether it holds.
Streams are compared with what one of them gets from one cable (the better one) just before.
The cables are two of 40 Mbit/s, or of 40 and 10 Mbit/s with 10 and 40 ms each way. Needs root.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support import bond_cases as cases
from tests.support.bond_hosts import Bonded, bonded

STALL_S: Final = 0.5
ONE_WAY_S: Final = 1.0
RELAY_S: Final = 2.0
NO_STALL_S: Final = 0.02
"""Datagrams are 10 ms apart, and it is no stall if one comes a little later than the next."""
SHARES: Final = 0.2
START_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Size:
    """How much is sent in a run of a case."""

    seconds: float
    file_bytes: int


@dataclass(frozen=True, slots=True)
class Case:
    """A figure and its bound; a run returns the figure, and NaN if something is wrong as well."""

    unit: str
    bound: float
    at_least: bool
    run: Callable[[Bonded, Size], float]

    def holds(self, figures: list[float]) -> bool:
        """Judge a rate by its median, and what must never be too much by each run."""
        if self.at_least:
            return statistics.median(figures) >= self.bound
        return all(figure <= self.bound for figure in figures)

    def record(self, figures: list[float]) -> dict[str, object]:
        return {
            "unit": self.unit,
            "wanted": f"{'>=' if self.at_least else '<='} {self.bound:g}",
            "runs": [round(figure, 3) for figure in figures],
            "holds": self.holds(figures),
        }


def stream_over(policy: str) -> Callable[[Bonded, Size], float]:
    def run(world: Bonded, size: Size) -> float:
        alone = cases.one_path(world, size.seconds).rate
        with cases.nodes(world, policy) as pair:
            return cases.throughput(pair, seconds=size.seconds, start=START_S) / alone

    return run


def streams_over_uneven(count: int) -> Callable[[Bonded, Size], float]:
    def run(world: Bonded, size: Size) -> float:
        with cases.uneven(world) as links, cases.nodes(links, "balance-aware") as pair:
            alone = cases.better_alone(pair, size.seconds)
            return cases.throughput(pair, count, size.seconds, START_S) / alone

    return run


def off(world: Bonded, size: Size) -> float:
    return cases.one_path(world, size.seconds).other_part


def pulled(world: Bonded, size: Size) -> float:
    transfer = cases.pulled_in_a_transfer(world, size.file_bytes)
    return transfer.stall_s if transfer.is_intact else float("nan")


def broadcast(world: Bonded, size: Size) -> float:
    heard = cases.broadcast_over_a_lossy_cable(world, 4 * size.seconds)
    return float(heard.lost + heard.twice)


def shares(world: Bonded, _size: Size) -> float:
    sharing = cases.many_flows(world)
    return sharing.unevenness if sharing.strayed < 0.1 else float("nan")


def idle(world: Bonded, _size: Size) -> float:
    heard = cases.idle_cable_dies(world)
    return heard.stall_s if not heard.lost + heard.twice else float("nan")


def one_direction(policy: str) -> Callable[[Bonded, Size], float]:
    return lambda world, _size: cases.one_direction_dies(world, policy).silence_s


def all_die(policy: str) -> Callable[[Bonded, Size], float]:
    return lambda world, _size: cases.all_cables_die(world, policy).silence_s


_TIMES: Final = "x one cable"
_BETTER: Final = "x the better cable"
CASES: Final = {
    "off": Case("part on the other cable", 0.01, at_least=False, run=off),
    "rr": Case(_TIMES, 1.7, at_least=True, run=stream_over("balance-rr")),
    "aware": Case(_TIMES, 1.7, at_least=True, run=stream_over("balance-aware")),
    "uneven-1": Case(_BETTER, 1.0, at_least=True, run=streams_over_uneven(1)),
    "uneven-16": Case(_BETTER, 1.5, at_least=True, run=streams_over_uneven(16)),
    "pulled": Case("s of stall", STALL_S, at_least=False, run=pulled),
    "broadcast": Case("lost or twice", 0.0, at_least=False, run=broadcast),
    "xor": Case("from even", SHARES, at_least=False, run=shares),
    "idle": Case("s of stall", NO_STALL_S, at_least=False, run=idle),
    **{
        f"one-way-{policy}": Case(
            "s of silence", ONE_WAY_S, at_least=False, run=one_direction(policy)
        )
        for policy in ("active-backup", "balance-xor", "balance-aware")
    },
    **{
        f"all-die-{policy}": Case("s of silence", RELAY_S, at_least=False, run=all_die(policy))
        for policy in ("active-backup", "balance-aware")
    },
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--case", action="append", choices=list(CASES), default=[])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--bytes", type=int, default=100_000_000)
    options = parser.parse_args()
    size = Size(options.seconds, options.bytes)
    found = {}
    with tempfile.TemporaryDirectory() as folder, bonded(Path(folder)) as world:
        for cable in world.cables:
            cable.shape(cases.RATE_MBIT)
        for name in options.case or CASES:
            case = CASES[name]
            figures = [case.run(world, size) for _ in range(options.runs)]
            found[name] = case.record(figures)
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
