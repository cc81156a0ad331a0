"""Tells scripts that a command is ready: a file, a descriptor, the service manager."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from pathlib import Path
from typing import Annotated

import typer

from ztcli.environment import Environment
from ztcli.exit_codes import CommandError, ExitCode, UsageProblem
from ztcli.output.records import event

ReadyFile = Annotated[
    str | None,
    typer.Option("--ready-file", metavar="PATH", help="Appears with a record when it is ready."),
]
ReadyFd = Annotated[
    int | None,
    typer.Option("--ready-fd", metavar="N", min=0, help="The same record, to an open descriptor."),
]


def check(ready_fd: int | None) -> None:
    """Refuse a descriptor that is not open, before anything is started."""
    if ready_fd is None:
        return
    try:
        os.fstat(ready_fd)
    except OSError:
        raise UsageProblem(f"--ready-fd {ready_fd}: is not open") from None


def announce(
    env: Environment, values: dict[str, object], file: str | None, descriptor: int | None
) -> None:
    """Write the ready record to the file, at once and whole, and to the descriptor."""
    line = event("ready", values)
    if file is not None:
        _write_file(Path(file), json.dumps({"pid": os.getpid(), **json.loads(line)}) + "\n")
    if descriptor is not None:
        try:
            os.write(descriptor, line.encode() + b"\n")
            os.close(descriptor)
        except OSError as error:
            raise CommandError(
                f"--ready-fd {descriptor}: {error.strerror}", ExitCode.CANNOT_WRITE
            ) from error
    _notify(env.variables.get("NOTIFY_SOCKET", ""))


def withdraw(file: str | None) -> None:
    """Remove the ready file: what it says is no longer so."""
    if file is not None:
        Path(file).unlink(missing_ok=True)


def _write_file(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_text(text, "utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise CommandError(f"{path}: {error.strerror}", ExitCode.CANNOT_WRITE) from error


def _notify(address: str) -> None:
    """Tell the service manager (sd_notify); whoever is not there is not told."""
    if not address or not hasattr(socket, "AF_UNIX"):
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect("\0" + address[1:] if address.startswith("@") else address)
        sock.sendall(b"READY=1")
