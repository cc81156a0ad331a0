"""What is said on the way: on stderr, or with times in the file of --log-file."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

from ztcli.exit_codes import CommandError, ExitCode, UsageProblem

FORMATS: Final = ("text", "json")
LEVELS: Final = ("error", "warning", "info", "debug")


@dataclass(frozen=True, slots=True)
class Log:
    """Lines with their level and time; whoever cannot be written to is no reason to fail."""

    stream: TextIO
    as_json: bool = False

    def write(self, message: str, level: str = "info") -> None:
        now = time.time()
        if self.as_json:
            values = {"v": 1, "type": "log", "ts": round(now, 6), "level": level}
            line = json.dumps({**values, "message": message})
        else:
            clock = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(now))
            line = f"{clock} {level} {message}"
        line = line.encode("utf-8", "backslashreplace").decode()
        with suppress(OSError, ValueError):
            self.stream.write(line + "\n")
            self.stream.flush()


def open_log(name: str | None, kind: str | None, stderr: TextIO) -> Log | None:
    """Return where lines go, None if that is a plain stderr."""
    wanted = (kind or "text").lower()
    if wanted not in FORMATS:
        raise UsageProblem(f"--log-format is {', '.join(FORMATS)}, not {kind!r}")
    if name is None:
        return Log(stderr, as_json=True) if wanted == "json" else None
    try:
        stream = Path(name).open("a", encoding="utf-8")  # noqa: SIM115 - until the end of the run
    except OSError as error:
        what = f"--log-file {name}: {error.strerror}"
        raise CommandError(what, ExitCode.CANNOT_WRITE) from error
    return Log(stream, as_json=wanted == "json")


def level_of(quiet: int, verbose: int) -> str:
    """Return the least level of the library that is told."""
    return LEVELS[0] if quiet else LEVELS[min(1 + verbose, 3)]
