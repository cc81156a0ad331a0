"""The host: turns, resets, ports, numbers, and what is bounded."""

from __future__ import annotations

import pytest

from tests.support.switches import SeededEntropy
from tests.support.tcp_burst import data_of, opened, receive_each
from tests.support.tcp_pair import IP_A, IP_B, MTU, START_US, Pair, burst_of, transfer
from ztstack.base.endpoint import Endpoint
from ztstack.base.errors import Drop
from ztstack.base.frame import EtherType
from ztstack.base.timers import MILLISECOND, SECOND
from ztstack.base.trace import ListTracer
from ztstack.ip.packets.tcp import Flags, TcpSegment
from ztstack.ip.tcp.connection import Connection
from ztstack.ip.tcp.departure import ip_header
from ztstack.ip.tcp.host import MAX_REPLIES, MAX_WAITING, TcpHost
from ztstack.ip.tcp.sequence import distance
from ztstack.ip.tcp.state import State


def test_streams_take_turns_and_a_single_one_does_not() -> None:
    pair = Pair()
    pair.listen()
    clients = [pair.connect(local_port=40_000 + i) for i in range(3)]
    pair.run(1 * SECOND)
    for client in clients:
        client.congestion.window = client.peer_window = 1 << 20
        client.write(pair.now, data_of(1 << 20))
    sizes = [len(run.packets) for run in pair.a.host.take_packets(pair.now, 88)]
    assert sizes == [44, 44]
    for client in clients[1:]:
        client.abort(pair.now)
    assert len(pair.a.host.take_packets(pair.now, 88)[-1].packets) == 88


# Resets.


def test_a_reset_is_never_answered_by_a_reset() -> None:
    pair = Pair()
    for flags in (Flags.RST, Flags.RST | Flags.ACK, Flags.RST | Flags.SYN):
        segment = TcpSegment(1, 2, 3, 4, flags, 0).encode(IP_A, IP_B)
        pair.b.host.receive(pair.now, IP_A, IP_B, memoryview(segment))
    assert not pair.b.host.has_output
    assert pair.b.tracer.drops == [Drop.NO_SOCKET] * 3


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (Flags.ACK, (Flags.RST, 4, 0)),
        (Flags.SYN, (Flags.RST | Flags.ACK, 0, 4)),
        (Flags.FIN, (Flags.RST | Flags.ACK, 0, 4)),
        (0, (Flags.RST | Flags.ACK, 0, 3)),
        (Flags.SYN | Flags.ACK, (Flags.RST, 4, 0)),
    ],
)
def test_the_reset_for_a_stranger(flags: int, expected: tuple[int, int, int]) -> None:
    """RFC 9293 section 3.10.7.1."""
    pair = Pair()
    segment = TcpSegment(1, 2, 3, 4, flags, 0).encode(IP_A, IP_B)
    pair.b.host.receive(pair.now, IP_A, IP_B, memoryview(segment))
    ((header, body),) = pair.b.host.take_packets(pair.now, 22)[0].packets
    answer = TcpSegment.decode(memoryview(header)[20:])
    assert (answer.flags, answer.sequence, answer.acknowledgement) == expected
    assert (answer.source_port, answer.destination_port, body) == (2, 1, b"")


def test_the_queue_of_resets_is_bounded() -> None:
    pair = Pair()
    for port in range(MAX_REPLIES + 50):
        segment = TcpSegment(1, port, 3, 4, Flags.SYN, 0).encode(IP_A, IP_B)
        pair.b.host.receive(pair.now, IP_A, IP_B, memoryview(segment))
    assert len(pair.b.host.take_packets(pair.now, 1)) == MAX_REPLIES
    assert pair.b.tracer.drops.count(Drop.QUEUE_FULL) == 50


# Numbers.


def first_number(host: TcpHost, now: int, port: int) -> int:
    return host.connect(now, Endpoint(IP_A, port), Endpoint(IP_B, 80), MTU).initial_send


def test_initial_numbers_grow_for_the_same_ends_and_differ_for_others() -> None:
    """RFC 6528: an old connection's segments are not the new one's; nobody can guess."""
    later = START_US + 4 * MILLISECOND
    hosts = [TcpHost(SeededEntropy(1), ListTracer(), lambda _: True, []) for _ in range(2)]
    assert distance(first_number(hosts[1], later, 1), first_number(hosts[0], START_US, 1)) == 1000
    other = TcpHost(SeededEntropy(2), ListTracer(), lambda _: True, [])
    numbers = {first_number(host, START_US, 9) for host in (hosts[0], other)}
    numbers |= {first_number(hosts[0], START_US, port) for port in range(100, 110)}
    assert len(numbers) == 12


