"""Packets sealed and opened: cipher suites, field encryption, the keys of a pair (vl1 3)."""

from __future__ import annotations

from typing import Final

from ztstack.base.errors import DecodeError
from ztstack.crypto import compare, kbkdf, poly1305, salsa20
from ztstack.crypto.aes_gmac_siv import AesGmacSiv
from ztstack.wire.header import (
    AUTHENTIC_MASK,
    ENVELOPE_OFFSET,
    FLAG_ENCRYPTED,
    FLAG_FRAGMENTED,
    FLAGS_OFFSET,
    HEADER_BYTES,
    MAC_OFFSET,
    SUITE_AES,
    SUITE_MASK,
    SUITE_POLY1305,
    SUITE_SALSA2012,
    SUITE_SHIFT,
    SUITE_TRUSTED,
)

_ROUNDS: Final = 12
_KEY_BYTES: Final = 32
_MANGLED_BYTES: Final = 21
_MAC_BYTES: Final = 8
_LABEL_GMAC: Final = 0x30
_LABEL_BLOCK: Final = 0x31


class PeerKeys:
    """The keys of one pair of nodes; the AES ones are derived when first wanted."""

    __slots__ = ("_aes", "_key48", "_salsa", "_salsa_number")

    def __init__(self, key48: bytes) -> None:
        self._key48 = key48
        self._salsa = key48[:_KEY_BYTES]
        self._salsa_number = int.from_bytes(self._salsa, "big")
        self._aes: AesGmacSiv | None = None

    @property
    def aes(self) -> AesGmacSiv:
        if self._aes is None:
            self._aes = AesGmacSiv(
                kbkdf.derive(self._key48, _LABEL_GMAC)[:_KEY_BYTES],
                kbkdf.derive(self._key48, _LABEL_BLOCK)[:_KEY_BYTES],
            )
        return self._aes

    def packet_key(self, head: bytes, length: int) -> bytes:
        """Mix the header and the packet's length into the key of suites 0 and 1 (vl1 3.3)."""
        mask = (
            head[:FLAGS_OFFSET]
            + bytes((head[FLAGS_OFFSET] & AUTHENTIC_MASK, length & 0xFF, length >> 8 & 0xFF))
            + bytes(_KEY_BYTES - _MANGLED_BYTES)
        )
        return (self._salsa_number ^ int.from_bytes(mask, "big")).to_bytes(_KEY_BYTES, "big")

    def crypt_field(self, packet_id: bytes, data: bytes) -> bytes:
        """Encrypt or decrypt a part of HELLO (vl1 section 3.8)."""
        nonce = packet_id[:7] + bytes((packet_id[7] & AUTHENTIC_MASK,))
        return salsa20.xor(self._salsa, nonce, data, _ROUNDS)


def _xor(a: bytes, b: bytes) -> bytes:
    return (int.from_bytes(a, "big") ^ int.from_bytes(b, "big")).to_bytes(len(a), "big")


def seal(
    keys: PeerKeys,
    suite: int,
    packet_id: bytes,
    addresses: bytes,
    body: bytes,
    *,
    fragmented: bool = False,
) -> bytes:
    """Return the packet: `addresses` is destination and source, `body` begins with the verb byte.

    With suite 3 the first eight bytes of the result are not `packet_id`: replies refer to them.
    """
    flags = suite << SUITE_SHIFT
    if fragmented:
        flags |= FLAG_FRAGMENTED
    if suite == SUITE_AES:
        associated = addresses + bytes((flags,))
        tag, sealed = keys.aes.seal(packet_id, associated, body)
        return b"".join((tag[:8], associated, tag[8:], sealed))
    if suite == SUITE_SALSA2012:
        flags |= FLAG_ENCRYPTED
    head = packet_id + addresses + bytes((flags,))
    key = keys.packet_key(head, ENVELOPE_OFFSET + len(body))
    if suite == SUITE_SALSA2012:
        stream = salsa20.keystream(key, packet_id, 64 + len(body), _ROUNDS)
        body = _xor(body, stream[64:])
    else:
        stream = salsa20.keystream(key, packet_id, _KEY_BYTES, _ROUNDS)
    mac = poly1305.mac(stream[:_KEY_BYTES], body)[:_MAC_BYTES]
    return head + mac + body


def mark_trusted(
    trusted_path_id: int, packet_id: bytes, addresses: bytes, body: bytes, *, fragmented: bool
) -> bytes:
    """Return a packet in clear, for a physical network that is trusted (vl1 section 3.5)."""
    flags = SUITE_TRUSTED << SUITE_SHIFT
    if fragmented:
        flags |= FLAG_FRAGMENTED
    return b"".join((packet_id, addresses, bytes((flags,)), trusted_path_id.to_bytes(8), body))


def open_packet(keys: PeerKeys, data: bytes) -> bytes:
    """Return verb byte and payload; DecodeError if the packet is not authentic."""
    if len(data) < HEADER_BYTES:
        raise DecodeError(f"a packet of {len(data)} bytes")
    flags = data[FLAGS_OFFSET]
    suite = (flags & SUITE_MASK) >> SUITE_SHIFT
    sealed = data[ENVELOPE_OFFSET:]
    if suite == SUITE_AES:
        associated = data[8:FLAGS_OFFSET] + bytes((flags & AUTHENTIC_MASK,))
        tag = data[:8] + data[MAC_OFFSET:ENVELOPE_OFFSET]
        return keys.aes.open(tag, associated, sealed)
    if suite not in (SUITE_POLY1305, SUITE_SALSA2012):
        raise DecodeError(f"cipher suite {suite}")
    key = keys.packet_key(data[:MAC_OFFSET], len(data))
    encrypted = suite == SUITE_SALSA2012
    length = 64 + len(sealed) if encrypted else _KEY_BYTES
    stream = salsa20.keystream(key, data[:8], length, _ROUNDS)
    mac = poly1305.mac(stream[:_KEY_BYTES], sealed)[:_MAC_BYTES]
    if not compare.equal(mac, data[MAC_OFFSET:ENVELOPE_OFFSET]):
        raise DecodeError("wrong MAC")
    return _xor(sealed, stream[64:]) if encrypted else sealed
