"""IPv4 headers against known bytes, cuts, noise and wrong sums."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from ztstack.base.codec import Reader, Writer
from ztstack.base.errors import DecodeError
from ztstack.ip.packets.ipv4 import UDP, BadChecksum, Ipv4Packet

# The header that introductions to the checksum use, with the 95 bytes it announces.
HEADER = bytes.fromhex("450000730000400040 11b861c0a80001c0a800c7".replace(" ", ""))
BYTES = HEADER + bytes(range(95))
PACKET = Ipv4Packet(
    bytes((192, 168, 0, 1)),
    bytes((192, 168, 0, 199)),
    UDP,
    bytes(range(95)),
    dont_fragment=True,
)
FRAGMENT_HEADER = bytes.fromhex("450000211234200340110b090a9314600a931407")
FRAGMENT = Ipv4Packet(
    bytes((10, 147, 20, 96)),
    bytes((10, 147, 20, 7)),
    UDP,
    b"thirteen long",
    identification=0x1234,
    more_fragments=True,
    offset=24,
)

packets = st.builds(
    Ipv4Packet,
    source=st.binary(min_size=4, max_size=4),
    destination=st.binary(min_size=4, max_size=4),
    protocol=st.integers(0, 255),
    payload=st.binary(max_size=64),
    ttl=st.integers(0, 255),
    identification=st.integers(0, 0xFFFF),
    dont_fragment=st.booleans(),
    more_fragments=st.booleans(),
    offset=st.integers(0, 0x1FFF).map(lambda units: units * 8),
    traffic_class=st.integers(0, 255),
    options=st.integers(0, 10).flatmap(lambda n: st.binary(min_size=4 * n, max_size=4 * n)),
)


def encoded(packet: Ipv4Packet) -> bytes:
    w = Writer()
    packet.encode(w)
    return w.getvalue()


@pytest.mark.parametrize(
    ("packet", "data"), [(PACKET, BYTES), (FRAGMENT, FRAGMENT_HEADER + b"thirteen long")]
)
def test_known_bytes(packet: Ipv4Packet, data: bytes) -> None:
    assert encoded(packet) == data
    assert Ipv4Packet.decode(Reader(data)) == packet
    assert packet.is_fragment is (packet is FRAGMENT)


def test_padding_is_ignored() -> None:
    assert Ipv4Packet.decode(Reader(BYTES + bytes(9))) == PACKET


@pytest.mark.parametrize("cut", range(len(BYTES)))
def test_cut_short(cut: int) -> None:
    with pytest.raises(DecodeError):
        Ipv4Packet.decode(Reader(BYTES[:cut]))


@pytest.mark.parametrize("at", range(1, 20))
def test_each_header_byte_is_in_the_checksum(at: int) -> None:
    changed = bytearray(BYTES)
    changed[at] ^= 0x01
    with pytest.raises(BadChecksum):
        Ipv4Packet.decode(Reader(bytes(changed)))


@pytest.mark.parametrize("first", [0x65, 0x44, 0x05])
def test_other_versions_and_short_headers(first: int) -> None:
    with pytest.raises(DecodeError):
        Ipv4Packet.decode(Reader(bytes((first,)) + BYTES[1:]))


def test_a_quoted_packet_may_be_cut_and_changed() -> None:
    quoted = bytearray(BYTES[:28])
    quoted[8] = 1  # A router counted the time to live down and left the checksum.
    packet = Ipv4Packet.decode_quoted(Reader(bytes(quoted)))
    assert (packet.source, packet.destination) == (PACKET.source, PACKET.destination)
    assert packet.payload == bytes(range(8))


@given(packets)
def test_decode_after_encode(packet: Ipv4Packet) -> None:
    assert Ipv4Packet.decode(Reader(encoded(packet))) == packet


@given(st.binary(max_size=80))
def test_decode_fails_in_one_way_only(noise: bytes) -> None:
    for data in (noise, b"\x45" + noise, HEADER[:2] + b"\x00\x20" + noise):
        for decode in (Ipv4Packet.decode, Ipv4Packet.decode_quoted):
            try:
                decode(Reader(data))
            except DecodeError:
                continue
