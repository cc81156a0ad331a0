"""The Internet checksum (RFC 1071), for one message and for rows of a burst."""

from __future__ import annotations

from typing import Final

_MODULUS: Final = 65_535


def word_sum(data: bytes | bytearray | memoryview) -> int:
    """Return the sum of the big-endian 16-bit words modulo 65535; an odd byte is padded."""
    value = int.from_bytes(data, "big")
    if len(data) & 1:
        value <<= 8
    return value % _MODULUS


def checksum(data: bytes | memoryview) -> int:
    """Return the checksum of a message; it is zero over one that holds the right one."""
    value = int.from_bytes(data, "big")
    if len(data) & 1:
        value <<= 8
    if not value:
        return _MODULUS
    return -value % _MODULUS


def pseudo_header(source: bytes, destination: bytes, protocol: int, length: int) -> bytes:
    """Return what the checksum of an upper layer covers besides its message."""
    if len(source) == 4:
        return source + destination + bytes((0, protocol)) + length.to_bytes(2, "big")
    return source + destination + length.to_bytes(4, "big") + bytes((0, 0, 0, protocol))


def slot_sums(buffer: bytes | bytearray | memoryview, stride: int, skip: int) -> list[int]:
    """Return the word sum of every slot of `stride` bytes, without its first `skip` bytes.

    Both are multiples of four. Sums are modulo 65535.
    """
    import numpy as np  # noqa: PLC0415 - loaded when the first full burst comes

    count = len(buffer) // stride
    words = np.frombuffer(buffer, "<u4", count * (stride // 4)).reshape(count, stride // 4)
    sums = np.add.reduce(words[:, skip // 4 :], axis=1, dtype=np.uint64) % np.uint64(_MODULUS)
    # Sums of little-endian words are the others' with their bytes swapped.
    result: list[int] = sums.astype("<u2").byteswap().tolist()
    return result


def has_numpy() -> bool:
    """Tell whether `slot_sums` works here; else the same sums are made one by one."""
    global _numpy  # noqa: PLW0603 - asked once
    if _numpy is None:
        try:
            import numpy as np  # noqa: PLC0415
        except ImportError:
            _numpy = False
        else:
            _numpy = bool(np.__version__)
    return _numpy


_numpy: bool | None = None
