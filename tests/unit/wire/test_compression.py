from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from tests.support.vectors import cases
from ztstack.base.errors import DecodeError
from ztstack.wire.compression import compress, decompress
from ztstack.wire.header import COMPRESSED, MAX_PAYLOAD, PAYLOAD_OFFSET

VERB = 27


@pytest.mark.parametrize("case", cases("packet_compress.json", "compress"))
def test_compress(case: dict[str, Any]) -> None:
    before, after = bytes.fromhex(case["before"]), bytes.fromhex(case["after"])
    block = compress(before[PAYLOAD_OFFSET:])
    assert (block is not None) is case["compressed"]
    if block is not None:
        assert decompress(block) == before[PAYLOAD_OFFSET:]
        assert decompress(after[PAYLOAD_OFFSET:]) == before[PAYLOAD_OFFSET:]


@pytest.mark.parametrize("case", cases("packet_compress.json", "compress_then_armor"))
def test_what_others_compressed(case: dict[str, Any]) -> None:
    before, after = bytes.fromhex(case["before"]), bytes.fromhex(case["after_compress"])
    if after[VERB] & COMPRESSED:
        assert decompress(after[PAYLOAD_OFFSET:]) == before[PAYLOAD_OFFSET:]


@pytest.mark.parametrize("case", cases("packet_compress.json", "uncompress"))
def test_uncompress(case: dict[str, Any]) -> None:
    before = bytes.fromhex(case["before"])
    if not before[VERB] & COMPRESSED:
        assert case["after"] == case["before"]
    elif case["ok"]:
        assert decompress(before[PAYLOAD_OFFSET:]) == bytes.fromhex(case["after"])[PAYLOAD_OFFSET:]
    else:
        with pytest.raises(DecodeError):
            decompress(before[PAYLOAD_OFFSET:])


@given(st.binary(max_size=32), st.integers(1, 300))
def test_there_and_back(part: bytes, times: int) -> None:
    payload = part * times
    block = compress(payload)
    if block is None:
        return
    assert len(block) < len(payload)
    assert decompress(block) == payload


@given(st.binary(max_size=100))
def test_noise(noise: bytes) -> None:
    try:
        data = decompress(noise)
    except DecodeError:
        return
    assert len(data) <= MAX_PAYLOAD


def test_bounds() -> None:
    assert compress(bytes(64)) is None
    longest = compress(bytes(MAX_PAYLOAD))
    assert longest is not None
    assert len(decompress(longest)) == MAX_PAYLOAD
    bomb = compress(bytes(MAX_PAYLOAD + 1))
    assert bomb is not None
    with pytest.raises(DecodeError):
        decompress(bomb)
