"""Bursts against single segments: the short ways leave what the plain one does."""

from __future__ import annotations

import pytest

from tests.support.events import taken
from tests.support.switches import SeededEntropy
from tests.support.tcp_burst import (
    answers,
    data_of,
    opened,
    packets_from,
    packets_of,
    receive_burst,
    receive_each,
)
from tests.support.tcp_pair import IP_A, IP_B, Pair, burst_of, sealed
from ztstack.base.errors import Drop
from ztstack.base.frame import Burst, EtherType
from ztstack.base.timers import MILLISECOND, SECOND
from ztstack.base.trace import ListTracer
from ztstack.ip.packets.checksum import checksum
from ztstack.ip.packets.tcp import Flags, TcpSegment
from ztstack.ip.tcp.connection import Connection
from ztstack.ip.tcp.departure import ip_header
from ztstack.ip.tcp.host import TcpHost
from ztstack.ip.tcp.state import State


@pytest.mark.parametrize("is_shut", [False, True])
@pytest.mark.parametrize("size", [1, 2748, 5 * 2748, 22 * 2748, 22 * 2748 + 13, 2 * 2748 + 1])
def test_a_burst_is_what_its_segments_are(size: int, is_shut: bool) -> None:
    """The fast path and the plain one leave the same state, data, events and answers.

    Also if the reader has ended its own stream, and learns only now that this is known.
    """
    seen = []
    for is_burst in (True, False):
        pair = Pair()
        connection, sink = opened(pair)
        if is_shut:
            sink.shutdown(pair.now)
            for run in pair.b.host.take_packets(pair.now, 1):
                ((head, _),) = run.packets
                pair.a.host.receive(pair.now, IP_B, IP_A, memoryview(head)[20:])
        packets = packets_from(pair, connection, data_of(size))
        if is_burst:
            assert receive_burst(pair, burst_of(packets))
        else:
            receive_each(pair, packets)
        assert sink.received.size == size
        wake = answers(pair)
        assert len(wake) == 1
        events = {type(event) for event in taken(pair.b.host.events)}
        data = b"".join(sink.read(pair.now, 1 << 20))
        assert data == data_of(size)
        seen.append((wake, events, sink.state, sink.received.next, pair.b.tracer.drops))
    assert seen[0] == seen[1]


@pytest.mark.parametrize(
    "order",
    [[1, 0, 2, 3, 4, 5, 6, 7], [0, 1, 2, 4, 5, 6, 7, 3], [0, 0, 1, 1, 2, 3, 4, 5, 6, 7], [3, 4, 5]],
)
def test_a_burst_out_of_order(order: list[int]) -> None:
    seen = []
    for is_burst in (True, False):
        pair = Pair()
        packets = packets_of(pair, data_of(8 * 2748))
        packets = [packets[i] for i in order]
        if is_burst:
            assert receive_burst(pair, burst_of(packets))
        else:
            receive_each(pair, packets)
        seen.append(answers(pair))
    assert seen[0] == seen[1]


def acknowledgements(
    pair: Pair, sizes: list[int], *, is_shut: bool = False
) -> tuple[Connection, list[bytes]]:
    """Send pieces from `a`; return its end and the answers of `b` to each, not delivered."""
    a, b = opened(pair)
    if is_shut:
        b.shutdown(pair.now)
        pair.run(1 * SECOND)
        assert a.state is State.CLOSE_WAIT
    a.congestion.window = 1 << 20
    found: list[bytes] = []
    for size in sizes:
        a.write(pair.now, data_of(size))
        for run in pair.a.host.take_packets(pair.now, 64):
            receive_each(pair, [header + bytes(body) for header, body in run.packets])
        pair.now += 2 * MILLISECOND
        found += [header for header, _ in answers(pair)]
        b.read(pair.now, 1 << 20)
    return a, found


def after_acknowledgements(
    order: list[int], *, is_burst: bool, is_steady: bool, is_shut: bool, stripped: frozenset[int]
) -> list[object]:
    """Return what a sender is after these of three answers, and what it told."""
    pair = Pair(stripped=stripped)
    a, found = acknowledgements(pair, [2 * 2748, 3 * 2748, 100], is_shut=is_shut)
    assert len(found) == 3
    if is_steady:
        a.congestion.threshold = a.congestion.window
    assert a.is_steady is is_steady
    packets = [found[i] for i in order]
    pair.a.host.events.clear()
    if is_burst:
        assert pair.a.host.receive_burst(pair.now, EtherType.IPV4, burst_of(packets))
    else:
        for packet in packets:
            pair.a.host.receive(pair.now, IP_B, IP_A, memoryview(packet)[20:])
    assert a.send_unacknowledged == 1 + [5496, 13740, 13840][max(order)]
    assert bool(a.stamps) is not bool(stripped)
    events = [type(event) for event in taken(pair.a.host.events)]
    return [
        *(a.congestion.window, a.peer_window, a.window_from, a.stamp_recent, a.state),
        *(a.rtt.smoothed_us, pair.a.host.next_timer(), a.buffer.start),
        *(events, pair.a.tracer.drops),
    ]


