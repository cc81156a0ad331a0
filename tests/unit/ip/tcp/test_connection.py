from __future__ import annotations

import random

import pytest
from hypothesis import given, settings, strategies as st

from tests.support.tcp_pair import IP_A, IP_B, MTU, Pair, transfer
from ztstack.base.endpoint import Endpoint
from ztstack.base.errors import Closed, ConnectRefused, ConnectReset, Drop, PortInUse, Unreachable
from ztstack.base.timers import MILLISECOND, SECOND
from ztstack.ip.events import Accepted, Ended, Established, Refused, Writable
from ztstack.ip.packets.checksum import checksum, pseudo_header
from ztstack.ip.packets.tcp import PROTOCOL, Flags, TcpSegment
from ztstack.ip.tcp.connection import Connection
from ztstack.ip.tcp.receive_buffer import LIMIT
from ztstack.ip.tcp.state import State


def data_of(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def state_of(connection: Connection) -> State:
    """Return the state now, which time may have changed."""
    return connection.state


def segments(pair: Pair) -> list[TcpSegment]:
    return [TcpSegment.decode(memoryview(packet)[20:]) for _, packet in pair.log]


def test_handshake() -> None:
    pair = Pair()
    a, b = pair.open()
    assert (a.state, b.state) == (State.ESTABLISHED, State.ESTABLISHED)
    syn, answer, last = segments(pair)
    assert syn.flags == Flags.SYN
    assert (syn.mss, syn.window_shift, syn.sack_permitted) == (MTU - 40, 7, True)
    assert answer.flags == Flags.SYN | Flags.ACK
    assert last.flags == Flags.ACK
    assert (a.mss, b.mss) == (2748, 2748)
    assert Established(a) in pair.a.events
    assert [type(e) for e in pair.b.events] == [Accepted]
    assert pair.a.tracer.drops == pair.b.tracer.drops == []


def test_a_writer_is_woken_when_a_quarter_of_the_buffer_is_free() -> None:
    """It never waits in vain, and not each acknowledgement wakes it."""
    pair = Pair()
    a, b = pair.open()
    data, received, at, wakes = data_of(8 << 20), bytearray(), 0, 0
    for step in range(20_000):
        woken = Writable(a) in pair.a.events
        wakes += woken
        pair.a.events.clear()
        if woken or not step:
            assert a.buffer.room >= a.buffer.limit // 4
            at += a.write(pair.now, memoryview(data)[at:])
            assert at == len(data) or not a.buffer.room
        received += b"".join(b.read(pair.now, 1 << 20))
        if len(received) == len(data):
            break
        pair.run(100)
    assert received == data
    assert 3 <= wakes <= 4 * len(data) // a.buffer.limit + 4


@pytest.mark.parametrize("bursts", [False, True])
@pytest.mark.parametrize("size", [0, 1, 2760, 100_001, 5_000_003])
def test_transfer(size: int, bursts: bool) -> None:
    pair = Pair(bursts=bursts)
    a, b = pair.open()
    data = data_of(size)
    assert transfer(pair, a, b, data) == data
    pair.run(1 * SECOND)
    assert a.fin_acknowledged
    assert b.state is State.CLOSE_WAIT


@pytest.mark.parametrize("bursts", [False, True])
@pytest.mark.parametrize(
    ("loss", "jitter_us", "duplication"),
    [(0.01, 0, 0.0), (0.05, 0, 0.02), (0.2, 0, 0.0), (0.0, 20_000, 0.0), (0.03, 8_000, 0.05)],
)
def test_transfer_over_a_bad_link(
    loss: float, jitter_us: int, duplication: float, bursts: bool
) -> None:
    for seed in range(3):
        pair = Pair(
            seed=seed, loss=loss, jitter_us=jitter_us, duplication=duplication, bursts=bursts
        )
        a, b = pair.open()
        data = data_of(700_001 if loss < 0.1 else 100_001)
        assert transfer(pair, a, b, data) == data


def test_one_percent_loss_hardly_waits() -> None:
    """Ten megabytes at 10 ms: fast retransmit repairs, and timeouts stay rare."""
    pair = Pair(seed=7, loss=0.01)
    a, b = pair.open()
    start = pair.now
    data = data_of(10_000_000)
    assert transfer(pair, a, b, data) == data
    assert pair.now - start < 20 * SECOND


def test_a_window_grows_to_what_the_peer_offers() -> None:
    pair = Pair(delay_us=20_000)
    a, b = pair.open()
    start = pair.now
    data = data_of(20_000_000)
    assert transfer(pair, a, b, data) == data
    # At 40 ms and 4 MiB the link could carry 100 MB/s.
    assert pair.now - start < 1 * SECOND
    assert b.error is None


def test_half_close() -> None:
    pair = Pair()
    a, b = pair.open()
    assert transfer(pair, a, b, b"question") == b"question"
    pair.run(10_000)
    assert state_of(a) is State.FIN_WAIT_2
    assert transfer(pair, b, a, b"answer" * 10_000) == b"answer" * 10_000
    pair.run(1 * SECOND)
    assert state_of(a) is State.TIME_WAIT
    assert b.state is State.CLOSED
    assert (a.error, b.error) == (None, None)
    pair.run(40 * SECOND)
    assert a.state is State.CLOSED
    assert Ended(a) in pair.a.events


@pytest.mark.parametrize(("dead_ms", "segments"), [(0, 10), (500, 10), (1500, 1)])
def test_the_first_window_after_lost_syns(dead_ms: int, segments: int) -> None:
    """One may be lost by chance, two tell of a bad path (RFC 6928 section 2)."""
    pair = Pair()
    listener = pair.listen()
    a = pair.connect()
    pair.loss = 1.0
    pair.run(dead_ms * MILLISECOND)
    pair.loss = 0.0
    pair.run(5 * SECOND)
    assert (listener.accept() is not None, a.is_established) == (True, True)
    pair.log.clear()
    a.write(pair.now, bytes(100_000))
    pair.run(1)
    assert len([packet for _, packet in pair.log if packet[12:16] == IP_A]) == segments


def test_simultaneous_close() -> None:
    pair = Pair()
    a, b = pair.open()
    a.shutdown(pair.now)
    b.shutdown(pair.now)
    pair.run(1 * SECOND)
    assert (a.state, b.state) == (State.TIME_WAIT, State.TIME_WAIT)
    assert a.at_eof
    assert b.at_eof


def test_simultaneous_open() -> None:
    pair = Pair()
    one, two = Endpoint(IP_A, 1000), Endpoint(IP_B, 2000)
    a = pair.a.host.connect(pair.now, one, two, MTU)
    b = pair.b.host.connect(pair.now, two, one, MTU)
    pair.run(3 * SECOND)
    assert (a.state, b.state) == (State.ESTABLISHED, State.ESTABLISHED)
    assert transfer(pair, a, b, b"both") == b"both"


def test_refused() -> None:
    pair = Pair()
    a = pair.connect(81)
    pair.run(1 * SECOND)
    assert isinstance(a.error, ConnectRefused)
    assert a.state is State.CLOSED
    assert Refused(a) in pair.a.events
    assert pair.b.tracer.drops == [Drop.NO_SOCKET]
    assert not pair.a.host.is_port_used(50_000)


def test_nobody_answers() -> None:
    pair = Pair(loss=1.0)
    a = pair.connect()
    pair.run(62 * SECOND)
    assert a.state is State.SYN_SENT
    pair.run(3 * SECOND)
    assert isinstance(a.error, Unreachable)
    assert pair.packets == 6


def test_a_peer_that_vanishes() -> None:
    pair = Pair()
    a, _ = pair.open()
    pair.loss = 1.0
    a.write(pair.now, b"hello")
    pair.run(900 * SECOND)
    assert isinstance(a.error, TimeoutError)
    assert pair.a.host.next_timer() is None


def test_a_router_tells_why_nobody_answers() -> None:
    """RFC 1122 section 4.2.3.9: the connection is not broken off, but its user is told."""
    pair = Pair()
    a, _ = pair.open()
    why = Unreachable("10.0.0.2 is unreachable: a router says so")

    def complain(ahead: int) -> None:
        number = a.wire_sequence(a.send_unacknowledged + ahead)
        pair.a.host.receive_error(pair.now, a.local, a.remote, number, why, hard=True)

    a.write(pair.now, b"x")
    pair.run(1)
    complain(0)
    pair.run(1 * SECOND)
    # It arrived all the same.
    assert a.complaint is None
    a.set_user_timeout(pair.now, 10 * SECOND)
    pair.loss = 1.0
    a.write(pair.now, b"hello")
    pair.run(2 * SECOND)
    # Of what was never sent only somebody who guesses can complain.
    complain(1000)
    assert a.complaint is None
    complain(0)
    assert state_of(a) is State.ESTABLISHED
    pair.run(30 * SECOND)
    assert isinstance(a.error, TimeoutError)
    assert str(a.error) == f"10.0.0.2 port 80: no answer, {why}"
    assert a.error.__cause__ is why


def test_a_closed_window_opens_again() -> None:
    pair = Pair()
    a, b = pair.open()
    data = data_of(LIMIT + 2_000_000)
    sent = 0
    for _ in range(3000):
        sent += a.write(pair.now, data[sent : sent + 100_000])
        pair.run(2_000)
    assert b.received.size <= LIMIT
    assert sent < len(data) or a.in_flight + a.buffer.end > LIMIT
    # Nothing is lost, however long the reader pauses.
    pair.run(120 * SECOND)
    received = bytearray()
    for _ in range(20_000):
        sent += a.write(pair.now, data[sent : sent + 100_000])
        for view in b.read(pair.now, 1 << 20):
            received += view
        if len(received) == len(data):
            break
        pair.run(2_000)
    assert received == data


def test_abort_resets_the_peer() -> None:
    pair = Pair()
    a, b = pair.open()
    a.write(pair.now, b"last words")
    pair.run(100_000)
    a.abort(pair.now)
    pair.run(100_000)
    assert isinstance(b.error, ConnectReset)
    assert bytes(b.read(pair.now, 100)[0]) == b"last words"
    assert (a.state, b.state) == (State.CLOSED, State.CLOSED)


def test_close_with_unread_data_resets() -> None:
    pair = Pair()
    a, b = pair.open()
    a.write(pair.now, b"nobody reads this")
    pair.run(100_000)
    b.close(pair.now)
    pair.run(100_000)
    assert isinstance(a.error, ConnectReset)


def test_close_sends_what_was_written() -> None:
    pair = Pair()
    a, b = pair.open()
    a.write(pair.now, b"x" * 500_000)
    a.close(pair.now)
    received = 0
    for _ in range(1000):
        pair.run(2_000)
        received += sum(map(len, b.read(pair.now, 1 << 20)))
        if b.at_eof:
            break
    assert received == 500_000
    b.close(pair.now)
    pair.run(100 * SECOND)
    assert (a.state, b.state) == (State.CLOSED, State.CLOSED)
    assert (a.error, b.error) == (None, None)


def test_writing_after_the_end() -> None:
    pair = Pair()
    a, b = pair.open()
    a.shutdown(pair.now)
    with pytest.raises(Closed):
        a.write(pair.now, b"more")
    b.abort(pair.now)
    pair.run(100_000)
    assert isinstance(a.error, ConnectReset)


def test_the_backlog_is_bounded() -> None:
    pair = Pair()
    listener = pair.listen(backlog=3)
    for port in range(10):
        pair.connect(local_port=40_000 + port)
    pair.run(200_000)
    assert len(listener.queue) == 3
    assert pair.b.tracer.drops == [Drop.BACKLOG_FULL] * 7
    assert sum(listener.accept() is not None for _ in range(10)) == 3


def test_a_closed_listener_breaks_off_what_it_held() -> None:
    pair = Pair()
    listener = pair.listen()
    a = pair.connect()
    pair.run(100_000)
    listener.close(pair.now)
    pair.run(100_000)
    assert isinstance(a.error, ConnectReset)
    assert not pair.b.host.is_port_used(80)


def test_ports_in_use() -> None:
    pair = Pair()
    pair.listen()
    with pytest.raises(PortInUse):
        pair.b.host.listen(pair.now, IP_B, 80, 1)
    pair.connect()
    with pytest.raises(PortInUse):
        pair.connect()


def test_a_reset_must_be_exact() -> None:
    """RFC 5961: a reset that is only near is challenged and changes nothing."""
    pair = Pair()
    a, b = pair.open()
    sequence = a.wire_sequence(a.send_next)
    forged = TcpSegment(50_000, 80, sequence + 5 & 0xFFFFFFFF, 0, Flags.RST, 0)
    pair.b.host.receive(pair.now, IP_A, IP_B, memoryview(forged.encode(IP_A, IP_B)))
    pair.run(100_000)
    assert state_of(b) is State.ESTABLISHED
    exact = TcpSegment(50_000, 80, sequence, 0, Flags.RST, 0)
    pair.b.host.receive(pair.now, IP_A, IP_B, memoryview(exact.encode(IP_A, IP_B)))
    assert b.state is State.CLOSED


def test_a_wrong_checksum_is_dropped() -> None:
    pair = Pair()
    _, b = pair.open()
    segment = bytearray(TcpSegment(50_000, 80, 1, 1, Flags.ACK, 0).encode(IP_A, IP_B))
    segment[4] ^= 1
    pair.b.host.receive(pair.now, IP_A, IP_B, memoryview(segment))
    assert pair.b.tracer.drops == [Drop.BAD_CHECKSUM]
    assert b.state is State.ESTABLISHED


def test_sequence_numbers_wrap() -> None:
    pair = Pair()
    listener = pair.listen()
    a = pair.connect()
    a.initial_send = 0xFFFFFFFF - 100_000
    for _ in range(10):
        pair.run(100_000)
    b = listener.accept()
    assert b is not None
    data = data_of(1_000_001)
    assert transfer(pair, a, b, data) == data


def _summed(segment: bytes) -> bytes:
    """Put the right checksum into noise, so that it gets further."""
    if len(segment) < 20:
        return segment
    blank = segment[:16] + bytes(2) + segment[18:]
    pseudo = pseudo_header(IP_A, IP_B, PROTOCOL, len(blank))
    return blank[:16] + checksum(pseudo + blank).to_bytes(2, "big") + blank[18:]


@settings(max_examples=15)
@given(st.binary(max_size=80))
def test_noise_never_raises(noise: bytes) -> None:
    pair = Pair()
    _, b = pair.open()
    ports = (50_000).to_bytes(2, "big") + (80).to_bytes(2, "big")
    for segment in (noise, ports + noise):
        pair.b.host.receive(pair.now, IP_A, IP_B, memoryview(segment))
        pair.b.host.receive(pair.now, IP_A, IP_B, memoryview(_summed(segment)))
    pair.run(1000)
    assert b.received.size <= 80


def test_one_acknowledgement_a_wake_up() -> None:
    pair = Pair(bursts=True)
    a, b = pair.open()
    a.congestion.window = 1 << 20
    pair.log.clear()
    a.write(pair.now, data_of(22 * 2748))
    pair.run(5_500)
    sent = segments(pair)
    assert len([s for s in sent if s.source_port == 50_000]) == 22
    assert len([s for s in sent if s.source_port == 80]) == 1
    assert b.received.size == 22 * 2748
