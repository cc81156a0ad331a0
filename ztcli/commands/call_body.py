"""What zt call does with an answer: its head and body, to stdout, a terminal or a file."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx

from ztcli.commands.call_options import CallOptions
from ztcli.environment import Environment
from ztcli.exit_codes import CommandError, ExitCode
from ztcli.stdio import OutputWriter, Sink
from ztcli.terminal import TerminalWriter, harmless_text, shows_on_terminal

_LOOKED_AT: Final = 2000
"""A zero byte among so many first ones means that a body is not text."""


class TextOnly:
    """A sink for a terminal that refuses what is not text."""

    def __init__(self, inner: Sink) -> None:
        self._inner = inner
        self._seen = 0

    async def write(self, views: Sequence[memoryview]) -> None:
        for view in views:
            if self._seen < _LOOKED_AT and b"\0" in bytes(view[: _LOOKED_AT - self._seen]):
                raise CommandError(
                    "the body is binary, and stdout is a terminal",
                    ExitCode.CANNOT_WRITE,
                    "-o FILE keeps it, and -o - writes it there anyway",
                )
            self._seen += len(view)
        await self._inner.write(views)

    async def end(self) -> None:
        await self._inner.end()


def file_name(options: CallOptions, url: str) -> str:
    """Return the file that the body goes to, empty for stdout.

    With -O it is named by the URL that was asked for: a redirect does not choose our files.
    """
    if options.output is not None or not options.remote_name:
        return "" if options.output in (None, "-") else str(options.output)
    name = Path(httpx.URL(url).path.rpartition("/")[2]).name
    if name in ("", ".."):
        raise CommandError("-O: the URL ends without a file name", ExitCode.CANNOT_WRITE)
    return name


@contextmanager
def _sink(env: Environment, options: CallOptions, name: str) -> Iterator[tuple[Sink, Sink]]:
    """Yield a sink for the head and one for the body."""
    if name:
        try:
            descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        except OSError as error:
            raise CommandError(f"{name}: {error.strerror}", ExitCode.CANNOT_WRITE) from error
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, descriptor)
            writer = OutputWriter(descriptor)
            yield writer, writer
        return
    plain = OutputWriter(env.stdout)
    if options.raw or options.output == "-" or not shows_on_terminal(env):
        yield plain, plain
    else:
        shown = TerminalWriter(plain)
        yield shown, TextOnly(shown)


async def write_answer(
    env: Environment, options: CallOptions, response: httpx.Response, name: str
) -> None:
    """Write the head if it is wanted, and the body as it arrives."""
    with _sink(env, options, name) as (head_sink, body_sink):
        if options.include or options.head:
            await head_sink.write([memoryview(head(response))])
        parts = response.aiter_bytes() if options.compressed else response.aiter_raw()
        async for part in parts:
            await body_sink.write([memoryview(part)])
        await body_sink.end()


def expected(response: httpx.Response) -> int | None:
    """Return how long the body will be, if its head says so."""
    text = response.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() else None


def head(response: httpx.Response) -> bytes:
    version = response.http_version
    lines = [f"{version} {response.status_code} {response.reason_phrase}".rstrip().encode()]
    lines += [name + b": " + value for name, value in response.headers.raw]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def tell(env: Environment, response: httpx.Response) -> None:
    """Print both heads to stderr, without secrets."""
    sent = response.request
    version = response.http_version
    env.say(f"> {sent.method} {sent.url.raw_path.decode()} {version}")
    for name, value in sent.headers.raw:
        secret = name.lower() in (b"authorization", b"cookie")
        env.say(f"> {name.decode()}: {'...' if secret else value.decode('latin-1')}")
    env.say(">")
    for line in head(response).decode("latin-1").splitlines():
        env.say(f"< {harmless_text(line)}")
