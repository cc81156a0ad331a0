"""Reader and Writer over bytes; DecodeError is the only failure of a Reader."""

from __future__ import annotations

from ztstack.base.errors import DecodeError


class Reader:
    """A cursor over bytes that never reads past their end."""

    __slots__ = ("data", "offset")

    def __init__(self, data: bytes, offset: int = 0) -> None:
        self.data = data
        self.offset = offset

    @property
    def remaining(self) -> int:
        return len(self.data) - self.offset

    def take(self, length: int) -> bytes:
        end = self.offset + length
        if length < 0 or end > len(self.data):
            raise DecodeError(f"{length} bytes wanted, {self.remaining} left")
        data = self.data[self.offset : end]
        self.offset = end
        return data

    def uint(self, size: int) -> int:
        """Read an unsigned big-endian integer of `size` bytes."""
        end = self.offset + size
        if end > len(self.data):
            raise DecodeError(f"{size} bytes wanted, {self.remaining} left")
        value = int.from_bytes(self.data[self.offset : end], "big")
        self.offset = end
        return value

    def skip(self, length: int) -> None:
        self.take(length)

    def rest(self) -> bytes:
        return self.take(self.remaining)


class Writer:
    """Collects the parts of a message."""

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def uint(self, value: int, size: int) -> None:
        """Write an unsigned big-endian integer of `size` bytes."""
        self._parts.append(value.to_bytes(size, "big"))

    def put(self, data: bytes) -> None:
        self._parts.append(data)

    def getvalue(self) -> bytes:
        return b"".join(self._parts)

    def __len__(self) -> int:
        return sum(map(len, self._parts))
