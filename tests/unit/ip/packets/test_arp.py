"""ARP against bytes of the protocol document's captures, cuts and noise."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from ztstack.base.codec import Reader, Writer
from ztstack.base.errors import DecodeError
from ztstack.base.mac import Mac
from ztstack.ip.packets.arp import REQUEST, ArpPacket

BYTES = bytes.fromhex("0001080006040001265a770332090a9314600000000000000a931407")
PACKET = ArpPacket(
    REQUEST,
    Mac.parse("26:5a:77:03:32:09"),
    bytes((10, 147, 20, 96)),
    Mac(0),
    bytes((10, 147, 20, 7)),
)


def encoded(packet: ArpPacket) -> bytes:
    w = Writer()
    packet.encode(w)
    return w.getvalue()


def test_known_bytes() -> None:
    assert encoded(PACKET) == BYTES
    assert ArpPacket.decode(Reader(BYTES)) == PACKET


def test_padding_is_ignored() -> None:
    assert ArpPacket.decode(Reader(BYTES + bytes(18))) == PACKET


@pytest.mark.parametrize("cut", range(len(BYTES)))
def test_cut_short(cut: int) -> None:
    with pytest.raises(DecodeError):
        ArpPacket.decode(Reader(BYTES[:cut]))


@pytest.mark.parametrize("at", [0, 1, 2, 3, 4, 5, 7])
def test_other_protocols_are_refused(at: int) -> None:
    changed = bytearray(BYTES)
    changed[at] ^= 0x10
    with pytest.raises(DecodeError):
        ArpPacket.decode(Reader(bytes(changed)))


@given(st.binary(max_size=40) | st.binary(min_size=22, max_size=22).map(lambda b: BYTES[:6] + b))
def test_decode_fails_in_one_way_only(noise: bytes) -> None:
    try:
        packet = ArpPacket.decode(Reader(noise))
    except DecodeError:
        return
    assert encoded(packet) == noise[:28]
