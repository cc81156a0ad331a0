"""A terminal that somebody types at: tmux, with a server of its own."""

from __future__ import annotations

import itertools
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.netns import Unavailable

_COUNTER = itertools.count(1)


class Terminal:
    """One pane of tmux."""

    def __init__(self, socket: Path, environment: Mapping[str, str]) -> None:
        self._socket = socket
        self._environment = environment

    def tmux(self, *words: str) -> str:
        found = shutil.which("tmux")
        if found is None:
            raise Unavailable("tmux is not installed")
        done = subprocess.run(
            [found, "-S", str(self._socket), "-f", "/dev/null", *words],
            capture_output=True,
            check=True,
            env={**self._environment, "TERM": "xterm"},
            timeout=20,
        )
        return done.stdout.decode()

    def type(self, *keys: str) -> None:
        """Press keys by their names; words that are no names are typed."""
        self.tmux("send-keys", *keys)

    @property
    def lines(self) -> list[str]:
        """What the pane shows."""
        return [line.rstrip() for line in self.tmux("capture-pane", "-p").splitlines()]

    def wait(self, what: str, is_there: Callable[[list[str]], bool], limit: float = 30.0) -> None:
        """Wait until the pane shows it."""
        deadline = time.monotonic() + limit
        while not is_there(self.lines):
            if time.monotonic() > deadline:
                shown = "\n".join(self.lines)
                raise AssertionError(f"{what}: not shown in {limit:g} s\n{shown}")
            time.sleep(0.05)


@contextmanager
def terminal(
    folder: Path, words: Sequence[str], environment: Mapping[str, str]
) -> Iterator[Terminal]:
    """Run a command at a terminal of 100 columns; its exit code is printed as `rc=`."""
    # A server that was told to end still answers for a while.
    pane = Terminal(folder / f"tmux{next(_COUNTER)}", environment)
    # The shell outlives an interrupt at the terminal; the command gets it as ever.
    run = f"cd {shlex.quote(str(folder))}; trap : INT; {shlex.join(words)}"
    shown = f"{run}; echo rc=$?; exec sleep 600"
    pane.tmux("new-session", "-d", "-x", "100", "-y", "30", "sh", "-c", shown)
    try:
        yield pane
    finally:
        pane.tmux("kill-server")
