"""A line on stderr that says how much has gone through, and how fast."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from ztcli.environment import Environment
from ztcli.options import Settings

_EVERY_S: Final = 0.5
_EVERY_ELSEWHERE_S: Final = 10.0
"""So often where each line stays: in a file, in a log."""
_UNITS: Final = ("B", "kB", "MB", "GB", "TB")

Counts = Callable[[], tuple[int, int, int | None]]
"""Returns the bytes sent, those received, and how many are expected of the latter if known."""


class Meter:
    """Shows the counts of one transfer, again and again."""

    def __init__(self, env: Environment, counts: Counts) -> None:
        self._env = env
        self._counts = counts
        self._is_terminal = env.stderr_is_terminal
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._width = 0

    async def run(self) -> None:
        while True:
            await asyncio.sleep(_EVERY_S if self._is_terminal else _EVERY_ELSEWHERE_S)
            self.show()

    def show(self) -> None:
        sent, received, expected = self._counts()
        text = line(sent, received, expected, self._loop.time() - self._began)
        if not self._is_terminal:
            self._env.say(text)
            return
        # A line that wraps could not be written over.
        shown = text[: shutil.get_terminal_size().columns - 1]
        self._write("\r" + shown.ljust(self._width))
        self._width = len(shown)

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._env.stderr.write(text)
            self._env.stderr.flush()

    def finish(self) -> None:
        """Leave the last line standing."""
        self.show()
        if self._is_terminal:
            self._write("\n")


def line(sent: int, received: int, expected: int | None, seconds: float) -> str:
    """Return `sent 0 B, received 12.3 MB of 50.0 MB (25%), 4.1 MB/s, 0:03`."""
    whole = ""
    if expected:
        whole = f" of {amount(expected)} ({min(100 * received // expected, 100)}%)"
    speed = amount((sent + received) / seconds) if seconds > 0 else "-"
    minutes, rest = divmod(int(seconds), 60)
    return (
        f"sent {amount(sent)}, received {amount(received)}{whole}, {speed}/s, {minutes}:{rest:02}"
    )


def amount(count: float) -> str:
    """Write a number of bytes with three digits and the unit."""
    for unit in _UNITS:
        if count < 999.5 or unit == _UNITS[-1]:
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "B" or count >= 99.95 else f"{count:.1f} {unit}"


def is_wanted(env: Environment, settings: Settings, *, asked: bool, to_file: bool) -> bool:
    """Tell whether there is to be a meter: asked for, or stderr is a terminal and stdout is not."""
    if asked:
        return True
    shown = settings.progress and not settings.json and env.stderr_is_terminal
    return shown and (to_file or not os.isatty(env.stdout))


@contextmanager
def metered(env: Environment, counts: Counts, *, wanted: bool) -> Iterator[None]:
    """Show a meter while the block runs."""
    if not wanted:
        yield
        return
    meter = Meter(env, counts)
    task = asyncio.create_task(meter.run())
    try:
        yield
    finally:
        task.cancel()
        meter.finish()
