from __future__ import annotations

import sys
from typing import Any

import pytest

from tests.support.vectors import cases, load
from ztstack.base.address import Address
from ztstack.crypto.identity_work import derive_address, memory_hard_hash

FIRST = load("identity.json")["cases"][0]


@pytest.mark.parametrize("case", cases("identity.json", "valid"))
def test_memory_hard_hash(case: dict[str, Any]) -> None:
    digest = memory_hard_hash(bytes.fromhex(case["public_key"]))
    assert digest == bytes.fromhex(case["memory_hard_hash"])


def test_derive_address() -> None:
    public_key = bytes.fromhex(FIRST["public_key"])
    assert derive_address(public_key) == Address.parse(FIRST["address"])


def test_most_keys_have_no_address() -> None:
    # The first byte of this key's digest is above the limit.
    assert memory_hard_hash(bytes(64))[0] >= 17
    assert derive_address(bytes(64)) is None


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_without_numpy_the_hash_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    digest = memory_hard_hash(bytes.fromhex(FIRST["public_key"]))
    assert digest == bytes.fromhex(FIRST["memory_hard_hash"])
