"""Many datagrams by one call of the kernel: recvmmsg(2), which Python's sockets do not have.

Those who send without segmentation arrive one by one, and a call for each costs more than its
datagram's decryption. Benchmark: tests/bench/others.py.
"""

from __future__ import annotations

import errno
import socket
import struct
from typing import Final

COUNT: Final = 16
_SLOT_BYTES: Final = 65_536 + 64
"""Room for a whole train; slots at multiples of 64 KiB would share the lines of a cache."""
_NAME_BYTES: Final = 28
_CONTROL_BYTES: Final = 64
# As C lays them out. A message: pointer to and size of the name, of the parts and of the ancillary
# data, flags; then how much came.
_MESSAGE: Final = struct.Struct("@PIPNPNi0PI0P")
_PART: Final = struct.Struct("@PN")
_ANCILLARY: Final = struct.Struct("@Niii")
_TRUNCATED: Final = int(socket.MSG_TRUNC | socket.MSG_CTRUNC)
_IPV4_NAME: Final = struct.Struct("!2xH4s")
_IPV6_NAME: Final = struct.Struct("!2xH4x16s")

Message = tuple[memoryview, int, bytes]
"""A datagram, or a train of datagrams of so many bytes; and the raw name of its sender."""


class Batch:
    """Room for COUNT messages; they are good until the next call."""

    def __init__(self, level: int, kind: int) -> None:
        """Prepare for ancillary data of one level and kind; OSError if the system has no such call.

        The ancillary data is one number, the size of a train's datagrams.
        """
        try:
            import ctypes  # noqa: PLC0415 - who never gets many datagrams need not pay for it

            self._call = ctypes.CDLL(None).recvmmsg
        except (ImportError, AttributeError):
            raise OSError(errno.ENOSYS, "no recvmmsg") from None
        self._call.argtypes = (
            *(ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p),
        )
        self._wanted = level, kind
        self._room = memoryview(bytearray(COUNT * _SLOT_BYTES))
        self._names = bytearray(COUNT * _NAME_BYTES)
        self._ancillary = bytearray(COUNT * _CONTROL_BYTES)
        self._parts = bytearray(COUNT * _PART.size)
        self._messages = bytearray(COUNT * _MESSAGE.size)
        room, names, ancillary, parts, self._at = (
            ctypes.addressof(ctypes.c_char.from_buffer(one))
            for one in (self._room, self._names, self._ancillary, self._parts, self._messages)
        )
        for i in range(COUNT):
            _PART.pack_into(self._parts, i * _PART.size, room + i * _SLOT_BYTES, _SLOT_BYTES)
            _MESSAGE.pack_into(
                *(self._messages, i * _MESSAGE.size),
                *(names + i * _NAME_BYTES, _NAME_BYTES),
                *(parts + i * _PART.size, 1),
                *(ancillary + i * _CONTROL_BYTES, _CONTROL_BYTES),
                *(0, 0),
            )
        self._fresh = bytes(self._messages)

    def receive(self, fd: int) -> tuple[list[Message], bool]:
        """Return what has come, without waiting, and whether there may be more.

        Empty and truncated messages are left out. An error of the socket ends what has come, as the
        answers to earlier datagrams do that nobody took.
        """
        # The kernel wrote sizes where it read them.
        self._messages[:] = self._fresh
        count = self._call(fd, self._at, COUNT, int(socket.MSG_DONTWAIT), None)
        if count <= 0:
            return [], False
        room, names = self._room, self._names
        found: list[Message] = []
        told = _MESSAGE.iter_unpack(memoryview(self._messages)[: count * _MESSAGE.size])
        for i, (_, name_size, _, _, _, extra, flags, size) in enumerate(told):
            if flags & _TRUNCATED or not size:
                continue
            step = self._segment(i, size) if extra else size
            start, name = i * _SLOT_BYTES, i * _NAME_BYTES
            found.append((room[start : start + size], step, bytes(names[name : name + name_size])))
        return found, count == COUNT

    def _segment(self, index: int, size: int) -> int:
        """Return the ancillary number of a message, or `size` if it is about something else."""
        _, level, kind, value = _ANCILLARY.unpack_from(self._ancillary, index * _CONTROL_BYTES)
        return value if (level, kind) == self._wanted else size

    @staticmethod
    def name_of(raw: bytes) -> tuple[str, int]:
        """Return host and port of a sender's raw name."""
        if len(raw) < _IPV6_NAME.size:
            port, ip = _IPV4_NAME.unpack_from(raw)
            return socket.inet_ntop(socket.AF_INET, ip), port
        port, ip = _IPV6_NAME.unpack_from(raw)
        return socket.inet_ntop(socket.AF_INET6, ip), port
