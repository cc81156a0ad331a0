"""Ethernet frames and batches of them: the border of VL2 and IP."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from ztstack.base.mac import Mac


class EtherType(IntEnum):
    """The ethertypes that the IP stack knows."""

    IPV4 = 0x0800
    ARP = 0x0806
    IPV6 = 0x86DD


class Frame(NamedTuple):
    """One Ethernet frame without VLAN tag and checksum."""

    destination: Mac
    source: Mac
    ethertype: int
    payload: bytes


class FrameBatch(NamedTuple):
    """Frames to one MAC, each as (header, body): header + body is the Ethernet payload.

    Bodies may be views of a buffer that its owner reuses: a batch is consumed before anything else
    is asked of the owner.
    """

    destination: Mac
    ethertype: int
    packets: list[tuple[bytes, bytes | memoryview]]


class Burst:
    """Decrypted packets of one sender that arrived together, side by side in one arena.

    Row `i` is one Ethernet payload of `lengths[i]` bytes and begins at `rows[i]`. Rows lie in slots
    of `stride` bytes (a multiple of four) and begin 28 bytes into their slot; zeros follow a row up
    to the end of its slot, so that numpy may sum whole slots. A layer that refuses packets removes
    them from `rows` and `lengths`. The arena belongs to whoever holds it and is never written
    again.
    """

    __slots__ = ("arena", "lengths", "rows", "stride", "view")

    def __init__(self, arena: bytearray, stride: int, rows: list[int], lengths: list[int]) -> None:
        self.arena = arena
        self.view = memoryview(arena)
        self.stride = stride
        self.rows = rows
        self.lengths = lengths
