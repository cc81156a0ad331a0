"""Many datagrams by one call of the kernel: recvmmsg(2), which Python's sockets do not have.

Those who send without segmentation arrive one by one, and a call for each costs more than its
datagram's decryption. Benchmark: tests/bench/others.py.
"""

from __future__ import annotations

import errno
import mmap
import socket
import struct
import sys
from functools import lru_cache
from typing import Final, NamedTuple

COUNT: Final = 128
_SLOT_BYTES: Final = 65_536 + 64
"""Room for a whole train; slots at multiples of 64 KiB would share the lines of a cache.

Of a map, only what was written to takes memory: a page for each datagram that came alone.
"""
_NAME_BYTES: Final = 28
_CONTROL_BYTES: Final = 64
# As C lays them out. A message: pointer to and size of the name, of the parts and of the ancillary
# data, flags; then how much came.
_MESSAGE: Final = struct.Struct("@PIPNPNi0PI0P")
_PART: Final = struct.Struct("@PN")
_ANCILLARY: Final = struct.Struct("@Niii")
_REFUSED: Final = (errno.ENOSYS, errno.EPERM, errno.EACCES)
"""What an old system, or a filter of system calls, answers."""
_TRUNCATED: Final = int(socket.MSG_TRUNC | socket.MSG_CTRUNC)
_IPV4_NAME: Final = struct.Struct("!2xH4s")
_IPV6_NAME: Final = struct.Struct("!2xH4x16s")


class Run(NamedTuple):
    """Datagrams of one sender, who is given by the raw name; or one train of `step` bytes each."""

    name: bytes
    datagrams: list[memoryview]
    step: int


class Batch:
    """Room for COUNT messages; they are good until the next call."""

    def __init__(self, level: int, kind: int) -> None:
        """Prepare for ancillary data of one level and kind; OSError if the system has no such call.

        The ancillary data is one number, the size of a train's datagrams.
        """
        try:
            import ctypes  # noqa: PLC0415 - who never gets many datagrams need not pay for it

            self._call = ctypes.CDLL(None, use_errno=True).recvmmsg
        except (ImportError, AttributeError):
            raise OSError(errno.ENOSYS, "no recvmmsg") from None
        self._call.argtypes = (
            *(ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p),
        )
        self._last_errno = ctypes.get_errno
        self._wanted = level, kind
        room = memoryview(mmap.mmap(-1, COUNT * _SLOT_BYTES))
        self._slots = [room[i * _SLOT_BYTES : (i + 1) * _SLOT_BYTES] for i in range(COUNT)]
        self._names = bytearray(COUNT * _NAME_BYTES)
        self._ancillary = bytearray(COUNT * _CONTROL_BYTES)
        self._parts = bytearray(COUNT * _PART.size)
        self._messages = bytearray(COUNT * _MESSAGE.size)
        slots, names, ancillary, parts, self._at = (
            ctypes.addressof(ctypes.c_char.from_buffer(one))
            for one in (room, self._names, self._ancillary, self._parts, self._messages)
        )
        for i in range(COUNT):
            _PART.pack_into(self._parts, i * _PART.size, slots + i * _SLOT_BYTES, _SLOT_BYTES)
            _MESSAGE.pack_into(
                *(self._messages, i * _MESSAGE.size),
                *(names + i * _NAME_BYTES, _NAME_BYTES),
                *(parts + i * _PART.size, 1),
                *(ancillary + i * _CONTROL_BYTES, _CONTROL_BYTES),
                *(0, 0),
            )
        self._fresh = bytes(self._messages)

    def receive(self, fd: int) -> list[Run]:
        """Return what has come, without waiting.

        Empty and truncated messages are left out. An error of the socket ends what has come, as the
        answers to earlier datagrams do that nobody took; OSError if the call itself is refused.
        """
        # The kernel wrote sizes where it read them.
        self._messages[:] = self._fresh
        count = self._call(fd, self._at, COUNT, int(socket.MSG_DONTWAIT), None)
        if count <= 0:
            if count < 0 and (code := self._last_errno()) in _REFUSED:
                raise OSError(code, "recvmmsg is not allowed")
            return []
        told = _results(count).unpack_from(self._messages)
        extras, flags, sizes = told[::3], told[1::3], told[2::3]
        names = bytes(self._names[: count * _NAME_BYTES])
        first = names[:_NAME_BYTES]
        if not any(extras) and not any(flags) and all(sizes) and names == first * count:
            # Most often they are all alike.
            return [Run(first, [s[:n] for s, n in zip(self._slots, sizes, strict=False)], 0)]
        runs: list[Run] = []
        for i, (extra, flag, size) in enumerate(zip(extras, flags, sizes, strict=True)):
            if flag & _TRUNCATED or not size:
                continue
            name = names[i * _NAME_BYTES : (i + 1) * _NAME_BYTES]
            step = self._segment(i, size) if extra else 0
            last = runs[-1] if runs else None
            if step or last is None or last.step or last.name != name:
                runs.append(Run(name, [self._slots[i][:size]], step))
            else:
                last.datagrams.append(self._slots[i][:size])
        return runs

    def _segment(self, index: int, size: int) -> int:
        """Return the size of a train's datagrams, or 0 if it is none."""
        _, level, kind, value = _ANCILLARY.unpack_from(self._ancillary, index * _CONTROL_BYTES)
        return value if (level, kind) == self._wanted and 0 < value < size else 0

    @staticmethod
    def name_of(raw: bytes) -> tuple[str, int]:
        """Return host and port of a sender's raw name."""
        if int.from_bytes(raw[:2], sys.byteorder) == socket.AF_INET:
            port, ip = _IPV4_NAME.unpack_from(raw)
            return socket.inet_ntop(socket.AF_INET, ip), port
        port, ip = _IPV6_NAME.unpack_from(raw)
        return socket.inet_ntop(socket.AF_INET6, ip), port


@lru_cache(maxsize=COUNT)
def _results(count: int) -> struct.Struct:
    """Return what takes size of the ancillary data, flags and length of so many messages."""
    before = struct.calcsize("@PIPNP")
    return struct.Struct("@" + f"{before}xNi0PI0P" * count)
