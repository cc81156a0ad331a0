"""UDP datagrams over both families: known bytes, cuts, noise, the two zeros."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from ztstack.base.codec import Reader, Writer
from ztstack.base.errors import DecodeError
from ztstack.ip.packets.ipv4 import BadChecksum
from ztstack.ip.packets.udp import UdpDatagram

A4, B4 = bytes((10, 147, 20, 96)), bytes((10, 147, 20, 7))
A6 = bytes.fromhex("fd000000000000000000000000000001")
B6 = bytes.fromhex("fd000000000000000000000000023456")
DATAGRAM = UdpDatagram(50000, 53, b"abcde")
BYTES4 = bytes.fromhex("c3500035000dd4fa6162636465")
BYTES6 = bytes.fromhex("c3500035000de42c6162636465")


def encoded(datagram: UdpDatagram, source: bytes, destination: bytes) -> bytes:
    w = Writer()
    datagram.encode(w, source, destination)
    return w.getvalue()


@pytest.mark.parametrize(("source", "destination", "data"), [(A4, B4, BYTES4), (A6, B6, BYTES6)])
def test_known_bytes(source: bytes, destination: bytes, data: bytes) -> None:
    assert encoded(DATAGRAM, source, destination) == data
    assert UdpDatagram.decode(Reader(data), source, destination) == DATAGRAM
    assert UdpDatagram.decode(Reader(data + b"padding"), source, destination) == DATAGRAM


def test_a_sum_of_zero_is_sent_as_ones() -> None:
    datagram = UdpDatagram(1, 2, b"\xc2\x4a")
    data = bytes.fromhex("00010002000affffc24a")
    assert encoded(datagram, A4, B4) == data
    assert UdpDatagram.decode(Reader(data), A4, B4) == datagram


def test_no_checksum_is_for_ipv4_only() -> None:
    data = BYTES4[:6] + bytes(2) + BYTES4[8:]
    assert UdpDatagram.decode(Reader(data), A4, B4) == DATAGRAM
    with pytest.raises(BadChecksum):
        UdpDatagram.decode(Reader(data), A6, B6)


@pytest.mark.parametrize("cut", range(len(BYTES4)))
def test_cut_short(cut: int) -> None:
    with pytest.raises(DecodeError):
        UdpDatagram.decode(Reader(BYTES4[:cut]), A4, B4)


@pytest.mark.parametrize("at", [0, 1, 2, 3, 6, 7, 8, 9, 10, 11, 12])
def test_each_byte_is_in_the_checksum(at: int) -> None:
    changed = bytearray(BYTES4)
    changed[at] ^= 0x40
    with pytest.raises(BadChecksum):
        UdpDatagram.decode(Reader(bytes(changed)), A4, B4)


def test_a_length_below_the_header() -> None:
    with pytest.raises(DecodeError):
        UdpDatagram.decode(Reader(BYTES4[:4] + b"\x00\x07" + BYTES4[6:]), A4, B4)


@given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), st.binary(max_size=64), st.booleans())
def test_decode_after_encode(source: int, destination: int, payload: bytes, v6: bool) -> None:
    a, b = (A6, B6) if v6 else (A4, B4)
    datagram = UdpDatagram(source, destination, payload)
    assert UdpDatagram.decode(Reader(encoded(datagram, a, b)), a, b) == datagram


@given(st.binary(max_size=64))
def test_decode_fails_in_one_way_only(noise: bytes) -> None:
    try:
        UdpDatagram.decode(Reader(noise), A4, B4)
    except DecodeError:
        return
