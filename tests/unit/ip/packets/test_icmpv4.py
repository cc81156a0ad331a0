"""ICMP messages: known bytes, cuts, noise."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from ztstack.base.codec import Reader, Writer
from ztstack.base.errors import DecodeError
from ztstack.ip.packets.icmpv4 import ECHO_REQUEST, Icmpv4Message
from ztstack.ip.packets.ipv4 import BadChecksum

BYTES = bytes.fromhex("0800e5f91234000170696e6721")
MESSAGE = Icmpv4Message(ECHO_REQUEST, 0, 0x12340001, b"ping!")


def encoded(message: Icmpv4Message) -> bytes:
    w = Writer()
    message.encode(w)
    return w.getvalue()


def test_known_bytes() -> None:
    assert encoded(MESSAGE) == BYTES
    assert Icmpv4Message.decode(Reader(BYTES)) == MESSAGE


@pytest.mark.parametrize("cut", range(len(BYTES)))
def test_cut_short(cut: int) -> None:
    with pytest.raises(DecodeError):
        Icmpv4Message.decode(Reader(BYTES[:cut]))


@pytest.mark.parametrize("at", range(len(BYTES)))
def test_each_byte_is_in_the_checksum(at: int) -> None:
    changed = bytearray(BYTES)
    changed[at] ^= 0x40
    with pytest.raises(BadChecksum):
        Icmpv4Message.decode(Reader(bytes(changed)))


@given(
    st.builds(
        Icmpv4Message,
        type=st.integers(0, 255),
        code=st.integers(0, 255),
        word=st.integers(0, 0xFFFFFFFF),
        body=st.binary(max_size=64),
    )
)
def test_decode_after_encode(message: Icmpv4Message) -> None:
    assert Icmpv4Message.decode(Reader(encoded(message))) == message


@given(st.binary(max_size=64))
def test_decode_fails_in_one_way_only(noise: bytes) -> None:
    try:
        Icmpv4Message.decode(Reader(noise))
    except DecodeError:
        return
