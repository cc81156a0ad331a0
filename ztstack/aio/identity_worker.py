"""Searches for an identity in processes of its own.

Each prints one line `tried N` an attempt and at last the secret identity, on a pipe that only the
parent reads.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from typing import Any

from ztstack.aio.entropy import SystemEntropy
from ztstack.base.errors import InvalidConfig
from ztstack.crypto.identity import Identity


def main() -> None:
    def tried(count: int) -> None:
        sys.stdout.write(f"tried {count}\n")
        sys.stdout.flush()

    identity = Identity.generate(SystemEntropy(), tried)
    sys.stdout.write(identity.secret_text() + "\n")


async def generate_identity(progress: Callable[[int], None] | None = None) -> Identity:
    """Generate an identity off the event loop, on every core; the first one found wins."""
    if not sys.executable:
        return await asyncio.to_thread(Identity.generate, SystemEntropy(), progress)
    workers = max(1, min(4, os.cpu_count() or 1))
    tried = [0] * workers
    found: asyncio.Future[Identity] = asyncio.get_running_loop().create_future()

    async def work(number: int) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "from ztstack.aio.identity_worker import main; main()",
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        try:
            async for line in process.stdout:
                if line.startswith(b"tried "):
                    tried[number] = int(line[6:])
                    if progress is not None:
                        progress(sum(tried))
                    continue
                identity = _parse(line)
                if identity is not None and not found.done():
                    found.set_result(identity)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    tasks = [asyncio.create_task(work(number)) for number in range(workers)]
    try:
        waiting: list[asyncio.Future[Any]] = [found, *tasks]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if not found.done():
            # A worker that could not run: this process can.
            return await asyncio.to_thread(Identity.generate, SystemEntropy(), progress)
        return found.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        found.cancel()


def _parse(line: bytes) -> Identity | None:
    try:
        return Identity.parse(line.decode("ascii"))
    except (InvalidConfig, UnicodeDecodeError):
        return None
