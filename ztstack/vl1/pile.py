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
    keys: AesGmacSiv, view: memoryview, ends: Sequence[int], index: int
) -> Opened:
    """Decrypt what a pile has from datagram `index` on: packets of one sender, parts in order.

    Datagram `n` ends at `ends[n]`, where the next begins. Stops at the first packet that is not
    like the first, or longer, or of which a part is missing; `consumed` counts datagrams. Named by
    tests/bench/others.py.
    """
    count = len(ends)
    at = ends[index - 1] if index else 0
    if ends[index] - at <= _OPEN:
        return NOTHING
    expected = bytes(view[at + 8 : at + 19])
    parts, tails = 1, [b""]
    if expected[10] & FLAG_FRAGMENTED:
        if index + 1 >= count or ends[index + 1] - ends[index] <= FRAGMENT_HEADER_BYTES:
            return NOTHING
        parts = view[ends[index] + 14] >> 4
        if not 2 <= parts <= MAX_FRAGMENTS or index + parts > count:
            return NOTHING
        hops = view[ends[index] + 15]
        tails += [
            expected[:5] + bytes((FRAGMENT_MARK, parts << 4 | n, hops)) for n in range(1, parts)
        ]
    overhead = ENVELOPE_OFFSET + FRAGMENT_HEADER_BYTES * (parts - 1)
    longest = ends[index + parts - 1] - at - overhead
    stride = (_PLAIN_AT + longest + 3) & ~3
    associated = expected[:10] + bytes((expected[10] & AUTHENTIC_MASK,)) + bytes(5)
    empty = bytes(_AAD_AT) + associated + bytes(stride - _PLAIN_AT)
    arena = bytearray(empty) * ((count - index) // parts)
    arena += bytes(16)
    mv = memoryview(arena)
    tail = tails[-1]
    head, into, reset = _HEAD.unpack_from, keys.ctr_update_into, keys.ctr_reset
    gmac, ecb, equal = keys.gmac, keys.ecb_decrypt, compare.equal
    starts: list[int] = []
    lengths: list[int] = []
    packet_ids: list[bytes] = []
    refused = slot = 0
    first = index
    while index + parts <= count:
        b, end = ends[index], ends[index + parts - 1]
        length = end - at - overhead
        if b - at <= _OPEN or length > longest:
            break
        packet_id, addresses, tag2 = head(view, at)
        if addresses != expected:
            break
        c = b + FRAGMENT_HEADER_BYTES
        if parts == 2:
            if end <= c or view[b:c] != packet_id + tail:
                break
        elif parts > 2 and not _are_parts(view, ends, index, packet_id, tails):
            break
        tag = packet_id + tag2
        reset(tag if tag[12] < 0x80 else counter_block(tag))
        plain = slot + _PLAIN_AT
        into(view[at + ENVELOPE_OFFSET : b], mv[plain:])
        q = plain + b - at - ENVELOPE_OFFSET
        if parts == 2:
            into(view[c:end], mv[q:])
        else:
            for n in range(index + 1, index + parts):
                part = view[ends[n - 1] + FRAGMENT_HEADER_BYTES : ends[n]]
                into(part, mv[q:])
                q += len(part)
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
        at = end
    return Opened(arena, stride, starts, lengths, packet_ids, index - first, refused)


def _are_parts(
    view: memoryview, ends: Sequence[int], index: int, packet_id: bytes, tails: list[bytes]
) -> bool:
    """Tell whether the datagrams behind a head are its other parts, in order."""
    for number in range(1, len(tails)):
        at = ends[index + number - 1]
        if ends[index + number] - at <= FRAGMENT_HEADER_BYTES:
            return False
        if view[at : at + FRAGMENT_HEADER_BYTES] != packet_id + tails[number]:
            return False
    return True
