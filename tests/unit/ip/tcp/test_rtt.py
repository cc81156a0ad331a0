from __future__ import annotations

import pytest

from ztstack.base.timers import MILLISECOND, SECOND
from ztstack.ip.tcp.rtt import INITIAL_US, MAX_US, MEMORY_US, MIN_US, RttEstimator


def test_before_the_first_sample() -> None:
    assert RttEstimator().timeout_us == INITIAL_US
    assert RttEstimator().probe_us == INITIAL_US


def test_the_first_sample() -> None:
    """RFC 6298 section 2.2: RTO = R + 4 * R / 2."""
    rtt = RttEstimator()
    rtt.add(400 * MILLISECOND)
    assert (rtt.smoothed_us, rtt.variation_us) == (400_000, 200_000)
    assert rtt.timeout_us == 1_200_000


def test_the_next_samples() -> None:
    """RFC 6298 section 2.3, with an alpha of 1/8 and a beta of 1/4."""
    rtt = RttEstimator()
    rtt.add(400 * MILLISECOND)
    rtt.add(800 * MILLISECOND)
    assert (rtt.smoothed_us, rtt.variation_us) == (450_000, 250_000)


@pytest.mark.parametrize("sample", [-5, 0, 1, 100])
def test_a_short_path_keeps_the_least_timeout(sample: int) -> None:
    rtt = RttEstimator()
    for _ in range(50):
        rtt.add(sample)
    assert MIN_US < rtt.timeout_us <= MIN_US + 100
    assert rtt.smoothed_us >= 1


def test_a_steady_path_leaves_time_for_an_acknowledgement_that_is_held_back() -> None:
    rtt = RttEstimator()
    for _ in range(50):
        rtt.add(190 * MILLISECOND)
    assert rtt.timeout_us >= (190 + 200) * MILLISECOND


def test_backing_off_doubles_up_to_a_minute() -> None:
    rtt = RttEstimator()
    rtt.add(100 * MILLISECOND)
    first = rtt.timeout_us
    seen = []
    for _ in range(12):
        seen.append(rtt.timeout_us)
        rtt.back_off()
    assert seen[:4] == [first, 2 * first, 4 * first, 8 * first]
    assert seen[-1] == MAX_US == 60 * SECOND
    rtt.reset_backoff()
    assert rtt.timeout_us == first


def test_the_shortest_is_remembered_for_a_while() -> None:
    rtt = RttEstimator()
    for now, sample in ((0, 50), (1, 30), (2, 90)):
        rtt.note(now, sample)
    assert rtt.least_us == 30
    # A path that became longer is noticed after one span of time, or two.
    for now in range(10, 4 * MEMORY_US, MEMORY_US // 4):
        rtt.note(now, 80)
        if now < MEMORY_US:
            assert rtt.least_us == 30
    assert rtt.least_us == 80
