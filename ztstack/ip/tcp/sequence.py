"""Sequence numbers of 32 bits, and the stream offsets that they stand for (RFC 9293 3.4)."""

from __future__ import annotations

from typing import Final

MASK: Final = 0xFFFFFFFF
_HALF: Final = 0x80000000


def distance(later: int, earlier: int) -> int:
    """Return how far `later` is ahead; negative if it is behind."""
    return ((later - earlier + _HALF) & MASK) - _HALF


def add(sequence: int, count: int) -> int:
    return (sequence + count) & MASK
