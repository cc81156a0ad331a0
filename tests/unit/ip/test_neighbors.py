"""The neighbour table: scripts with explicit times, and the whole output each time."""

from __future__ import annotations

import ipaddress

from ztstack.base.codec import Reader
from ztstack.base.errors import Drop
from ztstack.base.frame import EtherType, FrameBatch
from ztstack.base.mac import BROADCAST, Mac
from ztstack.base.timers import SECOND
from ztstack.base.trace import ListTracer
from ztstack.ip.addresses import multicast_mac, solicited_node
from ztstack.ip.neighbors import (
    ASK_US,
    CONFIRMS,
    FRESH_US,
    MAX_NEIGHBORS,
    MAX_PENDING_PACKETS,
    Neighbors,
    Unresolved,
)
from ztstack.ip.packets.arp import REQUEST, ArpPacket
from ztstack.ip.packets.icmpv6 import Icmpv6Message, Solicitation
from ztstack.ip.packets.ipv6 import Ipv6Packet


def ip(text: str) -> bytes:
    return ipaddress.ip_address(text).packed


OWN_MAC, PEER_MAC, OTHER_MAC = Mac(0x020000000001), Mac(0x020000000002), Mac(0x020000000003)
OWN4, PEER4 = ip("10.0.0.1"), ip("10.0.0.2")
OWN6, PEER6 = ip("fd00::1"), ip("fd00::2:3456")


def table() -> tuple[Neighbors, ListTracer]:
    tracer = ListTracer()
    return Neighbors(OWN_MAC, lambda to: OWN4 if len(to) == 4 else OWN6, tracer), tracer


def arp_request(batch: FrameBatch) -> ArpPacket:
    assert batch.ethertype == EtherType.ARP
    ((header, body),) = batch.packets
    return ArpPacket.decode(Reader(header + body))


def test_asks_then_sends_what_waited() -> None:
    neighbors, tracer = table()
    assert neighbors.resolve(0, PEER4) is None
    neighbors.park(PEER4, [(b"head", memoryview(bytearray(b"body")))])
    (question,) = neighbors.take_frames()
    assert question.destination == BROADCAST
    assert arp_request(question) == ArpPacket(REQUEST, OWN_MAC, OWN4, Mac(0), PEER4)
    assert neighbors.get(PEER4) is None
    assert neighbors.next_timer() == ASK_US[0]

    neighbors.learn(10, PEER4, PEER_MAC, create=False)
    assert neighbors.take_frames() == [FrameBatch(PEER_MAC, EtherType.IPV4, [(b"head", b"body")])]
    assert neighbors.resolve(11, PEER4) == PEER_MAC
    assert neighbors.get(PEER4) == PEER_MAC
    assert neighbors.take_frames() == []
    assert neighbors.next_timer() is None
    assert tracer.drops == []


def test_asks_for_ipv6_on_the_solicited_node_group() -> None:
    neighbors, _ = table()
    neighbors.resolve(0, PEER6)
    (question,) = neighbors.take_frames()
    group = solicited_node(PEER6)
    assert (question.destination, question.ethertype) == (multicast_mac(group), EtherType.IPV6)
    ((header, body),) = question.packets
    packet = Ipv6Packet.decode(Reader(header + bytes(body)))
    assert (packet.source, packet.destination, packet.hop_limit) == (OWN6, group, 255)
    message = Icmpv6Message.decode(Reader(packet.payload), OWN6, group)
    assert Solicitation.of(message) == Solicitation(PEER6, OWN_MAC)


