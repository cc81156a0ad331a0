"""One path: how it is asked, when it is given up, when it is trusted again, what it carries."""

from __future__ import annotations

import itertools

import pytest

from ztstack.base.endpoint import Endpoint
from ztstack.base.timers import MILLISECOND, SECOND
from ztstack.bonding.lane import (
    AVOID_LOSS,
    CONFIRM_US,
    DEAD_US,
    FIRST_TIMEOUT_US,
    IDLE_PROBE_US,
    LEAST_HOLD_US,
    LEAST_TIMEOUT_US,
    OLD_PROBE_US,
    OLD_US,
    PROBE_US,
    Lane,
    LaneState,
)
from ztstack.bonding.settings import BondPolicy, LinkSettings, PolicySettings
from ztstack.vl1.chooser import Question
from ztstack.vl1.path import Path, PathKey

NOW = 1_000 * SECOND
RTT = 10 * MILLISECOND


class Wire:
    """A lane and what becomes of its questions, in virtual time."""

    def __init__(self, settings: PolicySettings | None = None) -> None:
        self.now = NOW
        self.path = Path(PathKey(0, Endpoint(bytes((10, 0, 0, 1)), 9993)))
        self.lane = Lane(NOW, self.path, "eth0", settings or PolicySettings())
        self.works = True
        self.rtt = RTT
        self.free_at = 0.0
        self.held_until = 0
        self.asked: list[tuple[int, Question]] = []
        self._answers: list[tuple[int, int]] = []

    @property
    def state(self) -> LaneState:
        return self.lane.state

    def run(self, duration: int, *, active: bool = True) -> None:
        end = self.now + duration
        while True:
            due = min([self.lane.due, *(at for at, _ in self._answers)])
            if due > end:
                break
            self.now = max(self.now, due)
            for at, sent in [one for one in self._answers if one[0] <= self.now]:
                self._answers.remove((at, sent))
                self.lane.answered(self.now, sent)
            question = self.lane.next_probe(self.now, active=active)
            if question is not None:
                self.asked.append((self.now, question))
                if self.works:
                    came_at = max(self.now, int(self.free_at)) + self.rtt
                    self._answers.append((max(came_at, self.held_until), self.now))
            self.lane.tick(self.now)
        self.now = end
        self.lane.tick(end)


@pytest.fixture
def wire() -> Wire:
    made = Wire()
    made.run(5 * SECOND)
    return made


def test_a_good_path_is_asked_regularly(wire: Wire) -> None:
    times = [at for at, _ in wire.asked]
    assert {question for _, question in wire.asked} == {Question.ECHO}
    assert {after - before for before, after in itertools.pairwise(times)} == {PROBE_US}
    assert wire.lane.is_up
    assert wire.lane.rtt_us == RTT
    assert wire.lane.one_way_us == RTT / 2
    assert wire.lane.loss == 0.0


