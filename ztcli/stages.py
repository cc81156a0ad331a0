"""How far a join has come, told while somebody waits for it: roots, controller, address."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from ztcli.environment import Environment
from ztcli.options import Settings
from ztcli.output.messages import Progress
from ztstack import NodeStatus

SILENT_S: Final = 1.0
"""Whoever waits less than this is told nothing."""
_LOOK_S: Final = 0.2


def stage_of(status: NodeStatus, network: str) -> tuple[str, str]:
    """Return the stage that a join is at, and what it waits for."""
    if not status.online:
        return "roots", "no root has answered yet"
    found = next((one for one in status.networks if str(one.network) == network), None)
    if found is None or found.status == "REQUESTING_CONFIGURATION":
        return "controller", f"asking {network[:10]} for network {network}"
    if found.status == "ACCESS_DENIED":
        return "authorised", f"{status.address} is not authorised on {network} yet"
    if found.status != "OK":
        return "controller", f"{network}: {found.status}"
    if not found.addresses:
        return "address", f"{network} has given no address yet"
    return "joined", ", ".join(found.addresses)


@contextmanager
def told_stages(
    env: Environment,
    settings: Settings,
    progress: Progress,
    network: str,
    look: Callable[[], NodeStatus],
) -> Iterator[None]:
    """Show the stage on the progress line; with -v each stage is a line of its own."""

    async def tell() -> None:
        loop = asyncio.get_running_loop()
        start, before = loop.time(), ""
        while True:
            stage, words = stage_of(look(), network)
            waited = loop.time() - start
            if settings.verbose and stage != before:
                progress.clear()
                env.say(f"{stage}: {words}")
                before = stage
            if waited >= SILENT_S:
                progress.show(f"{stage}: {words} ({waited:.0f} s)")
            await asyncio.sleep(_LOOK_S)

    task = asyncio.ensure_future(tell())
    try:
        yield
    finally:
        task.cancel()
        progress.clear()
