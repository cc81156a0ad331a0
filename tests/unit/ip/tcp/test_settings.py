"""Keep-alive, user timeout, Nagle, held-back acknowledgements, and buffers that grow."""

from __future__ import annotations

import random

import pytest

from tests.support.tcp_pair import IP_A, IP_B, Pair, transfer
from ztstack.base.endpoint import Endpoint
from ztstack.base.timers import MILLISECOND, SECOND
from ztstack.ip.packets.tcp import TcpSegment
from ztstack.ip.tcp import receive_buffer, send_buffer
from ztstack.ip.tcp.connection import Connection
from ztstack.ip.tcp.control_block import DELAY_US, QUICK_ACKS
from ztstack.ip.tcp.state import State


def sent(pair: Pair, port: int = 50_000) -> list[tuple[int, TcpSegment]]:
    """Return what the side with this port sent since `log` was cleared."""
    found = [(at, TcpSegment.decode(memoryview(packet)[20:])) for at, packet in pair.log]
    return [(at, segment) for at, segment in found if segment.source_port == port]


def opened() -> tuple[Pair, Connection, Connection]:
    pair = Pair()
    a, b = pair.open()
    pair.log.clear()
    return pair, a, b


def failure(connection: Connection) -> Exception | None:
    """Return the error now, which time may have brought."""
    return connection.error


# Silent peers.


def test_a_silent_peer_is_asked_and_answers() -> None:
    pair, a, b = opened()
    a.set_keepalive(pair.now, 10 * SECOND)
    start = pair.now
    pair.run(35 * SECOND)
    asked = [at - start for at, _ in sent(pair)]
    # The answer counts as life: the next question is ten seconds later.
    assert [round(at / SECOND) for at in asked] == [10, 20, 30]
    assert [segment.length for _, segment in sent(pair)] == [0] * 3
    assert len(sent(pair, 80)) == 3
    assert (a.error, b.error) == (None, None)


def test_nobody_is_asked_while_data_comes_or_when_it_is_off() -> None:
    pair, a, b = opened()
    a.set_keepalive(pair.now, 10 * SECOND)
    for _ in range(8):
        b.write(pair.now, b"x")
        pair.run(5 * SECOND)
    assert all(not segment.length and len(sent(pair)) == 8 for _, segment in sent(pair))
    a.set_keepalive(pair.now, 0)
    pair.log.clear()
    pair.run(100 * SECOND)
    assert sent(pair) == []


def test_a_peer_that_vanished_is_noticed() -> None:
    pair, a, _ = opened()
    a.set_keepalive(pair.now, 10 * SECOND, 2 * SECOND, 3)
    pair.loss = 1.0
    pair.run(15 * SECOND)
    assert failure(a) is None
    pair.run(3 * SECOND)
    assert isinstance(failure(a), TimeoutError)
    assert len(sent(pair)) == 3


def test_the_user_timeout() -> None:
    pair, a, _ = opened()
    a.set_user_timeout(pair.now, 3 * SECOND)
    pair.run(10 * SECOND)
    pair.loss = 1.0
    a.write(pair.now, b"hello")
    pair.run(2900 * MILLISECOND)
    assert failure(a) is None
    pair.run(200 * MILLISECOND)
    assert isinstance(failure(a), TimeoutError)


def test_the_user_timeout_of_an_opening() -> None:
    pair = Pair(loss=1.0)
    a = pair.connect()
    a.set_user_timeout(pair.now, 5 * SECOND)
    pair.run(8 * SECOND)
    assert a.state is State.CLOSED
    assert a.error is not None


# Little pieces.


def keystrokes(pair: Pair, a: Connection) -> list[int]:
    for _ in range(5):
        a.write(pair.now, b"keystroke")
        pair.run(1 * MILLISECOND)
    pair.run(1 * SECOND)
    return [len(segment.payload) for _, segment in sent(pair) if segment.payload]


def test_nagle_collects_what_comes_while_something_is_under_way() -> None:
    pair, a, b = opened()
    a.set_nodelay(pair.now, enabled=False)
    assert keystrokes(pair, a) == [9, 36]
    pair.log.clear()
    a.write(pair.now, bytes(a.mss + 5))
    a.shutdown(pair.now)
    pair.run(1 * MILLISECOND)
    # The end of the stream waits for nothing.
    assert [len(segment.payload) for _, segment in sent(pair)] == [a.mss, 5]
    pair.run(1 * SECOND)
    assert len(b"".join(b.read(pair.now, 1 << 20))) == 45 + a.mss + 5


