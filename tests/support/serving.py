"""Runs a command of `zt` that serves until it is stopped, in a thread of this process."""

from __future__ import annotations

import asyncio
import io
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.cli import Zt
from ztcli.app import run
from ztcli.engine import Engine
from ztcli.environment import Environment
from ztcli.options import Settings


class Terminal(io.StringIO):
    """A stderr that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Serving:
    """A command that is ready; its output is complete after the block of `serving`."""

    def __init__(self, zt: Zt, *, terminal: bool = False) -> None:
        self._zt = zt
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[object] | None = None
        self.code: int | None = None
        self.stdout = b""
        self.stderr = ""
        self.said = Terminal() if terminal else io.StringIO()
        self.ready: dict[str, Any] = {}

    def _engine(self, env: Environment, settings: Settings) -> Engine:
        # Commands make their engine in the task that is their all.
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        return self._zt.factory(env, settings)

    @property
    def port(self) -> int:
        return int(self.ready["port"])

    def run(self, arguments: list[str]) -> None:
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as taken:
            stderr = self.said
            env = Environment(
                variables=self._zt.variables,
                home=self._zt.home,
                stdin=given.fileno(),
                stdout=taken.fileno(),
                stderr=stderr,
                engine_factory=self._engine,
                handle_signals=False,
            )
            try:
                self.code = run(arguments, env)
            except asyncio.CancelledError:
                self.code = -1
            taken.seek(0)
            self.stdout, self.stderr = taken.read(), stderr.getvalue()

    def stop(self) -> None:
        if self._loop is not None and self._task is not None and self.code is None:
            self._loop.call_soon_threadsafe(self._task.cancel)


@contextmanager
def serving(zt: Zt, *arguments: str, terminal: bool = False) -> Iterator[Serving]:
    """Run a command until the end of the block; it has a ready file of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ready"
        running = Serving(zt, terminal=terminal)
        words = [*arguments, "--ready-file", str(path)]
        thread = threading.Thread(target=running.run, args=(words,), daemon=True)
        thread.start()
        try:
            for _ in range(1000):
                if path.exists() or not thread.is_alive():
                    break
                time.sleep(0.01)
            assert path.exists(), f"it was not ready: {running.code} {running.stderr}"
            running.ready = json.loads(path.read_text())
            yield running
        finally:
            running.stop()
            thread.join(15)
            assert not thread.is_alive()
