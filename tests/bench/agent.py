"""A node as a program for the benches: takes one JSON command a line, answers each with a line.

    python -m tests.bench.agent STATE PLANET NETWORK

It uses the library as an application would. Every answer has `cpu_s`, what the process used of the
processor (both kinds, all threads) from the first byte of the command's work to its end.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import uvloop

from ztstack import Listener, Node, Stream

BLOCK: Final = 256 * 1024
Command = dict[str, Any]
Answer = dict[str, object]


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def percentile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def say(answer: Answer) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


class Sink:
    """Takes some streams to their ends, and looks at all of them when the first one ends."""

    def __init__(self, count: int) -> None:
        self.counts = [0] * count
        self.at_first_end: list[int] = []
        self.first = self.last = self.cpu = 0.0

    async def take(self, number: int, stream: Stream) -> None:
        while views := await stream.receive_views():
            self.last = time.perf_counter()
            if not self.first:
                self.first, self.cpu = self.last, cpu_s()
            self.counts[number] += sum(map(len, views))
        self.at_first_end = self.at_first_end or list(self.counts)
        await stream.send_eof()
        await stream.wait_sent(60.0)
        await stream.close()

    def answer(self) -> Answer:
        return {
            "bytes": sum(self.counts),
            "seconds": self.last - self.first,
            "at_first_end": self.at_first_end,
            "cpu_s": cpu_s() - self.cpu,
        }


async def listening(node: Node, port: int) -> Listener:
    listener = await node.listen(port)
    say({"listening": node.addresses()})
    return listener


async def sink(node: Node, command: Command) -> Answer:
    listener = await listening(node, command["port"])
    taken = Sink(command["streams"])
    async with asyncio.TaskGroup() as group:
        for number in range(command["streams"]):
            group.create_task(taken.take(number, await listener.accept()))
    listener.close()
    return taken.answer()


async def send(node: Node, command: Command) -> Answer:
    """Send so many bytes on each of some streams at once."""
    block = memoryview(os.urandom(BLOCK))
    streams = [
        await node.connect(command["ip"], command["port"]) for _ in range(command["streams"])
    ]
    began = cpu_s()

    async def fill(stream: Stream) -> None:
        rest = command["bytes"]
        while rest:
            part = block[:rest]
            await stream.send(part)
            rest -= len(part)
        await stream.send_eof()
        await stream.wait_sent(600.0)
        await stream.close()

    async with asyncio.TaskGroup() as group:
        for stream in streams:
            group.create_task(fill(stream))
    return {"cpu_s": cpu_s() - began}


async def echo(node: Node, command: Command) -> Answer:
    """Return to one stream what it sends."""
    listener = await listening(node, command["port"])
    stream = await listener.accept()
    listener.close()
    began = cpu_s()
    while data := await stream.receive():
        await stream.send(data)
    used = cpu_s() - began
    await stream.close()
    return {"cpu_s": used}


async def ask(node: Node, command: Command) -> Answer:
    """Exchange one byte so many times."""
    stream = await node.connect(command["ip"], command["port"])
    times = []
    for _ in range(200):
        await stream.send(b"?")
        await stream.receive()
    began = cpu_s()
    for _ in range(command["count"]):
        begin = time.perf_counter()
        await stream.send(b"?")
        await stream.receive()
        times.append(time.perf_counter() - begin)
    used = cpu_s() - began
    await stream.close()
    times.sort()
    return {
        "p50_us": percentile(times, 0.5) * 1e6,
        "p99_us": percentile(times, 0.99) * 1e6,
        "cpu_s": used,
    }


TABLE: Final[dict[str, Callable[[Node, Command], Awaitable[Answer]]]] = {
    "sink": sink,
    "send": send,
    "echo": echo,
    "ask": ask,
}


async def run(state: str, planet: bytes, network: str) -> None:
    loop = asyncio.get_running_loop()
    async with Node(network=network, state=state, planet=planet) as node:
        say({"ready": str(node.address)})
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            command = json.loads(line)
            say(await TABLE[command["do"]](node, command))


if __name__ == "__main__":
    # The loop that `zt` has.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(sys.argv[1], Path(sys.argv[2]).read_bytes(), sys.argv[3]))
