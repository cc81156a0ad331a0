"""The data path: FRAME messages of one peer sealed and opened by the burst.

Benchmark: tests/bench/stream.py. A packet's parts are equal, so that the kernel takes and gives
whole trains of datagrams, and reassembly is decryption into neighbouring bytes of an arena.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from ztstack.base.frame import Burst
from ztstack.crypto import compare
from ztstack.crypto.aes_gmac_siv import AesGmacSiv, counter_block
from ztstack.vl1.assembly import fragments_needed, segment_bytes
from ztstack.wire.header import (
    AUTHENTIC_MASK,
    DEFAULT_MTU,
    ENVELOPE_OFFSET,
    FLAG_FRAGMENTED,
    FLAGS_OFFSET,
    FRAGMENT_HEADER_BYTES,
    FRAGMENT_MARK,
    MAX_FRAGMENTS,
    SUITE_AES,
    SUITE_MASK,
    SUITE_SHIFT,
)

TRAIN_BYTES: Final = 65_507
TRAIN_DATAGRAMS: Final = 64
PREFIX_BYTES: Final = 11
"""Verb, network id and ethertype of a FRAME."""

_HEAD: Final = struct.Struct("8s11s8s")
_QQ: Final = struct.Struct(">QQ")
_Q: Final = struct.Struct(">Q")
_ZERO4: Final = bytes(4)
_ZERO5: Final = bytes(5)
_AAD_BYTES: Final = 16
# Where things lie in a slot: one byte of padding puts the IP header on a multiple of four.
_AAD_AT: Final = 1
_PLAIN_AT: Final = _AAD_AT + _AAD_BYTES
_ROW_AT: Final = _PLAIN_AT + PREFIX_BYTES
_LEAST: Final = ENVELOPE_OFFSET + PREFIX_BYTES
"""A FRAME without a payload."""
_AES_FLAGS: Final = SUITE_AES << SUITE_SHIFT
# The last six of the authenticated bytes: flags, and zeros.
_WHOLE: Final = bytes((_AES_FLAGS,)) + _ZERO5
_AUTHENTIC: Final = [bytes((flags & AUTHENTIC_MASK,)) + _ZERO5 for flags in range(256)]


def even_packet(limit: int) -> int:
    """Return the longest IP packet up to `limit` whose FRAME is cut into equal datagrams.

    Only such packets go side by side in one train. Multiples of four bytes are tried, as TCP sends.
    """
    for length in range(limit & ~3, limit // 2, -4):
        sealed = ENVELOPE_OFFSET + PREFIX_BYTES + length
        parts = fragments_needed(sealed)
        if (sealed + FRAGMENT_HEADER_BYTES * (parts - 1)) % parts == 0:
            return length
    return limit


class Opened(NamedTuple):
    """Authentic plaintexts in one arena: `starts[i]` and `lengths[i]` include the verb byte.

    `consumed` bytes of the train were looked at; `refused` packets had a wrong MAC.
    """

    arena: bytearray
    stride: int
    starts: list[int]
    lengths: list[int]
    packet_ids: list[bytes]
    consumed: int
    refused: int


NOTHING: Final = Opened(bytearray(), 0, [], [], [], 0, 0)


def may_open(view: memoryview, step: int) -> bool:
    """Tell whether a train begins with a packet of suite 3 that `open_train` may take."""
    if step <= _LEAST or len(view) < step:
        return False
    return view[13] != FRAGMENT_MARK and view[FLAGS_OFFSET] & SUITE_MASK == _AES_FLAGS


def seal_single(keys: AesGmacSiv, addresses: bytes, plaintext: bytes, iv: bytes) -> bytes:
    """Return a packet that goes alone, and whole; `iv` has eight random bytes."""
    x, y = _QQ.unpack(keys.gmac(iv + _ZERO4, b"", b"".join((addresses, _WHOLE, plaintext))))
    tag = keys.ecb_encrypt(iv + _Q.pack(x ^ y))
    keys.ctr_reset(tag if tag[12] < 0x80 else counter_block(tag))
    return b"".join((tag[:8], addresses, _WHOLE[:1], tag[8:], keys.ctr_update(plaintext)))


def open_single(keys: AesGmacSiv, view: memoryview) -> Opened:
    """Decrypt a packet that came alone, and whole; `may_open` was asked."""
    packet_id, addresses, tag2 = _HEAD.unpack_from(view)
    associated = addresses[:10] + _AUTHENTIC[addresses[10]]
    tag = packet_id + tag2
    keys.ctr_reset(tag if tag[12] < 0x80 else counter_block(tag))
    authentic = associated + keys.ctr_update(view[ENVELOPE_OFFSET:])
    iv_t = keys.ecb_decrypt(tag)
    x, y = _QQ.unpack(keys.gmac(iv_t[:8] + _ZERO4, b"", authentic))
    if not compare.equal(_Q.pack(x ^ y), iv_t[8:]):
        return Opened(bytearray(), len(authentic), [], [], [], len(view), 1)
    stride = _AAD_AT + len(authentic) + 3 & ~3
    arena = bytearray(_AAD_AT) + authentic
    arena += bytes(stride - len(arena))
    length = len(authentic) - _AAD_BYTES
    return Opened(arena, stride, [_PLAIN_AT], [length], [packet_id], len(view), 0)


def open_train(  # noqa: C901, PLR0912, PLR0915
    keys: AesGmacSiv, view: memoryview, step: int
) -> Opened:
    """Decrypt what a train begins with: packets of one sender, each in parts of `step` bytes.

    Stops at the first packet that is not like the others; the last may be shorter. Named by
    tests/bench/stream.py.
    """
    size = len(view)
    expected = bytes(view[8:19])
    if size == step > _LEAST and not expected[10] & FLAG_FRAGMENTED:
        return open_single(keys, view)
    parts, tails = 1, [b""]
    if expected[10] & FLAG_FRAGMENTED:
        if size < step + FRAGMENT_HEADER_BYTES + 1:
            return NOTHING
        parts = view[step + 14] >> 4
        if not 2 <= parts <= MAX_FRAGMENTS:
            return NOTHING
        hops = view[step + 15]
        tails += [
            expected[:5] + bytes((FRAGMENT_MARK, parts << 4 | n, hops)) for n in range(1, parts)
        ]
    whole = parts * step
    overhead = ENVELOPE_OFFSET + FRAGMENT_HEADER_BYTES * (parts - 1)
    stride = (_PLAIN_AT + whole - overhead + 3) & ~3
    associated = expected[:10] + bytes((expected[10] & AUTHENTIC_MASK,)) + _ZERO5
    slots = -(-size // whole)
    empty = bytes(_AAD_AT) + associated + bytes(stride - _PLAIN_AT)
    arena = bytearray(empty) * slots
    arena += bytes(16)
    mv = memoryview(arena)
    tail, first, cut = tails[-1], step - ENVELOPE_OFFSET, step - FRAGMENT_HEADER_BYTES
    marks, marked = _marks_at(parts, step).unpack_from, tuple(tails[1:])
    head, into, reset = _HEAD.unpack_from, keys.ctr_update_into, keys.ctr_reset
    gmac, ecb, equal = keys.gmac, keys.ecb_decrypt, compare.equal
    starts: list[int] = []
    lengths: list[int] = []
    packet_ids: list[bytes] = []
    refused = at = slot = 0
    while at < size:
        end = at + whole
        # Only the last datagram of a train may be shorter than the others.
        if end > size:
            end = size
            if size - at <= max(overhead, whole - step + FRAGMENT_HEADER_BYTES):
                break
        packet_id, addresses, tag2 = head(view, at)
        if addresses != expected:
            break
        length = end - at - overhead
        if length <= PREFIX_BYTES:
            break
        b = at + step
        if parts == 2:
            if view[b : b + 16] != packet_id + tail:
                break
        elif parts > 2:
            found = marks(view, b)
            if found[1::2] != marked or found[::2] != (packet_id,) * (parts - 1):
                break
        tag = packet_id + tag2
        reset(tag if tag[12] < 0x80 else counter_block(tag))
        plain = slot + _PLAIN_AT
        if parts == 2:
            into(view[at + ENVELOPE_OFFSET : b], mv[plain:])
            into(view[b + FRAGMENT_HEADER_BYTES : end], mv[plain + first :])
        elif parts == 1:
            into(view[at + ENVELOPE_OFFSET : end], mv[plain:])
        else:
            # To lay many small pieces side by side costs less than to decrypt each.
            pieces = [view[c : c + cut] for c in range(b + FRAGMENT_HEADER_BYTES, end, step)]
            into(b"".join((view[at + ENVELOPE_OFFSET : b], *pieces)), mv[plain:])
        iv_t = ecb(tag)
        x, y = _QQ.unpack(gmac(iv_t[:8] + _ZERO4, b"", mv[slot + _AAD_AT : plain + length]))
        if equal(_Q.pack(x ^ y), iv_t[8:]):
            starts.append(plain)
            lengths.append(length)
            packet_ids.append(packet_id)
            slot += stride
        else:
            # The slot is used again, so nothing of the refused packet may stay behind.
            arena[slot : slot + stride] = empty
            refused += 1
        at = end
    return Opened(arena, stride, starts, lengths, packet_ids, at, refused)


@lru_cache(maxsize=256)
def _marks_at(parts: int, step: int) -> struct.Struct:
    """Return what takes packet id and mark of each part but the first, `step` bytes apart."""
    between = f"8s8s{step - FRAGMENT_HEADER_BYTES}x"
    return struct.Struct(between * (parts - 2) + "8s8s" * (parts > 1))


def burst_of(opened: Opened, first: int, last: int) -> Burst:
    """Return the rows `first` to `last` (exclusive) as a burst of Ethernet payloads."""
    if last == first + 1:
        rows, lengths = (
            [opened.starts[first] + PREFIX_BYTES],
            [opened.lengths[first] - PREFIX_BYTES],
        )
        return Burst(opened.arena, opened.stride, rows, lengths)
    return Burst(
        opened.arena,
        opened.stride,
        [start + PREFIX_BYTES for start in opened.starts[first:last]],
        [length - PREFIX_BYTES for length in opened.lengths[first:last]],
    )


class Train(NamedTuple):
    """Datagrams side by side; `segment` is zero if there is only one."""

    data: bytes
    segment: int


def _marks(destination: bytes, parts: int) -> list[bytes]:
    """Return what stands behind the packet id in each part but the first."""
    if parts > MAX_FRAGMENTS:
        return []
    return [destination + bytes((FRAGMENT_MARK, parts << 4 | n, 0)) for n in range(1, parts)]


class TrainSealer:
    """Seals frames for one wake-up; remembers how packets of each length are cut."""

    __slots__ = ("_cuts", "_mtu")

    def __init__(self) -> None:
        self._cuts: dict[int, tuple[int, int]] = {}
        self._mtu = DEFAULT_MTU

    def use_mtu(self, mtu: int) -> None:
        """Cut for a path on which datagrams may be so long."""
        if mtu != self._mtu:
            self._mtu = mtu
            self._cuts.clear()

    def _cut(self, length: int) -> tuple[int, int]:
        found = self._cuts.get(length)
        if found is None:
            if len(self._cuts) >= 4096:
                self._cuts.clear()
            parts = fragments_needed(length, self._mtu)
            found = self._cuts[length] = parts, segment_bytes(length, parts)
        return found

    def seal(  # noqa: PLR0915
        self,
        keys: AesGmacSiv,
        addresses: bytes,
        prefix: bytes,
        packets: Sequence[tuple[bytes, bytes | memoryview]],
        random: bytes,
    ) -> tuple[list[Train], int]:
        """Seal each packet (prefix, header and body) and put the datagrams in trains.

        `random` has eight bytes for each packet. Returns the trains and how many packets were too
        long for any receiver. Named by tests/bench/stream.py.
        """
        if len(packets) == 1:
            plaintext = b"".join((prefix, *packets[0]))
            if ENVELOPE_OFFSET + len(plaintext) <= self._mtu:
                return [Train(seal_single(keys, addresses, plaintext, random), 0)], 0
        gmac, ecb, reset, update = keys.gmac, keys.ecb_encrypt, keys.ctr_reset, keys.ctr_update
        trains: list[Train] = []
        pieces: list[bytes | memoryview] = []
        segment = count = size = refused = 0
        whole = addresses + bytes((_AES_FLAGS,))
        headed = addresses + bytes((_AES_FLAGS | FLAG_FRAGMENTED,))
        heads = whole + _ZERO5 + prefix, headed + _ZERO5 + prefix
        extra = ENVELOPE_OFFSET + len(prefix)
        at = known = parts = step = 0
        marks: list[bytes] = []
        for header, body in packets:
            length = extra + len(header) + len(body)
            if length != known:
                known = length
                parts, step = self._cut(length)
                marks = _marks(addresses[:5], parts) if parts > 1 else []
            if parts > MAX_FRAGMENTS:
                refused += 1
                continue
            total = length + FRAGMENT_HEADER_BYTES * (parts - 1)
            if count and (
                step > segment
                or count + parts > TRAIN_DATAGRAMS
                or size + total > TRAIN_BYTES
                or (step < segment and parts > 1)
            ):
                trains.append(Train(b"".join(pieces), segment if count > 1 else 0))
                pieces, count, size = [], 0, 0
            if not count:
                segment = step
            plain = b"".join((heads[parts > 1], header, body))
            iv = random[at : at + 8]
            at += 8
            x, y = _QQ.unpack(gmac(iv + _ZERO4, b"", plain))
            tag = ecb(iv + _Q.pack(x ^ y))
            reset(tag if tag[12] < 0x80 else counter_block(tag))
            sealed = update(memoryview(plain)[_AAD_BYTES:])
            packet_id = tag[:8]
            if parts == 1:
                pieces += (packet_id, whole, tag[8:], sealed)
            else:
                cipher = memoryview(sealed)
                cut = step - ENVELOPE_OFFSET
                pieces += (packet_id, headed, tag[8:], cipher[:cut])
                for mark in marks:
                    end = cut + step - FRAGMENT_HEADER_BYTES
                    pieces += (packet_id, mark, cipher[cut:end])
                    cut = end
            count += parts
            size += total
            if total != parts * segment:
                # The last datagram is shorter, and only a train's last may be.
                trains.append(Train(b"".join(pieces), segment if count > 1 else 0))
                pieces, count, size = [], 0, 0
        if count:
            trains.append(Train(b"".join(pieces), segment if count > 1 else 0))
        return trains, refused
