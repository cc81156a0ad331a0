"""The 64-bit id of a virtual network."""

from __future__ import annotations

from typing import Final, Self

from ztstack.base.address import Address
from ztstack.base.codec import Reader, Writer
from ztstack.base.errors import InvalidConfig

_HEX: Final = frozenset("0123456789abcdefABCDEF")


class NetworkId(int):
    """Controller address and a number on it; 0xff on top marks an ad-hoc network (vl2 1.1)."""

    __slots__ = ()

    def __new__(cls, value: int) -> Self:
        if not 0 <= value < 1 << 64:
            raise InvalidConfig(f"a network id has 64 bits, not {value:#x}")
        return super().__new__(cls, value)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read exactly sixteen hexadecimal digits; anything else is InvalidConfig."""
        if len(text) != 16 or not _HEX.issuperset(text):
            raise InvalidConfig(f"a network id is sixteen hexadecimal digits, not {text!r}")
        return cls(int(text, 16))

    @classmethod
    def decode(cls, r: Reader) -> Self:
        return cls(r.uint(8))

    def encode(self, w: Writer) -> None:
        w.uint(self, 8)

    @property
    def packed(self) -> bytes:
        return self.to_bytes(8, "big")

    @property
    def controller(self) -> Address:
        return Address(self >> 24)

    @property
    def is_adhoc(self) -> bool:
        return self >> 56 == 0xFF

    def __str__(self) -> str:
        return f"{int(self):016x}"

    def __repr__(self) -> str:
        return f"NetworkId({self})"