def test_the_same_ends_again_right_after_the_end() -> None:
    """A SYN beyond what TIME-WAIT remembers opens anew (RFC 9293 section 3.6.1)."""
    pair = Pair()
    listener = pair.listen()
    numbers = []
    for _ in range(3):
        a = pair.connect()
        numbers.append(a.initial_send)
        pair.run(100 * MILLISECOND)
        b = listener.accept()
        assert b is not None
        # The side of the listener closes first and so waits.
        assert transfer(pair, b, a, b"bye") == b"bye"
        a.close(pair.now)
        pair.run(100 * MILLISECOND)
        assert (a.state, b.state) == (State.CLOSED, State.TIME_WAIT)
    assert len(set(numbers)) == 3


@pytest.mark.parametrize(
    ("ahead", "later", "opens"),
    [(9, None, True), (-9, None, False), (-9, 1, True), (9, -1, False), (9, 0, True)],
)
def test_a_syn_in_time_wait_is_judged_by_its_time_stamp(
    ahead: int, later: int | None, opens: bool
) -> None:
    """RFC 6191: or, where it has none, by its number."""
    pair = Pair()
    listener = pair.listen()
    a = pair.connect()
    pair.run(100 * MILLISECOND)
    b = listener.accept()
    assert b is not None
    b.close(pair.now)
    pair.run(100 * MILLISECOND)
    a.close(pair.now)
    pair.run(100 * MILLISECOND)
    syn = TcpSegment(
        source_port=50_000,
        destination_port=80,
        sequence=b.wire_acknowledgement() + ahead & 0xFFFFFFFF,
        acknowledgement=0,
        flags=Flags.SYN,
        window=1000,
        stamps=None if later is None else (b.stamp_recent + later & 0xFFFFFFFF, 0),
    )
    pair.b.host.receive(pair.now, IP_A, IP_B, memoryview(syn.encode(IP_A, IP_B)))
    states = [connection.state for connection in pair.b.host.connections()]
    assert states == [State.SYN_RECEIVED if opens else State.TIME_WAIT]


# Bounds.


def test_connections_in_time_wait_are_bounded() -> None:
    host = TcpHost(SeededEntropy(1), ListTracer(), lambda _: True, [])
    remote = Endpoint(IP_B, 80)
    first: Connection | None = None
    for port in range(1000, 1000 + MAX_WAITING + 3):
        connection = host.connect(START_US, Endpoint(IP_A, port), remote, MTU)
        first = first or connection
        host.take_packets(START_US, 22)
        number = connection.initial_send + 1 & 0xFFFFFFFF
        connection.shutdown(START_US)
        for flags, sequence, acknowledged in (
            (Flags.SYN | Flags.ACK, 0, number),
            (Flags.FIN | Flags.ACK, 1, number + 1 & 0xFFFFFFFF),
        ):
            segment = TcpSegment(80, port, sequence, acknowledged, flags, 1000)
            host.receive(START_US, IP_B, IP_A, memoryview(segment.encode(IP_B, IP_A)))
            host.take_packets(START_US, 22)
    assert first is not None
    assert [host.is_port_used(port) for port in range(1000, 1005)] == [False] * 3 + [True] * 2
    assert first.state is State.CLOSED
    host.handle_timer(START_US + 60 * SECOND)
    assert not host.is_port_used(1000 + MAX_WAITING)
    assert host.next_timer() is None


def test_an_idle_connection_has_no_timer() -> None:
    pair = Pair()
    opened(pair)
    pair.run(120 * SECOND)
    assert pair.a.host.next_timer() is None
    assert pair.b.host.next_timer() is None


# Mixed bursts and deadlines.


@pytest.mark.parametrize("acknowledged", [1, 1000, -1_000_000])
def test_data_that_acknowledges_what_cannot_be_is_not_taken(acknowledged: int) -> None:
    """RFC 5961 section 5: neither alone nor in a burst."""
    pair = Pair()
    a, b = pair.open()
    segment = TcpSegment(
        source_port=a.local.port,
        destination_port=80,
        sequence=a.wire_sequence(0),
        acknowledgement=a.wire_acknowledgement() + acknowledged & 0xFFFFFFFF,
        flags=Flags.ACK,
        window=1000,
        payload=b"hello",
        stamps=(b.stamp_recent + 1, 0),
    )
    packet = segment.encode(IP_A, IP_B) + b"hello"
    packet = ip_header(IP_A + IP_B, len(packet)) + packet
    assert pair.b.host.receive_burst(pair.now, EtherType.IPV4, burst_of([packet] * 3))
    assert b.received.next == 0
    assert set(pair.b.tracer.drops) == {Drop.NOT_ACCEPTABLE}


def test_packets_of_several_connections_in_one_burst() -> None:
    pair = Pair()
    listener = pair.listen()
    clients = [pair.connect(local_port=40_000 + i) for i in range(3)]
    pair.run(1 * SECOND)
    servers = [listener.accept() for _ in clients]
    packets = []
    for client in clients:
        client.write(pair.now, data_of(2 * 2748))
        packets += [
            header + bytes(body)
            for run in pair.a.host.take_packets(pair.now, 22)
            for header, body in run.packets
        ]
    strange = bytearray(packets[0])
    strange[12:16] = bytes((9, 9, 9, 9))
    burst = burst_of([packets[0], packets[2], bytes(strange), packets[3], packets[1], packets[4]])
    assert pair.b.host.take_burst(pair.now, EtherType.IPV4, burst) == [2]
    sizes = [server.received.size for server in servers if server is not None]
    assert sizes == [2 * 2748, 2 * 2748, 2748]


