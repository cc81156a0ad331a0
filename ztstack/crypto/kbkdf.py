"""The key derivation of the AES keys: HMAC-SHA384 in counter mode (vl1 section 3.1)."""

from __future__ import annotations

import hmac
from typing import Final

_OUTPUT_BITS: Final = 384


def derive(key: bytes, label: int, context: int = 0, iteration: int = 0) -> bytes:
    """Return 48 bytes derived from `key` for a label and a context of one byte each."""
    message = b"".join(
        (
            iteration.to_bytes(4, "big"),
            b"ZT",
            bytes((label, 0, context)),
            _OUTPUT_BITS.to_bytes(4, "big"),
        )
    )
    return hmac.digest(key, message, "sha384")