def test_a_path_that_nobody_uses_is_asked_seldom(wire: Wire) -> None:
    wire.asked.clear()
    wire.run(60 * SECOND, active=False)
    assert len(wire.asked) in (60 * SECOND // IDLE_PROBE_US, 60 * SECOND // IDLE_PROBE_US + 1)


def test_a_dead_path_is_left_in_less_than_half_a_second(wire: Wire) -> None:
    wire.works = False
    wire.run(PROBE_US + LEAST_TIMEOUT_US + CONFIRM_US + LEAST_TIMEOUT_US)
    assert wire.state.value == "suspect"
    assert [question for _, question in wire.asked[-3:]] == [
        Question.ECHO,
        Question.HELLO,
        Question.HELLO,
    ]
    wire.run(DEAD_US)
    assert wire.state.value == "dead"


@pytest.mark.parametrize("failover_us", [SECOND // 2, SECOND, 5 * SECOND, 60 * SECOND])
@pytest.mark.parametrize("moment_us", [0, 10_001, 190_000, 700_000])
def test_a_path_is_left_in_the_time_that_is_wanted(failover_us: int, moment_us: int) -> None:
    """It is asked as seldom as that allows, and never oftener than any other path."""
    made = Wire(PolicySettings(failover_us=failover_us))
    made.run(5 * failover_us)
    pauses = {after - before for (before, _), (after, _) in itertools.pairwise(made.asked[3:])}
    seldom = failover_us - 2 * LEAST_TIMEOUT_US - CONFIRM_US
    assert pauses == {max(PROBE_US, seldom)}
    made.run(moment_us)
    made.works = False
    made.run(failover_us)
    assert not made.lane.is_up
    made.works = True
    made.run(2 * SECOND)
    assert made.lane.is_up


def test_a_path_that_is_asked_seldom_is_not_asked_oftener_when_nobody_uses_it() -> None:
    made = Wire(PolicySettings(failover_us=60 * SECOND))
    made.run(10 * SECOND)
    made.asked.clear()
    made.run(120 * SECOND, active=False)
    assert 1 <= len(made.asked) <= 3


def test_one_lost_question_is_no_reason(wire: Wire) -> None:
    wire.run(PROBE_US - 1)
    wire.works = False
    wire.run(PROBE_US)
    wire.works = True
    wire.run(SECOND)
    assert Question.HELLO in {question for _, question in wire.asked}
    assert wire.lane.is_up
    assert 0 < wire.lane.loss < AVOID_LOSS


def test_a_path_is_not_given_up_before_it_can_answer() -> None:
    made = Wire()
    made.rtt = FIRST_TIMEOUT_US - 1
    made.run(10 * SECOND)
    assert made.state.value == "up"
    assert {question for _, question in made.asked} == {Question.ECHO}


def test_half_of_all_lost_is_avoided(wire: Wire) -> None:
    for number in range(20):
        wire.works = number % 2 == 0
        wire.run(PROBE_US)
        wire.works = True
        wire.run(PROBE_US)
        if wire.lane.avoided:
            break
    assert wire.lane.avoided
    wire.run(30 * SECOND)
    assert not wire.lane.avoided


def test_three_answers_and_it_is_trusted_again(wire: Wire) -> None:
    wire.works = False
    wire.run(3 * SECOND)
    wire.works = True
    wire.run(PROBE_US + RTT)
    assert wire.state is LaneState.RETURNING
    wire.run(3 * PROBE_US)
    assert wire.lane.is_up


@pytest.mark.parametrize("dead", [2 * SECOND, 60 * SECOND])
def test_a_path_that_was_dead_is_not_avoided_for_it(wire: Wire, dead: int) -> None:
    wire.run(2 * SECOND)
    wire.works = False
    wire.run(dead)
    assert not wire.lane.answers
    wire.works = True
    wire.run(2 * SECOND)
    assert wire.lane.is_up
    assert not wire.lane.avoided


def test_a_path_that_flaps_is_trusted_later_each_time(wire: Wire) -> None:
    waits = []
    for _ in range(3):
        wire.works = False
        wire.run(2 * SECOND)
        wire.works = True
        began = wire.now
        while not wire.lane.is_up:
            wire.run(PROBE_US)
        waits.append(wire.now - began)
    assert waits[0] < SECOND
    assert LEAST_HOLD_US // 2 < waits[1] < waits[2]


def test_a_path_that_was_good_for_long_is_forgiven(wire: Wire) -> None:
    for _ in range(2):
        wire.works = False
        wire.run(2 * SECOND)
        wire.works = True
        wire.run(LEAST_HOLD_US * 2)
        assert wire.lane.is_up


def test_delays_of_its_owner() -> None:
    made = Wire(PolicySettings(up_delay_us=3 * SECOND, down_delay_us=2 * SECOND))
    made.run(5 * SECOND)
    states = []
    for works, seconds in ((False, 2), (False, 1), (True, 3), (True, 1)):
        made.works = works
        made.run(seconds * SECOND)
        states.append(made.state.value)
    assert states == ["up", "dead", "returning", "up"]


def test_a_lost_interface_is_known_at_once(wire: Wire) -> None:
    wire.lane.fail(wire.now)
    assert wire.state is LaneState.DEAD
    wire.works = False
    wire.run(2 * SECOND)
    wire.lane.fail(wire.now)
    assert wire.state is LaneState.DEAD


def test_doubt_asks_at_once(wire: Wire) -> None:
    wire.run(PROBE_US // 3)
    wire.asked.clear()
    wire.lane.doubt(wire.now)
    wire.works = False
    wire.run(LEAST_TIMEOUT_US)
    assert [question for _, question in wire.asked] == [Question.HELLO]
    assert wire.state is LaneState.SUSPECT


def test_an_old_dead_path_is_asked_less(wire: Wire) -> None:
    wire.works = False
    wire.run(OLD_US + 5 * SECOND)
    wire.asked.clear()
    wire.run(20 * OLD_PROBE_US)
    assert len(wire.asked) in (20, 21)


@pytest.mark.parametrize("mbit", [10, 40, 1000])
def test_the_rate_of_a_full_path_is_learned(wire: Wire, mbit: int) -> None:
    """It is offered more than it carries, in front of a queue of at most 50 ms."""
    rate = mbit / 8
    queue, most = 0.0, 50_000 * rate
    for _ in range(5_000):
        wire.run(MILLISECOND)
        wire.path.bytes_out += int(min(1.2 * rate * 1000, most - queue + rate * 1000))
        queue = min(max(0.0, queue + 0.2 * rate * 1000), most)
        wire.rtt = RTT + int(queue / rate)
    assert wire.lane.is_measured
    assert wire.lane.rate == pytest.approx(rate, rel=0.1)


def load(wire: Wire, rate: float, offered: float, duration: int) -> list[int]:
    """Send at a rate on a path of another for a time; return the longest queue of each second.

    Something is sent in 28 ms of each 37, and the lane's model is told of it.
    """
    queues: list[int] = []
    for at in range(duration // MILLISECOND):
        wire.run(MILLISECOND)
        sent = int(offered * 1000 * 37 / 28) if at % 37 < 28 else 0
        wire.path.bytes_out += sent
        lane = wire.lane
        lane.busy_until = max(float(wire.now), lane.busy_until) + sent / lane.rate
        wire.free_at = max(float(wire.now), wire.free_at) + sent / rate
        if at % 1000 == 0:
            queues.append(0)
        queues[-1] = max(queues[-1], int(wire.free_at) - wire.now)
    return queues


def aware(rate: float) -> Wire:
    """Return a lane that has seen its path full."""
    wire = Wire(PolicySettings(BondPolicy.BALANCE_AWARE))
    wire.run(SECOND)
    load(wire, rate, 1.1 * rate, SECOND // 2)
    wire.run(SECOND)
    assert wire.lane.rate == pytest.approx(rate, rel=0.1)
    return wire


@pytest.mark.parametrize("wrong", [0.5, 0.8, 1.25, 1.5])
def test_a_wrong_rate_is_corrected_without_a_long_queue(wrong: float) -> None:
    wire = aware(5.0)
    wire.lane.rate *= wrong
    assert max(load(wire, 5.0, 4.7, 5 * SECOND)) < 8 * MILLISECOND
    assert wire.lane.rate == pytest.approx(5.0, rel=0.06)


@pytest.mark.parametrize("offered", [1.0, 3.0, 4.7])
@pytest.mark.parametrize("late", [5 * MILLISECOND, 30 * MILLISECOND])
def test_an_answer_that_is_held_up_lowers_no_rate(offered: float, late: int) -> None:
    wire = aware(5.0)
    load(wire, 5.0, offered, SECOND)
    rates = []
    for _ in range(10):
        count = len(wire.asked)
        while len(wire.asked) == count:
            wire.held_until = wire.now + RTT + late
            load(wire, 5.0, offered, MILLISECOND)
        load(wire, 5.0, offered, SECOND)
        rates.append(wire.lane.rate)
    assert 4.8 < min(rates) <= max(rates) < 6.0


def test_a_queue_that_stays_is_no_part_of_the_way() -> None:
    wire = aware(5.0)
    load(wire, 5.0, 6.0, SECOND // 5)
    for _ in range(25):
        load(wire, 5.0, 5.0, SECOND)
    assert wire.lane.one_way_us == RTT / 2
    wire.run(SECOND)
    wire.rtt = 3 * RTT
    wire.run(21 * SECOND)
    assert wire.lane.one_way_us == 3 * RTT / 2


def test_a_path_that_fills_is_asked_often_until_its_rate_is_known() -> None:
    """By HELLO, as official nodes leave an echo unanswered that comes so soon."""
    wire = Wire(PolicySettings(BondPolicy.BALANCE_AWARE))
    wire.run(SECOND)
    assert {question for _, question in wire.asked} == {Question.ECHO}
    wire.asked.clear()
    wire.rtt = RTT + 20_000
    for _ in range(1_000):
        wire.run(MILLISECOND)
        wire.path.bytes_out += 5_000
    hellos = [at for at, question in wire.asked if question is Question.HELLO]
    assert 2 <= len(hellos) <= 5
    assert all(after - at <= 60 * MILLISECOND for at, after in itertools.pairwise(hellos))
    assert wire.lane.is_measured
    assert wire.lane.rate == pytest.approx(5.0, rel=0.1)
    assert wire.asked[-1][1] is Question.ECHO


@pytest.mark.parametrize("queue", [0, 20 * MILLISECOND])
def test_what_a_queue_may_have_lost_weighs_less(wire: Wire, queue: int) -> None:
    """Of every five questions one is not answered."""
    wire.run(SECOND)
    wire.rtt = RTT + queue
    losses = []
    for number in range(40):
        wire.works = number % 5 != 0
        wire.run(PROBE_US)
        losses.append(wire.lane.loss)
    mean = sum(losses[20:]) / 20
    assert mean < 0.09 if queue else mean > 0.12


def test_what_is_not_known_is_taken_from_others_until_it_is(wire: Wire) -> None:
    wire.lane.assume(2.0)
    assert (wire.lane.rate, wire.lane.is_measured) == (2.0, False)
    for _ in range(1_000):
        # It carries as much as it is believed to, and no queue is seen.
        wire.run(MILLISECOND)
        wire.path.bytes_out += 2_000
    wire.lane.assume(2.0)
    assert wire.lane.rate == pytest.approx(2.1, rel=0.01)
    wire.lane.assume(4.0)
    assert wire.lane.rate == 4.0
    links = {"eth0": LinkSettings(capacity=50), "eth1": LinkSettings(capacity=100)}
    half = Lane(NOW, wire.path, "eth0", PolicySettings(links=links))
    half.assume(4.0)
    assert half.rate == 2.0


def test_a_path_that_is_not_full_may_carry_more(wire: Wire) -> None:
    before = wire.lane.rate
    for _ in range(5_000):
        wire.run(MILLISECOND)
        wire.path.bytes_out += 1000
    assert not wire.lane.is_measured
    assert wire.lane.rate == before


def test_what_is_not_authentic_is_counted(wire: Wire) -> None:
    for _ in range(30):
        wire.path.bytes_in += 1000
        wire.path.bad_bytes_in += 100
        wire.lane.count_errors()
    assert wire.lane.errors == pytest.approx(0.1, rel=0.01)
    wire.lane.count_errors()
    assert wire.lane.errors == pytest.approx(0.1, rel=0.01)
    for _ in range(30):
        wire.path.bytes_in += 1000
        wire.lane.count_errors()
    assert wire.lane.errors < 0.001
