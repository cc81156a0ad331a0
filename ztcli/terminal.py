"""What peers say, made harmless for a terminal: control characters are spelled out.

A terminal obeys control characters: they move the cursor, set titles, and some terminals can be
made to type. Whoever is at the other end of a stream is not to command the one that shows it.
"""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Sequence
from typing import Final

from ztcli.environment import Environment
from ztcli.stdio import OutputWriter, Sink

# All of C0, DEL and C1 but the tab and the ends of lines.
_CONTROL: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]|\r(?!\n)")


def _spelled(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"^{chr(code ^ 0x40)}" if code < 0x80 else f"\\x{code:02x}"


def harmless_text(text: str) -> str:
    """Spell out the control characters of a text, as `cat -v` does: ^[ for the escape."""
    return _CONTROL.sub(_spelled, text)


def harmless(data: bytes) -> bytes:
    """Return bytes for a terminal; what is not UTF-8 is spelled out too."""
    return harmless_text(data.decode("utf-8", "backslashreplace")).encode()


class Harmless:
    """Makes a stream harmless that comes in pieces, wherever it is cut."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._held = ""
        """A carriage return, of which it is not known whether it ends a line."""

    def feed(self, data: bytes) -> bytes:
        text = self._held + self._decoder.decode(data)
        self._held = "\r" if text.endswith("\r") else ""
        return harmless_text(text[: len(text) - len(self._held)]).encode()

    def end(self) -> bytes:
        text = self._held + self._decoder.decode(b"", final=True)
        self._held = ""
        self._decoder.reset()
        return harmless_text(text).encode()


class TerminalWriter:
    """A sink that shows on a terminal what it is given."""

    def __init__(self, inner: Sink) -> None:
        self._inner = inner
        self._harmless = Harmless()

    async def write(self, views: Sequence[memoryview]) -> None:
        await self._pass(self._harmless.feed(b"".join(views)))

    async def end(self) -> None:
        await self._pass(self._harmless.end())

    async def _pass(self, data: bytes) -> None:
        if data:
            await self._inner.write([memoryview(data)])


def shows_on_terminal(env: Environment) -> bool:
    """Tell whether stdout is a terminal."""
    return os.isatty(env.stdout)


def output(env: Environment, *, raw: bool) -> Sink:
    """Return a sink for what peers say: stdout as it is, or harmless if that is a terminal."""
    writer = OutputWriter(env.stdout)
    return writer if raw or not shows_on_terminal(env) else TerminalWriter(writer)
