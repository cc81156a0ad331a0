"""Plain lines for people on stderr: a progress line, and how many bytes that is."""

from __future__ import annotations

import shutil

from ztcli.environment import Environment
from ztcli.options import Settings


class Progress:
    """One line that is written over and over, if stderr is a terminal."""

    def __init__(self, env: Environment, settings: Settings) -> None:
        self._env = env
        self._shown = settings.progress and env.stderr_is_terminal and not settings.json
        self._width = 0

    def show(self, text: str) -> None:
        if not self._shown:
            return
        # A line that wraps could not be written over.
        shown = text[: shutil.get_terminal_size().columns - 1]
        self._env.stderr.write(f"\r{shown.ljust(self._width)}")
        self._env.stderr.flush()
        self._width = len(shown)

    def clear(self) -> None:
        if self._width:
            # The terminal itself may have added the two letters of an interrupt.
            self._env.stderr.write("\r" + " " * (self._width + 2) + "\r")
            self._env.stderr.flush()
            self._width = 0

    def tried(self, count: int) -> None:
        """Show how many identities were tried; half of all searches end before the hundredth."""
        self.show(f"looking for an identity: {count} tried")


def plural(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def rate_of(bytes_per_second: float) -> str:
    return f"{bytes_per_second / 1e6:.1f} MB/s"
