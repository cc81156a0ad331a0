"""The data path: FRAME messages of one peer sealed and opened by the burst.

Benchmark: tests/bench/stream.py. A packet's parts are equal, so that the kernel takes and gives
whole trains of datagrams, and reassembly is decryption into neighbouring bytes of an arena.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
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
_AES_FLAGS: Final = SUITE_AES << SUITE_SHIFT


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


_NOTHING: Final = Opened(bytearray(), 0, [], [], [], 0, 0)


def may_open(view: memoryview, step: int) -> bool:
    """Tell whether a train begins with a packet of suite 3 that `open_train` may take."""
    if step <= ENVELOPE_OFFSET + PREFIX_BYTES or len(view) < step:
        return False
    return view[13] != FRAGMENT_MARK and view[FLAGS_OFFSET] & SUITE_MASK == _AES_FLAGS


def open_train(  # noqa: C901, PLR0912, PLR0915
    keys: AesGmacSiv, view: memoryview, step: int
) -> Opened:
    """Decrypt what a train begins with: packets of one sender, each in parts of `step` bytes.

    Stops at the first packet that is not like the others; the last may be shorter. Named by
    tests/bench/stream.py.
    """
    size = len(view)
    expected = bytes(view[8:19])
    parts, tails = 1, [b""]
    if expected[10] & FLAG_FRAGMENTED:
        if size < step + FRAGMENT_HEADER_BYTES + 1:
            return _NOTHING
        parts = view[step + 14] >> 4
        if not 2 <= parts <= MAX_FRAGMENTS:
            return _NOTHING
        hops = view[step + 15]
        tails += [
            expected[:5] + bytes((FRAGMENT_MARK, parts << 4 | n, hops)) for n in range(1, parts)
        ]
    whole = parts * step
    overhead = ENVELOPE_OFFSET + FRAGMENT_HEADER_BYTES * (parts - 1)
    stride = (_PLAIN_AT + whole - overhead + 3) & ~3
    arena = bytearray(stride * -(-size // whole) + 16)
    mv = memoryview(arena)
    associated = expected[:10] + bytes((expected[10] & AUTHENTIC_MASK,)) + _ZERO5
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
        good = True
        for n in range(1, parts):
            b = at + n * step
            if view[b : b + 16] != packet_id + tails[n]:
                good = False
                break
        if not good:
            break
        tag = packet_id + tag2
        reset(counter_block(tag))
        plain = slot + _PLAIN_AT
        mv[slot + _AAD_AT : plain] = associated
        if parts == 1:
            into(view[at + ENVELOPE_OFFSET : end], mv[plain:])
        else:
            into(view[at + ENVELOPE_OFFSET : at + step], mv[plain:])
            q = plain + step - ENVELOPE_OFFSET
            for b in range(at + step, end, step):
                into(view[b + 16 : min(b + step, end)], mv[q:])
                q += step - 16
        iv_t = ecb(tag)
        x, y = _QQ.unpack(gmac(iv_t[:8] + _ZERO4, b"", mv[slot + _AAD_AT : plain + length]))
        if equal(_Q.pack(x ^ y), iv_t[8:]):
            starts.append(plain)
            lengths.append(length)
            packet_ids.append(packet_id)
            slot += stride
        else:
            # The slot is used again, so nothing of the refused packet may stay behind.
            arena[slot : slot + stride] = bytes(stride)
            refused += 1
        at = end
    return Opened(arena, stride, starts, lengths, packet_ids, at, refused)


def burst_of(opened: Opened, first: int, last: int) -> Burst:
    """Return the rows `first` to `last` (exclusive) as a burst of Ethernet payloads."""
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
        gmac, ecb, reset, update = keys.gmac, keys.ecb_encrypt, keys.ctr_reset, keys.ctr_update
        trains: list[Train] = []
        pieces: list[bytes | memoryview] = []
        segment = count = size = refused = 0
        whole = addresses + bytes((_AES_FLAGS,))
        headed = addresses + bytes((_AES_FLAGS | FLAG_FRAGMENTED,))
        destination = addresses[:5]
        marks: dict[tuple[int, int], bytes] = {}
        extra = ENVELOPE_OFFSET + len(prefix)
        at = 0
        for header, body in packets:
            length = extra + len(header) + len(body)
            parts, step = self._cut(length)
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
            associated = whole if parts == 1 else headed
            plain = b"".join((associated, _ZERO5, prefix, header, body))
            iv = random[at : at + 8]
            at += 8
            x, y = _QQ.unpack(gmac(iv + _ZERO4, b"", plain))
            tag = ecb(iv + _Q.pack(x ^ y))
            reset(counter_block(tag))
            sealed = update(memoryview(plain)[_AAD_BYTES:])
            packet_id = tag[:8]
            if parts == 1:
                pieces += (packet_id, associated, tag[8:], sealed)
            else:
                cipher = memoryview(sealed)
                cut = step - ENVELOPE_OFFSET
                pieces += (packet_id, associated, tag[8:], cipher[:cut])
                for n in range(1, parts):
                    mark = marks.get((parts, n))
                    if mark is None:
                        mark = destination + bytes((FRAGMENT_MARK, parts << 4 | n, 0))
                        marks[parts, n] = mark
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
