"""The way out: sources, TCP runs, path sizes."""

from __future__ import annotations

import pytest

from tests.support.ethernet import SeededEntropy, ip
from ztstack.base.endpoint import Endpoint
from ztstack.base.errors import Drop, InvalidConfig, Unreachable
from ztstack.base.frame import EtherType, FrameBatch
from ztstack.base.mac import Mac
from ztstack.base.trace import ListTracer
from ztstack.ip.departure import MAX_LOCAL_PACKETS, PATH_MTU_LIFE_US, Departure
from ztstack.ip.tcp.host import SegmentRun

A4, B4, GATE = ip("10.0.0.1"), ip("10.0.0.2"), ip("10.0.0.9")
A6 = ip("fd00::1")
PEER = Mac(0x020000000002)


def departure() -> tuple[Departure, ListTracer]:
    tracer = ListTracer()
    made = Departure(Mac(0x020000000001), 2800, SeededEntropy(1), tracer)
    made.set_addresses([(A4, 24), (A6, 64)])
    made.set_routes([(ip("192.168.0.0"), 16, GATE)])
    return made, tracer


def run_to(remote: bytes, packets: list[tuple[bytes, bytes | memoryview]]) -> SegmentRun:
    return SegmentRun(Endpoint(A4, 5), Endpoint(remote, 6), packets)


def test_a_run_passes_untouched() -> None:
    made, _ = departure()
    made.neighbors.learn(0, GATE, PEER, create=True)
    packets: list[tuple[bytes, bytes | memoryview]] = [(b"h", memoryview(b"b"))] * 22
    batch = made.send_run(0, run_to(ip("192.168.1.1"), packets))
    assert batch == FrameBatch(PEER, EtherType.IPV4, packets)
    assert batch.packets is packets
    assert not made.has_output


def test_a_run_waits_as_copies() -> None:
    made, _ = departure()
    buffer = bytearray(b"body")
    assert made.send_run(0, run_to(B4, [(b"head", memoryview(buffer))])) is None
    assert [batch.ethertype for batch in made.take_frames(22)] == [EtherType.ARP]
    buffer[:] = b"gone"
    made.neighbors.learn(0, B4, PEER, create=False)
    assert made.take_frames(22) == [FrameBatch(PEER, EtherType.IPV4, [(b"head", b"body")])]


def test_a_run_to_ourselves_is_copied_within_bounds() -> None:
    made, tracer = departure()
    made.send_run(0, run_to(A4, [(b"head", memoryview(b"body"))]))
    assert made.take_frames(22) == []
    assert made.take_local() == [(EtherType.IPV4, b"headbody")]
    assert not made.has_output
    made.send_run(0, run_to(A4, [(b"", b"")] * (MAX_LOCAL_PACKETS + 1)))
    assert len(made.take_local()) == MAX_LOCAL_PACKETS
    assert tracer.drops == [Drop.QUEUE_FULL]


def test_no_route_any_more() -> None:
    made, tracer = departure()
    made.set_addresses([])
    assert made.send_run(0, run_to(B4, [(b"h", b"b")])) is None
    made.send(0, A4, B4, 17, b"x")
    assert tracer.drops == [Drop.NO_ROUTE] * 2


def test_sources() -> None:
    made, _ = departure()
    assert made.choose_source(B4) == A4
    assert made.choose_source(ip("192.168.1.1")) == A4
    assert made.choose_source(A6) == A6
    assert made.choose_source(ip("ff02::1")) == A6
    assert made.choose_source(B4, A4) == A4
    with pytest.raises(InvalidConfig):
        made.choose_source(B4, A6)
    with pytest.raises(InvalidConfig):
        made.choose_source(b"abc")
    with pytest.raises(Unreachable):
        made.choose_source(ip("8.8.8.8"))
    made.set_addresses([])
    with pytest.raises(Unreachable):
        made.choose_source(ip("224.0.0.1"))


def test_path_mtu() -> None:
    made, _ = departure()
    made.note_path_mtu(0, B4, 9000)
    assert made.mtu_for(0, B4) == 2800
    made.note_path_mtu(0, B4, 100)
    made.note_path_mtu(0, A6, 100)
    assert (made.mtu_for(0, B4), made.mtu_for(0, A6)) == (576, 1280)
    assert made.mtu_for(PATH_MTU_LIFE_US, B4) == 2800
    made.set_mtu(500)
    assert made.mtu == 1280
    assert made.mtu_for(0, B4) == 576


def test_a_packet_that_no_ip_header_can_announce() -> None:
    made, tracer = departure()
    made.send(0, A4, B4, 17, bytes(65_516))
    assert tracer.drops == [Drop.TOO_LONG]
    assert not made.has_output
