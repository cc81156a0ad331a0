"""Everything outside argv: streams, home, variables, the engine; replaceable in tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from ztcli.engine import Engine
from ztcli.exit_codes import CommandError, ExitCode, OutputClosed
from ztcli.log import Log
from ztcli.options import Settings

EngineFactory = Callable[["Environment", Settings], Engine]


@dataclass(frozen=True, slots=True)
class Environment:
    """The world around one run of a command."""

    variables: Mapping[str, str]
    home: Path
    engine_factory: EngineFactory
    stdin: int = 0
    stdout: int = 1
    stderr: TextIO = field(default_factory=lambda: sys.stderr)
    handle_signals: bool = True
    log: Log | None = None

    @classmethod
    def of_process(cls, engine_factory: EngineFactory) -> Environment:
        return cls(variables=os.environ, home=Path.home(), engine_factory=engine_factory)

    def engine(self, settings: Settings) -> Engine:
        return self.engine_factory(self, settings)

    def state_folder(self, profile: str | None) -> Path:
        """Return where a profile keeps its state."""
        base = self.variables.get("XDG_STATE_HOME")
        if base and Path(base).is_absolute():
            root = Path(base) / "zt"
        elif sys.platform == "win32":
            local = self.variables.get("LOCALAPPDATA")
            root = (Path(local) if local else self.home / "AppData" / "Local") / "zt"
        else:
            root = self.home / ".local" / "state" / "zt"
        return root / (profile or "default")

    # Output.

    @property
    def stderr_is_terminal(self) -> bool:
        return self.stderr.isatty()

    def say(self, line: str, level: str = "info") -> None:
        """Write a line about the result to stderr; a closed stderr is no reason to fail.

        With --log-file it goes there instead.
        """
        if self.log is not None:
            self.log.write(line, level)
            return
        try:
            self.stderr.write(line + "\n")
            self.stderr.flush()
        except (OSError, ValueError):
            return

    def warn(self, settings: Settings, line: str) -> None:
        if settings.quiet < 1:
            self.say(line, "warning" if line.startswith("warning:") else "info")

    def print(self, text: str) -> None:
        """Write a result and a newline to stdout, at once and whole."""
        self.write(text.encode("utf-8", "surrogateescape") + b"\n")

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self.stdout, view) :]
        except BrokenPipeError:
            raise OutputClosed from None
        except OSError as error:
            raise CommandError(
                f"cannot write the output: {error.strerror}", ExitCode.CANNOT_WRITE
            ) from error
