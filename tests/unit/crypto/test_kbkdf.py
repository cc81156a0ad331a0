from __future__ import annotations

import hmac
from typing import Any

import pytest

from tests.support.vectors import cases
from ztstack.crypto import kbkdf


@pytest.mark.parametrize("case", cases("kbkdf.json", "packet_keys"))
def test_packet_keys(case: dict[str, Any]) -> None:
    key = bytes.fromhex(case["key48"])
    k0, k1 = kbkdf.derive(key, 0x30), kbkdf.derive(key, 0x31)
    assert k0 == bytes.fromhex(case["k0_full"])
    assert k1 == bytes.fromhex(case["k1_full"])
    assert k0[:32] == bytes.fromhex(case["k0"])
    assert k1[:32] == bytes.fromhex(case["k1"])


@pytest.mark.parametrize("case", cases("kbkdf.json", "kbkdf"))
def test_derive(case: dict[str, Any]) -> None:
    key = bytes.fromhex(case["key"])
    derived = kbkdf.derive(key, case["label"], case["context"], case["iter"])
    assert derived == bytes.fromhex(case["out"])


@pytest.mark.parametrize("case", cases("kbkdf.json", "hmac_sha384"))
def test_the_function_it_is_built_on(case: dict[str, Any]) -> None:
    key, message = bytes.fromhex(case["key"]), bytes.fromhex(case["message"])
    assert hmac.digest(key, message, "sha384") == bytes.fromhex(case["mac"])
