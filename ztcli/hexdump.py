"""Writes what goes through a stream into a file, in hexadecimal, both directions."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, TextIO

from ztcli.engine import Stream
from ztcli.environment import Environment
from ztcli.exit_codes import CommandError, ExitCode

WIDTH: Final = 16
SENT: Final = ">"
RECEIVED: Final = "<"
_SHOWN: Final = bytes(byte if 0x20 <= byte < 0x7F else 0x2E for byte in range(256))


class HexDump:
    """A dump: a direction, the offset in it, sixteen bytes, and the letters among them."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._offsets = {SENT: 0, RECEIVED: 0}

    def add(self, direction: str, data: bytes | bytearray | memoryview) -> None:
        offset = self._offsets[direction]
        view = memoryview(data)
        lines = []
        for at in range(0, len(view), WIDTH):
            part = bytes(view[at : at + WIDTH])
            digits = part.hex(" ")
            text = part.translate(_SHOWN).decode("ascii")
            lines.append(f"{direction} {offset + at:08x}  {digits:<{WIDTH * 3}} |{text}|\n")
        self._offsets[direction] = offset + len(view)
        self._write("".join(lines))

    def _write(self, text: str) -> None:
        try:
            self._out.write(text)
            self._out.flush()
        except OSError as error:
            words = f"cannot write the dump: {error.strerror}"
            raise CommandError(words, ExitCode.CANNOT_WRITE) from error


@contextmanager
def dumping(env: Environment, name: str | None) -> Iterator[HexDump | None]:
    """Yield a dump into a new file that only its owner may read; `-` is stderr."""
    if name is None:
        yield None
        return
    if name == "-":
        yield HexDump(env.stderr)
        return
    try:
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError as error:
        raise CommandError(f"{name}: {error.strerror}", ExitCode.CANNOT_WRITE) from error
    with os.fdopen(descriptor, "w", encoding="ascii") as out:
        yield HexDump(out)


class DumpedStream:
    """A stream whose bytes are dumped as they pass."""

    def __init__(self, inner: Stream, dump: HexDump) -> None:
        self._inner = inner
        self._dump = dump
        self.local = inner.local
        self.remote = inner.remote
        self.remote_name = inner.remote_name
        self.network_name = inner.network_name
        self.send_eof = inner.send_eof
        self.wait_sent = inner.wait_sent
        self.close = inner.close
        self.abort = inner.abort

    @property
    def path(self) -> str:
        return self._inner.path

    async def receive_views(self, limit: int = 1 << 18) -> list[memoryview]:
        views = await self._inner.receive_views(limit)
        for view in views:
            self._dump.add(RECEIVED, view)
        return views

    async def receive(self, limit: int = 1 << 18) -> bytes:
        data = await self._inner.receive(limit)
        self._dump.add(RECEIVED, data)
        return data

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        self._dump.add(SENT, data)
        await self._inner.send(data)
