"""What idle connections weigh, and how fast others come and go, as JSON.

    python -m tests.bench.connections [--idle N] [--churn N] [--at-once N]

Two nodes and their root share one process and one core, so a connection is two ends: `idle_kb` is
for one end, `churn_s` counts whole connections, each with its opening, a byte each way, and both
ends closed. `left_kb` is what half as many more leave behind once all that is kept for a time only
is gone: TIME-WAIT (4096 connections, 30 s) and the ids of the last packets of a peer with
several paths (16,384 of about 75 bytes, up to a minute). What remains does not grow with their
number; it may even be negative. Memory is what Python has allocated (`tracemalloc`).
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import Final

from ztstack.ip.tcp.control_block import TIME_WAIT_US
from ztstack.sockets.api import Node
from ztstack.sockets.listener import Listener
from ztstack.sockets.stream import Stream
from ztstack.testing.lab import NodeLab
from ztstack.vl1.switch import HOUSEKEEPING_US

PORT: Final = 7000
LIMIT_SECONDS: Final = 600.0
WAIT_SECONDS: Final = max(TIME_WAIT_US, 2 * HOUSEKEEPING_US) / 1e6 + 2.0
"""A packet's id is forgotten at the second housekeeping after it came."""


class Bench:
    """Two nodes, and a server on the second."""

    def __init__(self, client: Node, server: Node) -> None:
        self.client = client
        self.server = server
        self.held: list[Stream] = []
        self.hold = False

    async def serve(self, listener: Listener, tasks: asyncio.TaskGroup) -> None:
        async for stream in listener:
            if self.hold:
                self.held.append(stream)
            else:
                tasks.create_task(self.answer(stream))

    async def answer(self, stream: Stream) -> None:
        await stream.send(await stream.receive())
        await stream.receive()
        await stream.close()

    async def once(self, ip: str) -> None:
        """Open a connection, exchange a byte, and close it."""
        stream = await self.client.connect(ip, PORT)
        await stream.send(b"x")
        await stream.receive()
        await stream.close()

    async def many(self, ip: str, count: int, at_once: int) -> float:
        """Do so often, some at a time; return the seconds that it took."""
        left = iter(range(count))

        async def work() -> None:
            for _ in left:
                await self.once(ip)

        start = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(work())
        return time.perf_counter() - start

    async def idle(self, ip: str, count: int) -> float:
        """Open connections and leave them alone; return the kilobytes of one end."""
        self.hold = True
        before = held_bytes()
        for number in range(count):
            stream = await self.client.connect(ip, PORT)
            await stream.send(b"x")
            self.held.append(stream)
            if number % 50 == 0:
                await asyncio.sleep(0)
        # What was sent at the beginning was given back by then.
        await asyncio.sleep(2.0)
        assert len(self.held) == 2 * count
        after = held_bytes()
        for stream in self.held:
            stream.abort()
        self.held.clear()
        self.hold = False
        return (after - before) / (2 * count) / 1000


def held_bytes() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


async def run(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    record: dict[str, object] = {"benchmark": "connections"}
    async with NodeLab(folder, nodes=2) as lab:
        bench = Bench(lab.nodes[0], lab.nodes[1])
        ip = next(ip for ip in lab.nodes[1].addresses() if ":" not in ip)
        async with asyncio.TaskGroup() as tasks:
            listener = await bench.server.listen(PORT, backlog=1024)
            tasks.create_task(bench.serve(listener, tasks))
            await bench.many(ip, 200, options.at_once)
            seconds = await bench.many(ip, options.churn, options.at_once)
            record |= {"churn": options.churn, "churn_s": round(options.churn / seconds)}
            tracemalloc.start()
            record |= {
                "idle": options.idle,
                "idle_kb": round(await bench.idle(ip, options.idle), 2),
            }
            await bench.many(ip, 1000, options.at_once)
            await asyncio.sleep(WAIT_SECONDS)
            before = held_bytes()
            await bench.many(ip, options.churn // 2, options.at_once)
            await asyncio.sleep(WAIT_SECONDS)
            record["left_kb"] = round((held_bytes() - before) / 1000)
            tracemalloc.stop()
            listener.close()
    return record


async def limited(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    async with asyncio.timeout(LIMIT_SECONDS):
        return await run(options, folder)


def main() -> int:
    parser = argparse.ArgumentParser(description="Memory and rate of connections.")
    parser.add_argument("--idle", type=int, default=1000)
    parser.add_argument("--churn", type=int, default=10_000)
    parser.add_argument("--at-once", type=int, default=32)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        record = asyncio.run(limited(options, Path(folder)))
    sys.stdout.write(json.dumps(record) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
