"""The same seed gives the same run, byte for byte, in another process with other hash seeds."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.sim_worlds import run_seed

SEED = 424242
_PRINT = "from tests.support.sim_worlds import run_seed; print(run_seed({seed}).digest)"


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
    here = run_seed(SEED)
    assert not here.complaints, here.complaints
    assert digest_elsewhere(SEED, "1") == here.digest
    assert digest_elsewhere(SEED, "77") == here.digest
    assert digest_elsewhere(SEED + 1, "1") != here.digest
