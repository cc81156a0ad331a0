"""Runs a program in our place: it has our terminal, and its exit code is ours."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from ztcli.child import stop_child
from ztcli.environment import Environment
from ztcli.exit_codes import ChildExit, CommandError, ExitCode

_PASSED_ON: Final = ("SIGTERM", "SIGHUP")
_SECRETS: Final = ("ZT_IDENTITY_SECRET", "ZT_TOKEN")


async def foreground(
    env: Environment, words: Sequence[str], variables: Mapping[str, str | None]
) -> None:
    """Run a program to its end; raises ChildExit unless its code is 0.

    It has our descriptors. Of `variables`, those that are None are taken away. An interrupt by the
    keyboard reaches it by itself, and how it ends is its business; SIGTERM and SIGHUP are passed
    on. A program that a signal ended has 128 and the number of the signal, as in a shell.
    """
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in _SECRETS and name not in variables
    }
    environment |= {name: value for name, value in variables.items() if value is not None}
    try:
        process = await asyncio.create_subprocess_exec(
            *words, stdin=env.stdin, stdout=env.stdout, env=environment
        )
    except OSError as error:
        raise CommandError(f"{words[0]}: {error.strerror}", ExitCode.USAGE) from error
    try:
        with _signals(env, process):
            code = await process.wait()
    finally:
        await stop_child(process)
    if code:
        raise ChildExit(code if code > 0 else 128 - code)


@contextlib.contextmanager
def _signals(env: Environment, process: asyncio.subprocess.Process) -> Iterator[None]:
    """Leave signals to the program while it runs."""
    if not env.handle_signals:
        yield
        return
    loop = asyncio.get_running_loop()
    installed = []
    for name in ("SIGINT", *_PASSED_ON):
        number = getattr(signal, name, None)
        if number is None or signal.getsignal(number) == signal.SIG_IGN:
            continue
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(number, _pass_on, process, number)
            installed.append(number)
    try:
        yield
    finally:
        for number in installed:
            loop.remove_signal_handler(number)


def _pass_on(process: asyncio.subprocess.Process, number: int) -> None:
    if number == signal.SIGINT:
        return  # The terminal sent it to the program too.
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)
