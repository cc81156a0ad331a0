"""The memory-hard function that ties an address to a public key (vl1 section 1.5)."""

from __future__ import annotations

import hashlib
import struct
from array import array
from collections.abc import Sequence
from typing import Final

from ztstack.base.address import Address
from ztstack.crypto import salsa20

_MEMORY_BLOCKS: Final = 32_768
_STEPS: Final = 131_072
_WORDS: Final = 8 * _MEMORY_BLOCKS
_BLOCK_WORDS: Final = 8
_DIGEST: Final = struct.Struct(">8Q")
FIRST_BYTE_LIMIT: Final = 17


def memory_hard_hash(public_key: bytes) -> bytes:
    """Return the 64-byte digest of a 64-byte public key; it takes a good part of a second."""
    digest = hashlib.sha512(public_key).digest()
    stream = salsa20.keystream(
        digest[:32], digest[32:40], salsa20.BLOCK_BYTES * (_MEMORY_BLOCKS + _STEPS)
    )
    memory, covers = _running_xors(stream)
    # The rule XORs the whole digest with the next block after every step. Here `words` is the
    # digest without these blocks, and `covers` the XOR of the blocks so far: a step touches one.
    words = list(_DIGEST.unpack(digest))
    at = 0
    for n in range(0, _WORDS, 2):
        i1 = memory[n] & 7
        i2 = memory[n + 1] & 0x3FFFF
        cover = covers[at + i1]
        at += 8
        words[i1], memory[i2] = memory[i2] ^ cover, words[i1] ^ cover
    return _DIGEST.pack(*(w ^ c for w, c in zip(words, covers[at : at + 8], strict=True)))


def derive_address(public_key: bytes) -> Address | None:
    """Return the address of a public key, or None if the key is not fit to have one."""
    digest = memory_hard_hash(public_key)
    if digest[0] >= FIRST_BYTE_LIMIT:
        return None
    address = Address.from_bytes5(digest[-5:])
    return None if address.is_reserved else address


def _running_xors(stream: bytes) -> tuple[list[int], Sequence[int]]:
    """Return the memory, and the XOR of the first n other blocks for every n, as 64-bit words."""
    try:
        import numpy as np  # noqa: PLC0415
    except ImportError:
        words = struct.unpack(f">{len(stream) // 8}Q", stream)
        return _running(words[:_WORDS]), [0] * _BLOCK_WORDS + _running(words[_WORDS:])
    blocks = np.frombuffer(stream, ">u8").astype(np.uint64).reshape(-1, _BLOCK_WORDS)
    memory = np.bitwise_xor.accumulate(blocks[:_MEMORY_BLOCKS], axis=0).ravel().tolist()
    # An array makes only those integers that are looked at: one in eight.
    covers = array("Q", bytes(salsa20.BLOCK_BYTES))
    covers.frombytes(np.bitwise_xor.accumulate(blocks[_MEMORY_BLOCKS:], axis=0).tobytes())
    return memory, covers


def _running(words: Sequence[int]) -> list[int]:
    out = list(words[:_BLOCK_WORDS])
    for n in range(_BLOCK_WORDS, len(words)):
        out.append(out[n - _BLOCK_WORDS] ^ words[n])
    return out
