"""Which segments a connection sends, and when it sends them again."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from tests.support.tcp_pair import IP_A, MTU, SACK_PERMITTED, WINDOW_SCALE, Pair, transfer
from ztstack.base.errors import ConnectReset
from ztstack.base.timers import MILLISECOND, SECOND
from ztstack.ip.packets.tcp import Flags, TcpSegment
from ztstack.ip.tcp.connection import Connection
from ztstack.ip.tcp.control_block import STAMP_BYTES
from ztstack.ip.tcp.receive_buffer import FIRST_LIMIT, LIMIT
from ztstack.ip.tcp.rtt import MAX_US, MIN_US
from ztstack.ip.tcp.state import State

MSS = MTU - 40 - STAMP_BYTES
STAMPS = 8


def opened(pair: Pair) -> tuple[Connection, Connection]:
    """Open a connection whose window has grown beyond that of a SYN; forget what was sent."""
    a, b = pair.open()
    a.write(pair.now, b"x")
    pair.run(1 * SECOND)
    assert b"".join(b.read(pair.now, 10)) == b"x"
    pair.run(1 * SECOND)
    pair.log.clear()
    return a, b


def sent(pair: Pair, port: int = 50_000) -> list[tuple[int, TcpSegment]]:
    """Return what the side with this port sent since `log` was cleared."""
    found = [(at, TcpSegment.decode(memoryview(packet)[20:])) for at, packet in pair.log]
    return [(at, segment) for at, segment in found if segment.source_port == port]


def data_of(size: int) -> bytes:
    return random.Random(size).randbytes(size)


@pytest.mark.parametrize("size", [1, MSS, 3 * MSS, 3 * MSS + 5, 9 * MSS, 9 * MSS + 5])
def test_the_last_segment_is_pushed_and_no_other(size: int) -> None:
    pair = Pair()
    a, _ = opened(pair)
    a.write(pair.now, data_of(size))
    pair.run(1 * MILLISECOND)
    pushed = [bool(segment.flags & Flags.PSH) for _, segment in sent(pair)]
    assert pushed == [False] * (-(-size // MSS) - 1) + [True]


def test_what_is_written_goes_at_once() -> None:
    """No waiting for more, and no waiting for an acknowledgement."""
    pair = Pair()
    a, _ = opened(pair)
    for _ in range(5):
        a.write(pair.now, b"keystroke")
        pair.run(1 * MILLISECOND)
    assert [len(segment.payload) for _, segment in sent(pair)] == [9] * 5


def test_a_segment_size_is_a_multiple_of_four() -> None:
    for mtu in (1280, 1281, 1282, 1283, 2800, 8983):
        pair = Pair()
        pair.a.host.set_mtu(pair.now, mtu)
        pair.b.host.set_mtu(pair.now, mtu)
        _, b = pair.open()
        assert b.mss == min(mtu - 40 - STAMP_BYTES, MSS) & ~3


def test_limits_are_kept_and_connections_take_turns() -> None:
    pair = Pair()
    pair.listen()
    connections = [pair.connect(local_port=40_000 + i) for i in range(3)]
    pair.run(1 * SECOND)
    for connection in connections:
        connection.write(pair.now, data_of(8 * MSS))
    seen = []
    while runs := pair.a.host.take_packets(pair.now, 5):
        assert sum(len(run.packets) for run in runs) <= 5
        seen += [run.local.port for run in runs]
    assert seen[:3] == [40_000, 40_001, 40_002]
    assert not pair.a.host.has_output


def test_ring_ends_do_not_matter() -> None:
    """Segments are cut where the ring ends; the stream is the same."""
    pair = Pair()
    a, b = pair.open()
    data = data_of(3 * LIMIT + 12_345)
    assert transfer(pair, a, b, data) == data


# Losses.


def lose_at(pair: Pair, a: Connection, data: bytes, lost: set[int]) -> None:
    """Write and send `data`; the segments with these indices do not arrive."""
    a.write(pair.now, data)
    packets = []
    for run in pair.a.host.take_packets(pair.now, 64):
        packets += [header + bytes(body) for header, body in run.packets]
    pair.inject(pair.b, [p for i, p in enumerate(packets) if i not in lost])


@pytest.mark.parametrize("lost", [{0}, {4}, {0, 1, 2}, {1, 3, 5}, {0, 6}])
def test_a_loss_in_the_middle_is_repaired_in_two_round_trips(lost: set[int]) -> None:
    pair = Pair()
    a, b = opened(pair)
    data = data_of(10 * MSS)
    lose_at(pair, a, data, lost)
    pair.run(25 * MILLISECOND)
    assert b"".join(b.read(pair.now, 1 << 20)) == data
    # Nothing is sent twice but what was lost.
    assert len(sent(pair)) == len(lost)


@pytest.mark.parametrize("lost", [{9}, {8, 9}, {0, 9}, set(range(10))])
def test_a_lost_tail_is_probed_before_the_timeout(lost: set[int]) -> None:
    """RFC 8985 section 7: the end of a flight makes no duplicates."""
    pair = Pair()
    a, b = opened(pair)
    data = data_of(10 * MSS)
    lose_at(pair, a, data, lost)
    pair.run(MIN_US - 20 * MILLISECOND)
    received = b"".join(b.read(pair.now, 1 << 20))
    if len(lost) < 10:
        assert received == data
    pair.run(2 * SECOND)
    received += b"".join(b.read(pair.now, 1 << 20))
    assert received == data


@pytest.mark.parametrize("size", [5, MSS, 10 * MSS])
def test_nothing_is_sent_faster_than_timeouts_to_a_peer_that_vanished(size: int) -> None:
    """RFC 6298 section 5.5: each timeout without an answer doubles the next."""
    pair = Pair()
    a, _ = opened(pair)
    pair.loss = 1.0
    a.write(pair.now, data_of(size))
    pair.run(200 * SECOND)
    times = [at for at, segment in sent(pair) if segment.payload]
    # Two in the first second: the probe of the tail, and the first timeout.
    later = [at for at in times if at > times[0] + 1 * SECOND]
    assert len(later) <= 10
    gaps = [after - before for before, after in pairwise(later)]
    assert all(after >= min(2 * before, MAX_US) - 1 for before, after in pairwise(gaps))
    assert gaps[-1] == MAX_US


# Windows.


def closed_window(pair: Pair) -> tuple[Connection, Connection, bytes]:
    """Fill the window of a reader that does not read."""
    a, b = opened(pair)
    data = data_of(FIRST_LIMIT + 50_000)
    taken = 0
    for _ in range(1000):
        taken += a.write(pair.now, memoryview(data)[taken:])
        pair.run(2 * MILLISECOND)
    pair.run(30 * SECOND)
    assert taken == len(data)
    assert a.peer_window == 0
    pair.log.clear()
    return a, b, data


def test_a_closed_window_is_probed_ever_more_seldom() -> None:
    """RFC 9293 section 3.8.6.1: probes go on for as long as they are answered."""
    pair = Pair()
    a, b, data = closed_window(pair)
    pair.run(3600 * SECOND)
    times = [at for at, _ in sent(pair)]
    assert 55 < len(times) < 75
    assert times[-1] - times[-2] == MAX_US
    assert (a.error, b.error) == (None, None)
    assert len(data) - b.received.size > 0


@pytest.mark.parametrize("lost", [False, True])
def test_a_window_that_opens_is_used_at_once(lost: bool) -> None:
    """If the update is lost, the next probe finds out."""
    pair = Pair()
    a, b, data = closed_window(pair)
    received = bytearray()
    for view in b.read(pair.now, LIMIT):
        received += view
    pair.loss = 1.0 if lost else 0.0
    pair.run(1 * MILLISECOND)
    pair.loss = 0.0
    pair.run(2 * MAX_US if lost else 100 * MILLISECOND)
    for view in b.read(pair.now, LIMIT):
        received += view
    assert received == data
    assert a.in_flight == 0


@pytest.mark.parametrize("stripped", [set(), {SACK_PERMITTED}, {SACK_PERMITTED, STAMPS}])
@pytest.mark.parametrize("waited_s", [1, 40, 100])
@pytest.mark.parametrize("rest", [1, 100, 5000])
def test_what_waited_for_a_window_goes_when_it_opens(
    stripped: set[int], waited_s: int, rest: int
) -> None:
    """The byte that probed it was refused: that is known then, and no timeout has to tell."""
    pair = Pair(stripped=frozenset(stripped))
    a, b = opened(pair)
    while a.peer_window:
        a.write(pair.now, bytes(min(a.peer_window, 20_000)))
        pair.run(300 * MILLISECOND)
    assert a.send_next == a.send_end
    a.write(pair.now, bytes(rest))
    pair.run(waited_s * SECOND)
    b.read(pair.now, LIMIT)
    pair.run(200 * MILLISECOND)
    b.read(pair.now, LIMIT)
    pair.run(200 * MILLISECOND)
    assert a.in_flight == 0
    assert b.received.next == a.send_end


def test_a_closed_window_does_not_stop_the_other_direction() -> None:
    """The byte that probes it is beyond it, and an acknowledgement must not be."""
    pair = Pair(stripped=frozenset({WINDOW_SCALE}))
    a, b, _ = closed_window(pair)
    assert (a.peer_window, a.in_flight) == (0, 1)
    data = data_of(500_000)
    assert transfer(pair, b, a, data, 5 * SECOND) == data
    assert a.peer_window == 0


def test_a_closed_window_holds_nothing_up_that_its_user_has_left() -> None:
    """RFC 6429: a peer that never reads cannot keep what was closed for ever."""
    pair = Pair()
    a, b, _ = closed_window(pair)
    a.close(pair.now)
    pair.run(200 * SECOND)
    assert [a.state] == [State.FIN_WAIT_1]
    pair.run(600 * SECOND)
    assert [a.state] == [State.CLOSED]
    assert isinstance(b.error, ConnectReset)


def test_a_small_window_is_used_whole() -> None:
    """A window below a segment, and below half of what it was, fills after a timeout."""
    pair = Pair()
    a, _ = opened(pair)
    pair.loss = 1.0
    a.peer_window = 700
    a.write(pair.now, data_of(5 * MSS))
    pair.run(400 * MILLISECOND)
    assert len(sent(pair)[0][1].payload) == 700


# Pacing.


def largest_burst(pair: Pair, within_us: int) -> int:
    """Return how many packets have left side `a` within such a time, at most."""
    times = [at for at, packet in pair.log if packet[12:16] == IP_A and len(packet) > 100]
    first, most = 0, 0
    for last, at in enumerate(times):
        while times[first] <= at - within_us:
            first += 1
        most = max(most, last - first + 1)
    return most


@pytest.mark.parametrize("in_order", [True, False])
def test_segments_are_spread_over_a_long_round_trip(in_order: bool) -> None:
    """Not where they overtake each other: what is spread looks lost sooner there."""
    pair = Pair(delay_us=20_000)
    a, b = pair.open()
    a.flight.is_reordered = not in_order
    b.received.bound(400_000)
    pair.log.clear()
    data = bytes(3_000_000)
    assert transfer(pair, a, b, data) == data
    window = 400_000 // a.mss
    if in_order:
        assert largest_burst(pair, 1_000) < window // 3
    else:
        assert largest_burst(pair, 1_000) > window // 2


def test_a_few_segments_leave_at_once() -> None:
    pair = Pair(delay_us=20_000)
    a, _ = pair.open()
    pair.log.clear()
    a.write(pair.now, bytes(10 * a.mss))
    pair.run(1)
    assert largest_burst(pair, 1) == 10
