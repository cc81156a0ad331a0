"""The 40-bit address of a node."""

from __future__ import annotations

from typing import Final, Self

from ztstack.base.codec import Reader, Writer
from ztstack.base.errors import DecodeError, InvalidConfig

ADDRESS_BYTES: Final = 5
_HEX: Final = frozenset("0123456789abcdefABCDEF")


class Address(int):
    """A 40-bit node address; zero means nobody (vl1 section 1.1)."""

    __slots__ = ()

    def __new__(cls, value: int) -> Self:
        if not 0 <= value < 1 << 40:
            raise InvalidConfig(f"a node address has 40 bits, not {value:#x}")
        return super().__new__(cls, value)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read exactly ten hexadecimal digits; anything else is InvalidConfig."""
        if len(text) != 10 or not _HEX.issuperset(text):
            raise InvalidConfig(f"a node address is ten hexadecimal digits, not {text!r}")
        return cls(int(text, 16))

    @classmethod
    def from_bytes5(cls, data: bytes) -> Self:
        if len(data) != ADDRESS_BYTES:
            raise DecodeError(f"an address of {len(data)} bytes")
        return cls(int.from_bytes(data, "big"))

    @classmethod
    def decode(cls, r: Reader) -> Self:
        return cls(r.uint(ADDRESS_BYTES))

    def encode(self, w: Writer) -> None:
        w.uint(self, ADDRESS_BYTES)

    @property
    def packed(self) -> bytes:
        return self.to_bytes(ADDRESS_BYTES, "big")

    @property
    def is_reserved(self) -> bool:
        """No node may have this address: zero, or a first byte of 0xff."""
        return self == 0 or self >> 32 == 0xFF

    def __str__(self) -> str:
        return f"{int(self):010x}"

    def __repr__(self) -> str:
        return f"Address({self})"
