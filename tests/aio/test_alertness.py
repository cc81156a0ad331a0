from __future__ import annotations

import pytest

from ztstack.aio.alertness import AWAKE_US, SMALL_BYTES, Alertness


def lively() -> Alertness:
    """Somebody whose question of time 0 was answered at once."""
    alertness = Alertness()
    assert not alertness.asked(0)
    alertness.heard(AWAKE_US - 1, SMALL_BYTES)
    return alertness


def test_the_first_answer_is_not_waited_for_awake() -> None:
    alertness = Alertness()
    assert not alertness.asked(0)
    assert not alertness.is_awake


def test_the_next_one_is_and_only_for_a_while() -> None:
    alertness = lively()
    assert alertness.asked(1000)
    assert alertness.is_awake
    assert alertness.stays(1000 + AWAKE_US - 1)
    assert not alertness.stays(1000 + AWAKE_US)
    assert not alertness.is_awake


def test_staying_awake_is_begun_once() -> None:
    alertness = lively()
    assert alertness.asked(1000)
    assert not alertness.asked(1010)
    assert alertness.stays(1010 + AWAKE_US - 1)


def test_an_answer_ends_it() -> None:
    alertness = lively()
    alertness.asked(1000)
    alertness.heard(1100, 40)
    assert not alertness.stays(1100)
    assert alertness.asked(1150)


@pytest.mark.parametrize(("late_us", "size"), [(AWAKE_US, 40), (100, SMALL_BYTES + 1)])
def test_late_and_large_answers_make_sleepy(late_us: int, size: int) -> None:
    alertness = lively()
    assert alertness.asked(1000)
    alertness.heard(1000 + late_us, size)
    assert not alertness.stays(1000 + late_us)
    assert not alertness.asked(5000)


def test_what_comes_unasked_says_nothing() -> None:
    alertness = Alertness()
    alertness.heard(0, 40)
    assert not alertness.asked(10)


def test_looking_twice_for_the_same_answer() -> None:
    alertness = lively()
    alertness.asked(1000)
    assert not alertness.looked()
    assert alertness.looked()
    alertness.heard(1100, 40)
    alertness.asked(1200)
    assert not alertness.looked()
