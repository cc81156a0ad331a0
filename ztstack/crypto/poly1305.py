"""Poly1305 one-time authenticator (RFC 8439 section 2.5)."""

from __future__ import annotations

from cryptography.hazmat.primitives.poly1305 import Poly1305


def mac(key: bytes, data: bytes) -> bytes:
    """Return the 16-byte tag of `data` under a 32-byte one-time key."""
    return Poly1305.generate_tag(key, data)
