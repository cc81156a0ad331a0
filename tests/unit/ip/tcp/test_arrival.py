"""What a connection makes of segments that a peer, or somebody else, sends."""

from __future__ import annotations

import pytest

from tests.support.tcp_pair import (
    IP_A,
    IP_B,
    SACK_PERMITTED,
    WINDOW_SCALE,
    Pair,
    burst_of,
    transfer,
)
from ztstack.base.errors import ConnectReset, Drop
from ztstack.base.frame import EtherType
from ztstack.base.timers import MILLISECOND, SECOND
from ztstack.ip.packets.tcp import Flags, TcpSegment
from ztstack.ip.tcp.arrival import CHALLENGE_US
from ztstack.ip.tcp.connection import Connection
from ztstack.ip.tcp.state import State


def forged(
    pair: Pair, a: Connection, flags: int, *, ahead: int = 0, acked: int = 0, data: bytes = b""
) -> None:
    """Give side `b` a segment in the name of `a`; numbers are relative to what is right."""
    segment = TcpSegment(
        source_port=a.local.port,
        destination_port=a.remote.port,
        sequence=a.wire_sequence(a.send_next + ahead),
        acknowledgement=a.wire_acknowledgement() + acked & 0xFFFFFFFF,
        flags=flags,
        window=500,
        payload=data,
    )
    pair.b.host.receive(pair.now, IP_A, IP_B, memoryview(segment.encode(IP_A, IP_B) + data))


def errors(connection: Connection) -> list[type[Exception]]:
    return [] if connection.error is None else [type(connection.error)]


def counts(pair: Pair, duration_us: int) -> int:
    before = pair.packets
    pair.run(duration_us)
    return pair.packets - before


@pytest.mark.parametrize(
    ("flags", "ahead"),
    [
        (Flags.SYN, 0),
        (Flags.SYN | Flags.ACK, -1),
        (Flags.ACK, -1000),
        (Flags.ACK, 1 << 30),
        (Flags.RST, 5),
    ],
)
def test_challenges_are_few(flags: int, ahead: int) -> None:
    """RFC 5961 section 7: a flood of wrong segments is not answered by a flood."""
    pair = Pair()
    a, b = pair.open()
    pair.run(1 * SECOND)
    pair.loss = 1.0
    before = pair.packets
    for _ in range(100):
        forged(pair, a, flags, ahead=ahead)
        pair.run(5 * MILLISECOND)
    assert pair.packets - before == 500 * MILLISECOND // CHALLENGE_US
    assert set(pair.b.tracer.drops) == {Drop.NOT_ACCEPTABLE}
    assert b.state is State.ESTABLISHED


def test_two_hosts_that_disagree_do_not_talk_for_ever() -> None:
    pair = Pair()
    a, b = pair.open()
    a.initial_send = a.initial_send + 100_000_000 & 0xFFFFFFFF
    a.initial_receive = a.initial_receive + 100_000_000 & 0xFFFFFFFF
    a.ack_due = True
    a.want_output()
    assert counts(pair, 60 * SECOND) < 10
    assert (a.state, b.state) == (State.ESTABLISHED, State.ESTABLISHED)


def test_data_that_comes_again_is_acknowledged_each_time() -> None:
    """The peer repeats because our acknowledgement was lost: this is not a challenge."""
    pair = Pair()
    a, _ = pair.open()
    assert transfer_part(pair, a, b"hello")
    for _ in range(5):
        forged(pair, a, Flags.ACK, ahead=-5, data=b"hello")
        assert counts(pair, 10 * MILLISECOND) == 1


def transfer_part(pair: Pair, a: Connection, data: bytes) -> bool:
    a.write(pair.now, data)
    pair.run(1 * SECOND)
    return a.in_flight == 0


@pytest.mark.parametrize("acked", [1, 1000, -5_000_000, 1 << 30])
def test_data_with_an_impossible_acknowledgement_is_not_taken(acked: int) -> None:
    """RFC 5961 section 5.2: not what was never sent, nor older than any window."""
    pair = Pair()
    a, b = pair.open()
    forged(pair, a, Flags.ACK, acked=acked, data=b"evil")
    assert b.received.size == 0
    forged(pair, a, Flags.ACK, data=b"good")
    assert b.received.size == 4


def test_a_syn_in_the_window_ends_nothing_and_an_exact_reset_does() -> None:
    pair = Pair()
    a, b = pair.open()
    forged(pair, a, Flags.SYN, ahead=10)
    assert errors(b) == []
    forged(pair, a, Flags.RST | Flags.ACK)
    assert errors(b) == [ConnectReset]


