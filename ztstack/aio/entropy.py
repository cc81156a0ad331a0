"""The system's random bytes."""

from __future__ import annotations

import os


class SystemEntropy:
    """Random bytes from the operating system, read in blocks because small reads are slow."""

    __slots__ = ("_block", "_offset")

    BLOCK = 4096

    def __init__(self) -> None:
        self._block = b""
        self._offset = 0

    def take(self, length: int) -> bytes:
        end = self._offset + length
        if end > len(self._block):
            if length > self.BLOCK:
                return os.urandom(length)
            self._block = os.urandom(self.BLOCK)
            self._offset, end = 0, length
        data = self._block[self._offset : end]
        self._offset = end
        return data
