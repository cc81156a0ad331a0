"""Streams and ports of this machine, with the names that an engine's streams have."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import sys
from collections.abc import Awaitable
from pathlib import Path
from typing import Final

from ztcli.engine import Stream
from ztcli.exit_codes import CommandError, ExitCode

READ_LIMIT: Final = 256 * 1024
MAX_WAITING: Final = 1024
"""Connections that were accepted by the system and not yet by us."""
_RESET: Final = struct.pack("ii", 1, 0)


class LocalStream:
    """A TCP or Unix connection of the operating system."""

    path = "direct"
    remote_name = ""
    network_name = ""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.local = _name(writer.get_extra_info("sockname"))
        self.remote = _name(writer.get_extra_info("peername"))

    async def receive(self, limit: int = READ_LIMIT) -> bytes:
        return await self._reader.read(limit)

    async def receive_views(self, limit: int = READ_LIMIT) -> list[memoryview]:
        data = await self._reader.read(limit)
        return [memoryview(data)] if data else []

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        # The transport keeps what it cannot write at once, and our views do not live for ever.
        self._writer.write(bytes(data))
        await self._writer.drain()

    async def send_eof(self) -> None:
        # A peer that is gone already needs no end.
        with contextlib.suppress(OSError, RuntimeError):
            self._writer.write_eof()

    async def wait_sent(self, timeout: float | None = None) -> None:
        """Wait until the system has everything; it tells nobody of acknowledgements."""
        async with asyncio.timeout(timeout):
            await self._writer.drain()

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    def abort(self) -> None:
        """Reset the connection."""
        sock = self._writer.get_extra_info("socket")
        if sock is not None and sock.fileno() >= 0:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._writer.transport.abort()


def _name(address: object) -> tuple[str, int]:
    """Return host and port; a Unix socket has its path and 0, one that is gone already no name."""
    if address is None:
        return "gone", 0
    if isinstance(address, tuple) and len(address) >= 2:
        return str(address[0]), int(address[1])
    text = address.decode("utf-8", "replace") if isinstance(address, bytes) else str(address or "")
    return text or "unix", 0


def _free_path(path: str) -> Path:
    place = Path(path)
    if place.exists():
        raise CommandError(f"{path}: exists already", ExitCode.PORT_IN_USE)
    return place


async def connect(host: str, port: int, timeout: float | None) -> Stream:
    """Connect to a TCP port."""
    return await _opened(asyncio.open_connection(host, port, limit=READ_LIMIT), timeout)


async def connect_unix(path: str, timeout: float | None) -> Stream:
    """Connect to a Unix socket."""
    if sys.platform == "win32":
        raise CommandError("there are no Unix sockets on this system", ExitCode.USAGE)
    return await _opened(asyncio.open_unix_connection(path, limit=READ_LIMIT), timeout)


async def _opened(
    opening: Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]], timeout: float | None
) -> Stream:
    async with asyncio.timeout(timeout):
        return LocalStream(*await opening)


class LocalListener:
    """A listening port of the operating system."""

    def __init__(self) -> None:
        self._server: asyncio.Server | None = None
        self._waiting: asyncio.Queue[Stream] = asyncio.Queue(MAX_WAITING)
        self._path: Path | None = None
        self.addresses: list[tuple[str, int]] = []

    async def start(self, host: str, port: int) -> None:
        self._server = await asyncio.start_server(
            self._connected, host, port, limit=READ_LIMIT, reuse_address=os.name == "posix"
        )
        self.addresses = [_name(one.getsockname()) for one in self._server.sockets]

    async def start_unix(self, path: str) -> None:
        """Listen on a new Unix socket that only this user may use."""
        if sys.platform == "win32":
            raise CommandError("there are no Unix sockets on this system", ExitCode.USAGE)
        place = _free_path(path)
        before = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(self._connected, path, limit=READ_LIMIT)
        finally:
            os.umask(before)
        self._path = place
        self.addresses = [(path, 0)]

    @property
    def port(self) -> int:
        return self.addresses[0][1]

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stream = LocalStream(reader, writer)
        try:
            self._waiting.put_nowait(stream)
        except asyncio.QueueFull:
            stream.abort()

    async def accept(self) -> Stream:
        return await self._waiting.get()

    def close(self) -> None:
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        while not self._waiting.empty():
            self._waiting.get_nowait().abort()
        if self._path is not None:
            self._path.unlink(missing_ok=True)
