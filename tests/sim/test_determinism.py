"""The same seed gives the same run, byte for byte, in another process with other hash seeds."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.sim_worlds import run_seed
from ztstack.sim.scenario import Shape

SEED = 424242
MEMBERS = 6
_PRINT = "from tests.sim.test_determinism import digest; print(digest({seed}))"


def digest(seed: int) -> str:
    outcome = run_seed(seed, Shape(members=MEMBERS))
    assert not outcome.complaints, outcome.complaints
    return outcome.digest


def digest_elsewhere(seed: int, hash_seed: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _PRINT.format(seed=seed)],
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        check=True,
        text=True,
    )
    return done.stdout.strip()


@pytest.mark.timeout(120)
def test_the_same_seed_gives_the_same_run() -> None:
    here = digest(SEED)
    assert digest_elsewhere(SEED, "1") == here
    assert digest_elsewhere(SEED + 1, "1") != here