@pytest.mark.parametrize("bursts", [False, True])
@pytest.mark.parametrize(
    "stripped",
    [{WINDOW_SCALE}, {SACK_PERMITTED}, {WINDOW_SCALE, SACK_PERMITTED}],
)
@pytest.mark.parametrize("loss", [0.0, 0.02])
def test_a_peer_without_options(loss: float, stripped: set[int], bursts: bool) -> None:
    pair = Pair(seed=3, loss=loss, bursts=bursts, stripped=frozenset(stripped), delay_us=1000)
    a, b = pair.open()
    assert a.scaled is b.scaled is (WINDOW_SCALE not in stripped)
    assert a.sack_ok is b.sack_ok is (SACK_PERMITTED not in stripped)
    data = bytes(range(251)) * 2000
    assert transfer(pair, a, b, data) == data
    assert transfer(pair, b, a, data[:5000]) == data[:5000]
    sent = [TcpSegment.decode(memoryview(packet)[20:]) for _, packet in pair.log]
    if SACK_PERMITTED in stripped:
        assert not any(segment.sack for segment in sent)
    if WINDOW_SCALE in stripped:
        assert a.peer_window_max <= 0xFFFF


def test_sack_tells_of_what_came_early() -> None:
    pair = Pair()
    a, _ = pair.open()
    start = a.wire_sequence(0)
    forged(pair, a, Flags.ACK, ahead=100, data=bytes(50))
    forged(pair, a, Flags.ACK, ahead=300, data=bytes(50))
    pair.log.clear()
    pair.run(1 * MILLISECOND)
    (answer,) = (TcpSegment.decode(memoryview(packet)[20:]) for _, packet in pair.log)
    assert answer.acknowledgement == start
    blocks = tuple(
        (left - start & 0xFFFFFFFF, right - start & 0xFFFFFFFF) for left, right in answer.sack
    )
    assert blocks == ((300, 350), (100, 150))


def test_data_beyond_the_window_is_cut_off() -> None:
    pair = Pair()
    a, b = pair.open()
    room = b.window_edge
    forged(pair, a, Flags.ACK | Flags.FIN, ahead=room - 10, data=bytes(100))
    forged(pair, a, Flags.ACK, ahead=room + 5, data=bytes(100))
    assert b.received.reports(3) == [(room - 10, room)]
    assert b.fin_received is None


def test_a_fin_before_its_data_waits() -> None:
    pair = Pair()
    a, b = pair.open()
    forged(pair, a, Flags.ACK | Flags.FIN, ahead=5, data=b"world")
    assert not b.at_eof
    assert b.state is State.ESTABLISHED
    forged(pair, a, Flags.ACK, data=b"hello")
    assert b"".join(b.read(pair.now, 100)) == b"helloworld"
    assert b.at_eof


@pytest.mark.parametrize("bursts", [False, True])
def test_an_end_that_overtakes_its_data(bursts: bool) -> None:
    """What fills the gap may come as a run, and leads to the end all the same."""
    pair = Pair(bursts=bursts)
    a, b = pair.open()
    a.write(pair.now, bytes(3 * a.mss))
    data = taken(pair)
    a.shutdown(pair.now)
    deliver(pair, taken(pair))
    assert (b.state, b.received.next) == (State.ESTABLISHED, 0)
    deliver(pair, data)
    assert b.state is State.CLOSE_WAIT
    b.shutdown(pair.now)
    pair.run(1 * SECOND)
    assert (a.state, b.state) == (State.TIME_WAIT, State.CLOSED)


def taken(pair: Pair) -> list[bytes]:
    """Return what side `a` sends now, and lose it."""
    runs = pair.a.host.take_packets(pair.now, 64)
    return [header + bytes(body) for run in runs for header, body in run.packets]


def deliver(pair: Pair, packets: list[bytes]) -> None:
    if pair.bursts:
        assert pair.b.host.receive_burst(pair.now, EtherType.IPV4, burst_of(packets))
        return
    for packet in packets:
        pair.b.host.receive(pair.now, IP_A, IP_B, memoryview(packet)[20:])


# Time stamps (RFC 7323), and reports of what came twice (RFC 2883).


def stamped(
    pair: Pair, a: Connection, value: int, *, ahead: int = 0, data: bytes = b"x", flags: int = 16
) -> None:
    """Give side `b` a segment of `a` with a time stamp."""
    segment = TcpSegment(
        source_port=a.local.port,
        destination_port=a.remote.port,
        sequence=a.wire_sequence(ahead),
        acknowledgement=a.wire_acknowledgement(),
        flags=flags,
        window=500,
        payload=data,
        stamps=(value & 0xFFFFFFFF, 0),
    )
    pair.b.host.receive(pair.now, IP_A, IP_B, memoryview(segment.encode(IP_A, IP_B) + data))


