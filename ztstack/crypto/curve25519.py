"""Key agreement and signatures over key pairs of 64 bytes (vl1 sections 1.2, 1.8 and 1.9).

Of a public or private key the first half is for X25519, the second for Ed25519.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from ztstack.base.errors import DecodeError, InvalidConfig
from ztstack.crypto.compare import equal

KEY_BYTES: Final = 64
SIGNATURE_BYTES: Final = 96
_HALF: Final = 32
_SHARED_BYTES: Final = 48
_DIGEST_BYTES: Final = 32
_ED25519_BYTES: Final = 64
_KEYS_KEPT: Final = 256
"""Own keys made ready, which takes as long as their use: a node has one, a simulation many."""


def agreement_public_key(private_half: bytes) -> bytes:
    """Return the X25519 public key of a secret scalar of 32 bytes, clamped or not."""
    return X25519PrivateKey.from_private_bytes(private_half).public_key().public_bytes_raw()


def signing_public_key(private_half: bytes) -> bytes:
    """Return the Ed25519 public key of a seed of 32 bytes."""
    return Ed25519PrivateKey.from_private_bytes(private_half).public_key().public_bytes_raw()


def public_key(private_key: bytes) -> bytes:
    """Return the 64-byte public key that belongs to a 64-byte private key."""
    return agreement_public_key(private_key[:_HALF]) + signing_public_key(private_key[_HALF:])


def agree(private_key: bytes, public_key: bytes) -> bytes:
    """Return the 48 bytes that only the two owners know; DecodeError if the key is degenerate."""
    mine = _agreement_key(private_key[:_HALF])
    theirs = X25519PublicKey.from_public_bytes(public_key[:_HALF])
    try:
        raw = mine.exchange(theirs)
    except ValueError:
        # A point of low order gives zero whatever the secret is.
        raise DecodeError("a public key of low order") from None
    return hashlib.sha512(raw).digest()[:_SHARED_BYTES]


def sign(private_key: bytes, public_key: bytes, message: bytes) -> bytes:
    """Return the 96-byte signature of a message.

    The public key must belong to the private key, because a signature with any other would give
    the private key away.
    """
    key = _signing_key(private_key[_HALF:])
    if not equal(key.public_key().public_bytes_raw(), public_key[_HALF:]):
        raise InvalidConfig("the private key does not belong to the public key")
    digest = _digest(message)
    return key.sign(digest) + digest


def verify(public_key: bytes, message: bytes, signature: bytes) -> None:
    """Raise DecodeError unless the owner of the key signed the message."""
    if len(signature) != SIGNATURE_BYTES:
        raise DecodeError(f"a signature of {len(signature)} bytes")
    digest = _digest(message)
    if not equal(signature[_ED25519_BYTES:], digest):
        raise DecodeError("a signature of another message")
    try:
        key = Ed25519PublicKey.from_public_bytes(public_key[_HALF:])
        key.verify(signature[:_ED25519_BYTES], digest)
    except (InvalidSignature, ValueError):
        raise DecodeError("a wrong signature") from None


@lru_cache(_KEYS_KEPT)
def _agreement_key(private_half: bytes) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(private_half)


@lru_cache(_KEYS_KEPT)
def _signing_key(private_half: bytes) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(private_half)


def _digest(message: bytes) -> bytes:
    return hashlib.sha512(message).digest()[:_DIGEST_BYTES]
