from __future__ import annotations

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
    congestion.lost()
    assert congestion.window == congestion.threshold == 70 * MSS


def test_the_window_comes_back_fast_and_then_lingers() -> None:
    """RFC 9438 section 4.2: concave up to the window of the last loss, then convex."""
    rtt_us = 500 * MILLISECOND
    congestion = Congestion(MSS, LIMIT)
    congestion.window = 500 * MSS
    congestion.lost()
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
    congestion.lost()
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


def test_a_pause_halves_a_large_window_only() -> None:
    congestion = Congestion(MSS, LIMIT)
    congestion.window = 100 * MSS
    congestion.idle()
    assert congestion.window == 50 * MSS
    for _ in range(9):
        congestion.idle()
    assert congestion.window == INITIAL_SEGMENTS * MSS


def test_the_segment_size_of_the_peer_sets_the_first_window() -> None:
    congestion = Congestion(MSS, LIMIT)
    congestion.set_mss(500)
    assert congestion.window == INITIAL_SEGMENTS * 500