@pytest.mark.parametrize("stripped", [frozenset[int](), frozenset({8})])
@pytest.mark.parametrize("is_shut", [False, True])
@pytest.mark.parametrize("order", [[0], [0, 1, 2], [2], [0, 2, 1], [1, 1], [0, 1, 1, 2], [2, 1, 0]])
def test_a_burst_of_acknowledgements(
    order: list[int], is_shut: bool, stripped: frozenset[int]
) -> None:
    """The short way for what only acknowledges leaves the same state as the plain one."""
    burst, plain = (
        after_acknowledgements(
            order, is_burst=is_burst, is_steady=False, is_shut=is_shut, stripped=stripped
        )
        for is_burst in (True, False)
    )
    assert burst == plain


@pytest.mark.parametrize("stripped", [frozenset[int](), frozenset({8})])
@pytest.mark.parametrize("is_shut", [False, True])
@pytest.mark.parametrize(
    ("order", "same"),
    [([0, 1, 2], [2]), ([0, 2, 1], [2, 1]), ([1, 1], [1, 1]), ([0, 1, 1, 2], [1, 1, 2])],
)
def test_of_leading_acknowledgements_the_last_is_enough(
    order: list[int], same: list[int], is_shut: bool, stripped: frozenset[int]
) -> None:
    """A steady connection is after a burst what it is when all but the last were lost."""
    burst, plain = (
        after_acknowledgements(
            taken_in, is_burst=is_burst, is_steady=True, is_shut=is_shut, stripped=stripped
        )
        for taken_in, is_burst in ((order, True), (same, False))
    )
    assert burst == plain


@pytest.mark.parametrize(("spoiled", "drops"), [(0, []), (1, []), (2, [Drop.BAD_CHECKSUM])])
def test_only_the_last_of_many_acknowledgements_has_to_be_right(
    spoiled: int, drops: list[Drop]
) -> None:
    pair = Pair()
    a, found = acknowledgements(pair, [2 * 2748, 3 * 2748, 100])
    a.congestion.threshold = a.congestion.window
    packet = bytearray(found[spoiled])
    packet[34] ^= 0x10  # the window
    found[spoiled] = bytes(packet)
    burst = burst_of(found)
    if pair.a.host.take_burst(pair.now, EtherType.IPV4, burst):
        for one in found:
            pair.a.host.receive(pair.now, IP_B, IP_A, memoryview(one)[20:])
    assert pair.a.tracer.drops == drops
    assert a.send_unacknowledged == 1 + [5496, 13740, 13840][1 if spoiled == 2 else 2]


def with_window(packet: bytes, window: int) -> bytes:
    segment = bytearray(packet[20:])
    segment[14:16] = window.to_bytes(2, "big")
    return packet[:20] + sealed(bytes(segment), IP_B, IP_A)


@pytest.mark.parametrize(
    ("windows", "is_one"), [([50, 60], True), ([60, 50, 60], True), ([50, 50], False)]
)
def test_a_window_that_changes_is_no_duplicate(windows: list[int], is_one: bool) -> None:
    """It counts as an acknowledgement that was lost, unless it is the last."""
    seen = []
    for is_burst in (True, False):
        pair = Pair()
        a, found = acknowledgements(pair, [2 * 2748, 3 * 2748, 100])
        a.congestion.threshold = a.congestion.window
        packets = [found[0], *(with_window(found[1], window) for window in windows)]
        if is_burst:
            # Nobody looks at the checksum of what is as good as lost.
            packets[0] = with_window(packets[0], 70)[:36] + packets[0][36:]
            assert pair.a.host.receive_burst(pair.now, EtherType.IPV4, burst_of(packets)) is is_one
        else:
            pair.a.host.receive(pair.now, IP_B, IP_A, memoryview(packets[-1])[20:])
        seen.append((a.send_unacknowledged, a.peer_window, a.congestion.window))
    assert (seen[0] == seen[1]) is is_one


def test_acknowledgements_of_two_connections_in_one_burst() -> None:
    """None is taken for the other's, though all of them only acknowledge."""
    pair = Pair()
    found, ends = [], []
    for port in (50_000, 50_001):
        b_listener = pair.listen(port - 40_000)
        a = pair.connect(port - 40_000, port)
        pair.run(1 * SECOND)
        b = b_listener.accept()
        assert b is not None
        a.congestion.window = a.congestion.threshold = 1 << 20
        for size in (2 * 2748, 3 * 2748):
            a.write(pair.now, data_of(size))
            for run in pair.a.host.take_packets(pair.now, 64):
                receive_each(pair, [header + bytes(body) for header, body in run.packets])
            pair.now += 2 * MILLISECOND
            found += [header for header, _ in answers(pair)]
        ends.append(a)
    assert len(found) == 4
    assert pair.a.host.take_burst(pair.now, EtherType.IPV4, burst_of(found)) == []
    assert [a.in_flight for a in ends] == [0, 0]


