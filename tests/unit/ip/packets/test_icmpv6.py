"""ICMPv6 and neighbour discovery: known bytes, cuts, noise."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from ztstack.base.codec import Reader, Writer
from ztstack.base.errors import DecodeError
from ztstack.base.mac import Mac
from ztstack.ip.packets.icmpv6 import (
    ADVERTISEMENT,
    ECHO_REQUEST,
    SOLICITATION,
    Advertisement,
    Icmpv6Message,
    Solicitation,
)
from ztstack.ip.packets.ipv4 import BadChecksum

A = bytes.fromhex("fd000000000000000000000000000001")
B = bytes.fromhex("fd000000000000000000000000023456")
SOLICITED = bytes.fromhex("ff0200000000000000000001ff023456")
MAC = Mac.parse("26:5a:77:03:32:09")
ECHO_BYTES = bytes.fromhex("80003f571234000170696e6721")
ECHO = Icmpv6Message(ECHO_REQUEST, 0, 0x12340001, b"ping!")
NS_BYTES = bytes.fromhex("8700478500000000fd0000000000000000000000000234560101265a77033209")
NA_BYTES = bytes.fromhex("8800e68860000000fd0000000000000000000000000234560201265a77033209")


def encoded(message: Icmpv6Message, source: bytes, destination: bytes) -> bytes:
    w = Writer()
    message.encode(w, source, destination)
    return w.getvalue()


def test_echo() -> None:
    assert encoded(ECHO, A, B) == ECHO_BYTES
    assert Icmpv6Message.decode(Reader(ECHO_BYTES), A, B) == ECHO


def test_solicitation() -> None:
    solicitation = Solicitation(B, MAC)
    assert encoded(solicitation.message(), A, SOLICITED) == NS_BYTES
    message = Icmpv6Message.decode(Reader(NS_BYTES), A, SOLICITED)
    assert message.type == SOLICITATION
    assert Solicitation.of(message) == solicitation


def test_advertisement() -> None:
    advertisement = Advertisement(B, MAC, solicited=True, override=True)
    assert encoded(advertisement.message(), B, A) == NA_BYTES
    message = Icmpv6Message.decode(Reader(NA_BYTES), B, A)
    assert message.type == ADVERTISEMENT
    assert Advertisement.of(message) == advertisement


def test_without_a_mac() -> None:
    for probe in (Solicitation(B, None), Advertisement(B, None, solicited=False, override=False)):
        assert type(probe).of(probe.message()) == probe


@pytest.mark.parametrize("cut", range(len(NS_BYTES)))
def test_cut_short(cut: int) -> None:
    with pytest.raises(DecodeError):
        Icmpv6Message.decode(Reader(NS_BYTES[:cut]), A, SOLICITED)


@pytest.mark.parametrize("cut", [n for n in range(24) if n != 16])
def test_neighbour_discovery_cut_short(cut: int) -> None:
    body = NS_BYTES[8:][:cut]
    with pytest.raises(DecodeError):
        Solicitation.of(Icmpv6Message(SOLICITATION, 0, 0, body))
    with pytest.raises(DecodeError):
        Advertisement.of(Icmpv6Message(ADVERTISEMENT, 0, 0, body))


def test_an_option_of_no_length() -> None:
    with pytest.raises(DecodeError):
        Solicitation.of(Icmpv6Message(SOLICITATION, 0, 0, B + bytes(8)))


def test_a_code_that_is_not_zero() -> None:
    with pytest.raises(DecodeError):
        Solicitation.of(Icmpv6Message(SOLICITATION, 1, 0, B))
    with pytest.raises(DecodeError):
        Advertisement.of(Icmpv6Message(ADVERTISEMENT, 1, 0, B))


def test_the_addresses_are_in_the_checksum() -> None:
    with pytest.raises(BadChecksum):
        Icmpv6Message.decode(Reader(ECHO_BYTES), A, A)


@given(
    st.builds(
        Icmpv6Message,
        type=st.integers(0, 255),
        code=st.integers(0, 255),
        word=st.integers(0, 0xFFFFFFFF),
        body=st.binary(max_size=64),
    )
)
def test_decode_after_encode(message: Icmpv6Message) -> None:
    assert Icmpv6Message.decode(Reader(encoded(message, A, B)), A, B) == message


@given(st.binary(max_size=64))
def test_decode_fails_in_one_way_only(noise: bytes) -> None:
    message = Icmpv6Message(SOLICITATION, 0, 0, noise)
    for decode in (Solicitation.of, Advertisement.of):
        try:
            decode(message)
        except DecodeError:
            continue
    try:
        Icmpv6Message.decode(Reader(noise), A, B)
    except DecodeError:
        return
