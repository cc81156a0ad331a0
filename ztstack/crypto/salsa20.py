"""Salsa20 with 12 or 20 rounds as a bare key stream (vl1 section 3.2).

No kept Python library offers it. Few blocks are computed with integers, many with numpy over the
block counter.
"""

from __future__ import annotations

import struct
from typing import Final

BLOCK_BYTES: Final = 64
_PLAIN_BLOCKS: Final = 4
"""Up to here integers are faster than numpy's fixed cost."""
_CHUNK_BLOCKS: Final = 8192
_SIGMA: Final = struct.unpack("<4I", b"expand 32-byte k")
_MASK: Final = 0xFFFFFFFF
_EIGHT: Final = struct.Struct("<8I")
_TWO: Final = struct.Struct("<2I")
_SIXTEEN: Final = struct.Struct("<16I")
# The four quarter-rounds of a column round and of a row round.
_QUARTERS: Final = (
    (0, 4, 8, 12),
    (5, 9, 13, 1),
    (10, 14, 2, 6),
    (15, 3, 7, 11),
    (0, 1, 2, 3),
    (5, 6, 7, 4),
    (10, 11, 8, 9),
    (15, 12, 13, 14),
)


def _initial(key: bytes, nonce: bytes, counter: int) -> list[int]:
    k, n = _EIGHT.unpack(key), _TWO.unpack(nonce)
    low, high = counter & _MASK, counter >> 32 & _MASK
    s = _SIGMA
    return [s[0], *k[:4], s[1], *n, low, high, s[2], *k[4:], s[3]]


def _block(state: list[int], rounds: int) -> bytes:
    x = state.copy()
    for _ in range(rounds // 2):
        for a, b, c, d in _QUARTERS:
            t = x[a] + x[d] & _MASK
            x[b] ^= t << 7 & _MASK | t >> 25
            t = x[b] + x[a] & _MASK
            x[c] ^= t << 9 & _MASK | t >> 23
            t = x[c] + x[b] & _MASK
            x[d] ^= t << 13 & _MASK | t >> 19
            t = x[d] + x[c] & _MASK
            x[a] ^= t << 18 & _MASK | t >> 14
    return _SIXTEEN.pack(*((p + q) & _MASK for p, q in zip(x, state, strict=True)))


def _plain(key: bytes, nonce: bytes, blocks: int, rounds: int, counter: int) -> bytes:
    return b"".join(_block(_initial(key, nonce, counter + n), rounds) for n in range(blocks))


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
    a, b, c, d = (start[list(words)] for words in zip(*_QUARTERS[:4], strict=True))
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
    for part, words in zip((a, b, c, d), zip(*_QUARTERS[:4], strict=True), strict=True):
        out[list(words)] = part
    out += start
    return out.T.astype("<u4", order="C").tobytes()


def keystream(key: bytes, nonce: bytes, length: int, rounds: int = 20, counter: int = 0) -> bytes:
    """Return `length` bytes of key stream from block `counter` on.

    The key has 32 bytes, the nonce 8; `rounds` is even.
    """
    blocks = -(-length // BLOCK_BYTES)
    if blocks <= _PLAIN_BLOCKS or not _has_numpy():
        stream = _plain(key, nonce, blocks, rounds, counter)
    else:
        stream = b"".join(
            _chunk(key, nonce, min(_CHUNK_BLOCKS, blocks - at), rounds, counter + at)
            for at in range(0, blocks, _CHUNK_BLOCKS)
        )
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
