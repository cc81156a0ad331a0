from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import given, strategies as st

from tests.strategies import blobs
from tests.support.vectors import cases
from ztstack.crypto import salsa20

KEY = bytes(range(32))
NONCE = bytes(range(8))


@pytest.mark.parametrize("case", cases("salsa20.json", "keystream"))
def test_keystream(case: dict[str, Any]) -> None:
    key, nonce = bytes.fromhex(case["key"]), bytes.fromhex(case["iv"])
    stream = salsa20.keystream(key, nonce, case["length"], case["rounds"])
    assert stream == bytes.fromhex(case["keystream"])


@pytest.mark.parametrize("case", cases("salsa20.json", "encrypt"))
def test_xor(case: dict[str, Any]) -> None:
    key, nonce = bytes.fromhex(case["key"]), bytes.fromhex(case["iv"])
    plain, cipher = bytes.fromhex(case["plaintext"]), bytes.fromhex(case["ciphertext"])
    assert salsa20.xor(key, nonce, plain, case["rounds"]) == cipher
    assert salsa20.xor(key, nonce, cipher, case["rounds"]) == plain


@pytest.mark.parametrize("case", cases("salsa20.json", "consecutive_calls"))
def test_every_call_begins_with_a_fresh_block(case: dict[str, Any]) -> None:
    key, nonce = bytes.fromhex(case["key"]), bytes.fromhex(case["iv"])
    counter = 0
    for part in map(bytes.fromhex, case["parts"]):
        stream = salsa20.keystream(key, nonce, len(part), case["rounds"], counter)
        assert stream == part
        counter += -(-len(part) // salsa20.BLOCK_BYTES)


@pytest.mark.parametrize("rounds", [12, 20])
@pytest.mark.parametrize("counter", [0, 5, (1 << 32) - 3, (1 << 40) + 1])
def test_many_blocks_are_the_same_as_single_ones(rounds: int, counter: int) -> None:
    single = [salsa20.keystream(KEY, NONCE, 64, rounds, counter + n) for n in range(60)]
    for blocks in (2, 20, 48, 49, 60):
        whole = salsa20.keystream(KEY, NONCE, 64 * blocks, rounds, counter)
        assert whole == b"".join(single[:blocks])


@pytest.mark.parametrize("blocks", [8191, 8192, 8193])
def test_the_seams_of_a_long_stream(blocks: int) -> None:
    whole = salsa20.keystream(KEY, NONCE, 64 * blocks, 12)
    tail = salsa20.keystream(KEY, NONCE, 128, 12, blocks - 2)
    assert len(whole) == 64 * blocks
    assert whole.endswith(tail)


def test_without_numpy_the_bytes_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = salsa20.keystream(KEY, NONCE, 9000, 12)
    monkeypatch.setitem(sys.modules, "numpy", None)
    assert salsa20.keystream(KEY, NONCE, 9000, 12) == fast


@given(blobs(32), blobs(8), st.binary(max_size=600), st.integers(0, (1 << 40)))
def test_xor_twice_is_nothing(key: bytes, nonce: bytes, data: bytes, counter: int) -> None:
    once = salsa20.xor(key, nonce, data, 12, counter)
    assert salsa20.xor(key, nonce, once, 12, counter) == data
