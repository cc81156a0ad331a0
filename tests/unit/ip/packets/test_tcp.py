"""TCP segments over both families: known bytes, options, cuts, noise."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from ztstack.base.errors import DecodeError
from ztstack.ip.packets.tcp import MAX_WINDOW_SHIFT, Flags, TcpSegment, verify

A4, B4 = bytes((10, 147, 20, 96)), bytes((10, 147, 20, 7))
A6 = bytes.fromhex("fd000000000000000000000000000001")
B6 = bytes.fromhex("fd000000000000000000000000023456")
SYN = TcpSegment(
    source_port=50_000,
    destination_port=80,
    sequence=0x01020304,
    acknowledgement=0,
    flags=Flags.SYN,
    window=65_535,
    mss=2760,
    window_shift=7,
    sack_permitted=True,
)
DATA = TcpSegment(
    source_port=50_000,
    destination_port=80,
    sequence=0x01020304,
    acknowledgement=0xFFFEFDFC,
    flags=Flags.PSH | Flags.ACK,
    window=512,
    payload=b"hello",
    sack=((10, 20),),
)
SYN4 = bytes.fromhex("c350005001020304000000008002ffff64ca000002040ac80101040201030307")
SYN6 = bytes.fromhex("c350005001020304000000008002ffff73fc000002040ac80101040201030307")
DATA4 = bytes.fromhex("c350005001020304fffefdfc80180200309100000101050a0000000a0000001468656c6c6f")
DATA6 = bytes.fromhex("c350005001020304fffefdfc801802003fc300000101050a0000000a0000001468656c6c6f")
KNOWN = [(SYN, A4, B4, SYN4), (SYN, A6, B6, SYN6), (DATA, A4, B4, DATA4), (DATA, A6, B6, DATA6)]


def decoded(data: bytes) -> TcpSegment:
    return TcpSegment.decode(memoryview(data))


def encoded(segment: TcpSegment, source: bytes = A4, destination: bytes = B4) -> bytes:
    return segment.encode(source, destination) + segment.payload


def with_options(options: bytes) -> bytes:
    """Return a SYN whose checksum is nobody's business."""
    head = bytearray(SYN4[:20])
    head[12] = (20 + len(options)) // 4 << 4
    return bytes(head) + options


@pytest.mark.parametrize(("segment", "source", "destination", "data"), KNOWN)
def test_known_bytes(segment: TcpSegment, source: bytes, destination: bytes, data: bytes) -> None:
    assert encoded(segment, source, destination) == data
    assert decoded(data) == segment
    assert verify(source, destination, memoryview(data))


@pytest.mark.parametrize("at", range(len(DATA4)))
def test_each_byte_is_in_the_checksum(at: int) -> None:
    changed = bytearray(DATA4)
    changed[at] ^= 0x40
    assert not verify(A4, B4, memoryview(changed))


def test_the_addresses_are_in_the_checksum() -> None:
    assert not verify(A4, A4, memoryview(DATA4))
    assert not verify(A6, A6, memoryview(DATA6))


@pytest.mark.parametrize("cut", range(len(SYN4)))
def test_cut_short(cut: int) -> None:
    with pytest.raises(DecodeError):
        decoded(SYN4[:cut])


@pytest.mark.parametrize(
    "options",
    [
        "02030001",  # MSS of three bytes
        "02040ac8" + "03020000",  # window scale without its value
        "04030000",  # SACK permitted with content
        "05070000" + "00000000",  # SACK of half an edge
        "08000000",  # length zero never ends
        "08010000",
        "01010108",  # a kind without a length
        "0101080a",  # a length beyond the header
    ],
)
def test_bad_options(options: str) -> None:
    with pytest.raises(DecodeError):
        decoded(with_options(bytes.fromhex(options)))


def test_unknown_options_and_what_follows_the_end_are_passed_over() -> None:
    segment = decoded(with_options(bytes.fromhex("080a" + "00" * 8 + "02040064" + "00ff0101")))
    assert (segment.mss, segment.window_shift, segment.sack) == (100, None, ())


def test_a_window_shift_beyond_the_limit_is_the_limit() -> None:
    """RFC 7323 section 2.3."""
    assert decoded(with_options(bytes.fromhex("0303ff00"))).window_shift == MAX_WINDOW_SHIFT


@pytest.mark.parametrize("words", range(5))
def test_a_header_shorter_than_itself(words: int) -> None:
    head = bytearray(SYN4)
    head[12] = words << 4
    with pytest.raises(DecodeError):
        decoded(bytes(head))


def test_syn_and_fin_take_a_number_each() -> None:
    assert SYN.length == 1
    assert DATA.length == 5
    assert TcpSegment(1, 2, 0, 0, Flags.SYN | Flags.FIN, 0, b"abc").length == 5


NUMBER = st.integers(0, 0xFFFFFFFF)
PORT = st.integers(0, 0xFFFF)


@given(
    segment=st.builds(
        TcpSegment,
        source_port=PORT,
        destination_port=PORT,
        sequence=NUMBER,
        acknowledgement=NUMBER,
        flags=st.integers(0, 255),
        window=PORT,
        payload=st.binary(max_size=40),
        mss=st.none() | PORT,
        window_shift=st.none() | st.integers(0, MAX_WINDOW_SHIFT),
        sack_permitted=st.booleans(),
        sack=st.lists(st.tuples(NUMBER, NUMBER), max_size=3).map(tuple),
    ),
    v6=st.booleans(),
)
def test_decode_after_encode(segment: TcpSegment, v6: bool) -> None:
    source, destination = (A6, B6) if v6 else (A4, B4)
    data = encoded(segment, source, destination)
    assert decoded(data) == segment
    assert verify(source, destination, memoryview(data))


@given(st.binary(max_size=80))
def test_decode_fails_in_one_way_only(noise: bytes) -> None:
    try:
        decoded(noise)
    except DecodeError:
        return


STAMPED = bytes.fromhex("0101080a 12345678 9abcdef0")
"""Two NOPs, kind 8 and length 10, value and echo (RFC 7323 section 3.2)."""


@pytest.mark.parametrize("sack", [(), ((1, 2), (5, 9))])
@pytest.mark.parametrize("payload", [b"", b"data"])
def test_time_stamps(sack: tuple[tuple[int, int], ...], payload: bytes) -> None:
    segment = TcpSegment(
        *(1, 2, 3, 4, Flags.ACK, 5),
        payload=payload,
        sack=sack,
        stamps=(0x12345678, 0x9ABCDEF0),
    )
    header = segment.encode(bytes(4), bytes(4))
    assert header[20:32] == STAMPED
    assert TcpSegment.decode(memoryview(header + payload)) == segment


def test_time_stamps_in_an_unusual_place() -> None:
    head = TcpSegment(1, 2, 3, 4, Flags.ACK, 5).encode(bytes(4), bytes(4))
    for options in (STAMPED[2:] + bytes((1, 1)), bytes((1,)) + STAMPED[2:] + bytes((1,))):
        data = head[:12] + bytes((8 << 4,)) + head[13:] + options
        assert TcpSegment.decode(memoryview(data)).stamps == (0x12345678, 0x9ABCDEF0)
    cut = head[:12] + bytes((7 << 4,)) + head[13:] + STAMPED[2:10]
    with pytest.raises(DecodeError):
        TcpSegment.decode(memoryview(cut))
