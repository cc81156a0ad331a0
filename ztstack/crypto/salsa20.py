"""Salsa20 with 12 or 20 rounds as a bare key stream (vl1 section 3.2).

No kept Python library offers it. Few blocks are computed with long integers, which hold a word of
each block side by side, and many with numpy.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import Final

BLOCK_BYTES: Final = 64
_PLAIN_BLOCKS: Final = 48
"""Up to here integers are faster than numpy's fixed cost."""
_CHUNK_BLOCKS: Final = 8192
_SIGMA: Final = struct.unpack("<4I", b"expand 32-byte k")
_MASK: Final = 0xFFFFFFFF
_EIGHT: Final = struct.Struct("<8I")
_TWO: Final = struct.Struct("<2I")
# The words of the four quarter-rounds of a column round, the first words first.
_DIAGONALS: Final = ((0, 5, 10, 15), (4, 9, 14, 3), (8, 13, 2, 7), (12, 1, 6, 11))


def _initial(key: bytes, nonce: bytes, counter: int) -> list[int]:
    k, n = _EIGHT.unpack(key), _TWO.unpack(nonce)
    low, high = counter & _MASK, counter >> 32 & _MASK
    s = _SIGMA
    return [s[0], *k[:4], s[1], *n, low, high, s[2], *k[4:], s[3]]


class _Lanes:
    """How the words of some blocks lie in four integers: in lanes of 64 bits, 32 of them idle.

    An integer has one word of each diagonal, and of that word the lanes of all blocks.
    """

    __slots__ = ("bits", "every", "mask", "numbers", "pack", "sort", "unpack")

    def __init__(self, blocks: int) -> None:
        self.bits = 64 * blocks
        self.every = sum(1 << 64 * n for n in range(blocks))
        self.numbers = sum(n << 64 * n for n in range(blocks))
        self.mask = sum(_MASK << 64 * n for n in range(4 * blocks))
        self.unpack = struct.Struct(f"<{16 * blocks}Q").unpack
        self.pack = struct.Struct(f"<{16 * blocks}I").pack
        place = {word: at for at, word in enumerate(chain(*_DIAGONALS))}
        self.sort = itemgetter(
            *(place[word] * blocks + n for n in range(blocks) for word in range(16))
        )


@lru_cache(_PLAIN_BLOCKS)
def _lanes(blocks: int) -> _Lanes:
    return _Lanes(blocks)


def _plain(key: bytes, nonce: bytes, blocks: int, rounds: int, counter: int) -> bytes:
    """Compute some blocks with long integers; the lower half of their counter must not overflow.

    What a shift moves out of a word falls into idle bits, and is masked away.
    """
    lanes = _lanes(blocks)
    mask, one, every = lanes.mask, lanes.bits, lanes.every
    two, three = 2 * one, 3 * one
    low1, low2, low3 = (1 << one) - 1, (1 << two) - 1, (1 << three) - 1
    s = _initial(key, nonce, counter)
    start = [
        (s[i] | s[j] << one | s[k] << two | s[m] << three) * every for i, j, k, m in _DIAGONALS
    ]
    start[2] += lanes.numbers
    a, b, c, d = start
    for _ in range(rounds):
        t = a + d & mask
        b ^= (t << 7 | t >> 25) & mask
        t = b + a & mask
        c ^= (t << 9 | t >> 23) & mask
        t = c + b & mask
        d ^= (t << 13 | t >> 19) & mask
        t = d + c & mask
        a ^= (t << 18 | t >> 14) & mask
        # Rows of the next round are the columns of this one, turned.
        b, c, d = (
            d >> one | (d & low1) << three,
            c >> two | (c & low2) << two,
            b >> three | (b & low3) << one,
        )
    out = b"".join(
        (x + y & mask).to_bytes(4 * one // 8, "little")
        for x, y in zip((a, b, c, d), start, strict=True)
    )
    return lanes.pack(*lanes.sort(lanes.unpack(out)))


def _chunk(key: bytes, nonce: bytes, blocks: int, rounds: int, counter: int) -> bytes:
    """Compute many blocks at once: each row of a 4 by n array holds one word of every block."""
    import numpy as np  # noqa: PLC0415 - loaded when first wanted

    base = _initial(key, nonce, 0)
    start = np.empty((16, blocks), np.uint32)
    start[:] = np.array(base, np.uint32)[:, None]
    counters = np.arange(counter, counter + blocks, dtype=np.uint64)
    start[8] = counters & np.uint64(_MASK)
    start[9] = counters >> np.uint64(32)
    # Words in diagonals, so that one operation makes all four quarter-rounds.
    a, b, c, d = (start[list(words)] for words in _DIAGONALS)
    t, u = np.empty_like(a), np.empty_like(a)
    next1, next2, next3 = [1, 2, 3, 0], [2, 3, 0, 1], [3, 0, 1, 2]
    add, left, right, either, xor = (
        np.add,
        np.left_shift,
        np.right_shift,
        np.bitwise_or,
        np.bitwise_xor,
    )
    for _ in range(rounds):
        for x, y, z, shift in ((a, d, b, 7), (b, a, c, 9), (c, b, d, 13), (d, c, a, 18)):
            add(x, y, t)
            left(t, shift, u)
            right(t, 32 - shift, t)
            either(t, u, t)
            xor(z, t, z)
        # Rows of the next round are the columns of this one, turned.
        b, c, d = d[next1], c[next2], b[next3]
    out = np.empty((16, blocks), np.uint32)
    for part, words in zip((a, b, c, d), _DIAGONALS, strict=True):
        out[list(words)] = part
    out += start
    return out.T.astype("<u4", order="C").tobytes()


def keystream(key: bytes, nonce: bytes, length: int, rounds: int = 20, counter: int = 0) -> bytes:
    """Return `length` bytes of key stream from block `counter` on.

    The key has 32 bytes, the nonce 8; `rounds` is even.
    """
    blocks = -(-length // BLOCK_BYTES)
    some, most = _plain, _PLAIN_BLOCKS
    if blocks > _PLAIN_BLOCKS and _has_numpy():
        some, most = _chunk, _CHUNK_BLOCKS
    parts = []
    end = counter + blocks
    while counter < end:
        count = min(most, end - counter, _MASK + 1 - (counter & _MASK))
        parts.append(some(key, nonce, count, rounds, counter))
        counter += count
    stream = b"".join(parts)
    return stream if len(stream) == length else stream[:length]


def _has_numpy() -> bool:
    try:
        import numpy as np  # noqa: F401, PLC0415 - the first wanting of it loads it
    except ImportError:
        return False
    return True


def xor(key: bytes, nonce: bytes, data: bytes, rounds: int = 20, counter: int = 0) -> bytes:
    """Encrypt or decrypt `data`."""
    stream = keystream(key, nonce, len(data), rounds, counter)
    mixed = int.from_bytes(data, "little") ^ int.from_bytes(stream, "little")
    return mixed.to_bytes(len(data), "little")
