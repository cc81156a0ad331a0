"""The data path for datagrams that came one by one: FRAME messages opened by the pile.

Who cuts packets as upstream does, in parts of different lengths, or sends without segmentation,
arrives as single datagrams. The shell lays those of one wake-up side by side. Benchmark:
tests/bench/others.py.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from ztstack.crypto import compare
from ztstack.crypto.aes_gmac_siv import AesGmacSiv, counter_block
from ztstack.vl1.train import NOTHING, PREFIX_BYTES, Opened
from ztstack.wire.header import (
    AUTHENTIC_MASK,
    ENVELOPE_OFFSET,
    FLAG_FRAGMENTED,
    FRAGMENT_HEADER_BYTES,
    FRAGMENT_MARK,
    MAX_FRAGMENTS,
)

_HEAD: Final = struct.Struct("8s11s8s")
_QQ: Final = struct.Struct(">QQ")
_Q: Final = struct.Struct(">Q")
_ZERO4: Final = bytes(4)
_AAD_AT: Final = 1
_PLAIN_AT: Final = 17
_OPEN: Final = ENVELOPE_OFFSET + PREFIX_BYTES


def open_pile(  # noqa: C901, PLR0912, PLR0915
    keys: AesGmacSiv, datagrams: Sequence[memoryview], index: int
) -> Opened:
    """Decrypt what a pile has from datagram `index` on: packets of one sender, parts in order.

    Stops at the first packet that is not like the first, or longer, or of which a part is missing;
    `consumed` counts datagrams. Named by tests/bench/others.py.
    """
    count, begin = len(datagrams), datagrams[index]
    if len(begin) <= _OPEN:
        return NOTHING
    expected = bytes(begin[8:19])
    parts, tails = 1, [b""]
    if expected[10] & FLAG_FRAGMENTED:
        if index + 1 >= count or len(datagrams[index + 1]) <= FRAGMENT_HEADER_BYTES:
            return NOTHING
        mark, hops = datagrams[index + 1][14:16]
        parts = mark >> 4
        if not 2 <= parts <= MAX_FRAGMENTS or index + parts > count:
            return NOTHING
        tails = [
            expected[:5] + bytes((FRAGMENT_MARK, parts << 4 | n, hops)) for n in range(1, parts)
        ]
    overhead = ENVELOPE_OFFSET + FRAGMENT_HEADER_BYTES * (parts - 1)
    longest = sum(map(len, datagrams[index : index + parts])) - overhead
    stride = (_PLAIN_AT + longest + 3) & ~3
    associated = expected[:10] + bytes((expected[10] & AUTHENTIC_MASK,)) + bytes(5)
    empty = bytes(_AAD_AT) + associated + bytes(stride - _PLAIN_AT)
    arena = bytearray(empty) * ((count - index) // parts)
    arena += bytes(16)
    mv = memoryview(arena)
    tail, others = tails[-1], datagrams[:0]
    head, into, reset = _HEAD.unpack_from, keys.ctr_update_into, keys.ctr_reset
    gmac, ecb, equal = keys.gmac, keys.ecb_decrypt, compare.equal
    starts: list[int] = []
    lengths: list[int] = []
    packet_ids: list[bytes] = []
    refused = slot = 0
    first = index
    while index + parts <= count:
        begin, last = datagrams[index], datagrams[index + parts - 1]
        size = len(begin)
        if size <= _OPEN:
            break
        packet_id, addresses, tag2 = head(begin)
        if addresses != expected:
            break
        length = size - overhead
        if parts == 2:
            length += len(last)
            if last[:FRAGMENT_HEADER_BYTES] != packet_id + tail:
                break
        elif parts > 2:
            others = datagrams[index + 1 : index + parts]
            length += sum(map(len, others))
            if not _are_parts(others, packet_id, tails):
                break
        if length > longest or len(last) <= FRAGMENT_HEADER_BYTES:
            break
        tag = packet_id + tag2
        reset(tag if tag[12] < 0x80 else counter_block(tag))
        plain = slot + _PLAIN_AT
        into(begin[ENVELOPE_OFFSET:], mv[plain:])
        q = plain + size - ENVELOPE_OFFSET
        if parts == 2:
            into(last[FRAGMENT_HEADER_BYTES:], mv[q:])
        elif parts > 2:
            for part in others:
                into(part[FRAGMENT_HEADER_BYTES:], mv[q:])
                q += len(part) - FRAGMENT_HEADER_BYTES
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
        index += parts
    return Opened(arena, stride, starts, lengths, packet_ids, index - first, refused)


def _are_parts(others: Sequence[memoryview], packet_id: bytes, tails: list[bytes]) -> bool:
    """Tell whether the datagrams behind a head are its other parts, in order."""
    return all(
        len(part) > FRAGMENT_HEADER_BYTES and part[:FRAGMENT_HEADER_BYTES] == packet_id + tail
        for part, tail in zip(others, tails, strict=True)
    )