def test_some_questions_then_nobody() -> None:
    neighbors, _ = table()
    neighbors.resolve(0, PEER4)
    neighbors.park(PEER4, [(b"head", b"body")])
    asked = len(neighbors.take_frames())
    now = 0
    for wait in ASK_US[:-1]:
        now += wait
        neighbors.handle_timer(now - 1)
        assert neighbors.take_frames() == []
        neighbors.handle_timer(now)
        asked += len(neighbors.take_frames())
        assert neighbors.take_unresolved() == []
    # Stock nodes may begin to listen after 5 s.
    assert asked == len(ASK_US)
    assert now > 5 * SECOND
    neighbors.handle_timer(now + ASK_US[-1])
    assert neighbors.take_unresolved() == [Unresolved(PEER4, [(b"head", b"body")])]
    assert neighbors.take_unresolved() == []
    assert neighbors.next_timer() is None


def test_a_mapping_in_use_is_confirmed_by_the_neighbour_itself() -> None:
    neighbors, _ = table()
    neighbors.learn(0, PEER4, PEER_MAC, create=True)
    assert neighbors.resolve(FRESH_US - 1, PEER4) == PEER_MAC
    assert neighbors.take_frames() == []
    assert neighbors.resolve(FRESH_US, PEER4) == PEER_MAC
    assert [batch.destination for batch in neighbors.take_frames()] == [PEER_MAC]
    neighbors.learn(FRESH_US + 5, PEER4, PEER_MAC, create=False)
    assert neighbors.next_timer() is None


def test_a_neighbour_that_moved_is_asked_for_again() -> None:
    neighbors, _ = table()
    neighbors.learn(0, PEER6, PEER_MAC, create=True)
    now = FRESH_US
    neighbors.resolve(now, PEER6)
    destinations = [batch.destination for batch in neighbors.take_frames()]
    for wait in ASK_US[:CONFIRMS]:
        assert neighbors.get(PEER6) == PEER_MAC
        now += wait
        neighbors.handle_timer(now)
        destinations += [batch.destination for batch in neighbors.take_frames()]
    group = multicast_mac(solicited_node(PEER6))
    assert destinations == [*[PEER_MAC] * CONFIRMS, group]
    assert neighbors.get(PEER6) is None
    neighbors.learn(now, PEER6, OTHER_MAC, create=False)
    assert neighbors.resolve(now, PEER6) == OTHER_MAC


def test_only_whom_we_asked_unless_they_spoke_to_us() -> None:
    neighbors, _ = table()
    neighbors.learn(0, PEER4, PEER_MAC, create=False)
    assert neighbors.get(PEER4) is None
    neighbors.learn(0, PEER4, PEER_MAC, create=True)
    assert neighbors.get(PEER4) == PEER_MAC


def test_macs_that_nobody_can_have() -> None:
    neighbors, tracer = table()
    for mac in (BROADCAST, Mac(0), OWN_MAC, Mac(0x333300000001)):
        neighbors.learn(0, PEER4, mac, create=True)
    assert neighbors.get(PEER4) is None
    assert tracer.drops == [Drop.MALFORMED] * 4


def test_what_waits_is_bounded() -> None:
    neighbors, tracer = table()
    neighbors.resolve(0, PEER4)
    neighbors.park(PEER4, [(b"", bytes(100))] * (MAX_PENDING_PACKETS + 2))
    assert tracer.drops == [Drop.QUEUE_FULL] * 2
    neighbors.resolve(0, OWN6)
    neighbors.park(OWN6, [(b"", bytes(60_000))] * 5)
    assert tracer.drops == [Drop.QUEUE_FULL] * 3
    neighbors.park(PEER6, [(b"", b"")])
    assert tracer.drops == [Drop.QUEUE_FULL] * 4


def test_the_table_is_bounded() -> None:
    neighbors, tracer = table()
    neighbors.resolve(0, PEER4)
    neighbors.park(PEER4, [(b"", b"")])
    for number in range(MAX_NEIGHBORS):
        neighbors.learn(0, b"\x0b\x00" + number.to_bytes(2, "big"), PEER_MAC, create=True)
    assert tracer.drops == [Drop.QUEUE_FULL]
    neighbors.handle_timer(ASK_US[0])
    assert neighbors.next_timer() is None
