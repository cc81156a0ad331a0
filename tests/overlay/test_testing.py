"""What tests of applications are given: virtual time, loss, the fixture."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from overlay import Node
from overlay.testing import memory_pair

pytest_plugins = ["overlay.pytest_plugin"]


async def transfer(a: Node, b: Node, size: int) -> None:
    data = os.urandom(size)
    listener = await a.listen(80)
    client = await b.connect("a", 80)
    server = await listener.accept()
    received = bytearray()

    async def read() -> None:
        while part := await server.receive():
            received.extend(part)

    async with asyncio.TaskGroup() as group:
        group.create_task(read())
        await client.send(data)
        await client.send_eof()
    assert received == data


def test_time_is_virtual(overlay_pair: Callable[..., float]) -> None:
    async def script(a: Node, b: Node) -> None:
        await asyncio.sleep(3600)
        await b.echo("a")

    start = time.monotonic()
    assert overlay_pair(script, latency=0.5) == pytest.approx(3601, abs=0.1)
    assert time.monotonic() - start < 60


@pytest.mark.parametrize("seed", range(5))
def test_streams_survive_a_bad_link(overlay_pair: Callable[..., float], seed: int) -> None:
    times = set()
    for _ in range(2):
        times.add(
            overlay_pair(
                lambda a, b: transfer(a, b, 300_000),
                loss=0.1,
                latency=0.02,
                jitter=0.01,
                seed=seed,
            )
        )
    # The same seed, the same run.
    assert len(times) == 1


def test_other_seeds_are_other_runs(overlay_pair: Callable[..., float]) -> None:
    runs = {
        overlay_pair(lambda a, b: transfer(a, b, 100_000), loss=0.05, latency=0.02, seed=seed)
        for seed in range(4)
    }
    assert len(runs) > 1


def test_who_waits_for_nothing_is_told(overlay_pair: Callable[..., float]) -> None:
    async def script(a: Node, b: Node) -> None:
        await a.stop()
        await b.stop()
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="nothing will ever happen"):
        overlay_pair(script)


def test_a_pair_on_an_ordinary_loop() -> None:
    async def script() -> None:
        async with memory_pair(loss=0.02) as (a, b):
            await transfer(a, b, 200_000)

    asyncio.run(script())


def test_the_page(overlay_pair: Callable[..., float]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "overlay.md").read_text("utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    ends = []

    def pair(*arguments: object, **options: float) -> float:
        ends.append(overlay_pair(*arguments, **options))
        return ends[-1]

    scope: dict[str, object] = {}
    exec(compile(block, "overlay.md", "exec"), scope)
    scope["test_echo"](pair)  # type: ignore[operator] # the block's function
    assert len(ends) == 1
