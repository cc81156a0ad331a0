from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from tests.strategies import addresses, blobs, uints
from tests.support.codec import encoded
from tests.support.vectors import cases
from ztstack.base.address import Address
from ztstack.base.errors import DecodeError
from ztstack.wire.header import (
    FRAGMENT_HEADER_BYTES,
    HEADER_BYTES,
    FragmentHeader,
    Header,
    decode_fragment,
    decode_header,
    increment_hops,
    is_fragment,
)


@pytest.mark.parametrize("case", cases("fragments.json", "packet_header"))
def test_packet_header(case: dict[str, Any]) -> None:
    data = bytes.fromhex(case["datagram"])
    header = decode_header(data)
    assert not is_fragment(data)
    assert header.packet_id == int(case["packet_id"], 16)
    assert header.destination == Address.parse(case["dest"])
    assert header.source == Address.parse(case["source"])
    assert header.is_fragmented is case["fragmented"]
    assert header.suite == case["cipher"]
    assert header.hops == case["hops"]
    assert encoded(header) == data[: HEADER_BYTES - 1]
    assert increment_hops(data) == bytes.fromhex(case["after_hop_increment"])


@pytest.mark.parametrize("case", cases("fragments.json", "parse_fragment_header"))
def test_fragment_header(case: dict[str, Any]) -> None:
    data = bytes.fromhex(case["datagram"])
    header = decode_fragment(data)
    assert header.packet_id == int(case["packet_id"], 16)
    assert header.destination == Address.parse(case["dest"])
    assert header.number == case["fragment_number"]
    assert header.total == case["total_fragments"]
    assert header.hops == case["hops"]
    assert encoded(header) == data[:FRAGMENT_HEADER_BYTES]
    assert data[FRAGMENT_HEADER_BYTES:] == bytes.fromhex(case["payload"])
    assert increment_hops(data) == bytes.fromhex(case["after_hop_increment"])


@pytest.mark.parametrize("case", cases("fragments.json", "fragment"))
def test_fragments_are_numbered(case: dict[str, Any]) -> None:
    head, *rest = (bytes.fromhex(datagram) for datagram in case["datagrams"])
    assert decode_header(head).is_fragmented is bool(rest)
    for number, data in enumerate(rest, 1):
        fragment = decode_fragment(data)
        assert fragment.packet_id == decode_header(head).packet_id
        assert (fragment.number, fragment.total) == (number, 1 + len(rest))
        assert fragment.is_acceptable is (len(rest) < 7)


@pytest.mark.parametrize(
    ("number", "total", "acceptable"),
    [(0, 2, False), (1, 2, True), (2, 2, False), (6, 7, True), (1, 8, False), (1, 1, False)],
)
def test_acceptable_numbers(number: int, total: int, acceptable: bool) -> None:
    assert FragmentHeader(1, Address(2), number, total).is_acceptable is acceptable


@given(uints(8), addresses, addresses, uints(1), blobs(8))
def test_decode_after_encode(
    packet_id: int, destination: Address, source: Address, flags: int, mac: bytes
) -> None:
    header = Header(packet_id, destination, source, flags, mac)
    assert decode_header(memoryview(encoded(header) + b"\0")) == header
    assert header.trusted_path_id == int.from_bytes(mac, "big")


@given(uints(8), addresses, st.integers(0, 15), st.integers(0, 15), uints(1))
def test_fragment_decode_after_encode(
    packet_id: int, destination: Address, number: int, total: int, hops: int
) -> None:
    header = FragmentHeader(packet_id, destination, number, total, hops)
    assert decode_fragment(encoded(header) + b"\0") == header


@pytest.mark.parametrize("length", range(HEADER_BYTES))
def test_cut_short(length: int) -> None:
    with pytest.raises(DecodeError):
        decode_header(bytes(length))
    with pytest.raises(DecodeError):
        decode_fragment(bytes(length))
    with pytest.raises(DecodeError):
        increment_hops(bytes(length))
    assert not is_fragment(b"\xff" * min(length, FRAGMENT_HEADER_BYTES))
