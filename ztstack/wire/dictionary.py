"""The key=value text in which configurations and metadata travel (vl2 section 3.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from ztstack.base.address import Address
from ztstack.base.errors import InvalidConfig

_ESCAPES: Final = {b"\0": b"\\0", b"\r": b"\\r", b"\n": b"\\n", b"\\": b"\\\\", b"=": b"\\e"}
_LETTERS: Final = {b"0": b"\0", b"r": b"\r", b"n": b"\n", b"e": b"="}
_RAW: Final = re.compile(rb"[\0\r\n\\=]")
_ESCAPED: Final = re.compile(rb"\\(.?)", re.DOTALL)
_LINE_END: Final = re.compile(rb"[\r\n]")
_KEY: Final = re.compile(r"[^\0\r\n=]*")
# What C's strtoull takes with base 16: blanks, a sign, 0x, digits; and it stops at the rest.
_NUMBER: Final = re.compile(rb"[ \t\n\v\f\r]*([+-]?)(?:0[xX](?=[0-9a-fA-F]))?([0-9a-fA-F]*)")

_UINT_MAX: Final = (1 << 64) - 1
_INT_MAX: Final = (1 << 63) - 1


def _escape(value: bytes) -> bytes:
    return _RAW.sub(lambda match: _ESCAPES[match[0]], value)


def _unescape(value: bytes) -> bytes:
    if b"\\" not in value:
        return value
    # An escaped byte without a meaning stands for itself; a backslash at the end for nothing.
    return _ESCAPED.sub(lambda match: _LETTERS.get(match[1], match[1]), value)


class Dictionary:
    """Ordered pairs of key and bytes; of a key that occurs twice the first pair counts."""

    __slots__ = ("_pairs",)

    def __init__(self, pairs: Iterable[tuple[str, bytes]] = ()) -> None:
        self._pairs: list[tuple[str, bytes]] = []
        for key, value in pairs:
            self.add(key, value)

    @classmethod
    def parse(cls, data: bytes) -> Dictionary:
        """Read a text up to its first NUL; this cannot fail, lines without a key are ignored."""
        result = cls()
        for line in _LINE_END.split(data.partition(b"\0")[0]):
            key, equals, value = line.partition(b"=")
            if equals:
                result._pairs.append((key.decode("latin-1"), _unescape(value)))
        return result

    def encode(self) -> bytes:
        return b"\n".join(key.encode("latin-1") + b"=" + _escape(v) for key, v in self._pairs)

    def __contains__(self, key: str) -> bool:
        return self.get(key) is not None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dictionary) and self._pairs == other._pairs

    __hash__ = None  # type: ignore[assignment]  # it can be changed

    def __len__(self) -> int:
        return len(self._pairs)

    def __repr__(self) -> str:
        return f"Dictionary({self._pairs!r})"

    def pairs(self) -> list[tuple[str, bytes]]:
        return list(self._pairs)

    def get(self, key: str) -> bytes | None:
        for name, value in self._pairs:
            if name == key:
                return value
        return None

    def get_text(self, key: str, limit_bytes: int, default: str = "") -> str:
        """Return a text cut after so many bytes; what is not UTF-8 in it is replaced."""
        value = self.get(key)
        return default if value is None else value[:limit_bytes].decode(errors="replace")

    def get_uint(self, key: str, default: int = 0) -> int:
        """Return an unsigned number, read as C's strtoull does with base 16."""
        value = self.get(key)
        if not value:
            return default
        negative, number = _number(value)
        number = min(number, _UINT_MAX)
        return -number & _UINT_MAX if negative else number

    def get_int(self, key: str, default: int = 0) -> int:
        """Return a signed number, read as C's strtoll does with base 16."""
        value = self.get(key)
        if not value:
            return default
        negative, number = _number(value)
        return max(-number, -_INT_MAX - 1) if negative else min(number, _INT_MAX)

    def get_address(self, key: str) -> Address:
        return Address(self.get_uint(key) & 0xFFFFFFFFFF)

    def get_bool(self, key: str, *, default: bool = False) -> bool:
        value = self.get(key)
        return default if value is None else value[:1] in (b"1", b"t", b"T")

    def add(self, key: str, value: bytes) -> None:
        """Append a pair, even if the key is there."""
        if not _KEY.fullmatch(key) or not key.isascii():
            raise InvalidConfig(f"not a key of a dictionary: {key!r}")
        self._pairs.append((key, value))

    def set(self, key: str, value: bytes) -> None:
        """Give a key its value, in its old place if it has one."""
        for position, (name, _) in enumerate(self._pairs):
            if name == key:
                self._pairs[position] = (key, value)
                return
        self.add(key, value)

    def set_text(self, key: str, value: str) -> None:
        self.set(key, value.encode())

    def set_uint(self, key: str, value: int) -> None:
        self.set(key, b"%016x" % value)

    def set_address(self, key: str, value: Address) -> None:
        """Write ten digits, as network configurations have them."""
        self.set(key, b"%010x" % value)

    def set_bool(self, key: str, value: bool) -> None:  # noqa: FBT001
        self.set(key, b"1" if value else b"0")


def _number(value: bytes) -> tuple[bool, int]:
    match = _NUMBER.match(value)
    assert match is not None
    # More than 32 digits say no more than "too large", and int() would be slow on a long text.
    digits = match[2].lstrip(b"0")[:32]
    return match[1] == b"-", int(digits or b"0", 16)