def answers(pair: Pair) -> list[TcpSegment]:
    pair.log.clear()
    pair.run(1 * MILLISECOND)
    return [TcpSegment.decode(memoryview(packet)[20:]) for _, packet in pair.log]


def test_old_duplicates_are_told_by_their_time_stamp() -> None:
    pair = Pair()
    a, b = pair.open()
    recent = b.stamp_recent
    stamped(pair, a, recent - 1)
    assert pair.b.tracer.drops == [Drop.NOT_ACCEPTABLE]
    assert b.received.next == 0
    assert [answer.acknowledgement for answer in answers(pair)] == [a.wire_sequence(0)]
    stamped(pair, a, recent + (1 << 31) - 1)
    assert b.received.next == 1


def test_what_is_outside_the_window_leaves_no_time_stamp() -> None:
    """Else a stranger could make the peer's own segments look old."""
    pair = Pair()
    a, b = pair.open()
    recent = b.stamp_recent
    stamped(pair, a, recent + 1000, ahead=-100_000)
    stamped(pair, a, recent + 1000, ahead=-100_000, data=b"")
    assert b.stamp_recent == recent
    stamped(pair, a, recent + 1)
    assert b.received.next == 1


def test_a_time_stamp_is_forgotten_after_24_days() -> None:
    pair = Pair()
    a, b = pair.open()
    pair.now += 25 * 86_400 * SECOND
    stamped(pair, a, b.stamp_recent - 1)
    assert b.received.next == 1


def test_resets_are_judged_by_their_number_only() -> None:
    pair = Pair()
    a, b = pair.open()
    stamped(pair, a, b.stamp_recent - 5, data=b"", flags=Flags.RST)
    assert errors(b) == [ConnectReset]


def test_the_earliest_unacknowledged_time_stamp_is_echoed() -> None:
    """RFC 7323 section 4.3: what is out of order, or held back, does not count."""
    pair = Pair()
    a, b = pair.open()
    recent = b.stamp_recent
    stamped(pair, a, recent + 5, ahead=0)
    stamped(pair, a, recent + 9, ahead=1)
    (answer,) = answers(pair)
    assert answer.stamps is not None
    assert answer.stamps[1] == recent + 5
    stamped(pair, a, recent + 20, ahead=10)
    (answer,) = answers(pair)
    assert answer.stamps is not None
    assert answer.stamps[1] == recent + 5


def test_time_stamps_that_were_not_agreed_on_are_left_out() -> None:
    pair = Pair(stripped=frozenset({8}))
    a, b = pair.open()
    a.write(pair.now, b"x")
    pair.log.clear()
    pair.run(1 * SECOND)
    found = [TcpSegment.decode(memoryview(packet)[20:]) for _, packet in pair.log]
    assert [segment.stamps for segment in found] == [None] * len(found)
    assert (a.stamps, b.stamps) == (False, False)


def test_a_host_that_does_not_offer_time_stamps_takes_them() -> None:
    for ours, both in ((True, True), (False, False)):
        pair = Pair()
        pair.a.host.offers_stamps = ours
        a, b = pair.open()
        assert (a.stamps, b.stamps) == (both, both)


def test_what_came_twice_is_reported_first() -> None:
    pair = Pair()
    a, _ = pair.open()
    start = a.wire_sequence(0)
    forged(pair, a, Flags.ACK, data=bytes(100))
    forged(pair, a, Flags.ACK, ahead=300, data=bytes(50))
    forged(pair, a, Flags.ACK, ahead=20, data=bytes(30))
    (answer,) = answers(pair)
    blocks = [
        (left - start & 0xFFFFFFFF, right - start & 0xFFFFFFFF) for left, right in answer.sack
    ]
    assert blocks == [(20, 50), (300, 350)]
    assert [answer.sack for answer in answers(pair)] == []


def test_duplicates_make_the_sender_more_patient() -> None:
    """RFC 8985 section 6.2 step 4."""
    pair = Pair(delay_us=10_000)
    a, _ = pair.open()
    assert a.flight.patience_steps == 1
    pair.duplication = 1.0
    for _ in range(3):
        before = a.flight.patience_steps
        a.write(pair.now, bytes(4 * a.mss))
        pair.run(100 * MILLISECOND)
        assert before < a.flight.patience_steps <= before + 2
