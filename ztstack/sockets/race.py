"""Tries several ways at once, each a little later than the one before it (RFC 8305)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

from ztstack.base.errors import NameNotResolved

HEAD_START_S: Final = 0.25
"""What one way is ahead of the next; the Connection Attempt Delay of RFC 8305 section 5."""

Found = TypeVar("Found")


async def first_of(
    attempts: Sequence[Callable[[], Coroutine[Any, Any, Found]]],
    dispose: Callable[[Found], None],
) -> Found:
    """Return what the first attempt to succeed finds; `dispose` takes what others found as well.

    The next one begins when its turn has come, or as soon as one failed. If all fail the first
    failure is raised, one that says more than "there is no such name" before those that do not.
    """
    waiting = list(reversed(attempts))
    running: set[asyncio.Task[Found]] = set()
    failures: list[Exception] = []
    try:
        while waiting or running:
            if waiting:
                running.add(asyncio.create_task(waiting.pop()()))
            done, _ = await asyncio.wait(
                running,
                timeout=HEAD_START_S if waiting else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in done:
                failure = task.exception()
                if failure is None:
                    running.discard(task)
                    return task.result()
                if not isinstance(failure, Exception):
                    raise failure
                running.discard(task)
                failures.append(failure)
    finally:
        await _stop(running, dispose)
    told = [one for one in failures if not isinstance(one, NameNotResolved)]
    raise (told or failures)[0]


async def _stop(running: set[asyncio.Task[Found]], dispose: Callable[[Found], None]) -> None:
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running)
    for task in running:
        if not task.cancelled() and task.exception() is None:
            dispose(task.result())
