"""Joins two streams: each end of input is passed on by itself, a reset ends both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from ztcli.engine import Stream
from ztcli.exit_codes import CommandError, ExitCode
from ztcli.options import LINGER_S


@dataclass(slots=True)
class Counts:
    """What passed: bytes from the first stream to the second, and back."""

    there: int = 0
    back: int = 0


async def bridge(
    first: Stream, second: Stream, counts: Counts, idle_timeout: float | None = None
) -> None:
    """Copy both ways until both sides have ended; otherwise reset both and raise.

    No direction is cancelled because the other ended. At most what is on its way through the
    buffers of the two streams is held.
    """
    active = [asyncio.get_running_loop().time()]
    try:
        async with asyncio.TaskGroup() as group:
            watch = None
            if idle_timeout is not None:
                watch = group.create_task(_watch(active, idle_timeout))
            group.create_task(_both(first, second, counts, active, watch))
    except BaseException:
        first.abort()
        second.abort()
        raise
    await first.close()
    await second.close()


async def _both(
    first: Stream,
    second: Stream,
    counts: Counts,
    active: list[float],
    watch: asyncio.Task[None] | None,
) -> None:
    def there(count: int) -> None:
        counts.there += count

    def back(count: int) -> None:
        counts.back += count

    async with asyncio.TaskGroup() as group:
        group.create_task(_copy(first, second, there, active))
        group.create_task(_copy(second, first, back, active))
    if watch is not None:
        watch.cancel()
    for stream in (first, second):
        try:
            await stream.wait_sent(LINGER_S)
        except TimeoutError:
            raise CommandError(
                "the peer did not acknowledge all that was sent", ExitCode.CONNECTION_LOST
            ) from None


async def _copy(
    source: Stream, sink: Stream, count: Callable[[int], None], active: list[float]
) -> None:
    loop = asyncio.get_running_loop()
    while views := await source.receive_views():
        active[0] = loop.time()
        # Once for all that came together: to the system, every send is a call.
        data = views[0] if len(views) == 1 else b"".join(views)
        await sink.send(data)
        count(len(data))
        active[0] = loop.time()
    await sink.send_eof()


async def _watch(active: list[float], limit: float) -> None:
    loop = asyncio.get_running_loop()
    while True:
        rest = active[0] + limit - loop.time()
        if rest <= 0:
            raise CommandError(f"nothing was sent or received in {limit:g} s", ExitCode.TIMED_OUT)
        await asyncio.sleep(rest)
