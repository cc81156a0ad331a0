"""Writes capture files (pcapng, draft-ietf-opsawg-pcapng) that Wireshark reads."""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import struct
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import Final

BUFFER_BYTES: Final = 1 << 20
FLUSH_US: Final = 1_000_000
_SECTION_HEADER: Final = 0x0A0D0D0A
_INTERFACE_DESCRIPTION: Final = 1
_ENHANCED_PACKET: Final = 6
_BYTE_ORDER: Final = 0x1A2B3C4D
_UNKNOWN_LENGTH: Final = 0xFFFFFFFFFFFFFFFF
_IF_NAME: Final = 2
_EPB_FLAGS: Final = 2
_log = logging.getLogger("ztstack")


class LinkType(IntEnum):
    """What the packets of an interface begin with."""

    ETHERNET = 1
    RAW_IP = 101


class Direction(IntEnum):
    """Which way a packet went, as `epb_flags` says it."""

    IN = 1
    OUT = 2


class PcapngFile:
    """A capture that only its owner reads; complete when closed.

    A packet waits in a buffer for at most as long as no later one comes a second after. If the
    file can take no more, a warning says so and the rest is not captured.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        descriptor = os.open(path, flags, 0o600)
        if hasattr(os, "fchmod") and stat.S_ISREG(os.fstat(descriptor).st_mode):
            # The file may be an old one that others could read.
            os.fchmod(descriptor, 0o600)
        self._file = os.fdopen(descriptor, "wb", BUFFER_BYTES)
        self._is_open = True
        self._flushed_at = 0
        self._interfaces = 0
        body = struct.pack("<IHHQ", _BYTE_ORDER, 1, 0, _UNKNOWN_LENGTH)
        self._write(_block(_SECTION_HEADER, body))

    def interface(self, name: str, link_type: LinkType) -> int:
        """Describe one more interface and return its number; time stamps are microseconds."""
        option = _option(_IF_NAME, name.encode()) + _option(0, b"")
        body = struct.pack("<HHI", link_type, 0, 0) + option
        self._write(_block(_INTERFACE_DESCRIPTION, body))
        self._interfaces += 1
        return self._interfaces - 1

    def packet(self, now: int, interface: int, direction: Direction, data: bytes) -> None:
        size = len(data)
        head = struct.pack("<IIIII", interface, now >> 32, now & 0xFFFFFFFF, size, size)
        flags = _option(_EPB_FLAGS, struct.pack("<I", direction)) + _option(0, b"")
        self._write(_block(_ENHANCED_PACKET, head + data + bytes(-size % 4) + flags))
        if self._is_open and now - self._flushed_at >= FLUSH_US:
            self._flushed_at = now
            self._try(self._file.flush)

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._try(self._file.close)

    def _write(self, block: bytes) -> None:
        if self._is_open:
            self._try(lambda: self._file.write(block))

    def _try(self, work: Callable[[], object]) -> None:
        try:
            work()
        except OSError as error:
            self._is_open = False
            with contextlib.suppress(OSError):
                self._file.close()
            _log.warning("%s: %s; the capture ends here", self._path, error.strerror)


def _block(kind: int, body: bytes) -> bytes:
    total = struct.pack("<I", 12 + len(body))
    return struct.pack("<I", kind) + total + body + total


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)
