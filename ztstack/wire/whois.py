"""WHOIS and OK(WHOIS): addresses to identities (vl1 section 4.6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from ztstack.base.address import ADDRESS_BYTES, Address
from ztstack.base.codec import Reader, Writer
from ztstack.crypto.identity import Identity

_IDENTITY_BYTES: Final = 71


@dataclass(frozen=True, slots=True)
class Whois:
    """WHOIS: who has these addresses? Stock nodes ask for one at a time."""

    addresses: tuple[Address, ...]

    @classmethod
    def decode(cls, r: Reader) -> Self:
        # A partial address at the end is ignored.
        return cls(tuple(Address.decode(r) for _ in range(r.remaining // ADDRESS_BYTES)))

    def encode(self, w: Writer) -> None:
        for address in self.addresses:
            address.encode(w)


@dataclass(frozen=True, slots=True)
class WhoisOk:
    """OK(WHOIS): the identities that are known, in the order of the request."""

    identities: tuple[Identity, ...]

    @classmethod
    def decode(cls, r: Reader) -> Self:
        identities = [Identity.decode(r)]
        while r.remaining >= _IDENTITY_BYTES:
            identities.append(Identity.decode(r))
        return cls(tuple(identities))

    def encode(self, w: Writer) -> None:
        for identity in self.identities:
            identity.encode(w)
