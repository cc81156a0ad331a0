"""A node's identity: its address and the keys that prove it (vl1 sections 1.1 to 1.9)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, Self

from ztstack.base.address import Address
from ztstack.base.codec import Reader, Writer
from ztstack.base.entropy import Entropy
from ztstack.base.errors import DecodeError, IdentityError, InvalidConfig
from ztstack.crypto import curve25519
from ztstack.crypto.curve25519 import KEY_BYTES
from ztstack.crypto.identity_work import derive_address

_TYPE: Final = 0
_HALF: Final = KEY_BYTES // 2
_SECRET_STEP: Final = 8
"""Clamping clears the three lowest bits of a scalar, so a smaller step gives the same key."""
_HEX: Final = frozenset("0123456789abcdefABCDEF")


@dataclass(frozen=True, slots=True)
class Identity:
    """An address with its public key, and the private key when it is our own.

    Two identities are equal when the address and the public key are.
    """

    address: Address
    public_key: bytes
    private_key: bytes | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        for key in (self.public_key, self.private_key):
            if key is not None and len(key) != KEY_BYTES:
                raise InvalidConfig(f"a key of an identity has {KEY_BYTES} bytes, not {len(key)}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text form, public or secret; InvalidConfig says what is wrong with it."""
        fields = text.strip().split(":")
        if len(fields) not in (3, 4):
            raise InvalidConfig(
                "an identity is written address:0:public key, with :private key if it is secret"
            )
        address = Address.parse(fields[0])
        if address.is_reserved:
            raise InvalidConfig(f"the address {address} is reserved, no identity can have it")
        if fields[1] != "0":
            raise InvalidConfig(f"the type of an identity is 0, not {fields[1][:16]!r}")
        keys = [
            _parse_key(name, digits)
            for name, digits in zip(("public", "private"), fields[2:], strict=False)
        ]
        return cls(address, *keys)

    @classmethod
    def decode(cls, r: Reader) -> Self:
        """Read the binary form, with or without the private key."""
        address = Address.decode(r)
        kind = r.uint(1)
        if kind != _TYPE:
            raise DecodeError(f"an identity of type {kind}")
        public_key = r.take(KEY_BYTES)
        length = r.uint(1)
        if length not in (0, KEY_BYTES):
            raise DecodeError(f"a private key of {length} bytes")
        return cls(address, public_key, r.take(KEY_BYTES) if length else None)

    @classmethod
    def generate(cls, entropy: Entropy, progress: Callable[[int], None] | None = None) -> Self:
        """Search for a key pair that has an address: about fifteen attempts of memory-hard work.

        `progress` is told the number of attempts after each.
        """
        private_key = entropy.take(KEY_BYTES)
        scalar = int.from_bytes(private_key[:_HALF], "little")
        seed = private_key[_HALF:]
        signing_key = curve25519.signing_public_key(seed)
        attempts = 0
        while True:
            secret = scalar.to_bytes(_HALF, "little")
            public_key = curve25519.agreement_public_key(secret) + signing_key
            address = derive_address(public_key)
            attempts += 1
            if progress is not None:
                progress(attempts)
            if address is not None:
                return cls(address, public_key, secret + seed)
            scalar = (scalar + _SECRET_STEP) % (1 << 8 * _HALF)

    def encode(self, w: Writer) -> None:
        """Write the public form, 71 bytes; the private key never goes out this way."""
        self._encode_public(w)
        w.uint(0, 1)

    def encode_secret(self, w: Writer) -> None:
        """Write the form with the private key, 135 bytes."""
        private_key = self._need_private()
        self._encode_public(w)
        w.uint(KEY_BYTES, 1)
        w.put(private_key)

    def _encode_public(self, w: Writer) -> None:
        self.address.encode(w)
        w.uint(_TYPE, 1)
        w.put(self.public_key)

    def public_text(self) -> str:
        return f"{self.address}:{_TYPE}:{self.public_key.hex()}"

    def secret_text(self) -> str:
        return f"{self.public_text()}:{self._need_private().hex()}"

    def __str__(self) -> str:
        return self.public_text()

    @property
    def public(self) -> Self:
        """The same identity without the private key."""
        return self if self.private_key is None else replace(self, private_key=None)

    @property
    def has_private(self) -> bool:
        return self.private_key is not None

    @property
    def key_hash(self) -> bytes:
        """The 48-byte hash by which certificates name their owner (vl1 section 1.7)."""
        return hashlib.sha384(self.address.packed + self.public_key).digest()

    def validate(self) -> None:
        """Do the memory-hard work; IdentityError unless the address is that of the public key."""
        if self.address.is_reserved:
            raise IdentityError(f"the address {self.address} is reserved")
        if derive_address(self.public_key) != self.address:
            raise IdentityError(f"the public key does not have the address {self.address}")

    def check_keys(self) -> None:
        """Cheaply check that a private key fits the public one; IdentityError if not."""
        if self.private_key is None:
            return
        if curve25519.public_key(self.private_key) != self.public_key:
            raise IdentityError("the private key does not belong to the public key")

    def agree(self, other: Identity) -> bytes:
        """Return the 48-byte key that the two identities share; DecodeError if there is none."""
        return curve25519.agree(self._need_private(), other.public_key)

    def sign(self, message: bytes) -> bytes:
        return curve25519.sign(self._need_private(), self.public_key, message)

    def verify(self, message: bytes, signature: bytes) -> None:
        """Raise DecodeError unless this identity signed the message."""
        curve25519.verify(self.public_key, message, signature)

    def _need_private(self) -> bytes:
        if self.private_key is None:
            raise IdentityError(f"the private key of {self.address} is not known")
        return self.private_key


def _parse_key(name: str, digits: str) -> bytes:
    if len(digits) != 2 * KEY_BYTES or not _HEX.issuperset(digits):
        raise InvalidConfig(f"the {name} key of an identity is {2 * KEY_BYTES} hexadecimal digits")
    return bytes.fromhex(digits)
