"""A filter of system calls for one thread, as sandboxes have it (seccomp(2), Linux)."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from typing import Final

_NUMBERS: Final = {"recvmmsg": {"x86_64": 299, "aarch64": 243}}
_SET_SECCOMP: Final = 22
_SET_NO_NEW_PRIVILEGES: Final = 38
_FILTER_MODE: Final = 2
# Instructions of the classic BPF: load the number, jump if equal, return.
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW: Final = 0x7FFF0000
_FAIL: Final = 0x00050000


def forbid(name: str, code: int) -> None:
    """Let a system call fail with `code` for the rest of this thread's life."""
    number = _NUMBERS[name][platform.machine()]
    program = b"".join(
        struct.pack("=HBBI", *instruction)
        for instruction in (
            (_LOAD, 0, 0, 0),
            (_JUMP_IF_EQUAL, 0, 1, number),
            (_RETURN, 0, 0, _FAIL | code),
            (_RETURN, 0, 0, _ALLOW),
        )
    )
    held = ctypes.create_string_buffer(program, len(program))
    head = ctypes.create_string_buffer(
        struct.pack("@HP", len(program) // 8, ctypes.addressof(held))
    )
    call = ctypes.CDLL(None, use_errno=True).prctl
    arguments = [ctypes.c_ulong(value) for value in (1, 0, 0, 0)]
    if call(_SET_NO_NEW_PRIVILEGES, *arguments) or call(
        _SET_SECCOMP, ctypes.c_ulong(_FILTER_MODE), head
    ):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
