from __future__ import annotations

from typing import Any

import pytest

from tests.support.vectors import cases
from ztstack.crypto import poly1305


@pytest.mark.parametrize("case", cases("poly1305.json", "mac"))
def test_mac(case: dict[str, Any]) -> None:
    key, message = bytes.fromhex(case["key"]), bytes.fromhex(case["message"])
    assert poly1305.mac(key, message) == bytes.fromhex(case["mac"])
