"""Worlds of twenty nodes with random faults: whoever has a way to each other talks."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

import pytest

from tests.support.sim_worlds import FAULTS, Outcome, run_seed

CHUNK = 10


@pytest.mark.timeout(1800)
def test_random_faults(pytestconfig: pytest.Config) -> None:
    first = pytestconfig.getoption("--sim-first-seed")
    seeds = range(first, first + pytestconfig.getoption("--sim-seeds"))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=context) as pool:
        outcomes = list(pool.map(run_seed, seeds, chunksize=CHUNK))
    terminal = pytestconfig.pluginmanager.get_plugin("terminalreporter")
    assert terminal is not None
    terminal.write_line(summary(outcomes))
    bad = [outcome for outcome in outcomes if outcome.complaints]
    assert not bad, "\n\n".join(report(outcome) for outcome in bad[:5])
    # Nobody spoke for nothing: each world was as busy as twenty nodes are.
    assert min(outcome.delivered for outcome in outcomes) > 5_000
    assert all(outcome.plan.count("\n") == FAULTS - 1 for outcome in outcomes)


def summary(outcomes: list[Outcome]) -> str:
    worst = max(outcomes, key=lambda outcome: outcome.worst_us)
    return (
        f"\nsimulated: seeds {outcomes[0].seed} to {outcomes[-1].seed},"
        f" {sum(outcome.delivered for outcome in outcomes)} datagrams,"
        f" longest silence {worst.worst_us / 1e6:.1f} s (seed {worst.seed})"
    )


def report(outcome: Outcome) -> str:
    words = "\n".join(outcome.complaints[:10])
    return (
        f"seed {outcome.seed} (pytest -m sim --sim-first-seed {outcome.seed} --sim-seeds 1):\n"
        f"{words}\nfaults:\n{outcome.plan}"
    )
