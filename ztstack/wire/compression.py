"""LZ4 blocks for payloads, bounded (vl1 section 3.9)."""

from __future__ import annotations

from typing import Final

import lz4.block  # type: ignore[import-untyped]

from ztstack.base.errors import DecodeError
from ztstack.wire.header import MAX_PAYLOAD

MIN_PAYLOAD: Final = 65
"""Shorter payloads are never compressed."""


def compress(payload: bytes) -> bytes | None:
    """Return the LZ4 block of a payload, or None if that would not be shorter."""
    if len(payload) < MIN_PAYLOAD:
        return None
    block: bytes = lz4.block.compress(payload, store_size=False)
    return block if len(block) < len(payload) else None


def decompress(payload: bytes) -> bytes:
    """Return what was compressed: 1 to 9996 bytes, or nothing for an empty payload."""
    if not payload:
        # The flag on an empty payload means nothing and is cleared.
        return b""
    try:
        data: bytes = lz4.block.decompress(payload, uncompressed_size=MAX_PAYLOAD)
    except lz4.block.LZ4BlockError:
        raise DecodeError("not an LZ4 block, or one that is too long") from None
    if not data:
        raise DecodeError("an LZ4 block of nothing")
    return data
