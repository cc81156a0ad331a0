"""How fast a stream goes on after losses, in virtual time, and what it does not send twice."""

from __future__ import annotations

import random

import pytest

from tests.support.tcp_pair import SACK_PERMITTED, Pair, transfer
from ztstack.base.timers import MILLISECOND, SECOND
from ztstack.ip.packets.tcp import TcpSegment
from ztstack.ip.tcp.connection import Connection
from ztstack.ip.tcp.departure import TRIAL_US
from ztstack.ip.tcp.recovery import RAISE_US
from ztstack.ip.tcp.timing import SAFE_SIZES

STAMPS = 8
MTU = 1440


def opened(
    *,
    stripped: frozenset[int] = frozenset(),
    delay_us: int = 20_000,
    jitter_us: int = 0,
    seed: int = 1,
) -> tuple[Pair, Connection, Connection]:
    """Open a connection over a link whose packets have 1440 bytes."""
    pair = Pair(seed=seed, delay_us=delay_us, jitter_us=jitter_us, stripped=stripped)
    pair.a.host.set_mtu(pair.now, MTU)
    pair.b.host.set_mtu(pair.now, MTU)
    a, b = pair.open()
    pair.log.clear()
    return pair, a, b


def repeated(pair: Pair) -> float:
    """Return which part of the data segments from side `a` was sent before."""
    seen: set[int] = set()
    total = again = 0
    for _, packet in pair.log:
        segment = TcpSegment.decode(memoryview(packet)[20:])
        if segment.source_port == 50_000 and segment.payload:
            total += 1
            again += segment.sequence in seen
            seen.add(segment.sequence)
    return again / total


def rate_of(pair: Pair, a: Connection, b: Connection, size: int) -> float:
    """Send and check so many bytes; return megabytes a second."""
    data = random.Random(size).randbytes(size)
    start = pair.now
    assert transfer(pair, a, b, data) == data
    return size / (pair.now - start)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_loss_and_reordering_on_a_long_path(seed: int) -> None:
    """Linux's CUBIC was measured at 0.188 MB/s on such a link (2 %, 40 ms, 20 ms of jitter)."""
    pair, a, b = opened(jitter_us=20_000, seed=seed)
    pair.loss = 0.02
    assert rate_of(pair, a, b, 1_000_000) > 0.188
    assert repeated(pair) < 0.06


def test_reordering_alone_is_hardly_taken_for_loss() -> None:
    pair, a, b = opened(jitter_us=20_000)
    assert rate_of(pair, a, b, 2_000_000) > 0.6
    assert repeated(pair) < 0.01


@pytest.mark.parametrize("stripped", [frozenset[int](), frozenset({STAMPS})])
def test_losses_on_a_short_path_seldom_wait_for_a_timeout(stripped: frozenset[int]) -> None:
    rates = []
    for seed in range(5):
        pair, a, b = opened(delay_us=300, seed=seed, stripped=stripped)
        pair.loss = 0.05
        rates.append(rate_of(pair, a, b, 1_000_000))
        assert repeated(pair) < 0.08
    assert sorted(rates)[2] > 1.5


@pytest.mark.parametrize("stripped", [{SACK_PERMITTED}, {STAMPS}, {SACK_PERMITTED, STAMPS}])
def test_peers_without_an_option(stripped: set[int]) -> None:
    pair, a, b = opened(delay_us=2000, stripped=frozenset(stripped))
    pair.loss = 0.02
    assert (b.sack_ok, b.stamps) == (SACK_PERMITTED not in stripped, STAMPS not in stripped)
    assert rate_of(pair, a, b, 500_000) > 0.1


def recovering(connection: Connection) -> bool:
    return connection.recovery_point is not None


def test_a_false_alarm_is_taken_back() -> None:
    """RFC 3522, RFC 4015: what was sent again had only been late."""
    pair, a, b = opened()
    transfer_some(pair, a, b)
    window = a.congestion.window
    a.write(pair.now, bytes(6 * a.mss))
    packets = taken(pair)
    late, *others = packets
    pair.inject(pair.b, others)
    pair.run(55 * MILLISECOND)
    assert recovering(a)
    assert a.congestion.window < window
    # The first transmission arrives before the second.
    pair.b.host.receive(pair.now, late[12:16], late[16:20], memoryview(late)[20:])
    pair.run(60 * MILLISECOND)
    assert not recovering(a)
    assert a.congestion.window >= window


