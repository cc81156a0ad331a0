"""Files that are written whole: a reader sees the old one or the new one, also after a crash."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from ztcli.exit_codes import CommandError, ExitCode


def replace_file(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write a file at once; its folder must be there. Raises CommandError."""
    import tempfile

    partial = ""
    try:
        descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as stream:
            Path(partial).chmod(mode)
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        Path(partial).replace(path)
    except OSError as error:
        if partial:
            with contextlib.suppress(OSError):
                Path(partial).unlink()
        raise CommandError(f"{path}: {error.strerror}", ExitCode.CANNOT_WRITE) from error
