"""What a connection makes of segments that a peer, or somebody else, sends."""

from __future__ import annotations

import pytest

from tests.support.tcp_pair import (
    IP_A,
    IP_B,
    SACK_PERMITTED,
    WINDOW_SCALE,
    Pair,
    transfer,
)
from ztstack.base.errors import ConnectReset, Drop
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
    assert b.received.blocks(3) == [(room - 10, room)]
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
