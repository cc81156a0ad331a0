"""Runs a command's coroutine: the loop, the signals, the limit of time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Final

from ztcli.environment import Environment
from ztcli.exit_codes import CommandError, ExitCode

_SIGNALS: Final = ("SIGINT", "SIGTERM", "SIGHUP")

Main = Callable[[], Coroutine[object, object, ExitCode]]


def run(env: Environment, main: Main, timeout: float | None = None) -> ExitCode:
    """Run until done, until a signal or until `timeout` seconds have passed.

    The first SIGINT, SIGTERM or SIGHUP cancels, so that everything closes in order; a second one
    is final. Then the code is 128 and the number of the signal. Ssh ends a ProxyCommand by SIGHUP,
    and the peer is to know of it; where SIGHUP is ignored (nohup), it stays so.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_supervised(env, main, timeout))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        # The default there cannot watch UDP sockets.
        return asyncio.SelectorEventLoop
    with contextlib.suppress(ImportError):
        import uvloop

        return uvloop.new_event_loop
    return None


async def _supervised(env: Environment, main: Main, timeout: float | None) -> ExitCode:
    received: list[int] = []
    work = asyncio.ensure_future(main())

    def interrupted(number: int) -> None:
        if received:
            os._exit(128 + number)
        received.append(number)
        work.cancel()

    installed = _install(env, interrupted)
    try:
        done, _ = await asyncio.wait((work,), timeout=timeout)
        if not done:
            work.cancel()
            await asyncio.wait((work,))
            if work.cancelled():
                raise CommandError(f"not done in {timeout:g} s", ExitCode.TIMED_OUT)
        if received and (work.cancelled() or work.exception() is not None):
            return ExitCode(128 + received[0])
        return work.result()
    finally:
        if not work.done():
            work.cancel()
            await asyncio.wait((work,))
        elif not work.cancelled():
            # An interrupt goes past us; asyncio is not to complain that nobody looked at it.
            work.exception()
        for number in installed:
            asyncio.get_running_loop().remove_signal_handler(number)


def _install(env: Environment, interrupted: Callable[[int], None]) -> list[int]:
    installed: list[int] = []
    if not env.handle_signals:
        return installed
    loop = asyncio.get_running_loop()
    for name in _SIGNALS:
        number = getattr(signal, name, None)
        if number is None or (name == "SIGHUP" and signal.getsignal(number) == signal.SIG_IGN):
            continue
        try:
            loop.add_signal_handler(number, interrupted, number)
        except (NotImplementedError, RuntimeError, ValueError):
            # Windows, or not the main thread: Ctrl-C still raises KeyboardInterrupt there.
            continue
        installed.append(number)
    return installed
