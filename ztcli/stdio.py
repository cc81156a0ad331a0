"""Reads stdin and writes stdout without stopping the loop, by a thread for each.

Threads, because the loop cannot watch regular files, and because making a descriptor
non-blocking would change it for every process that shares it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import select
import stat
import sys
import threading
from collections.abc import Sequence
from typing import Final, Protocol

from ztcli.exit_codes import CommandError, ExitCode, OutputClosed

CHUNK: Final = 256 * 1024
_AHEAD: Final = 3
_PIPE_BYTES: Final = 1 << 20
_IOV_LIMIT: Final = 512


class Source(Protocol):
    """Where a stream's outgoing bytes come from."""

    async def read(self) -> bytes:
        """Return some bytes; b"" is the end."""
        ...

    @property
    def is_waiting(self) -> bool:
        """Tell that nothing is there now, and that more may come at any time."""
        ...


class Sink(Protocol):
    """Where a stream's incoming bytes go to."""

    async def write(self, views: Sequence[memoryview]) -> None: ...


class NoInput:
    """A source that ends at once."""

    is_waiting = False

    async def read(self) -> bytes:
        return b""


class Discard:
    """A sink that keeps nothing."""

    async def write(self, views: Sequence[memoryview]) -> None:
        del views


class InputReader:
    """Reads a descriptor ahead by at most a megabyte."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._chunks: asyncio.Queue[bytes | OSError] = asyncio.Queue()
        self._permits = threading.Semaphore(_AHEAD)
        self._started = False
        self._ended = False
        self._is_regular = False

    @property
    def is_waiting(self) -> bool:
        if self._ended or self._is_regular or not self._chunks.empty():
            return False
        if sys.platform == "win32":
            return True
        ready, _, _ = select.select((self._descriptor,), (), (), 0)
        return not ready

    async def read(self) -> bytes:
        if self._ended:
            return b""
        if not self._started:
            self._start()
        chunk = await self._chunks.get()
        if isinstance(chunk, OSError):
            raise CommandError(
                f"cannot read the input: {chunk.strerror}", ExitCode.CANNOT_READ
            ) from chunk
        self._permits.release()
        if not chunk:
            self._ended = True
        return chunk

    def _start(self) -> None:
        self._started = True
        try:
            mode = os.fstat(self._descriptor).st_mode
        except OSError:
            self._chunks.put_nowait(b"")  # A closed stdin is one at its end.
            return
        self._is_regular = stat.S_ISREG(mode)
        _widen(self._descriptor)
        threading.Thread(target=self._work, name="stdin", daemon=True).start()

    def _work(self) -> None:
        while True:
            self._permits.acquire()
            chunk: bytes | OSError
            try:
                chunk = os.read(self._descriptor, CHUNK)
            except OSError as error:
                chunk = error
            with contextlib.suppress(RuntimeError):  # The loop is gone: nobody waits.
                self._loop.call_soon_threadsafe(self._chunks.put_nowait, chunk)
            if not chunk or isinstance(chunk, OSError):
                return


class OutputWriter:
    """Writes to a descriptor; each `write` returns when its bytes are out."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._started = False
        self._lock = asyncio.Lock()
        try:
            self._is_regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        except OSError:
            self._is_regular = False
        _widen(descriptor)

    async def write(self, views: Sequence[memoryview]) -> None:
        try:
            if self._is_regular:
                _write_all(self._descriptor, views)
                return
            async with self._lock:
                await self._write_elsewhere(views)
        except BrokenPipeError:
            raise OutputClosed from None
        except OSError as error:
            raise CommandError(
                f"cannot write the output: {error.strerror}", ExitCode.CANNOT_WRITE
            ) from error

    async def _write_elsewhere(self, views: Sequence[memoryview]) -> None:
        if not self._started:
            self._started = True
            threading.Thread(target=self._work, name="stdout", daemon=True).start()
        done: asyncio.Future[None] = self._loop.create_future()
        self._jobs.put((views, done))
        await done

    def _work(self) -> None:
        while True:
            views, done = self._jobs.get()
            failure: OSError | None = None
            try:
                _write_all(self._descriptor, views)
            except OSError as error:
                failure = error
            try:
                self._loop.call_soon_threadsafe(_finish, done, failure)
            except RuntimeError:
                return


_Job = tuple[Sequence[memoryview], "asyncio.Future[None]"]


def _finish(done: asyncio.Future[None], failure: OSError | None) -> None:
    if done.done():
        return
    if failure is None:
        done.set_result(None)
    else:
        done.set_exception(failure)


def _write_all(descriptor: int, views: Sequence[memoryview]) -> None:
    for view in views:
        rest = view
        while rest:
            rest = rest[os.write(descriptor, rest) :]


def _widen(descriptor: int) -> None:
    """Make a pipe as large as an unprivileged process may; fewer turns of two threads."""
    if sys.platform != "linux":
        return
    import fcntl

    with contextlib.suppress(OSError, ValueError):
        if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
