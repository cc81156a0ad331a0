"""Bonds of two cables with random faults: what is sent gets through in time, and once."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from functools import cache

import pytest

from tests.support.bonded_worlds import BondedWorld, Counting, Filling, Outcome, run_seed
from ztstack.base.errors import Drop
from ztstack.base.timers import MILLISECOND, SECOND
from ztstack.bonding.bonds import Bonds
from ztstack.bonding.settings import BondPolicy
from ztstack.sim.host import Host
from ztstack.sim.network import Conditions
from ztstack.vl1.path import PathKey
from ztstack.vl1.peer import Peer
from ztstack.wire.bonding import PathNegotiation, QosMeasurement

CHUNK = 25
"""Worlds in one test, so that tests can be spread over processes."""
DEAD = Conditions(loss=1.0)
LATENCIES_US = (10 * MILLISECOND, 20 * MILLISECOND)
EVEN = ((40.0, 10), (40.0, 10))
"""Cables by their rates in Mbit/s and their latencies in milliseconds."""
UNEVEN = ((40.0, 10), (10.0, 40))
RATE_S = 2


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seeds" in metafunc.fixturenames:
        first = metafunc.config.getoption("--sim-first-seed")
        end = first + metafunc.config.getoption("--sim-seeds") // 2
        chunks = [range(at, min(at + CHUNK, end)) for at in range(first, end, CHUNK)]
        metafunc.parametrize("seeds", chunks, ids=[f"{c.start} to {c.stop - 1}" for c in chunks])


@pytest.mark.timeout(300)
@pytest.mark.parametrize("policy", list(BondPolicy), ids=lambda policy: policy.value)
def test_random_faults(
    policy: BondPolicy, seeds: range, record_property: Callable[[str, object], None]
) -> None:
    outcomes = [run_seed(seed, policy) for seed in seeds]
    worst = max(outcomes, key=lambda outcome: outcome.worst_us)
    record_property(
        "simulated",
        f"{policy.value} seeds {seeds.start:>4} to {seeds.stop - 1:>4}: longest silence"
        f" {worst.worst_us / 1e6:.2f} s (seed {worst.seed}),"
        f" lost {sum(o.lost for o in outcomes)} of {sum(o.sent for o in outcomes)}",
    )
    bad = [outcome for outcome in outcomes if outcome.complaints]
    assert not bad, "\n\n".join(report(outcome) for outcome in bad)
    # The applications spoke, and there was something to get around.
    assert all(outcome.sent > 200 and outcome.plan for outcome in outcomes)


def report(outcome: Outcome) -> str:
    plan = "\n".join(map(str, outcome.plan))
    words = "\n".join(outcome.complaints[:10])
    return f"{outcome.policy.value}, seed {outcome.seed}:\n{words}\nfaults:\n{plan}"


# Throughput.


@cache
def rate(
    policy: BondPolicy, cables: tuple[tuple[float, int], ...], streams: int = 1, warm_up: int = 1
) -> tuple[float, list[float]]:
    """Return what full streams get, and what each cable carries of it, all in Mbit/s."""
    latencies = tuple(latency * MILLISECOND for _, latency in cables)
    made = BondedWorld("rate", policy, latencies, rates_mbit=tuple(one for one, _ in cables))
    made.join()
    network = made.network
    filling = Filling(made.left, made.right, made.world.network_id, streams)
    while not filling.came:
        network.run(network.now + SECOND // 10)
    network.run(network.now + warm_up * SECOND)
    before, came = made.sent_bytes(), filling.came
    network.run(network.now + RATE_S * SECOND)
    mbit = 8 / RATE_S / 1e6
    sent = [(after - b) * mbit for after, b in zip(made.sent_bytes(), before, strict=True)]
    return (filling.came - came) * mbit, sent


@pytest.mark.timeout(120)
def test_off_fills_one_cable_only() -> None:
    found, sent = rate(BondPolicy.OFF, EVEN)
    assert 0.9 * 40 < found < 40
    assert sent[1] < 0.1


@pytest.mark.timeout(120)
@pytest.mark.parametrize("policy", [BondPolicy.BALANCE_RR, BondPolicy.BALANCE_AWARE])
def test_one_stream_fills_two_even_cables(policy: BondPolicy) -> None:
    alone, _ = rate(BondPolicy.OFF, EVEN)
    found, sent = rate(policy, EVEN)
    assert found >= 1.7 * alone
    assert min(sent) > 0.8 * max(sent)


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("streams", "times"), [(1, 1.0), (16, 1.1)])
def test_uneven_cables_carry_more_than_the_better_one(streams: int, times: float) -> None:
    """Both together carry no more than 1.25 times as much."""
    alone, _ = rate(BondPolicy.OFF, EVEN)
    found, _ = rate(BondPolicy.BALANCE_AWARE, UNEVEN, streams, 2)
    assert found >= times * alone


# Faults one by one.


class Talk:
    """Two hosts that count to each other for a time on two cables."""

    def __init__(self, policy: BondPolicy, seconds: int, *, one_sided: bool = False) -> None:
        self.made = BondedWorld("talk", policy, LATENCIES_US, one_sided=one_sided)
        self.made.join()
        self.network = self.made.network
        self.right = Counting(self.made.right, self.made.left, self.made.world.network_id)
        self.left = Counting(self.made.left, self.made.right, self.made.world.network_id)
        self.start = self.network.now
        self.left.start(self.start + seconds * SECOND)
        self.right.start(self.start + seconds * SECOND)

    def run(self, seconds: float) -> None:
        self.network.run(self.network.now + round(seconds * SECOND))

    def sent_bytes(self, cable: int) -> int:
        """Return how much the left one has sent on a cable."""
        return self.made.sent_bytes()[cable]

    def silence_us(self, since: int) -> int:
        """Return the longest time in which the right one heard nothing."""
        times = [since, *(at for at, _ in self.right.heard if at >= since)]
        return max(after - before for before, after in itertools.pairwise(times))


@pytest.mark.parametrize("policy", [BondPolicy.OFF, BondPolicy.ACTIVE_BACKUP])
def test_one_path_is_used(policy: BondPolicy) -> None:
    talk = Talk(policy, 30)
    talk.run(10)
    before = [talk.sent_bytes(cable) for cable in (0, 1)]
    talk.run(10)
    quick, slow = (talk.sent_bytes(cable) - b for cable, b in enumerate(before))
    # The other one carries nothing but questions and answers, of less than a hundred bytes.
    assert slow < 10 * 12 * 100 < quick
    assert [link.share > 0.5 for link in talk.made.reports()[0].links].count(True) == 1


def test_idle_cable_dies_without_a_stall() -> None:
    talk = Talk(BondPolicy.ACTIVE_BACKUP, 12)
    talk.run(5)
    since = talk.network.now
    used = max((0, 1), key=talk.sent_bytes)
    talk.made.treat(1 - used, DEAD, DEAD)
    talk.run(8)
    assert talk.silence_us(since) <= 60 * MILLISECOND
    # What went by the root at first came later than what was sent directly after it.
    heard = sorted(number for _, number in talk.right.heard)
    assert heard == list(range(len(talk.left.sent_at)))


@pytest.mark.parametrize("policy", list(BondPolicy), ids=lambda policy: policy.value)
def test_one_direction_dies(policy: BondPolicy) -> None:
    talk = Talk(policy, 12)
    talk.run(5)
    since = talk.network.now
    used = max((0, 1), key=talk.sent_bytes)
    talk.made.treat(used, DEAD, None)
    talk.run(8)
    assert talk.silence_us(since) <= SECOND


def test_a_cable_that_damages_is_told() -> None:
    talk = Talk(BondPolicy.BROADCAST, 12)
    talk.run(3)
    assert all(link.errors == 0.0 for bond in talk.made.reports() for link in bond.links)
    talk.made.treat(0, Conditions(LATENCIES_US[0], corrupt=0.3), None)
    talk.run(6)
    left, right = talk.made.reports()
    assert all(link.errors == 0.0 for link in left.links)
    hurt = {link.remote.ip: link.errors for link in right.links}
    assert 0.05 < hurt[talk.made.ends[0][0]] < 0.5
    assert hurt[talk.made.ends[1][0]] == 0.0


@pytest.mark.parametrize("policy", list(BondPolicy), ids=lambda policy: policy.value)
def test_relay_takes_over_and_gives_back(policy: BondPolicy) -> None:
    talk = Talk(policy, 40)
    talk.run(5)
    since = talk.network.now
    for cable in (0, 1):
        talk.made.treat(cable, DEAD, DEAD)
    talk.run(4)
    assert talk.silence_us(since) <= 2 * SECOND
    report = talk.made.reports()[0]
    assert {link.state for link in report.links} <= {"dead", "suspect"}
    # While both were only suspected the root had copies.
    assert report.warmups > 0
    for cable in (0, 1):
        talk.made.treat(cable, None, None)
    talk.run(13)
    assert "active" in {link.state for link in talk.made.reports()[0].links}
    since = talk.network.now
    talk.run(5)
    assert talk.silence_us(since) <= 100 * MILLISECOND


@pytest.mark.parametrize("policy", list(BondPolicy), ids=lambda policy: policy.value)
def test_the_other_end_needs_no_bond(policy: BondPolicy) -> None:
    """Its packets take one path; ours take all that the policy says, and fail over."""
    talk = Talk(policy, 20, one_sided=True)
    talk.run(10)
    both = policy in (BondPolicy.BROADCAST, BondPolicy.BALANCE_RR)
    least = min(talk.sent_bytes(cable) for cable in (0, 1))
    # Questions alone are some 2000 bytes, and half of what is sent some 6000.
    assert (least > 4000) is both
    since = talk.network.now
    used = max((0, 1), key=talk.sent_bytes)
    talk.made.treat(used, DEAD, None)
    talk.run(11)
    assert talk.silence_us(since) <= SECOND
    numbers = [number for _, number in talk.right.heard]
    assert len(numbers) == len(set(numbers))
    for host in (talk.made.left, talk.made.right):
        assert host.tracer.counts[Drop.MALFORMED] == host.tracer.counts[Drop.BAD_MAC] == 0


def test_flapping_cable_is_not_trusted_at_once() -> None:
    """Each time it fails soon after it came back, it has to answer for longer."""
    talk = Talk(BondPolicy.ACTIVE_BACKUP, 60)
    talk.run(5)
    waits = []
    for _ in range(3):
        talk.made.treat(0, DEAD, DEAD)
        talk.run(2)
        assert _state(talk) in ("dead", "suspect")
        talk.made.treat(0, None, None)
        back = talk.network.now
        while _state(talk) not in ("active", "standby"):
            talk.run(0.1)
        waits.append(talk.network.now - back)
    assert waits[0] < 2 * SECOND
    assert waits[0] + 4 * SECOND < waits[1] < waits[2]


def _state(talk: Talk) -> str:
    remote = talk.made.ends[0][1]
    return next(x.state for x in talk.made.reports()[0].links if x.remote.ip == remote)


class Overheard(Bonds):
    """Bonds that keep what their peers say of paths."""

    def __init__(self, host: Host) -> None:
        assert host.bonding is not None
        assert host.node is not None
        super().__init__(host.now, host.bonding, host)
        self.measured: Counter[PathKey] = Counter()
        self.wishes: list[tuple[PathKey, int]] = []
        host.node.bonds = self
        host.node.switch.ways.use(self)

    def receive_measurement(
        self, now: int, peer: Peer, key: PathKey, message: QosMeasurement
    ) -> bool:
        self.measured[key] += len(message.records)
        return super().receive_measurement(now, peer, key, message)

    def receive_wish(self, now: int, peer: Peer, key: PathKey, message: PathNegotiation) -> bool:
        self.wishes.append((key, message.utility))
        return super().receive_wish(now, peer, key, message)


def test_both_ends_tell_what_came_and_which_path_they_would_like() -> None:
    talk = Talk(BondPolicy.ACTIVE_BACKUP, 35)
    overheard = [Overheard(host) for host in (talk.made.left, talk.made.right)]
    talk.run(35)
    for bonds, host in zip(overheard, (talk.made.left, talk.made.right), strict=True):
        used = max(bonds.measured, key=lambda key: bonds.measured[key])
        # Half of the packets of some ten seconds or more; and the answers on the idle path.
        assert bonds.measured[used] > 10 * 20 / 2
        assert len(bonds.measured) == 2
        # The other path takes 20 ms longer, there and back.
        assert {key for key, _ in bonds.wishes} == {used}
        assert all(15 <= utility <= 25 for _, utility in bonds.wishes)
        assert host.tracer.counts[Drop.MALFORMED] == 0
        assert all(link.loss == 0.0 for report in bonds.reports() for link in report.links)
