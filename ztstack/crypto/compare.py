"""Comparison of secrets in constant time."""

from __future__ import annotations

from cryptography.hazmat.primitives.constant_time import bytes_eq


def equal(a: bytes, b: bytes) -> bool:
    """Tell whether two byte strings are equal, in a time that depends on their length only."""
    return bytes_eq(a, b)
