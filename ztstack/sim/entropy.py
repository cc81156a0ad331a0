"""Random bytes that are the same in every run, and identities made of them."""

from __future__ import annotations

import random

from ztstack.base.address import Address
from ztstack.crypto import curve25519
from ztstack.crypto.identity import Identity


class SeededEntropy:
    """An Entropy for simulations; never for secrets."""

    def __init__(self, seed: int | str) -> None:
        self._random = random.Random(seed)

    def take(self, length: int) -> bytes:
        return self._random.randbytes(length)


class IdentityMint:
    """Makes identities without the memory-hard search, and tells them from forged ones.

    A real address costs a second of search and a fifth of a second of checking. Here it is drawn,
    and an identity is genuine if this mint made it: the check stands for the real one.
    """

    def __init__(self, entropy: SeededEntropy) -> None:
        self._entropy = entropy
        self._genuine: dict[Address, Identity] = {}

    def make(self) -> Identity:
        while True:
            address = Address.from_bytes5(self._entropy.take(5))
            if not address.is_reserved and address not in self._genuine:
                break
        private_key = self._entropy.take(curve25519.KEY_BYTES)
        identity = Identity(address, curve25519.public_key(private_key), private_key)
        self._genuine[address] = identity.public
        return identity

    def is_genuine(self, identity: Identity) -> bool:
        return self._genuine.get(identity.address) == identity
