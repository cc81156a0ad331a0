"""Worlds of twenty nodes with random faults: whoever has a way to each other talks."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.sim_worlds import FAULTS, Outcome, run_seed

CHUNK = 5
"""Worlds in one test, so that tests can be spread over processes."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seeds" in metafunc.fixturenames:
        first = metafunc.config.getoption("--sim-first-seed")
        end = first + metafunc.config.getoption("--sim-seeds")
        chunks = [range(at, min(at + CHUNK, end)) for at in range(first, end, CHUNK)]
        metafunc.parametrize("seeds", chunks, ids=[f"{c.start} to {c.stop - 1}" for c in chunks])


@pytest.mark.timeout(300)
def test_random_faults(seeds: range, record_property: Callable[[str, object], None]) -> None:
    outcomes = [run_seed(seed) for seed in seeds]
    record_property("simulated", summary(outcomes))
    bad = [outcome for outcome in outcomes if outcome.complaints]
    assert not bad, "\n\n".join(report(outcome) for outcome in bad)
    # Nobody spoke for nothing: each world was as busy as twenty nodes are.
    assert min(outcome.delivered for outcome in outcomes) > 5_000
    assert all(outcome.plan.count("\n") == FAULTS - 1 for outcome in outcomes)


def summary(outcomes: list[Outcome]) -> str:
    worst = max(outcomes, key=lambda outcome: outcome.worst_us)
    return (
        f"seeds {outcomes[0].seed:>4} to {outcomes[-1].seed:>4}:"
        f" {sum(outcome.delivered for outcome in outcomes)} datagrams,"
        f" longest silence {worst.worst_us / 1e6:.1f} s (seed {worst.seed})"
    )


def report(outcome: Outcome) -> str:
    words = "\n".join(outcome.complaints[:10])
    return (
        f"seed {outcome.seed} (pytest -m sim tests/sim/test_worlds.py"
        f" --sim-first-seed {outcome.seed} --sim-seeds 1):\n{words}\nfaults:\n{outcome.plan}"
    )
