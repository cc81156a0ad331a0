from __future__ import annotations

import pytest

from ztstack.vl2.packet_view import PacketView, walk_ipv6

IPV4 = bytes.fromhex("45b80000000000004006 0000 0a000001 0a000002")
IPV6 = bytes.fromhex("6ab00000 0000 0640") + bytes(15) + b"\x01" + bytes(15) + b"\x02"
TCP = bytes.fromhex("1f900050 00000000 00000000 5b12")
OPTIONS = bytes.fromhex("06 00 000000000000")


def test_walk_stops_at_the_end() -> None:
    assert walk_ipv6(b"\x60" + bytes(38)) is None
    assert walk_ipv6(b"\x60" + bytes(5) + b"\x06" + bytes(33)) == (40, 6)
    assert walk_ipv6(b"\x60" + bytes(5) + b"\x00" + bytes(33)) is None


@pytest.mark.parametrize(
    ("ethertype", "packet", "version"), [(0x0800, IPV4 + TCP, 4), (0x86DD, IPV6 + TCP + b"x", 6)]
)
def test_a_segment(ethertype: int, packet: bytes, version: int) -> None:
    view = PacketView(ethertype, packet)
    assert (view.version, view.protocol) == (version, 6)
    assert view.tos() == (0xB8 if version == 4 else 0xAB)
    assert view.ports() == (8080, 80)
    assert view.tcp_bits() == 0xB12
    assert view.icmp() is None
    assert view.sender_ip() == view.ips()[: len(view.ips()) // 2]
    assert len(view.ips()) == (8 if version == 4 else 32)


def test_ports_behind_an_extension_header() -> None:
    view = PacketView(0x86DD, IPV6[:6] + b"\x3c" + IPV6[7:] + OPTIONS + TCP)
    assert (view.at, view.protocol, view.ports()) == (48, 6, (8080, 80))
    short = PacketView(0x86DD, IPV6[:6] + b"\x3c" + IPV6[7:] + OPTIONS[:4])
    assert (short.version, short.protocol, short.ports()) == (6, None, None)


@pytest.mark.parametrize("packet", [b"", IPV4[:19], IPV6[:39]])
def test_what_is_no_ip_packet(packet: bytes) -> None:
    for ethertype in (0x0800, 0x0806, 0x86DD, 0x9999):
        view = PacketView(ethertype, packet)
        if view.version == 0:
            assert (view.protocol, view.tos(), view.ports(), view.icmp()) == (None,) * 4
            assert (view.ips(), view.tcp_bits()) == (b"", 0)


def test_who_speaks() -> None:
    arp = bytes(14) + b"\x0a\x00\x00\x07" + bytes(10)
    assert PacketView(0x0806, arp).sender_ip() == b"\x0a\x00\x00\x07"
    assert PacketView(0x0806, arp[:-1]).sender_ip() is False
    head = IPV6[:6] + b"\x3a" + IPV6[7:]
    target = bytes(range(16))
    for kind, expected in ((135, True), (136, target), (128, IPV6[8:24])):
        body = bytes((kind,)) + bytes(7) + target
        assert PacketView(0x86DD, head + body).sender_ip() == expected


def test_integers_at_a_place() -> None:
    view = PacketView(0x9999, bytes(range(1, 11)))
    assert view.integer(0, 16, little_endian=False) == 0x0708
    assert view.integer(0, 16, little_endian=True) == 0x0201
    assert view.integer(0, 12, little_endian=False) == 0x708
    assert view.integer(0, 12, little_endian=True) == 0x020
    assert view.integer(2, 64, little_endian=False) == int.from_bytes(range(3, 11), "big")
    assert view.integer(3, 64, little_endian=False) == 0
