"""Joins a stream with a child process: what arrives is its stdin, its stdout is sent."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
from collections.abc import Mapping, Sequence

from ztcli.engine import Stream
from ztcli.exit_codes import CommandError, ExitCode, UsageProblem
from ztcli.pump import Manners, join

READ_BYTES = 65536
_KILL_S = 2.0


class _ChildOutput:
    """A child's stdout as a source."""

    is_waiting = False

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    def read_now(self) -> None:
        return None

    async def read(self) -> bytes:
        return await self._reader.read(READ_BYTES)


class _ChildInput:
    """A child's stdin as a sink; a child that does not read is no failure."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    async def write(self, views: Sequence[memoryview]) -> None:
        if self._writer.is_closing():
            return  # asyncio takes what is written then and loses it; uvloop raises.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._writer.writelines(bytes(view) for view in views)
            await self._writer.drain()

    async def end(self) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._writer.close()
            await self._writer.wait_closed()


def environment_of(stream: Stream) -> dict[str, str]:
    """Return what a child is told about its stream."""
    return {
        "ZT_REMOTE_ADDR": stream.remote[0],
        "ZT_REMOTE_PORT": str(stream.remote[1]),
        "ZT_REMOTE_NODE": stream.remote_name,
        "ZT_LOCAL_ADDR": stream.local[0],
        "ZT_LOCAL_PORT": str(stream.local[1]),
        "ZT_NETWORK": stream.network_name,
        "ZT_PROTO": "tcp",
    }


def arguments_of(command: str | None, shell: str | None) -> list[str]:
    """Return the argument vector for --exec or --sh."""
    if shell is not None:
        return ["cmd", "/c", shell] if os.name == "nt" else ["/bin/sh", "-c", shell]
    try:
        words = shlex.split(command or "")
    except ValueError as error:
        raise UsageProblem(f"--exec {command!r}: {error}") from None
    if not words:
        raise UsageProblem("--exec needs a command")
    return words


async def start_child(
    command: str | None, shell: str | None, variables: Mapping[str, str]
) -> asyncio.subprocess.Process:
    """Start a child with its stdin and stdout in our hands."""
    words = arguments_of(command, shell)
    secret = ("ZT_IDENTITY_SECRET", "ZT_TOKEN")
    environment = {k: v for k, v in os.environ.items() if k not in secret}
    try:
        return await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**environment, **variables},
        )
    except OSError as error:
        raise CommandError(f"{words[0]}: {error.strerror}", ExitCode.USAGE) from error


async def stop_child(process: asyncio.subprocess.Process) -> None:
    """End a child that still runs: asked first, forced after two seconds."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(_KILL_S):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def run_child(stream: Stream, command: str | None, shell: str | None) -> int:
    """Run a child on a stream and return its exit code."""
    try:
        process = await start_child(command, shell, environment_of(stream))
    except BaseException:
        stream.abort()
        raise
    assert process.stdin is not None
    assert process.stdout is not None
    sink = _ChildInput(process.stdin)
    try:
        # The child decides when its output ends, so the peer's end alone does not end the call.
        await join(stream, _ChildOutput(process.stdout), sink, Manners(keep_sending=True))
        return await process.wait()
    finally:
        await stop_child(process)