def test_idle_and_dead_connections_leave_no_deadlines() -> None:
    pair = Pair()
    pair.listen(backlog=64)
    clients = [pair.connect(local_port=40_000 + i) for i in range(30)]
    pair.run(1 * SECOND)
    for client in clients:
        client.set_keepalive(pair.now, 3600 * SECOND)
        client.write(pair.now, b"x")
    pair.run(1 * SECOND)
    for client in clients[:20]:
        client.abort(pair.now)
    pair.run(10 * SECOND)
    assert len(pair.a.host.connections()) == 10
    times = 0
    while (due := pair.a.host.next_timer()) is not None and due < pair.now + 3000 * SECOND:
        pair.a.host.handle_timer(due)
        times += 1
        assert times < 100


def resets(pair: Pair, until: int) -> list[int]:
    """Let time pass for side `a` alone; return when it sent resets, all of which are lost."""
    times = []
    while pair.now <= until:
        due = pair.a.host.next_timer()
        if due is not None and due <= pair.now:
            pair.a.host.handle_timer(pair.now)
        for run in pair.a.host.take_packets(pair.now, 64):
            times += [pair.now for header, _ in run.packets if header[33] & Flags.RST]
        pair.now += 10 * MILLISECOND
    return times


def test_a_reset_is_said_again() -> None:
    """Nobody acknowledges a reset: a lost one would leave a silent peer waiting for ever."""
    pair = Pair()
    a, b = opened(pair)
    start = pair.now
    a.abort(pair.now)
    times = resets(pair, start + 5 * SECOND)
    assert [time - start for time in times] == [0, 200 * MILLISECOND, 1200 * MILLISECOND]
    assert pair.a.host.next_timer() is None
    assert b.state is State.ESTABLISHED


def test_a_reset_is_not_said_to_the_next_connection() -> None:
    pair = Pair()
    a, _ = opened(pair)
    a.abort(pair.now)
    pair.run(100 * MILLISECOND)
    again, other = pair.open()
    assert again.flow == a.flow
    pair.run(3 * SECOND)
    assert (again.state, other.state) == (State.ESTABLISHED, State.ESTABLISHED)
    assert again.error is None
    assert other.error is None


def test_resets_that_wait_are_bounded() -> None:
    pair = Pair()
    a, _ = opened(pair)
    a.abort(pair.now)
    (run,) = pair.a.host.take_packets(pair.now, 64)
    for _ in range(2 * MAX_REPLIES):
        pair.a.host._keep(pair.now, 0, run)
    assert len(pair.a.host._again) == MAX_REPLIES


def test_the_last_acknowledgement_is_repeated_by_a_host_that_goes_away() -> None:
    pair = Pair()
    a, b = opened(pair)
    a.shutdown(pair.now)
    pair.run(100 * MILLISECOND)
    # Whatever acknowledges the other end's FIN by itself is lost.
    final = a.wire_acknowledgement() + 1
    lost: list[bytes] = []

    def passes(packet: bytes) -> bool:
        segment = TcpSegment.decode(memoryview(packet)[20:])
        if packet[12:16] == IP_A and segment.acknowledgement == final and not lost:
            lost.append(packet)
            return False
        return True

    pair.deliverable = passes
    b.shutdown(pair.now)
    pair.run(50 * MILLISECOND)
    assert lost
    assert (a.state, b.state) == (State.TIME_WAIT, State.LAST_ACK)
    assert pair.a.host.repeat_last(pair.now)
    runs = pair.a.host.take_packets(pair.now, 64)
    packets = [header + bytes(body) for run in runs for header, body in run.packets]
    receive_each(pair, packets)
    assert b.fin_acknowledged
    assert b.state is State.CLOSED
    # Who would have been asked again by now needs no reminder.
    pair.run(1 * SECOND)
    assert not pair.a.host.repeat_last(pair.now)


def test_a_host_without_ended_connections_repeats_nothing() -> None:
    pair = Pair()
    opened(pair)
    assert not pair.a.host.repeat_last(pair.now)
    assert not pair.a.host.take_packets(pair.now, 64)


def test_the_reset_is_repeated_by_a_host_that_goes_away() -> None:
    pair = Pair()
    a, b = opened(pair)
    a.abort(pair.now)
    seen = []
    for _ in range(3):
        assert pair.a.host.repeat_last(pair.now)
        runs = pair.a.host.take_packets(pair.now, 64)
        seen.append([header + bytes(body) for run in runs for header, body in run.packets])
    # The first two are lost.
    assert seen[0] == seen[1]
    receive_each(pair, seen[2])
    assert b.state is State.CLOSED
    assert isinstance(b.error, ConnectionResetError)
    # Whoever was told often enough needs no reminder.
    pair.run(2 * SECOND)
    assert not pair.a.host.repeat_last(pair.now)
