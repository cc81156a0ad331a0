"""Ranges under way, compared with single bytes, and RACK's rules on them."""

from __future__ import annotations

from hypothesis import given, settings, strategies as st

from ztstack.base.timers import MILLISECOND
from ztstack.ip.tcp.flight import FLYING, LOST, SACKED, Flight

SIZE = 60
RANGE = st.tuples(st.integers(0, SIZE), st.integers(1, 20))
RTT_US = 10 * MILLISECOND


def flown(*sizes: int, every_us: int = 1000) -> Flight:
    """Send pieces one after another, a millisecond apart."""
    flight, start = Flight(), 0
    for i, size in enumerate(sizes):
        flight.sent(i * every_us, start, start + size)
        start += size
    return flight


def states(flight: Flight) -> list[tuple[int, int, int]]:
    return [(start, end, state) for start, end, state, _ in flight.pieces]


@settings(max_examples=100)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=12),
    st.lists(
        st.one_of(
            st.tuples(st.just("report"), RANGE),
            st.tuples(st.just("acknowledge"), RANGE),
            st.tuples(st.just("find"), RANGE),
            st.tuples(st.just("resend"), RANGE),
            st.tuples(st.just("timeout"), RANGE),
            st.tuples(st.just("probe"), RANGE),
        ),
        max_size=20,
    ),
)
def test_as_single_bytes(sizes: list[int], steps: list[tuple[str, tuple[int, int]]]) -> None:
    flight, end = flown(*sizes), sum(sizes)
    reported: set[int] = set()
    done, now = 0, 100_000
    for step, (at, size) in steps:
        now += 3000
        match step:
            case "report" if done < at < end:
                flight.report(now, at, min(at + size, end), 0)
                reported |= set(range(at, min(at + size, end)))
            case "acknowledge":
                done = max(done, min(at, end))
                flight.acknowledge(now, done, None, 0)
                reported -= set(range(done))
            case "find":
                flight.find_lost(now, size * 100)
            case "resend":
                before = flight.lost
                chosen = flight.resend(now, size, 3, 1000)
                assert before - flight.lost == sum(right - left for left, right in chosen)
            case "timeout":
                flight.lose_until(now - at * 1000)
            case "probe" if len(flight):
                flight.repeat_tail(now, size)
            case _:
                pass
        pieces = states(flight)
        # Without holes and in order, from what is acknowledged to what was sent.
        edges = [done, *(right for _, right, _ in pieces)]
        assert edges == [*(left for left, _, _ in pieces), end]
        assert all(left < right for left, right, _ in pieces)
        sums = dict.fromkeys((FLYING, SACKED, LOST), 0)
        for left, right, state in pieces:
            sums[state] += right - left
            assert (state == SACKED) == (left in reported) == (right - 1 in reported)
        assert (
            (sums[SACKED], sums[LOST])
            == (flight.sacked, flight.lost)
            == (len(reported), flight.lost)
        )
        again = [(r - le) for le, r, state, times in flight.pieces if times and state == FLYING]
        assert sum(again) == flight.repeated


def test_a_train_is_one_piece_until_a_part_is_reported() -> None:
    flight = Flight()
    for start in range(0, 10_000, 1000):
        flight.sent(7, start, start + 1000)
    assert len(flight) == 1
    flight.report(RTT_US, 4000, 5000, 0)
    assert states(flight) == [(0, 4000, FLYING), (4000, 5000, SACKED), (5000, 10_000, FLYING)]


def test_older_than_what_arrived_is_lost_after_some_patience() -> None:
    """RFC 8985 section 6.2 step 5."""
    flight = flown(10, 10, 10, 10)
    # The third, sent at 2 ms, arrives.
    flight.report(2000 + RTT_US, 20, 30, 0)
    due = flight.find_lost(2000 + RTT_US, 2500)
    # The first is 2 ms older and the second 1 ms; both may still come. The fourth is younger.
    assert flight.lost == 0
    assert due == 1000 + RTT_US + 2500
    assert flight.find_lost(RTT_US + 2500, 2500) == due
    assert states(flight)[0] == (0, 10, LOST)
    assert flight.find_lost(due, 2500) is None
    assert flight.lost == 20
    assert states(flight)[-1] == (30, 40, FLYING)


def test_a_repetition_can_be_lost_again() -> None:
    flight = flown(10, 10, 10)
    flight.report(RTT_US, 10, 20, 0)
    flight.find_lost(RTT_US, 0)
    assert flight.resend(RTT_US + 5000, 10, 9, 99) == [(0, 10)]
    flight.sent(RTT_US + 6000, 30, 40)
    flight.report(2 * RTT_US + 6000, 30, 40, 0)
    flight.find_lost(2 * RTT_US + 6000, 0)
    assert states(flight)[0] == (0, 10, LOST)


def test_an_answer_too_soon_is_for_the_first_transmission() -> None:
    flight = flown(10, 10)
    flight.report(RTT_US, 10, 20, 0)
    flight.find_lost(RTT_US, 0)
    flight.resend(RTT_US, 10, 9, 99)
    newest = flight.newest_at
    flight.acknowledge(RTT_US + 2000, 10, None, RTT_US)
    assert flight.newest_at == newest


def test_a_time_stamp_tells_that_a_repetition_was_needless() -> None:
    """RFC 3522: the peer answers what left before it."""
    for echoed_ms, needless in ((0, True), (11, False)):
        flight = flown(10, 10)
        flight.report(RTT_US, 10, 20, 0)
        flight.find_lost(RTT_US, 0)
        flight.begin_episode()
        flight.resend(RTT_US + 1000, 10, 9, 99)
        flight.acknowledge(2 * RTT_US + 1000, 10, echoed_ms, 0)
        assert flight.was_needless == needless


def test_reordering_is_noticed() -> None:
    flight = flown(10, 10, 10)
    flight.report(RTT_US, 20, 30, 0)
    assert not flight.is_reordered
    flight.report(RTT_US + 50, 10, 20, 0)
    assert flight.is_reordered


def test_a_repetition_that_arrives_is_no_reordering() -> None:
    flight = flown(10, 10)
    flight.report(RTT_US, 10, 20, 0)
    flight.find_lost(RTT_US, 0)
    flight.resend(RTT_US, 10, 9, 99)
    flight.acknowledge(2 * RTT_US, 20, None, 0)
    assert not flight.is_reordered


def test_no_sample_where_an_answer_is_ambiguous() -> None:
    """Karn's rule."""
    flight = flown(10, 10)
    flight.acknowledge(RTT_US, 10, None, 0)
    assert flight.sample == RTT_US
    flight.lose_until(RTT_US)
    flight.resend(RTT_US, 10, 9, 99)
    flight.acknowledge(2 * RTT_US, 20, None, 0)
    assert flight.sample == 0


def test_small_segments_are_sent_again_as_one() -> None:
    flight = flown(*[10] * 8)
    flight.lose_until(8000)
    assert flight.resend(9000, 32, 9, 999) == [(0, 32), (32, 64), (64, 80)]
    assert flight.lost == 0


def test_a_pardon_takes_losses_back() -> None:
    flight = flown(10, 10, 10)
    flight.lose_until(5000)
    assert flight.lost == 30
    flight.pardon()
    assert (flight.lost, flight.repeated) == (0, 0)
