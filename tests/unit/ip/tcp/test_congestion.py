from __future__ import annotations

from itertools import pairwise

import pytest

from ztstack.base.timers import MILLISECOND, SECOND
from ztstack.ip.tcp.congestion import INITIAL_SEGMENTS, Congestion

MSS = 1000
LIMIT = 4 << 20
RTT_US = 20 * MILLISECOND


def grown(congestion: Congestion, now: int, duration_us: int, rtt_us: int = RTT_US) -> int:
    """Acknowledge a whole window each round trip."""
    end = now + duration_us
    while now < end:
        congestion.acknowledged(now, congestion.window, rtt_us)
        now += rtt_us
    return now


def reduced(congestion: Congestion) -> None:
    congestion.lost(congestion.window)
    congestion.recovered()


def test_slow_start_counts_bytes() -> None:
    congestion = Congestion(MSS, LIMIT)
    assert congestion.window == INITIAL_SEGMENTS * MSS
    # One acknowledgement of the whole window doubles it, as many of its parts do.
    congestion.acknowledged(0, 10 * MSS, RTT_US)
    assert congestion.window == 20 * MSS


def test_never_above_the_limit() -> None:
    congestion = Congestion(MSS, LIMIT)
    grown(congestion, 0, 1 * SECOND)
    assert congestion.window == LIMIT


def test_a_loss_takes_three_tenths() -> None:
    """RFC 9438 section 4.6."""
    congestion = Congestion(MSS, LIMIT)
    congestion.window = 100 * MSS
    reduced(congestion)
    assert congestion.window == congestion.threshold == 70 * MSS


def test_the_window_comes_back_fast_and_then_lingers() -> None:
    """RFC 9438 section 4.2: concave up to the window of the last loss, then convex."""
    rtt_us = 500 * MILLISECOND
    congestion = Congestion(MSS, LIMIT)
    congestion.window = 500 * MSS
    reduced(congestion)
    # K = (150 / 0.4) ** (1 / 3) = 7.2 s.
    now = grown(congestion, 0, 4 * SECOND, rtt_us)
    half = congestion.window
    assert 470 * MSS < half < 500 * MSS
    now = grown(congestion, now, 3 * SECOND, rtt_us)
    assert half < congestion.window < 515 * MSS
    grown(congestion, now, 20 * SECOND, rtt_us)
    assert congestion.window > 1000 * MSS


def test_a_small_window_grows_as_fast_as_reno() -> None:
    congestion = Congestion(MSS, LIMIT)
    congestion.window = 10 * MSS
    reduced(congestion)
    grown(congestion, 0, 20 * RTT_US)
    assert congestion.window > 20 * MSS


def test_a_timeout_begins_again() -> None:
    congestion = Congestion(MSS, LIMIT)
    congestion.window = 100 * MSS
    congestion.timed_out(50 * MSS)
    assert congestion.window == MSS
    assert congestion.threshold == 35 * MSS
    congestion.timed_out(0)
    assert congestion.threshold == 2 * MSS


def test_each_timeout_of_a_pause_halves_a_large_window() -> None:
    congestion = Congestion(MSS, LIMIT)
    congestion.window = 100 * MSS
    congestion.idle(1)
    assert congestion.window == 50 * MSS
    congestion.idle(2)
    assert congestion.window == 50 * MSS // 4
    congestion.idle(1_000_000)
    assert congestion.window == INITIAL_SEGMENTS * MSS
    congestion.window = 3 * MSS
    congestion.idle(1)
    assert congestion.window == 3 * MSS


def test_the_segment_size_of_the_peer_sets_the_first_window() -> None:
    congestion = Congestion(MSS, LIMIT)
    congestion.set_mss(500)
    assert congestion.window == INITIAL_SEGMENTS * 500


# HyStart++ (RFC 9406).


