"""AES-GMAC-SIV, the cipher of suite 3 (vl1 section 3.4), with contexts made once for a key."""

from __future__ import annotations

import struct
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR, ECB

from ztstack.base.errors import DecodeError
from ztstack.crypto.compare import equal

_BLOCK: Final = 16
_ZERO4: Final = bytes(4)
_QQ: Final = struct.Struct(">QQ")
_Q: Final = struct.Struct(">Q")


def counter_block(tag: bytes) -> bytes:
    """Return the first counter block: the tag without the highest bit of byte 12."""
    if tag[12] < 0x80:
        return tag
    return b"%b%c%b" % (tag[:12], tag[12] & 0x7F, tag[13:])


class AesGmacSiv:
    """Seals and opens with one pair of keys; not for use by two threads.

    The attributes are bound methods of the reused contexts, for the batch path: `gmac(nonce, b"",
    data)` gives the 16-byte tag, `ecb_encrypt` and `ecb_decrypt` take one block, `ctr_reset` takes
    a counter block and begins a new stream for `ctr_update` and `ctr_update_into`.
    """

    __slots__ = (
        "ctr_reset",
        "ctr_update",
        "ctr_update_into",
        "ecb_decrypt",
        "ecb_encrypt",
        "gmac",
    )

    def __init__(self, k0: bytes, k1: bytes) -> None:
        self.gmac = AESGCM(k0).encrypt
        # One block at a time, which is all that the construction encrypts with it.
        block = Cipher(AES256(k1), ECB())  # noqa: S305
        self.ecb_encrypt = block.encryptor().update
        self.ecb_decrypt = block.decryptor().update
        stream = Cipher(AES256(k1), CTR(bytes(_BLOCK))).encryptor()
        self.ctr_reset = stream.reset_nonce
        self.ctr_update = stream.update
        self.ctr_update_into = stream.update_into

    def _authenticate(self, iv: bytes, aad: bytes, plaintext: bytes) -> bytes:
        padding = bytes(-len(aad) % _BLOCK)
        tag = self.gmac(iv + _ZERO4, b"", b"".join((aad, padding, plaintext)))
        x, y = _QQ.unpack(tag)
        return _Q.pack(x ^ y)

    def seal(self, iv: bytes, aad: bytes, plaintext: bytes) -> tuple[bytes, bytes]:
        """Return the 16-byte tag and the ciphertext; `iv` has eight random bytes."""
        tag = self.ecb_encrypt(iv + self._authenticate(iv, aad, plaintext))
        self.ctr_reset(counter_block(tag))
        return tag, self.ctr_update(plaintext)

    def open(self, tag: bytes, aad: bytes, ciphertext: bytes) -> bytes:
        """Return the plaintext; DecodeError if it is not authentic."""
        self.ctr_reset(counter_block(tag))
        plaintext = self.ctr_update(ciphertext)
        iv_t = self.ecb_decrypt(tag)
        if not equal(self._authenticate(iv_t[:8], aad, plaintext), iv_t[8:]):
            raise DecodeError("wrong tag")
        return plaintext
