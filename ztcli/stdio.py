"""Reads stdin and writes stdout without stopping the loop: at once, or by a thread for each.

At once where Linux can say that it would have to wait (RWF_NOWAIT): two threads that hand each
block over cost a quarter of a stream's speed. Threads for the rest, because the loop cannot watch
regular files, and because making a descriptor non-blocking would change it for every process that
shares it. Benchmark: tests/bench/stream.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
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
_NOT_AT_ONCE: Final = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.ESPIPE)


class Source(Protocol):
    """Where a stream's outgoing bytes come from."""

    def read_now(self) -> bytes | None:
        """Return some bytes, b"" at the end, or None if `read` has to be awaited."""
        ...

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

    async def end(self) -> None:
        """Take note that the stream has ended; another one may follow."""


class NoInput:
    """A source that ends at once."""

    is_waiting = False

    def read_now(self) -> bytes:
        return b""

    async def read(self) -> bytes:
        return b""


class Discard:
    """A sink that keeps nothing."""

    async def write(self, views: Sequence[memoryview]) -> None:
        del views

    async def end(self) -> None:
        return


class InputReader:
    """Reads a descriptor, ahead by at most a megabyte where it needs a thread."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._chunks: asyncio.Queue[bytes | OSError] = asyncio.Queue()
        self._permits = threading.Semaphore(0)
        self._buffer = bytearray(CHUNK) if sys.platform == "linux" else None
        """Filled at once while this descriptor can do that."""
        self._asked = 0
        self._opened = False
        self._threaded = False
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

    def read_now(self) -> bytes | None:
        """Return some bytes, b"" at the end, or None if they have to be waited for."""
        if self._ended:
            return b""
        if not self._opened:
            self._open()
        if self._buffer is None or self._asked or not self._chunks.empty():
            return None
        try:
            size = _read_at_once(self._descriptor, self._buffer)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno not in _NOT_AT_ONCE:
                raise _cannot_read(error) from error
            self._buffer = None
            return None
        self._ended = not size
        return bytes(memoryview(self._buffer)[:size])

    async def read(self) -> bytes:
        at_once = self.read_now()
        if at_once is not None:
            return at_once
        if self._chunks.empty():
            self._ask()
        chunk = await self._chunks.get()
        self._asked -= 1
        if isinstance(chunk, OSError):
            raise _cannot_read(chunk) from chunk
        if not chunk:
            self._ended = True
        elif self._buffer is None:
            self._ask()
        return chunk

    def _open(self) -> None:
        self._opened = True
        try:
            mode = os.fstat(self._descriptor).st_mode
        except OSError:
            self._ended = True  # A closed stdin is one at its end.
            return
        self._is_regular = stat.S_ISREG(mode)
        _widen(self._descriptor)

    def _ask(self) -> None:
        """Have the thread read: once, or ahead if nothing can be read at once."""
        if not self._threaded:
            self._threaded = True
            threading.Thread(target=self._work, name="stdin", daemon=True).start()
        wanted = 1 if self._buffer is not None else _AHEAD
        while self._asked < wanted:
            self._asked += 1
            self._permits.release()

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
        self._at_once = sys.platform == "linux"
        _widen(descriptor)

    async def end(self) -> None:
        """Do nothing: all is written at once."""

    async def write(self, views: Sequence[memoryview]) -> None:
        try:
            if self._is_regular:
                _write_all(self._descriptor, views)
                return
            async with self._lock:
                rest = self._write_at_once(views) if self._at_once else views
                if rest:
                    await self._write_elsewhere(rest)
        except BrokenPipeError:
            raise OutputClosed from None
        except OSError as error:
            raise CommandError(
                f"cannot write the output: {error.strerror}", ExitCode.CANNOT_WRITE
            ) from error

    def _write_at_once(self, views: Sequence[memoryview]) -> Sequence[memoryview]:
        """Write what fits now; return the rest."""
        while views:
            some = views[:_IOV_LIMIT]
            try:
                size = os.pwritev(self._descriptor, some, -1, os.RWF_NOWAIT)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno not in _NOT_AT_ONCE:
                    raise
                self._at_once = False
                break
            wanted = sum(map(len, some))
            if size < wanted:
                return [*_behind(some, size), *views[_IOV_LIMIT:]]
            views = views[_IOV_LIMIT:]
        return views

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


def _read_at_once(descriptor: int, buffer: bytearray) -> int:
    if sys.platform != "linux":
        raise OSError(errno.ENOSYS, "not on this system")
    return os.preadv(descriptor, (buffer,), -1, os.RWF_NOWAIT)


def _behind(views: Sequence[memoryview], size: int) -> list[memoryview]:
    """Return the views without their first `size` bytes."""
    for at, view in enumerate(views):
        if size < len(view):
            return [view[size:], *views[at + 1 :]]
        size -= len(view)
    return []


def _cannot_read(error: OSError) -> CommandError:
    return CommandError(f"cannot read the input: {error.strerror}", ExitCode.CANNOT_READ)


def _widen(descriptor: int) -> None:
    """Make a pipe as large as an unprivileged process may; fewer turns of two threads."""
    if sys.platform != "linux":
        return
    import fcntl

    with contextlib.suppress(OSError, ValueError):
        if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