def rounds(congestion: Congestion, rtts_us: list[int], samples: int = 10) -> list[int]:
    """Acknowledge one window after another with such round trips; return the windows."""
    windows, offset = [], 0
    for rtt_us in rtts_us:
        window, end = congestion.window, offset + congestion.window
        for _ in range(samples):
            offset += window // samples
            congestion.sample(rtt_us, offset, end)
            congestion.acknowledged(0, window // samples, rtt_us)
        offset = end
        windows.append(congestion.window)
    return windows


def test_slow_start_goes_on_while_the_round_trip_stays() -> None:
    congestion = Congestion(MSS, LIMIT)
    windows = rounds(congestion, [RTT_US] * 6)
    assert windows == [10 * MSS * 2**n for n in range(1, 7)]


def test_slow_start_ends_when_the_round_trip_grows() -> None:
    congestion = Congestion(MSS, LIMIT)
    windows = rounds(congestion, [RTT_US] * 3 + [RTT_US + 5 * MILLISECOND] * 9)
    # First carefully, by a quarter of what it was, and after five rounds not at all.
    assert windows[2] == 80 * MSS
    assert all(after < 1.5 * before for before, after in pairwise(windows[4:]))
    assert congestion.threshold < LIMIT
    assert windows[-1] < 500 * MSS


def test_a_passing_delay_does_not_end_slow_start() -> None:
    congestion = Congestion(MSS, LIMIT)
    rtts = [RTT_US] * 3 + [RTT_US + 5 * MILLISECOND] + [RTT_US] * 3
    windows = rounds(congestion, rtts)
    assert windows[-1] > 3 * windows[-3]


def test_few_samples_end_nothing() -> None:
    congestion = Congestion(MSS, LIMIT)
    windows = rounds(congestion, [RTT_US] * 3 + [5 * RTT_US] * 3, samples=5)
    assert windows[-1] == 640 * MSS


# CUBIC and reductions.


def test_others_get_a_share_if_the_window_did_not_come_back() -> None:
    """RFC 9438 section 4.7: then it aims lower than where it was."""
    ends = []
    for first in (100, 300):
        congestion = Congestion(MSS, LIMIT)
        congestion.window = first * MSS
        reduced(congestion)
        congestion.window = 100 * MSS
        reduced(congestion)
        grown(congestion, 0, 4 * SECOND, 100 * MILLISECOND)
        ends.append(congestion.window)
    assert ends[1] < ends[0]


def test_a_reduction_can_be_taken_back() -> None:
    congestion = Congestion(MSS, LIMIT)
    congestion.window = 100 * MSS
    before = (congestion.window, congestion.threshold)
    reduced(congestion)
    congestion.undo()
    assert (congestion.window, congestion.threshold) == before
    reduced(congestion)
    congestion.window = 500 * MSS
    congestion.undo()
    # What it grew to since is not taken away.
    assert congestion.window == 500 * MSS


def test_after_a_timeout_growth_begins_where_slow_start_ends() -> None:
    """RFC 9438 section 4.8."""
    congestion = Congestion(MSS, LIMIT)
    congestion.window = 100 * MSS
    congestion.timed_out(100 * MSS)
    assert (congestion.window, congestion.threshold) == (MSS, 70 * MSS)
    now = grown(congestion, 0, 8 * RTT_US)
    slow = congestion.window
    assert slow >= 70 * MSS
    grown(congestion, now, 10 * RTT_US)
    assert slow < congestion.window < 90 * MSS


@pytest.mark.parametrize("losses", [1, 5, 30])
def test_a_recovery_sends_in_proportion_to_what_arrives(losses: int) -> None:
    """RFC 6937: no pause at first, no burst at the end, and the threshold when it is over."""
    congestion = Congestion(MSS, LIMIT)
    congestion.window = 100 * MSS
    congestion.lost(100 * MSS)
    pipe, sent = (100 - losses) * MSS, []
    for _ in range(100 - losses):
        pipe -= MSS
        congestion.proportion(MSS, pipe, is_safe=True)
        burst = max(0, congestion.window - pipe) // MSS * MSS
        congestion.sent(burst)
        pipe += burst
        sent.append(burst // MSS)
    assert sent[0] == 1
    assert max(sent) <= 2
    assert abs(pipe - congestion.threshold) <= 2 * MSS
    congestion.recovered()
    assert congestion.window == congestion.threshold == 70 * MSS