@pytest.mark.parametrize("at", [4, 8, 13, 24, 31])
def test_an_odd_acknowledgement_is_for_the_plain_path(at: int) -> None:
    """Another number, flag or option: both ways come to the same end."""
    seen = []
    for is_burst in (True, False):
        pair = Pair()
        a, (packet,) = acknowledgements(pair, [2 * 2748])
        segment = bytearray(packet[20:])
        segment[at] ^= 0x10
        odd = packet[:20] + sealed(bytes(segment), IP_B, IP_A)
        if is_burst:
            assert pair.a.host.receive_burst(pair.now, EtherType.IPV4, burst_of([odd]))
        else:
            pair.a.host.receive(pair.now, IP_B, IP_A, memoryview(odd)[20:])
        seen.append((a.send_unacknowledged, a.stamp_recent, pair.a.tracer.drops, a.state))
    assert seen[0] == seen[1]


@pytest.mark.parametrize("count", [2, 8])
def test_rows_that_were_filtered(count: int) -> None:
    pair = Pair()
    packets = packets_of(pair, data_of(2 * count * 2748))
    burst = burst_of(packets)
    burst.rows, burst.lengths = burst.rows[:count], burst.lengths[:count]
    # What was filtered may be anything.
    at = count * burst.stride + 40
    burst.arena[at] ^= 0xFF
    assert receive_burst(pair, burst)
    assert pair.b.tracer.drops == []


@pytest.mark.parametrize("count", [2, 8])
@pytest.mark.parametrize(
    "at", [0, 2, 6, 8, 9, 10, 12, 16, 20, 22, 24, 28, 32, 33, 34, 36, 40, 2799]
)
def test_a_wrong_byte_is_for_the_plain_path(count: int, at: int) -> None:
    """A burst with any wrong byte is left as it was."""
    pair = Pair()
    packets = packets_of(pair, data_of(count * 2748))
    wrong = bytearray(packets[1])
    wrong[at] ^= 0x04
    packets[1] = bytes(wrong)
    assert not receive_burst(pair, burst_of(packets))
    assert answers(pair) == []
    assert pair.b.tracer.drops == []


@pytest.mark.parametrize(("at", "bits"), [(6, 0x20), (7, 0x01)])
def test_fragments_are_for_the_plain_path(at: int, bits: int) -> None:
    pair = Pair()
    packets = packets_of(pair, data_of(8 * 2748))
    head = bytearray(packets[3][:20])
    head[at] |= bits
    head[10:12] = bytes(2)
    head[10:12] = checksum(bytes(head)).to_bytes(2, "big")
    packets[3] = bytes(head) + packets[3][20:]
    assert not receive_burst(pair, burst_of(packets))


def test_packets_cut_short_are_for_the_plain_path() -> None:
    pair = Pair()
    packets = packets_of(pair, data_of(8 * 2748))
    for cut in (1, 20, 39, 40, 2799):
        assert not receive_burst(pair, burst_of([*packets[:3], packets[3][:cut]]))
    assert receive_burst(pair, Burst(bytearray(), 4, [], []))


def test_a_burst_for_an_address_that_left() -> None:
    """The interface knows what to do with a packet that is not ours any more."""
    tracer, ours = ListTracer(), {IP_B}
    host = TcpHost(SeededEntropy(1), tracer, lambda ip: ip in ours, [])
    host.listen(0, None, 80, 4)
    syn = TcpSegment(50_000, 80, 7, 0, Flags.SYN, 1000).encode(IP_A, IP_B)
    host.receive(0, IP_A, IP_B, memoryview(syn))
    ((head, _),) = host.take_packets(0, 22)[0].packets
    number = int.from_bytes(head[24:28], "big") + 1
    segment = TcpSegment(50_000, 80, 8, number, Flags.ACK, 1000, payload=b"hello")
    packet = ip_header(IP_A + IP_B, 25)
    packet += segment.encode(IP_A, IP_B) + b"hello"
    ours.clear()
    assert not host.receive_burst(0, EtherType.IPV4, burst_of([packet]))
    ours.add(IP_B)
    assert host.receive_burst(0, EtherType.IPV4, burst_of([packet]))


@pytest.mark.parametrize(("size", "is_copy"), [(600, True), (4 * 2748, False)])
def test_little_data_does_not_keep_a_large_arena(size: int, is_copy: bool) -> None:
    pair = Pair()
    packets = packets_of(pair, data_of(size))
    burst = burst_of([*packets, *[bytes(2800)] * 3])
    burst.rows, burst.lengths = burst.rows[: len(packets)], burst.lengths[: len(packets)]
    assert receive_burst(pair, burst)
    sink = next(e.socket for e in reversed(pair.b.events))
    assert isinstance(sink, Connection)
    views = sink.read(pair.now, 1 << 20)
    assert b"".join(views) == data_of(size)
    assert all((view.obj is not burst.arena) == is_copy for view in views)


def test_other_ethertypes_and_flows() -> None:
    pair = Pair()
    packets = packets_of(pair, data_of(8 * 2748))
    assert not pair.b.host.receive_burst(pair.now, EtherType.ARP, burst_of(packets))
    assert not pair.b.host.receive_burst(pair.now, EtherType.IPV6, burst_of(packets))
    assert not pair.a.host.receive_burst(pair.now, EtherType.IPV4, burst_of(packets))