def test_without_nagle_all_goes_at_once() -> None:
    pair, a, _ = opened()
    assert keystrokes(pair, a) == [9] * 5
    a.set_nodelay(pair.now, enabled=False)
    pair.log.clear()
    a.write(pair.now, b"x")
    pair.run(1 * MILLISECOND)
    a.write(pair.now, b"y")
    a.set_nodelay(pair.now, enabled=True)
    pair.run(1 * MILLISECOND)
    assert [bytes(segment.payload) for _, segment in sent(pair)] == [b"x", b"y"]


# Acknowledgements.


def quiet(pair: Pair, a: Connection, b: Connection) -> None:
    """Get beyond the acknowledgements at the beginning, which are quick."""
    for end in (a, b):
        for _ in range(QUICK_ACKS):
            end.write(pair.now, b"x")
            pair.run(20 * MILLISECOND)
    pair.log.clear()


def test_a_single_small_segment_is_acknowledged_a_little_later() -> None:
    pair, a, b = opened()
    quiet(pair, a, b)
    start = pair.now
    a.write(pair.now, b"x")
    pair.run(1 * SECOND)
    ((at, _),) = sent(pair, 80)
    assert at - start == pair.delay_us + DELAY_US
    assert len(sent(pair)) == 1


def test_an_answer_bears_the_acknowledgement() -> None:
    pair, a, b = opened()
    quiet(pair, a, b)
    for _ in range(10):
        a.write(pair.now, b"question")
        pair.run(pair.delay_us)
        b.write(pair.now, b"answer")
        pair.run(pair.delay_us)
    assert len(sent(pair)) == len(sent(pair, 80)) == 10


def test_every_second_full_segment_is_acknowledged_at_once() -> None:
    pair, a, b = opened()
    quiet(pair, a, b)
    start = pair.now
    a.write(pair.now, bytes(2 * a.mss))
    pair.run(1 * SECOND)
    assert [at - start for at, _ in sent(pair, 80)] == [pair.delay_us]


# Buffers.


def test_a_fast_reader_gets_a_larger_window_and_a_slow_one_does_not() -> None:
    data = random.Random(1).randbytes(20_000_000)
    pair, a, b = opened()
    assert b.received.limit == receive_buffer.FIRST_LIMIT
    assert transfer(pair, a, b, data) == data
    assert b.received.limit == receive_buffer.LIMIT
    assert a.buffer.limit == send_buffer.LIMIT

    pair, a, b = opened()
    taken = 0
    for _ in range(200):
        taken += a.write(pair.now, memoryview(data)[taken:])
        pair.run(10 * MILLISECOND)
        b.read(pair.now, 1000)
    assert b.received.limit == receive_buffer.FIRST_LIMIT
    assert b.received.size < receive_buffer.FIRST_LIMIT
    assert taken < 2 * send_buffer.FIRST_LIMIT


@pytest.mark.parametrize("limit", [4096, 8192, 20_000])
def test_a_buffer_below_a_segment_does_not_wait_for_probes(limit: int) -> None:
    """A window that was emptied is told, and one that stays small is used as it is."""
    pair = Pair()
    for side in (pair.a, pair.b):
        side.host.set_mtu(pair.now, 10_000)
    listener = pair.listen()
    a = pair.a.host.connect(pair.now, Endpoint(IP_A, 50_000), Endpoint(IP_B, 80), 10_000)
    pair.run(1 * SECOND)
    b = listener.accept()
    assert b is not None
    assert a.full_mss == 9960
    b.received.bound(limit)
    data = random.Random(1).randbytes(100 * limit)
    start = pair.now
    assert transfer(pair, a, b, data) == data
    # Two round trips for each window, and some time until the sender knows how small it is.
    assert pair.now - start < 100 * 4 * pair.delay_us + 1 * SECOND


@pytest.mark.parametrize("chunk", [1, 100, 5000])
def test_no_silly_windows(chunk: int) -> None:
    """RFC 9293 section 3.8.6.2: a reader that takes little asks for little segments never."""
    pair, a, b = opened()
    a.write(pair.now, bytes(600_000))
    pair.run(2 * SECOND)
    assert a.peer_window == 0
    pair.log.clear()
    for _ in range(50_000 // chunk if chunk > 1 else 2000):
        b.read(pair.now, chunk)
        pair.run(1 * MILLISECOND)
    sizes = [len(segment.payload) for _, segment in sent(pair)]
    # Probes of one byte apart, only full segments go.
    assert all(size in (0, 1, a.mss) for size in sizes)
    assert len(sizes) < 60
