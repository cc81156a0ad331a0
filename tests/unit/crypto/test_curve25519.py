from __future__ import annotations

from typing import Any

import pytest

from tests.support.vectors import cases
from ztstack.base.errors import DecodeError, InvalidConfig
from ztstack.crypto import curve25519
from ztstack.crypto.identity import Identity

PRIVATE = bytes(range(64))
PUBLIC = curve25519.public_key(PRIVATE)


@pytest.mark.parametrize("case", cases("agree_sign.json", "agree"))
def test_agree(case: dict[str, Any]) -> None:
    a, b = Identity.parse(case["a_secret"]), Identity.parse(case["b_secret"])
    assert a.agree(b.public) == bytes.fromhex(case["key48"])
    assert b.agree(a.public) == bytes.fromhex(case["key48"])


@pytest.mark.parametrize("case", cases("agree_sign.json", "agree_raw"))
def test_agree_raw(case: dict[str, Any]) -> None:
    private, public = bytes.fromhex(case["private"]), bytes.fromhex(case["public"])
    key = curve25519.agree(private + bytes(32), public + bytes(32))
    assert key == bytes.fromhex(case["key48"])


@pytest.mark.parametrize("low", [0, 1])
def test_keys_of_low_order_are_refused(low: int) -> None:
    with pytest.raises(DecodeError):
        curve25519.agree(PRIVATE, low.to_bytes(32, "little") + bytes(32))


@pytest.mark.parametrize("case", cases("agree_sign.json", "public_from_private"))
def test_public_key(case: dict[str, Any]) -> None:
    public = curve25519.public_key(bytes.fromhex(case["private_key"]))
    assert public == bytes.fromhex(case["public_key"])


@pytest.mark.parametrize("case", cases("agree_sign.json", "sign"))
def test_sign(case: dict[str, Any]) -> None:
    identity = Identity.parse(case["secret"])
    message = bytes.fromhex(case["message"])
    signature = identity.sign(message)
    assert signature == bytes.fromhex(case["signature"])
    identity.public.verify(message, signature)


@pytest.mark.parametrize("case", cases("agree_sign.json", "verify"))
def test_verify(case: dict[str, Any]) -> None:
    identity = Identity.parse(case["public"])
    message, signature = bytes.fromhex(case["message"]), bytes.fromhex(case["signature"])
    if case["result"]:
        identity.verify(message, signature)
    else:
        with pytest.raises(DecodeError):
            identity.verify(message, signature)


def test_a_public_key_that_is_no_point_verifies_nothing() -> None:
    signature = curve25519.sign(PRIVATE, PUBLIC, b"message")
    for first in range(8):
        with pytest.raises(DecodeError):
            curve25519.verify(PUBLIC[:32] + bytes([first]) + b"\xff" * 31, b"message", signature)


def test_nothing_is_signed_with_halves_that_do_not_belong_together() -> None:
    with pytest.raises(InvalidConfig):
        curve25519.sign(PRIVATE, bytes(64), b"message")