def taken(pair: Pair) -> list[bytes]:
    """Return what side `a` sends now, and lose it."""
    runs = pair.a.host.take_packets(pair.now, 64)
    return [header + bytes(body) for run in runs for header, body in run.packets]


def transfer_some(pair: Pair, a: Connection, b: Connection) -> None:
    for _ in range(20):
        a.write(pair.now, bytes(20 * a.mss))
        pair.run(100 * MILLISECOND)
        b.read(pair.now, 1 << 20)


def test_a_burst_of_losses_takes_the_window_down_once() -> None:
    pair, a, b = opened()
    transfer_some(pair, a, b)
    window = a.congestion.window
    a.write(pair.now, bytes(20 * a.mss))
    packets = taken(pair)
    pair.inject(pair.b, packets[4::2])
    pair.inject(pair.b, packets[:2])
    pair.run(1 * SECOND)
    assert a.in_flight == 0
    assert window * 0.65 < a.congestion.window < window * 0.9


def test_full_segments_that_never_arrive_are_made_smaller() -> None:
    """RFC 4821: a link that swallows large packets and says nothing."""
    pair, a, b = opened()
    sound = pair.deliverable
    pair.deliverable = lambda packet: sound(packet) and len(packet) <= 1300
    data = random.Random(1).randbytes(300_000)
    assert transfer(pair, a, b, data) == data
    assert a.full_mss == SAFE_SIZES[0]
    pair.deliverable = sound
    pair.run(TRIAL_US)


def test_a_path_that_was_dead_gets_full_segments_again() -> None:
    pair, a, b = opened()
    pair.loss = 1.0
    a.write(pair.now, bytes(20 * a.mss))
    pair.run(2 * SECOND)
    assert a.mss_before
    pair.loss = 0.0
    for _ in range(40):
        a.write(pair.now, bytes(5 * a.mss))
        pair.run(200 * MILLISECOND)
        b.read(pair.now, 1 << 20)
    assert a.full_mss == MTU - 40
    assert not a.mss_before


def test_a_timeout_that_was_too_soon_is_taken_back() -> None:
    """The path became longer all at once: nothing was lost (RFC 3522)."""
    pair, a, b = opened()
    transfer_some(pair, a, b)
    window = a.congestion.window
    pair.delay_us = 350_000
    a.write(pair.now, bytes(8 * a.mss))
    pair.run(500 * MILLISECOND)
    assert a.in_loss
    assert a.congestion.window < window
    pair.run(400 * MILLISECOND)
    assert not recovering(a)
    assert a.congestion.window >= window
    assert a.in_flight == 0


def test_a_reneging_peer_gets_everything_again() -> None:
    """RFC 2018 section 8: what was reported may have been thrown away."""
    pair, a, b = opened()
    transfer_some(pair, a, b)
    data = random.Random(2).randbytes(8 * a.mss)
    a.write(pair.now, data)
    packets = taken(pair)
    pair.inject(pair.b, packets[2:])
    pair.loss = 1.0
    pair.run(30 * MILLISECOND)
    pair.loss = 0.0
    assert b.received.has_gap
    pair.run(10 * MILLISECOND)
    b.received.clear()
    pair.run(5 * SECOND)
    assert b"".join(b.read(pair.now, 1 << 20)) == data
    assert a.in_flight == 0


def test_a_size_that_a_router_told_is_tried_again_after_ten_minutes() -> None:
    """RFC 1191 section 6.3."""
    pair, a, b = opened()
    a.write(pair.now, bytes(10 * a.mss))
    number = a.wire_sequence(a.send_unacknowledged)
    taken(pair)
    for wrong in (number - 5, number + 1_000_000):
        pair.a.host.receive_too_big(pair.now, a.local, a.remote, wrong, 900)
        assert a.full_mss == MTU - 40
    window = a.congestion.window
    pair.a.host.receive_too_big(pair.now, a.local, a.remote, number, 900)
    assert a.full_mss == 860
    pair.run(5 * SECOND)
    assert a.in_flight == 0
    # It was no congestion.
    assert a.congestion.window >= window
    pair.run(RAISE_US - 10 * SECOND)
    for wait in (1 * SECOND, 10 * SECOND):
        a.write(pair.now, bytes(10 * a.mss))
        pair.run(wait)
        b.read(pair.now, 1 << 20)
    a.write(pair.now, bytes(10 * a.mss))
    pair.run(1 * SECOND)
    assert a.full_mss == MTU - 40
