from __future__ import annotations

import logging
import stat
from pathlib import Path

import pytest

from tests.support.pcap import pcapng_packets
from ztstack.aio.capture import FrameCapture, WireCapture
from ztstack.aio.pcapng import Direction, LinkType, PcapngFile
from ztstack.base.codec import Reader
from ztstack.base.datagram import Datagram
from ztstack.base.endpoint import Endpoint
from ztstack.base.frame import Burst, EtherType, Frame, FrameBatch
from ztstack.base.mac import Mac
from ztstack.base.network_id import NetworkId
from ztstack.ip.packets.ipv4 import Ipv4Packet
from ztstack.ip.packets.ipv6 import Ipv6Packet
from ztstack.ip.packets.udp import UdpDatagram

NOW = 1_700_000_000_123_456
NETWORK = NetworkId(0x8056C2E21C000001)
OTHER = NetworkId(0x8056C2E21C000002)
OURS, THEIRS = Mac(0x32A1B2C3D4E5), Mac(0x3211223344AA)
HEAD_OUT = bytes.fromhex("3211223344aa32a1b2c3d4e50800")
HEAD_IN = bytes.fromhex("32a1b2c3d4e53211223344aa0800")


def test_known_bytes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch(0o644)
    file = PcapngFile(path)
    number = file.interface("abc", LinkType.ETHERNET)
    file.packet((5 << 32) + 7, number, Direction.OUT, b"hello")
    file.close()
    file.close()
    assert path.read_bytes() == bytes.fromhex(
        "0a0d0d0a 1c000000 4d3c2b1a 0100 0000 ffffffffffffffff 1c000000"
        "01000000 20000000 0100 0000 00000000 0200 0300 61626300 0000 0000 20000000"
        "06000000 34000000 00000000 05000000 07000000 05000000 05000000 68656c6c6f000000"
        "0200 0400 02000000 0000 0000 34000000"
    )
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_frames_of_two_networks(tmp_path: Path) -> None:
    path = tmp_path / "file"
    capture = FrameCapture(path)
    batch = FrameBatch(THEIRS, EtherType.IPV4, [(b"one", b"more"), (b"", memoryview(b"two"))])
    capture.batch_sent(NOW, NETWORK, OURS, batch)
    burst = Burst(bytearray(b"..abcdef"), 4, [2, 5], [3, 2])
    capture.burst_received(NOW + 1, OTHER, (OURS, THEIRS), EtherType.IPV4, burst)
    capture.frame_received(NOW + 2, NETWORK, Frame(OURS, THEIRS, EtherType.IPV4, b"x"))
    capture.close()
    first, second = (str(NETWORK), LinkType.ETHERNET), (str(OTHER), LinkType.ETHERNET)
    assert pcapng_packets(path.read_bytes()) == [
        (first, NOW, Direction.OUT, HEAD_OUT + b"onemore"),
        (first, NOW, Direction.OUT, HEAD_OUT + b"two"),
        (second, NOW + 1, Direction.IN, HEAD_IN + b"abc"),
        (second, NOW + 1, Direction.IN, HEAD_IN + b"de"),
        (first, NOW + 2, Direction.IN, HEAD_IN + b"x"),
    ]


def test_datagrams_with_their_endpoints(tmp_path: Path) -> None:
    path = tmp_path / "file"
    capture = WireCapture(path, lambda: NOW)
    here, anywhere = Endpoint(bytes((127, 0, 0, 9)), 1000), Endpoint(bytes(4), 1000)
    there = Endpoint(bytes((127, 0, 0, 1)), 9993)
    capture.sent(here, Datagram(0, there, b"aabbc", segment=2))
    capture.sent(anywhere, Datagram(0, there, b"whole"))
    capture.received(here, there, memoryview(b"ddeef"), 2)
    capture.received(here, there, memoryview(b"ggghh"), 3)
    capture.close()
    found = []
    for _, at, direction, data in pcapng_packets(path.read_bytes()):
        packet = Ipv4Packet.decode(Reader(data))
        udp = UdpDatagram.decode(Reader(packet.payload), packet.source, packet.destination)
        ends = (packet.source[3], udp.source_port, packet.destination[3], udp.destination_port)
        assert at == NOW
        found.append((direction, ends, udp.payload))
    out, back = (9, 1000, 1, 9993), (1, 9993, 9, 1000)
    assert found == [
        *((Direction.OUT, out, data) for data in (b"aa", b"bb", b"c")),
        (Direction.OUT, (1, 1000, 1, 9993), b"whole"),
        *((Direction.IN, back, data) for data in (b"dd", b"ee", b"f", b"ggg", b"hh")),
    ]


def test_datagrams_over_ipv6(tmp_path: Path) -> None:
    path = tmp_path / "file"
    capture = WireCapture(path, lambda: NOW)
    here, there = Endpoint(b"\xfd" + bytes(15), 1), Endpoint(b"\xfd" + bytes(14) + b"\1", 2)
    capture.received(here, there, memoryview(b"data"), 4)
    capture.close()
    ((_, _, _, data),) = pcapng_packets(path.read_bytes())
    packet = Ipv6Packet.decode(Reader(data))
    udp = UdpDatagram.decode(Reader(packet.payload), packet.source, packet.destination)
    assert (packet.source, packet.destination, udp) == (
        there.ip,
        here.ip,
        UdpDatagram(2, 1, b"data"),
    )


def test_full_disk_ends_the_capture_only(caplog: pytest.LogCaptureFixture) -> None:
    full = Path("/dev/full")
    file = PcapngFile(full)
    number = file.interface("abc", LinkType.ETHERNET)
    with caplog.at_level(logging.WARNING, "ztstack"):
        for second in range(3):
            file.packet(NOW + second * 1_000_000, number, Direction.IN, b"data")
        file.close()
    assert [record.getMessage() for record in caplog.records] == [
        "/dev/full: No space left on device; the capture ends here"
    ]
