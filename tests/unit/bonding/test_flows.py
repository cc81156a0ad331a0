"""Which packets are one flow, and which path a flow has."""

from __future__ import annotations

import struct

import pytest

from ztstack.base.endpoint import Endpoint
from ztstack.base.timers import SECOND
from ztstack.bonding.flows import EXPIRY_US, PAUSE_US, Flows, flow_of
from ztstack.bonding.lane import Lane
from ztstack.vl1.path import Path, PathKey

NOW = 1_000 * SECOND
TCP, UDP, ICMP = 6, 17, 1


def ipv4(
    protocol: int = TCP, source: int = 1, port: int = 1000, *, offset: int = 0, options: bytes = b""
) -> bytes:
    first = 0x45 + len(options) // 4
    head = struct.pack(">BBHHHBBH", first, 0, 40, 0, offset, 64, protocol, 0)
    addresses = bytes((10, 0, 0, source, 10, 0, 0, 9))
    return head + addresses + options + struct.pack(">HH", port, 80) + bytes(16)


def ipv6(protocol: int = TCP, source: int = 1, port: int = 1000) -> bytes:
    head = struct.pack(">IHBB", 6 << 28, 20, protocol, 64)
    addresses = bytes(15) + bytes((source,)) + bytes(15) + b"\x09"
    return head + addresses + struct.pack(">HH", port, 80) + bytes(16)


@pytest.mark.parametrize("make", [ipv4, ipv6])
def test_a_flow_is_addresses_protocol_and_ports(make: object) -> None:
    assert callable(make)
    flows = [
        make(),
        make(port=1001),
        make(source=2),
        make(protocol=UDP),
    ]
    numbers = [flow_of(one, b"") for one in flows]
    assert len(set(numbers)) == len(flows)
    assert 0 not in numbers
    assert flow_of(make(), b"more") == numbers[0]


def test_where_the_packet_is_divided_does_not_matter() -> None:
    for whole in (ipv4(), ipv6()):
        assert flow_of(whole[:20], whole[20:]) == flow_of(whole, b"") == flow_of(b"", whole)


def test_options_are_passed_over() -> None:
    assert flow_of(ipv4(options=bytes(8)), b"") == flow_of(ipv4(), b"")
    assert flow_of(ipv4(options=bytes(8), port=7), b"") != flow_of(ipv4(), b"")


def test_fragments_and_others_go_by_their_addresses() -> None:
    assert flow_of(ipv4(port=1, offset=0x2000), b"") == flow_of(ipv4(port=2, offset=5), b"")
    assert flow_of(ipv4(ICMP, port=1), b"") == flow_of(ipv4(ICMP, port=2), b"")


@pytest.mark.parametrize("packet", [b"", b"E", bytes(60), b"\x60" + bytes(30)])
def test_what_is_no_ip_packet_is_no_flow(packet: bytes) -> None:
    assert flow_of(packet, b"") == 0


def lanes(count: int) -> list[Lane]:
    return [
        Lane(NOW, Path(PathKey(0, Endpoint(bytes((10, 0, 0, n + 1)), 9993)))) for n in range(count)
    ]


def test_new_flows_are_shared_evenly_and_stay() -> None:
    flows, paths = Flows(), lanes(3)
    chosen = {flow: flows.lane(NOW, flow, paths) for flow in range(1, 64)}
    assert [lane.flows for lane in paths] == [21, 21, 21]
    for second in range(100):
        now = NOW + second * SECOND
        assert all(flows.lane(now, flow, paths) is lane for flow, lane in chosen.items())


def test_a_lost_path_gives_its_flows_to_the_others() -> None:
    flows, paths = Flows(), lanes(3)
    before = {flow: flows.lane(NOW, flow, paths) for flow in range(1, 61)}
    after = {flow: flows.lane(NOW, flow, paths[1:]) for flow in range(1, 61)}
    assert [lane.flows for lane in paths] == [0, 30, 30]
    assert all(after[flow] is lane for flow, lane in before.items() if lane is not paths[0])


def test_flows_return_when_they_pause() -> None:
    flows, paths = Flows(), lanes(2)
    for flow in range(1, 11):
        flows.lane(NOW, flow, paths[:1])
    busy = NOW + PAUSE_US
    assert all(flows.lane(busy, flow, paths) is paths[0] for flow in range(1, 11))
    later = busy + PAUSE_US + 1
    for flow in range(1, 11):
        flows.lane(later, flow, paths)
    assert abs(paths[0].flows - paths[1].flows) <= 2


def test_quiet_flows_are_forgotten() -> None:
    flows, paths = Flows(), lanes(2)
    flows.lane(NOW, 1, paths)
    flows.lane(NOW + SECOND, 2, paths)
    flows.expire(NOW + EXPIRY_US)
    assert (len(flows), [lane.flows for lane in paths]) == (1, [0, 1])
    flows.forget(paths[1])
    assert len(flows) == 0
