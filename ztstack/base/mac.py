"""48-bit MAC addresses, their derivation from node addresses, and multicast groups."""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple, Self

from ztstack.base.address import Address
from ztstack.base.codec import Reader, Writer
from ztstack.base.errors import InvalidConfig
from ztstack.base.network_id import NetworkId

MAC_BYTES: Final = 6


def _first_octet(network: NetworkId) -> int:
    octet = (network & 0xFE) | 0x02
    # 0x52 is what virtual machines use, so the protocol avoids it (vl2 1.2).
    return 0x32 if octet == 0x52 else octet


@lru_cache(maxsize=64)
def _mask(network: NetworkId) -> int:
    # Bytes 1 to 5 of the network id, counted from the least significant, in that order.
    return int.from_bytes((network >> 8 & 0xFFFFFFFFFF).to_bytes(5, "little"), "big")


class Mac(int):
    """A 48-bit Ethernet address."""

    __slots__ = ()

    def __new__(cls, value: int) -> Self:
        if not 0 <= value < 1 << 48:
            raise InvalidConfig(f"a MAC address has 48 bits, not {value:#x}")
        return super().__new__(cls, value)

    @classmethod
    def of_node(cls, address: Address, network: NetworkId) -> Self:
        """Derive the MAC that a node has on a network (vl2 section 1.2)."""
        return cls(_first_octet(network) << 40 | (address ^ _mask(network)))

    def node(self, network: NetworkId) -> Address:
        """Invert `of_node`; meaningful only if `is_derived(network)`."""
        return Address((self & 0xFFFFFFFFFF) ^ _mask(network))

    def is_derived(self, network: NetworkId) -> bool:
        return self >> 40 == _first_octet(network)

    @classmethod
    def parse(cls, text: str) -> Self:
        parts = text.split(":")
        try:
            if len(parts) != MAC_BYTES or any(len(p) != 2 for p in parts):
                raise ValueError
            return cls(int("".join(parts), 16))
        except ValueError:
            raise InvalidConfig(f"a MAC address is six pairs of digits, not {text!r}") from None

    @classmethod
    def decode(cls, r: Reader) -> Self:
        return cls(r.uint(MAC_BYTES))

    def encode(self, w: Writer) -> None:
        w.uint(self, MAC_BYTES)

    @property
    def packed(self) -> bytes:
        return self.to_bytes(MAC_BYTES, "big")

    @property
    def is_multicast(self) -> bool:
        return bool(self >> 40 & 1)

    @property
    def is_broadcast(self) -> bool:
        return self == BROADCAST

    @property
    def is_locally_administered(self) -> bool:
        return bool(self >> 40 & 2)

    def __str__(self) -> str:
        return self.packed.hex(":")

    def __repr__(self) -> str:
        return f"Mac({self})"


BROADCAST: Final = Mac(0xFFFFFFFFFFFF)


class MulticastGroup(NamedTuple):
    """A multicast MAC and its additional distinguishing information, 32 bits (vl2 0, 6.4)."""

    mac: Mac
    adi: int = 0

    @classmethod
    def decode(cls, r: Reader) -> Self:
        return cls(Mac.decode(r), r.uint(4))

    def encode(self, w: Writer) -> None:
        self.mac.encode(w)
        w.uint(self.adi, 4)

    @classmethod
    def for_address_resolution(cls, ip: bytes) -> Self:
        """Return the group on which the owner of `ip` (4 or 16 bytes) is asked for its MAC."""
        if len(ip) == 4:
            return cls(BROADCAST, int.from_bytes(ip, "big"))
        return cls(Mac(0x3333FF000000 | int.from_bytes(ip[13:], "big")), 0)
