"""Interfaces joined by a wire: resolution, ping, UDP, errors, bounds."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given, strategies as st

from tests.support.ethernet import Host, Wire, burst_of, ip
from ztstack.base.codec import Reader, Writer
from ztstack.base.endpoint import Endpoint
from ztstack.base.errors import ConnectRefused, Drop, InvalidConfig, PortInUse, Unreachable
from ztstack.base.frame import EtherType, Frame
from ztstack.base.mac import BROADCAST, Mac
from ztstack.ip import icmp_errors
from ztstack.ip.addresses import ANY4
from ztstack.ip.events import Pong, Readable
from ztstack.ip.neighbors import ASK_US
from ztstack.ip.packets import icmpv4, icmpv6
from ztstack.ip.packets.arp import REPLY, REQUEST, ArpPacket
from ztstack.ip.packets.icmpv4 import Icmpv4Message
from ztstack.ip.packets.icmpv6 import Advertisement, Icmpv6Message, Solicitation
from ztstack.ip.packets.ipv4 import ICMP, TCP, UDP, Ipv4Packet
from ztstack.ip.packets.ipv6 import ICMPV6, Ipv6Packet
from ztstack.ip.packets.udp import UdpDatagram

A4, B4, C4 = ip("10.0.0.1"), ip("10.0.0.2"), ip("10.0.0.3")
A6, B6 = ip("fd00::1"), ip("fd00::2:3456")
FAMILIES = pytest.mark.parametrize(("a", "b"), [(A4, B4), (A6, B6)])


def pair(mtu: int = 2800, *, bursts: bool = True) -> tuple[Host, Host, Wire]:
    a = Host(1, ["10.0.0.1/24", "fd00::1/64"], mtu)
    b = Host(2, ["10.0.0.2/24", "fd00::2:3456/64"], mtu)
    return a, b, Wire(a, b, bursts=bursts)


def ipv4_frame(packet: Ipv4Packet, to: Host) -> Frame:
    w = Writer()
    packet.encode(w)
    return Frame(to.mac, Mac(0x020000000009), EtherType.IPV4, w.getvalue())


# Resolution and ping.


@FAMILIES
def test_ping(a: bytes, b: bytes) -> None:
    one, two, wire = pair()
    one.interface.ping(wire.now, b, 7, 1, b"hello")
    wire.settle()
    assert one.interface.take_events() == [Pong(b, 7, 1, b"hello")]
    assert one.interface.neighbor(b) == two.mac
    # Who is asked learns who asks: two questions and answers are one too many.
    assert two.interface.neighbor(a) == one.mac
    assert [len(one.sent), len(two.sent)] == [2, 2]
    assert one.tracer.drops == two.tracer.drops == []


@FAMILIES
def test_a_large_ping(a: bytes, b: bytes) -> None:
    one, two, wire = pair(1280)
    data = bytes(range(256)) * 20
    one.interface.ping(wire.now, b, 7, 1, data)
    wire.settle()
    assert one.interface.take_events() == [Pong(b, 7, 1, data)]
    assert max(len(frame.payload) for frame in one.sent + two.sent) <= 1280


def test_groups() -> None:
    one, _, _ = pair()
    groups = {(str(group.mac), group.adi) for group in one.interface.groups()}
    assert groups == {
        ("ff:ff:ff:ff:ff:ff", 0x0A000001),
        ("01:00:5e:00:00:01", 0),
        ("33:33:ff:00:00:01", 0),
        ("33:33:00:00:00:01", 0),
    }
    one.interface.set_addresses(0, [])
    assert one.interface.groups() == frozenset()


def test_answers_arp_for_own_addresses_only() -> None:
    one, _, wire = pair()
    asker = Mac(0x020000000009)
    for target in (A4, C4):
        w = Writer()
        ArpPacket(REQUEST, asker, B4, Mac(0), target).encode(w)
        one.interface.receive_frame(wire.now, Frame(BROADCAST, asker, 0x0806, w.getvalue()))
    (batch,) = one.interface.take_frames(wire.now, 22)
    assert (batch.destination, batch.ethertype) == (asker, EtherType.ARP)
    ((header, body),) = batch.packets
    assert ArpPacket.decode(Reader(header + body)) == ArpPacket(REPLY, one.mac, A4, asker, B4)
    assert one.interface.neighbor(B4) == asker


def test_arp_in_the_name_of_another() -> None:
    one, _, wire = pair()
    w = Writer()
    ArpPacket(REQUEST, Mac(0x02000000000A), B4, Mac(0), A4).encode(w)
    frame = Frame(BROADCAST, Mac(0x020000000009), 0x0806, w.getvalue())
    one.interface.receive_frame(wire.now, frame)
    w = Writer()
    ArpPacket(REPLY, Mac(0x020000000009), A4, one.mac, A4).encode(w)
    one.interface.receive_frame(wire.now, frame._replace(payload=w.getvalue()))
    assert one.tracer.drops == [Drop.MALFORMED] * 2
    assert one.interface.take_frames(wire.now, 22) == []


def solicit(host: Host, now: int, source: bytes, target: bytes, *, hops: int = 255) -> None:
    asker = Mac(0x020000000009)
    group = ip("ff02::1:ff00:1")
    w = Writer()
    mac = None if source == bytes(16) else asker
    Solicitation(target, mac).message().encode(w, source, group)
    packet = Ipv6Packet(source, group, ICMPV6, w.getvalue(), hops)
    w = Writer()
    packet.encode(w)
    frame = Frame(Mac(0x3333FF000001), asker, EtherType.IPV6, w.getvalue())
    host.interface.receive_frame(now, frame)


@pytest.mark.parametrize(
    ("source", "destination", "mac", "solicited"),
    [
        (ip("fe80::9"), ip("fe80::9"), Mac(0x020000000009), True),
        (bytes(16), ip("ff02::1"), Mac(0x333300000001), False),
    ],
)
def test_answers_solicitations(
    source: bytes, destination: bytes, mac: Mac, solicited: bool
) -> None:
    one, _, wire = pair()
    solicit(one, wire.now, source, A6)
    (batch,) = one.interface.take_frames(wire.now, 22)
    assert batch.destination == mac
    ((header, body),) = batch.packets
    packet = Ipv6Packet.decode(Reader(header + bytes(body)))
    assert (packet.source, packet.destination, packet.hop_limit) == (A6, destination, 255)
    message = Icmpv6Message.decode(Reader(packet.payload), A6, destination)
    answer = Advertisement(A6, one.mac, solicited=solicited, override=True)
    assert Advertisement.of(message) == answer


def test_solicitations_that_are_not_answered() -> None:
    one, _, wire = pair()
    solicit(one, wire.now, B6, ip("fd00::7:1"))
    solicit(one, wire.now, B6, A6, hops=254)
    assert one.tracer.drops == [Drop.NOT_LOCAL, Drop.MALFORMED]
    assert one.interface.take_frames(wire.now, 22) == []


# UDP.


@FAMILIES
@pytest.mark.parametrize("size", [0, 1, 1500, 20_000, 65_507])
@pytest.mark.parametrize("bursts", [True, False])
def test_udp_both_ways(a: bytes, b: bytes, size: int, bursts: bool) -> None:
    one, two, wire = pair(bursts=bursts)
    data = (bytes(range(251)) * 262)[:size]
    asker = one.interface.bind_udp(wire.now, None, 0)
    server = two.interface.bind_udp(wire.now, b, 53)
    asker.send(wire.now, data, b, 53)
    wire.settle()
    assert two.interface.take_events() == [Readable(server)]
    assert server.receive() == (data, Endpoint(a, asker.port), b)
    server.send(wire.now, data[::-1], a, asker.port)
    wire.settle()
    assert asker.receive() == (data[::-1], Endpoint(b, 53), a)
    assert max(len(frame.payload) for frame in one.sent + two.sent) <= 2800
    assert one.tracer.drops == two.tracer.drops == []


def quoted_flow(payload: bytes) -> Endpoint:
    """Return to what an ICMP message that fragments are missing refers."""
    if payload[0] >> 4 == 4:
        message4 = Icmpv4Message.decode(Reader(Ipv4Packet.decode(Reader(payload)).payload))
        assert (message4.type, message4.code, len(payload)) == (11, 1, 576)
        return icmp_errors.read_flow(message4.body).remote
    packet = Ipv6Packet.decode(Reader(payload))
    message6 = Icmpv6Message.decode(Reader(packet.payload), packet.source, packet.destination)
    assert (message6.type, message6.code, len(payload)) == (3, 1, 1280)
    return icmp_errors.read_flow(message6.body).remote


@pytest.mark.parametrize("which", [0, 2])
@FAMILIES
def test_a_fragment_is_lost(a: bytes, b: bytes, which: int) -> None:
    """Who has the first fragment tells the sender (RFC 1122 3.3.2, RFC 8200 4.5), who lives on."""
    one, two, wire = pair()
    asker = one.interface.bind_udp(wire.now, None, 0)
    server = two.interface.bind_udp(wire.now, None, 53)
    asker.send(wire.now, b"x", b, 53)
    wire.settle()
    assert server.receive() is not None
    large: list[Frame] = []

    def loses_one(frame: Frame) -> bool:
        if len(frame.payload) > 1000:
            large.append(frame)
        return len(large) == which + 1

    wire.loses = loses_one
    asker.send(wire.now, bytes(20_000), b, 53)
    wire.settle()
    assert server.receive() is None
    two.sent.clear()
    wire.wait(31_000_000)
    assert Drop.QUEUE_TIMEOUT in two.tracer.drops
    told = [frame.payload for frame in two.sent if frame.ethertype != EtherType.ARP]
    assert [quoted_flow(payload) for payload in told if len(payload) > 100] == (
        [Endpoint(b, 53)] if which else []
    )
    assert asker.take_error() is None
    asker.send(wire.now, bytes(20_000), b, 53)
    wire.settle()
    assert server.receive() is not None


@FAMILIES
def test_port_unreachable(a: bytes, b: bytes) -> None:
    one, two, wire = pair()
    asker = one.interface.bind_udp(wire.now, a, 0)
    asker.send(wire.now, b"anybody?", b, 53)
    wire.settle()
    assert two.tracer.drops == [Drop.NO_SOCKET]
    assert one.interface.take_events() == [Readable(asker)]
    assert asker.receive() is None
    assert isinstance(asker.take_error(), ConnectRefused)
    assert asker.take_error() is None


def test_errors_are_bounded() -> None:
    one, two, wire = pair()
    asker = one.interface.bind_udp(wire.now, None, 0)
    for _ in range(10):
        asker.send(wire.now, b"anybody?", B4, 53)
    wire.settle()
    assert two.tracer.drops.count(Drop.RATE_LIMITED) == 9
    assert len(two.sent) == 2  # the ARP reply and one error


@FAMILIES
def test_nobody_has_the_address(a: bytes, b: bytes) -> None:
    one = Host(1, ["10.0.0.1/24", "fd00::1/64"])
    wire = Wire(one)
    asker = one.interface.bind_udp(wire.now, None, 0)
    asker.send(wire.now, b"anybody?", b, 53)
    asker.send(wire.now, bytes(5000), b, 53)
    one.interface.ping(wire.now, b, 1, 1, b"")
    wire.settle()
    assert asker.take_error() is None
    wire.wait(sum(ASK_US) + 100_000)
    assert isinstance(asker.take_error(), Unreachable)
    assert one.interface.take_events() == [Readable(asker)]
    assert len(one.sent) == len(ASK_US)
    assert not one.interface.has_output


def test_broadcasts_reach_open_ports_and_nobody_complains() -> None:
    one, two, wire = pair()
    server = two.interface.bind_udp(wire.now, None, 53)
    asker = one.interface.bind_udp(wire.now, None, 0)
    for group in ("10.0.0.255", "255.255.255.255", "224.0.0.1", "ff02::1"):
        asker.send(wire.now, b"all", ip(group), 53)
        asker.send(wire.now, b"all", ip(group), 54)
        wire.settle()
        received = server.receive()
        assert received is not None
        assert received[2] == ip(group)
    assert two.sent == []
    assert [frame.destination for frame in one.sent[::2]] == [
        BROADCAST,
        BROADCAST,
        Mac(0x01005E000001),
        Mac(0x333300000001),
    ]


def test_udp_to_ourselves() -> None:
    one, _, wire = pair()
    server = one.interface.bind_udp(wire.now, None, 53)
    asker = one.interface.bind_udp(wire.now, None, 0)
    asker.send(wire.now, bytes(9000), A4, 53)
    asker.send(wire.now, b"closed", A6, 54)
    one.interface.ping(wire.now, A6, 1, 2, b"me")
    wire.settle()
    assert server.receive() == (bytes(9000), Endpoint(A4, asker.port), A4)
    assert isinstance(asker.take_error(), ConnectRefused)
    assert Pong(A6, 1, 2, b"me") in one.interface.take_events()
    assert one.sent == []


def test_a_socket_of_all_ipv4_addresses() -> None:
    one, two, wire = pair()
    server = two.interface.bind_udp(wire.now, ANY4, 53)
    asker = one.interface.bind_udp(wire.now, None, 0)
    asker.send(wire.now, b"four", B4, 53)
    asker.send(wire.now, b"six", B6, 53)
    wire.settle()
    assert server.receive() == (b"four", Endpoint(A4, asker.port), B4)
    assert isinstance(asker.take_error(), ConnectRefused)
    server.send(wire.now, b"answer", A4, asker.port)
    wire.settle()
    assert asker.receive() == (b"answer", Endpoint(B4, 53), A4)
    with pytest.raises(InvalidConfig):
        server.send(wire.now, b"", A6, asker.port)
    with pytest.raises(PortInUse):
        two.interface.bind_udp(wire.now, B4, 53)
    assert two.interface.bind_udp(wire.now, B6, 53).port == 53


def test_errors_have_the_numbers_of_the_system() -> None:
    one, _, wire = pair()
    sock = one.interface.bind_udp(wire.now, None, 53)
    with pytest.raises(OSError, match="65508") as long:
        sock.send(wire.now, bytes(65_508), B4, 53)
    with pytest.raises(OSError, match="no route") as nowhere:
        one.interface.connect(wire.now, ip("8.8.8.8"), 80)
    with pytest.raises(OSError, match="in use") as taken:
        one.interface.bind_udp(wire.now, None, 53)
    numbers = [found.value.errno for found in (long, nowhere, taken)]
    assert numbers == [errno.EMSGSIZE, errno.ENETUNREACH, errno.EADDRINUSE]


def test_commands_that_cannot_be() -> None:
    one, _, wire = pair()
    sock = one.interface.bind_udp(wire.now, None, 53)
    with pytest.raises(PortInUse):
        one.interface.bind_udp(wire.now, A4, 53)
    with pytest.raises(InvalidConfig):
        one.interface.bind_udp(wire.now, B4, 54)
    with pytest.raises(InvalidConfig):
        sock.send(wire.now, bytes(65_508), B4, 53)
    with pytest.raises(InvalidConfig):
        one.interface.ping(wire.now, B4, 1, 1, bytes(65_508))
    with pytest.raises(InvalidConfig):
        one.interface.connect(wire.now, B4, 80, local_ip=C4)
    for destination in (ip("8.8.8.8"), ip("fd01::1")):
        with pytest.raises(Unreachable):
            sock.send(wire.now, b"", destination, 53)
        with pytest.raises(Unreachable):
            one.interface.connect(wire.now, destination, 80)
    with pytest.raises(Unreachable):
        one.interface.connect(wire.now, ip("10.0.0.255"), 80)
    with pytest.raises(InvalidConfig):
        one.interface.connect(wire.now, bytes(4), 80)


# Routes.


def test_a_gateway_gets_what_is_for_others() -> None:
    one, two, wire = pair()
    far = ip("192.168.7.7")
    assert not one.interface.has_route(far)
    one.interface.set_routes(wire.now, [(ip("192.168.0.0"), 16, B4), (ip("10.9.0.0"), 16, None)])
    assert one.interface.has_route(far)
    assert one.interface.has_route(ip("10.9.1.1"))
    assert one.interface.has_route(A4)
    assert not one.interface.has_route(ip("8.8.8.8"))
    sock = one.interface.bind_udp(wire.now, None, 0)
    sock.send(wire.now, b"far", far, 9)
    wire.settle()
    assert one.sent[-1].destination == two.mac
    assert one.interface.neighbor(far) == two.mac
    assert two.tracer.drops == [Drop.NOT_LOCAL]


def test_routes_that_are_skipped() -> None:
    one = Host(1, ["10.0.0.1/24"])
    one.interface.set_routes(
        0, [(ip("192.168.0.0"), 16, A4), (ip("fd00::"), 64, None), (bytes(4), 0, b"")]
    )
    assert not one.interface.has_route(ip("192.168.1.1"))
    assert not one.interface.has_route(ip("fd00::1"))


# What must not come in.


def udp_packet(source: bytes, destination: bytes, payload: bytes = b"x") -> Ipv4Packet:
    w = Writer()
    UdpDatagram(1000, 53, payload).encode(w, source, destination)
    return Ipv4Packet(source, destination, UDP, w.getvalue())


def test_drops_name_their_reason() -> None:
    one, _, wire = pair()
    server = one.interface.bind_udp(wire.now, None, 53)
    good = ipv4_frame(udp_packet(B4, A4), one)
    broken = good.payload[:-1] + b"y"
    mangled = good.payload[:8] + b"\x01" + good.payload[9:]
    short_lived = Ipv4Packet(B4, A4, UDP, udp_packet(B4, A4).payload, ttl=0)
    script = [
        (good._replace(destination=Mac(0x02000000000F)), Drop.NOT_LOCAL),
        (good._replace(source=one.mac), Drop.FROM_SELF),
        (good._replace(payload=bytes(2801)), Drop.TOO_LONG),
        (good._replace(ethertype=0x8100), Drop.UNSUPPORTED),
        (good._replace(payload=good.payload[:27]), Drop.MALFORMED),
        (good._replace(payload=broken), Drop.BAD_CHECKSUM),
        (good._replace(payload=mangled), Drop.BAD_CHECKSUM),
        (ipv4_frame(short_lived, one), Drop.HOP_LIMIT),
        (ipv4_frame(udp_packet(B4, C4), one), Drop.NOT_LOCAL),
        (ipv4_frame(udp_packet(A4, A4), one), Drop.FROM_SELF),
        (ipv4_frame(udp_packet(bytes(4), A4), one), Drop.MALFORMED),
        (ipv4_frame(udp_packet(ip("224.0.0.1"), A4), one), Drop.MALFORMED),
        (ipv4_frame(udp_packet(ip("10.0.0.255"), A4), one), Drop.MALFORMED),
    ]
    for frame, reason in script:
        one.tracer.drops.clear()
        one.interface.receive_frame(wire.now, frame)
        assert one.tracer.drops == [reason]
    one.tracer.drops.clear()
    one.interface.receive_burst(wire.now, good.source, good.ethertype, burst_of([good] * 2))
    assert one.tracer.drops == []
    assert server.receive() == server.receive() == (b"x", Endpoint(B4, 1000), A4)
    assert not one.interface.has_output


def test_a_burst_of_packets_that_are_too_long() -> None:
    one, _, wire = pair()
    frame = Frame(one.mac, Mac(9), EtherType.IPV4, bytes(2801))
    one.interface.receive_burst(wire.now, Mac(9), EtherType.IPV4, burst_of([frame]))
    assert one.tracer.drops == [Drop.TOO_LONG]


@FAMILIES
def test_unknown_protocols_are_answered(a: bytes, b: bytes) -> None:
    one, two, wire = pair()
    one.interface.ping(wire.now, b, 1, 1, b"")
    wire.settle()
    w = Writer()
    if len(a) == 4:
        Ipv4Packet(b, a, 99, b"what is this").encode(w)
    else:
        Ipv6Packet(b, a, 99, b"what is this").encode(w)
    ethertype = EtherType.IPV4 if len(a) == 4 else EtherType.IPV6
    one.interface.receive_frame(wire.now, Frame(one.mac, two.mac, ethertype, w.getvalue()))
    (batch,) = one.interface.take_frames(wire.now, 22)
    ((header, body),) = batch.packets
    data = header + bytes(body)
    if len(a) == 4:
        message4 = Icmpv4Message.decode(Reader(Ipv4Packet.decode(Reader(data)).payload))
        assert (message4.type, message4.code) == (icmpv4.UNREACHABLE, icmpv4.CODE_PROTOCOL)
        assert message4.body == w.getvalue()
    else:
        message6 = Icmpv6Message.decode(Reader(Ipv6Packet.decode(Reader(data)).payload), a, b)
        assert (message6.type, message6.code, message6.word) == (icmpv6.PARAMETER_PROBLEM, 1, 6)
        assert message6.body == w.getvalue()


# Errors that come in.


def test_too_big_makes_smaller_fragments() -> None:
    one, two, wire = pair()
    sock = one.interface.bind_udp(wire.now, None, 0)
    sock.send(wire.now, bytes(2000), B4, 53)
    two.interface.bind_udp(wire.now, None, 53)
    wire.settle()
    cause = one.sent[-1].payload
    assert len(cause) == 2028
    for mtu in (1400, 1800):
        # What a path takes does not become more by such a message (RFC 8201 section 4).
        tell_too_big(one, wire, cause, mtu)
    one.sent.clear()
    sock.send(wire.now, bytes(2000), B4, 53)
    wire.settle()
    assert [len(frame.payload) for frame in one.sent] == [1396, 652]
    assert sock.take_error() is None
    wire.wait(601_000_000)
    one.sent.clear()
    sock.send(wire.now, bytes(2000), B4, 53)
    wire.settle()
    assert max(len(frame.payload) for frame in one.sent) == 2028


def tell_too_big(host: Host, wire: Wire, cause: bytes, mtu: int) -> None:
    w = Writer()
    Icmpv4Message(icmpv4.UNREACHABLE, icmpv4.CODE_TOO_BIG, mtu, cause[:28]).encode(w)
    error = Ipv4Packet(ip("10.0.0.77"), A4, ICMP, w.getvalue())
    host.interface.receive_frame(wire.now, ipv4_frame(error, host))


def quoted(protocol: int, ports: bytes) -> bytes:
    """Return the beginning of a packet of 2800 bytes from A to B."""
    w = Writer()
    Ipv4Packet(A4, B4, protocol, ports + bytes(2776)).encode(w)
    return w.getvalue()


@pytest.mark.parametrize(
    ("cause", "is_believed"),
    [
        (quoted(UDP, b"\x03\xe8\x00\x35"), True),
        (quoted(UDP, b"\x03\xe9\x00\x35"), False),
        (quoted(TCP, b"\x03\xe8\x00\x35" + bytes(4)), False),
        (quoted(ICMP, b"\x08\x00\x00\x00"), False),
        (quoted(47, bytes(4)), False),
    ],
)
def test_only_of_what_was_sent_a_path_is_believed_to_be_narrow(
    cause: bytes, is_believed: bool
) -> None:
    """RFC 5927 section 7: who did not see our packets cannot make all of them short."""
    one, _, wire = pair()
    sock = one.interface.bind_udp(wire.now, None, 1000)
    tell_too_big(one, wire, cause, 600)
    sock.send(wire.now, bytes(2000), B4, 53)
    wire.settle()
    assert max(len(frame.payload) for frame in one.sent) == (596 if is_believed else 2028)
    assert one.tracer.drops == ([] if is_believed else [Drop.NO_SOCKET])


def test_a_ping_that_is_too_big_goes_in_fragments() -> None:
    one, _, wire = pair()
    one.interface.ping(wire.now, B4, 7, 1, bytes(2000))
    tell_too_big(one, wire, quoted(ICMP, b"\x08\x00\x00\x00"), 1400)
    one.interface.ping(wire.now, B4, 7, 2, bytes(2000))
    wire.settle()
    assert [len(frame.payload) for frame in one.sent if frame.ethertype == EtherType.IPV4] == [
        *(2028, 1396, 652)
    ]


def test_errors_about_packets_of_others_are_ignored() -> None:
    one, _, wire = pair()
    sock = one.interface.bind_udp(wire.now, None, 1000)
    w = Writer()
    udp_packet(B4, A4).encode(w)
    for body in (w.getvalue(), b"\x45", b""):
        message = Writer()
        Icmpv4Message(icmpv4.UNREACHABLE, icmpv4.CODE_PORT, 0, body).encode(message)
        error = Ipv4Packet(B4, A4, ICMP, message.getvalue())
        one.interface.receive_frame(wire.now, ipv4_frame(error, one))
    assert sock.take_error() is None
    assert one.tracer.drops == [Drop.UNSUPPORTED, Drop.MALFORMED, Drop.MALFORMED]
    assert not one.interface.has_output


# Bounds.


def test_the_queue_to_the_network_is_bounded() -> None:
    one, _, wire = pair()
    sock = one.interface.bind_udp(wire.now, None, 0)
    for _ in range(1030):
        sock.send(wire.now, b"x", ip("10.0.0.255"), 9)
    assert one.tracer.drops == [Drop.QUEUE_FULL] * 6
    batches = one.interface.take_frames(wire.now, 22)
    assert [len(batch.packets) for batch in batches] == [22]
    assert one.interface.has_output


@given(st.binary(max_size=100), st.sampled_from(EtherType), st.integers(0, 255))
def test_noise_never_raises(noise: bytes, ethertype: EtherType, protocol: int) -> None:
    one, _, wire = pair()
    prefix = b"\x60\x00\x00\x00" + len(noise).to_bytes(2, "big") + bytes((protocol, 255)) + B6 + A6
    for payload in (noise, prefix + noise):
        frame = Frame(one.mac, Mac(0x020000000009), ethertype, payload)
        one.interface.receive_frame(wire.now, frame)
        one.interface.receive_burst(wire.now, frame.source, ethertype, burst_of([frame]))
    wire.settle()
