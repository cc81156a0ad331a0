"""SYN cookies: nothing is kept in a flood, and who is there gets in all the same."""

from __future__ import annotations

import random

import pytest

from tests.support.tcp_pair import IP_A, IP_B, SACK_PERMITTED, WINDOW_SCALE, Pair, transfer
from ztstack.base.errors import Drop
from ztstack.base.timers import SECOND
from ztstack.ip.packets.tcp import Flags, TcpSegment
from ztstack.ip.tcp.cookies import LIFE_US, SIZES
from ztstack.ip.tcp.listener import Listener

BACKLOG = 8


def flood(pair: Pair, count: int) -> list[TcpSegment]:
    """Send SYNs from strangers that never answer; return what they get."""
    answers = []
    for i in range(count):
        source = bytes((172, 16, i >> 8 & 255, i & 255))
        syn = TcpSegment(1000 + i, 80, i, 0, Flags.SYN, 1000, mss=1460).encode(source, IP_B)
        pair.b.host.receive(pair.now, source, IP_B, memoryview(syn))
        for run in pair.b.host.take_packets(pair.now, 22):
            answers += [TcpSegment.decode(memoryview(head)[20:]) for head, _ in run.packets]
    return answers


def flooded(stripped: frozenset[int] = frozenset()) -> tuple[Pair, Listener]:
    pair = Pair(stripped=stripped)
    listener = pair.listen(backlog=BACKLOG)
    flood(pair, BACKLOG)
    return pair, listener


def test_a_flood_is_answered_and_not_remembered() -> None:
    pair, listener = flooded()
    answers = flood(pair, 1000)
    assert len(answers) == 1000
    assert all(answer.flags == Flags.SYN | Flags.ACK for answer in answers)
    assert len({answer.sequence for answer in answers}) > 990
    assert (listener.half_open, len(listener.queue)) == (BACKLOG, 0)


@pytest.mark.parametrize("stripped", [set(), {8}, {WINDOW_SCALE}, {SACK_PERMITTED}, {8, 3, 4}])
def test_who_is_there_gets_in(stripped: set[int]) -> None:
    pair, listener = flooded(stripped=frozenset(stripped))
    a = pair.connect()
    pair.run(1 * SECOND)
    b = listener.accept()
    assert b is not None
    stamped = 8 not in stripped
    assert (b.stamps, b.sack_ok, b.scaled) == (
        stamped,
        stamped and SACK_PERMITTED not in stripped,
        stamped and WINDOW_SCALE not in stripped,
    )
    assert (a.sack_ok, a.scaled, a.stamps) == (b.sack_ok, b.scaled, b.stamps)
    assert b.mss == max(size for size in SIZES if size <= 2760) - (12 if stamped else 0)
    data = random.Random(1).randbytes(500_000)
    assert transfer(pair, a, b, data) == data
    assert transfer(pair, b, a, data) == data


def test_the_first_data_is_proof_enough() -> None:
    """The acknowledgement of our answer may be lost."""
    pair, listener = flooded()
    a = pair.connect()
    pair.run(2 * pair.delay_us)
    assert a.is_established
    pair.loss = 1.0
    pair.run(1000)
    pair.loss = 0.0
    a.write(pair.now, b"hello")
    pair.run(1 * SECOND)
    b = listener.accept()
    assert b is not None
    assert b"".join(b.read(pair.now, 10)) == b"hello"


def answered(pair: Pair, number: int, sequence: int = 8) -> None:
    segment = TcpSegment(50_000, 80, sequence, number, Flags.ACK, 1000).encode(IP_A, IP_B)
    pair.b.host.receive(pair.now, IP_A, IP_B, memoryview(segment))


def cookie(pair: Pair) -> int:
    syn = TcpSegment(50_000, 80, 7, 0, Flags.SYN, 1000, mss=1460).encode(IP_A, IP_B)
    pair.b.host.receive(pair.now, IP_A, IP_B, memoryview(syn))
    ((head, _),) = pair.b.host.take_packets(pair.now, 22)[0].packets
    return TcpSegment.decode(memoryview(head)[20:]).sequence + 1 & 0xFFFFFFFF


def test_what_is_forged_or_old_is_refused() -> None:
    pair, listener = flooded()
    number = cookie(pair)
    answered(pair, number + 1)
    answered(pair, number, sequence=9)
    answered(pair, number ^ 1 << 31)
    assert pair.b.tracer.drops == [Drop.NO_SOCKET] * 3
    assert len(listener.queue) == 0
    answered(pair, number)
    assert len(listener.queue) == 1

    pair, listener = flooded()
    number = cookie(pair)
    pair.now += LIFE_US + 1
    answered(pair, number)
    assert len(listener.queue) == 0


def test_without_a_flood_no_number_is_taken_for_a_cookie() -> None:
    pair, _ = flooded()
    number = cookie(pair)
    quiet = Pair()
    quiet.listen()
    answered(quiet, number)
    assert quiet.b.tracer.drops == [Drop.NO_SOCKET]


def test_a_full_queue_takes_no_more() -> None:
    pair, listener = flooded()
    for port in range(20):
        pair.connect(local_port=40_000 + port)
    pair.run(500_000)
    assert len(listener.queue) == BACKLOG
    assert Drop.BACKLOG_FULL in pair.b.tracer.drops
