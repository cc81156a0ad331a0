"""Frames of the overlay: both ways, cut short, noise, both versions."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from overlay.errors import DecodeError
from overlay.messages import (
    Datagram,
    Frame,
    Kind,
    decode_place,
    encode_place,
    place_of_text,
)

A, B = 0xA1B2C3D4E5, 0xB1B2C3D4E5
DATAGRAM = Datagram(1, 2, b"data")
VERSION_2 = bytes.fromhex("5a4f3203 00000000cafe2001 a1b2c3d4e5 b1b2c3d4e5 0001 0002 64617461")
VERSION_1 = bytes.fromhex(
    "5a4f3103 00000000cafe2001 000000a1b2c3d4e5 000000b1b2c3d4e5 0001 0002 64617461"
)


@pytest.mark.parametrize(("version", "data"), [(1, VERSION_1), (2, VERSION_2)])
def test_known_bytes(version: int, data: bytes) -> None:
    frame = Frame(Kind.DATAGRAM, 0xCAFE2001, A, B, DATAGRAM.encode(), version)
    assert frame.encode() == data
    decoded = Frame.decode(data)
    assert decoded == frame
    assert Datagram.decode(decoded.payload) == DATAGRAM


@pytest.mark.parametrize("data", [VERSION_1, VERSION_2])
def test_cut_short(data: bytes) -> None:
    head = 28 if data is VERSION_1 else 22
    for cut in range(head):
        with pytest.raises(DecodeError):
            Frame.decode(data[:cut])


@pytest.mark.parametrize(
    "change",
    [
        (0, b"X"),
        (2, b"3"),
        (3, b"\x00"),
        (3, b"\x04"),
        (12, bytes(5)),
    ],
)
def test_what_is_no_frame(change: tuple[int, bytes]) -> None:
    at, new = change
    data = VERSION_2[:at] + new + VERSION_2[at + len(new) :]
    with pytest.raises(DecodeError):
        Frame.decode(data)


@pytest.mark.parametrize("kind", [4, 5, 6, 7])
def test_version_1_knows_fewer_kinds(kind: int) -> None:
    with pytest.raises(DecodeError):
        Frame.decode(VERSION_1[:3] + bytes((kind,)) + VERSION_1[4:])


@given(st.sampled_from([b"", b"ZO1", b"ZO2"]), st.binary(max_size=64))
def test_decoding_fails_in_one_way_only(start: bytes, noise: bytes) -> None:
    try:
        decoded = Frame.decode(start + noise)
    except DecodeError:
        pass
    else:
        assert decoded.encode() == start + noise
    for decode in (Datagram.decode, decode_place, place_of_text):
        try:
            decode(noise)
        except DecodeError:
            continue


@pytest.mark.parametrize("place", [None, ("127.0.0.1", 9), ("fd00::1", 65535)])
def test_places(place: tuple[str, int] | None) -> None:
    data = encode_place(place)
    assert decode_place(data) == decode_place(data + bytes(40)) == place
    for cut in range(len(data)):
        with pytest.raises(DecodeError):
            decode_place(data[:cut])


@pytest.mark.parametrize("data", ["04 7f000001 0000", "04 e0000001 0001", "04 00000000 0001", "05"])
def test_nobody_is_there(data: str) -> None:
    with pytest.raises(DecodeError):
        decode_place(bytes.fromhex(data))


def test_places_as_text() -> None:
    assert place_of_text(b"127.0.0.1 9993") == ("127.0.0.1", 9993)
    assert place_of_text(b"") is None
    for wrong in (b"127.0.0.1", b"nowhere 1", b"127.0.0.1 0", b"127.0.0.1 65536", b"\xff \xff"):
        with pytest.raises(DecodeError):
            place_of_text(wrong)
