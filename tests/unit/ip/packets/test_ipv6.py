"""IPv6 headers, extension headers and fragment headers: known bytes, cuts, noise."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, strategies as st

from ztstack.base.codec import Reader, Writer
from ztstack.base.errors import DecodeError
from ztstack.ip.packets.ipv6 import (
    FRAGMENT,
    ICMPV6,
    FragmentHeader,
    Ipv6Packet,
    upper_layer,
)

A = bytes.fromhex("fd000000000000000000000000000001")
B = bytes.fromhex("fd000000000000000000000000023456")
BYTES = bytes.fromhex("6ab12345000511 40".replace(" ", "")) + A + B + b"hello"
PACKET = Ipv6Packet(A, B, 17, b"hello", 64, traffic_class=0xAB, flow_label=0x12345)
FRAGMENT_BYTES = bytes.fromhex("11000019deadbeef")
FRAGMENT_HEADER = FragmentHeader(17, 24, more_fragments=True, identification=0xDEADBEEF)

OPTIONS = b"\x06\x00\x01\x02\x00\x00\x00\x00"  # next is TCP; PadN of two, and two of Pad1
ROUTING_DONE = b"\x06\x00\x00\x00" + bytes(4)


def encoded(message: Ipv6Packet | FragmentHeader) -> bytes:
    w = Writer()
    message.encode(w)
    return w.getvalue()


def test_known_bytes() -> None:
    assert encoded(PACKET) == BYTES
    assert Ipv6Packet.decode(Reader(BYTES)) == PACKET
    assert Ipv6Packet.decode(Reader(BYTES + bytes(3))) == PACKET
    assert encoded(FRAGMENT_HEADER) == FRAGMENT_BYTES
    assert FragmentHeader.decode(Reader(FRAGMENT_BYTES)) == FRAGMENT_HEADER


@pytest.mark.parametrize("cut", range(len(BYTES)))
def test_cut_short(cut: int) -> None:
    with pytest.raises(DecodeError):
        Ipv6Packet.decode(Reader(BYTES[:cut]))


@pytest.mark.parametrize("cut", range(len(FRAGMENT_BYTES)))
def test_fragment_header_cut_short(cut: int) -> None:
    with pytest.raises(DecodeError):
        FragmentHeader.decode(Reader(FRAGMENT_BYTES[:cut]))


def test_another_version() -> None:
    with pytest.raises(DecodeError):
        Ipv6Packet.decode(Reader(b"\x45" + BYTES[1:]))


def test_a_quoted_packet_may_be_cut() -> None:
    assert Ipv6Packet.decode_quoted(Reader(BYTES[:42])).payload == b"he"


@pytest.mark.parametrize(
    ("protocol", "payload", "expected"),
    [
        (ICMPV6, b"x", (ICMPV6, b"x", None)),
        (59, b"", (59, b"", None)),
        (0, OPTIONS + b"tcp", (6, b"tcp", None)),
        (60, OPTIONS + b"tcp", (6, b"tcp", None)),
        (43, ROUTING_DONE + b"tcp", (6, b"tcp", None)),
        (0, b"\x3c" + OPTIONS[1:] + OPTIONS + b"tcp", (6, b"tcp", None)),
        (FRAGMENT, FRAGMENT_BYTES + b"udp", (17, b"udp", FRAGMENT_HEADER)),
        (0, b"\x2c" + OPTIONS[1:] + FRAGMENT_BYTES + b"udp", (17, b"udp", FRAGMENT_HEADER)),
    ],
)
def test_extension_headers(protocol: int, payload: bytes, expected: tuple[object, ...]) -> None:
    assert upper_layer(protocol, payload) == expected


@pytest.mark.parametrize(
    ("protocol", "payload"),
    [
        (0, OPTIONS[:7]),
        (0, b"\x06\x00\xc2\x04\x00\x00\x00\x00"),  # an option that must be known
        (0, b"\x06\x00\x01\x09\x00\x00\x00\x00"),  # an option that is longer than the header
        (43, b"\x06\x00\x00\x01" + bytes(4)),  # segments left
        (FRAGMENT, FRAGMENT_BYTES[:7]),
        (0, (b"\x00" + OPTIONS[1:]) * 9),
    ],
)
def test_extension_headers_that_end_the_packet(protocol: int, payload: bytes) -> None:
    with pytest.raises(DecodeError):
        upper_layer(protocol, payload)


@given(
    st.builds(
        Ipv6Packet,
        source=st.binary(min_size=16, max_size=16),
        destination=st.binary(min_size=16, max_size=16),
        next_header=st.integers(0, 255),
        payload=st.binary(max_size=64),
        hop_limit=st.integers(0, 255),
        traffic_class=st.integers(0, 255),
        flow_label=st.integers(0, 0xFFFFF),
    )
)
def test_decode_after_encode(packet: Ipv6Packet) -> None:
    assert Ipv6Packet.decode(Reader(encoded(packet))) == packet


@given(st.binary(max_size=80), st.sampled_from((0, 43, 44, 60)))
def test_decode_fails_in_one_way_only(noise: bytes, protocol: int) -> None:
    with contextlib.suppress(DecodeError):
        Ipv6Packet.decode(Reader(b"\x60" + noise))
    with contextlib.suppress(DecodeError):
        upper_layer(protocol, noise)
