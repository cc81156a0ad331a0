"""Messages of the overlay: both ways, cut short, noise."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from overlay.errors import MalformedMessage
from overlay.messages import Datagram, Flag, Kind, Message, Segment, difference

SEGMENT = Segment(1, 2, Flag.SYN | Flag.ACK, 3, 4, 5, b"data")
MESSAGE = Message(Kind.SEGMENT, 0xCAFE2001, 1, 2, SEGMENT.encode())
BYTES = bytes.fromhex(
    "5a4f3104 00000000cafe2001 0000000000000001 0000000000000002"
    "0001 0002 03 00000003 00000004 00000005 64617461"
)


def test_known_bytes() -> None:
    assert MESSAGE.encode() == BYTES
    assert Message.decode(BYTES) == MESSAGE
    assert Segment.decode(MESSAGE.payload) == SEGMENT


@pytest.mark.parametrize("cut", range(28))
def test_message_cut_short(cut: int) -> None:
    with pytest.raises(MalformedMessage):
        Message.decode(BYTES[:cut])


@given(st.binary(max_size=64))
def test_decode_fails_in_one_way_only(noise: bytes) -> None:
    for kind in (Message, Segment, Datagram):
        try:
            decoded = kind.decode(noise)
        except MalformedMessage:
            continue
        assert decoded.encode() == noise


def test_numbers_wrap() -> None:
    assert difference(2, 0xFFFFFFFF) == 3
    assert difference(0xFFFFFFFF, 2) == -3
