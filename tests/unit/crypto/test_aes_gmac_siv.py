from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from tests.strategies import blobs
from tests.support.vectors import cases
from ztstack.base.errors import DecodeError
from ztstack.crypto.aes_gmac_siv import AesGmacSiv, counter_block

K0, K1 = bytes(range(32)), bytes(range(32, 64))
IV, AAD = bytes(range(8)), bytes(range(11))


def cipher(case: dict[str, Any]) -> AesGmacSiv:
    return AesGmacSiv(bytes.fromhex(case["k0"]), bytes.fromhex(case["k1"]))


@pytest.mark.parametrize("case", cases("aes_gmac_siv.json", "encrypt"))
def test_encrypt(case: dict[str, Any]) -> None:
    siv = cipher(case)
    iv, aad, plain = (bytes.fromhex(case[name]) for name in ("iv", "aad", "plaintext"))
    tag, sealed = siv.seal(iv, aad, plain)
    assert tag == bytes.fromhex(case["tag"])
    assert sealed == bytes.fromhex(case["ciphertext"])
    assert siv.open(tag, aad, sealed) == plain


@pytest.mark.parametrize("case", cases("aes_gmac_siv.json", "decrypt"))
def test_decrypt(case: dict[str, Any]) -> None:
    siv = cipher(case)
    tag, aad, sealed = (bytes.fromhex(case[name]) for name in ("tag", "aad", "ciphertext"))
    if case["ok"]:
        assert siv.open(tag, aad, sealed) == bytes.fromhex(case["plaintext"])
    else:
        with pytest.raises(DecodeError):
            siv.open(tag, aad, sealed)


def test_a_cipher_is_good_again_after_a_forgery() -> None:
    siv = AesGmacSiv(K0, K1)
    tag, sealed = siv.seal(IV, AAD, b"first")
    with pytest.raises(DecodeError):
        siv.open(tag, AAD, b"wrong")
    assert siv.open(tag, AAD, sealed) == b"first"
    assert AesGmacSiv(K0, K1).seal(IV, AAD, b"first") == siv.seal(IV, AAD, b"first")


@given(blobs(8), blobs(11), st.binary(max_size=100), st.data())
def test_one_flipped_bit_is_found(iv: bytes, aad: bytes, plain: bytes, data: st.DataObject) -> None:
    siv = AesGmacSiv(K0, K1)
    tag, sealed = siv.seal(iv, aad, plain)
    whole = bytearray(tag + aad + sealed)
    bit = data.draw(st.integers(0, 8 * len(whole) - 1))
    whole[bit // 8] ^= 1 << bit % 8
    changed = bytes(whole)
    with pytest.raises(DecodeError):
        siv.open(changed[:16], changed[16:27], changed[27:])


def test_the_counter_block_has_one_bit_cleared() -> None:
    assert counter_block(b"\xff" * 16) == b"\xff" * 12 + b"\x7f" + b"\xff" * 3
    assert counter_block(bytes(range(16))) == bytes(range(16))


def test_the_parts_for_batches_make_the_same_bytes() -> None:
    siv = AesGmacSiv(K0, K1)
    plain = bytes(range(100))
    tag, sealed = siv.seal(IV, AAD, plain)
    full = siv.gmac(IV + bytes(4), b"", AAD + bytes(5) + plain)
    short = bytes(x ^ y for x, y in zip(full[:8], full[8:], strict=True))
    assert siv.ecb_encrypt(IV + short) == tag
    assert siv.ecb_decrypt(tag) == IV + short
    out = bytearray(100)
    siv.ctr_reset(counter_block(tag))
    assert siv.ctr_update_into(plain, out) == 100
    assert out == sealed
    siv.ctr_reset(counter_block(tag))
    assert siv.ctr_update(sealed) == plain
