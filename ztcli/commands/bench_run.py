"""The two ends of zt bench.

A client begins with a question of fixed size; the host says its magic word and does what the
question says: it counts what it receives, sends, or returns what it gets.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import struct
from dataclasses import dataclass, replace
from enum import IntEnum
from time import perf_counter
from typing import Final

from ztcli import ready, runner
from ztcli.commands.bench_options import MAX_TIME_S, BenchOptions
from ztcli.engine import Engine, Stream
from ztcli.environment import Environment
from ztcli.exit_codes import CommandError, ExitCode
from ztcli.options import LINGER_S, Settings
from ztcli.output.messages import Progress
from ztcli.output.records import print_record
from ztcli.peeked import PeekedStream
from ztcli.server import GRACE_S, Guard, Limits, Server, link, need_address, ordered

MAGIC: Final = b"ZTB1"
QUESTION: Final = struct.Struct(">4sB3xQQ")
"""Magic word, what to do, for how many milliseconds and how many bytes; 0 is no limit."""
REPORT: Final = struct.Struct(">Q")
"""How many bytes the host received."""
_BLOCK: Final = 256 * 1024
_GREETING_S: Final = 10.0
_SILENCE_S: Final = 30.0
_PROBE: Final = 64
_PROBES: Final = 20
_LIVE_S: Final = 0.5
_DIRECT_S: Final = 0.25


class Mode(IntEnum):
    """What the host does."""

    COUNT = 1
    SEND = 2
    RETURN = 3


# The host.


def serve(env: Environment, settings: Settings, options: BenchOptions, port: int) -> ExitCode:
    """Answer until a signal comes."""
    guard = Guard(options.allow or [], options.deny or [])
    ready.check(options.ready_fd)
    settings = replace(settings, serves="zt bench serve")

    async def main() -> ExitCode:
        async with env.engine(settings) as engine:
            await engine.join()
            listener = await engine.listen(port)
            try:
                addresses = ordered(listener.addresses)
                need_address(addresses)
                links = [link("tcp", *address) for address in addresses]
                for one in links:
                    env.warn(settings, f"Listen: {one}")
                env.warn(settings, f"try: zt bench {addresses[0][0]} {listener.port}")
                values: dict[str, object] = {
                    "mode": "bench",
                    "addresses": [address for address, _ in addresses],
                    "port": listener.port,
                    "urls": links,
                    "node": engine.node_id,
                    "networks": engine.networks,
                }
                ready.announce(env, values, options.ready_file, options.ready_fd)
                most = options.max_conns
                limits = Limits(None, most, most, GRACE_S)
                server = Server(env, listener, guard, limits, quiet=settings.quiet > 0)
                await server.run(answer)
            finally:
                listener.close()
                ready.withdraw(options.ready_file)
        return ExitCode.OK

    return runner.run(env, main, settings.total_timeout())


async def answer(stream: Stream) -> None:
    """Do what one client asks."""
    inner = PeekedStream(stream)
    async with asyncio.timeout(_GREETING_S):
        question = await inner.exactly(QUESTION.size)
    if len(question) < QUESTION.size or not question.startswith(MAGIC):
        raise _foreign()
    _, mode, milliseconds, count = QUESTION.unpack(question)
    await inner.send(MAGIC)
    if mode == Mode.COUNT:
        await inner.send(REPORT.pack(await _drain(inner)))
    elif mode == Mode.SEND:
        seconds = min(milliseconds / 1000, MAX_TIME_S) or None
        if seconds is None and not count:
            raise _foreign()
        await _fill(inner, seconds, count or None, Tally())
    elif mode == Mode.RETURN:
        while data := await _receive(inner):
            await inner.send(data)
    else:
        raise _foreign()
    await _end(inner)


def _foreign() -> CommandError:
    return CommandError("the other end does not speak zt bench", ExitCode.CONNECTION_LOST)


# What both do.


@dataclass(slots=True)
class Tally:
    """Bytes that went through until now."""

    count: int = 0


async def _receive(stream: Stream) -> bytes:
    async with asyncio.timeout(_SILENCE_S):
        return await stream.receive(_BLOCK)


async def _drain(stream: Stream, tally: Tally | None = None) -> int:
    tally = tally or Tally()
    while True:
        async with asyncio.timeout(_SILENCE_S):
            views = await stream.receive_views()
        if not views:
            return tally.count
        tally.count += sum(map(len, views))


async def _fill(stream: Stream, seconds: float | None, count: int | None, tally: Tally) -> None:
    """Send noise, which no compression makes smaller, for some time or so many bytes."""
    loop = asyncio.get_running_loop()
    block = memoryview(os.urandom(_BLOCK))
    begin = loop.time()
    while count is None or tally.count < count:
        if seconds is not None and loop.time() - begin >= seconds:
            return
        part = block if count is None else block[: count - tally.count]
        async with asyncio.timeout(_SILENCE_S):
            await stream.send(part)
        tally.count += len(part)


async def _end(stream: Stream) -> None:
    await stream.send_eof()
    await stream.wait_sent(LINGER_S)
    await stream.close()


# The client.


def measure(
    env: Environment,
    settings: Settings,
    options: BenchOptions,
    port: int,
    seconds: float | None,
    count: int | None,
) -> ExitCode:
    """Measure latency, then throughput, and print both."""

    async def main() -> ExitCode:
        async with env.engine(settings) as engine:
            await engine.join()
            client = _Client(env, settings, options, engine, port)
            times, path = await client.latency()
            mode = Mode.SEND if options.reverse else Mode.COUNT
            total, elapsed = await client.throughput(mode, seconds, count)
        rate = total / elapsed
        latency = {
            "min": round(min(times) * 1000, 3),
            "median": round(statistics.median(times) * 1000, 3),
            "max": round(max(times) * 1000, 3),
            "count": len(times),
        }
        direction = "received" if options.reverse else "sent"
        if settings.json:
            values: dict[str, object] = {
                "host": options.target,
                "port": port,
                "path": path,
                "direction": direction,
                "streams": options.parallel,
                "bytes": total,
                "seconds": round(elapsed, 6),
                "bytes_per_second": round(rate),
                "latency_ms": latency,
            }
            print_record(env, "bench", values)
            return ExitCode.OK
        env.print(
            f"latency     {latency['median']:g} ms"
            f" (min {latency['min']:g}, max {latency['max']:g}, {len(times)} times) {path}"
        )
        env.print(
            f"throughput  {_rate(rate)} ({total / 1e6:.1f} MB {direction} in {elapsed:.2f} s)"
        )
        return ExitCode.OK

    return runner.run(env, main, settings.total_timeout())


def _rate(rate: float) -> str:
    return f"{rate / 1e6:.1f} MB/s"


class _Client:
    """One end that asks."""

    def __init__(
        self,
        env: Environment,
        settings: Settings,
        options: BenchOptions,
        engine: Engine,
        port: int,
    ) -> None:
        self._settings = settings
        self._options = options
        self._engine = engine
        self._port = port
        self._loop = asyncio.get_running_loop()
        self._progress = Progress(env, settings)

    async def _ask(self, mode: Mode, seconds: float | None, count: int | None) -> PeekedStream:
        stream = await self._engine.connect(
            self._options.target, self._port, self._settings.connect_timeout
        )
        try:
            milliseconds = round((seconds or 0) * 1000)
            await stream.send(QUESTION.pack(MAGIC, mode, milliseconds, count or 0))
            inner = PeekedStream(stream)
            async with asyncio.timeout(_GREETING_S):
                if await inner.exactly(len(MAGIC)) != MAGIC:
                    raise _foreign()
        except BaseException:
            stream.abort()
            raise
        return inner

    async def latency(self) -> tuple[list[float], str]:
        """Return the times of some exchanges, and the path: shared relays are not loaded."""
        stream = await self._ask(Mode.RETURN, None, None)
        try:
            await self._wait_direct(stream)
            times = [await self._exchange(stream) for _ in range(_PROBES)]
            await _end(stream)
        except BaseException:
            stream.abort()
            raise
        return times, stream.path

    async def _wait_direct(self, stream: PeekedStream) -> None:
        limit = self._settings.connect_timeout
        deadline = self._loop.time() + limit if limit is not None else None
        while True:
            await self._exchange(stream)
            if stream.path == "direct" or self._options.via_relay:
                return
            if deadline is not None and self._loop.time() >= deadline:
                raise CommandError(
                    f"{self._options.target}: there is only a relayed path",
                    ExitCode.RELAYED_ONLY,
                    "with roots of your own (--planet): --via-relay",
                )
            await asyncio.sleep(_DIRECT_S)

    async def _exchange(self, stream: PeekedStream) -> float:
        begin = perf_counter()  # The loop's own clock counts whole milliseconds.
        await stream.send(bytes(_PROBE))
        async with asyncio.timeout(_SILENCE_S):
            if len(await stream.exactly(_PROBE)) < _PROBE:
                raise CommandError("the host ended too early", ExitCode.CONNECTION_LOST)
        return perf_counter() - begin

    async def throughput(
        self, mode: Mode, seconds: float | None, count: int | None
    ) -> tuple[int, float]:
        """Return how many bytes arrived, on all streams, and how long it took."""
        tallies = [Tally() for _ in range(self._options.parallel)]
        streams = [await self._ask(mode, seconds, count) for _ in tallies]
        begin = perf_counter()
        live = asyncio.create_task(self._show(tallies, begin))
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._run(mode, stream, seconds, count, tally))
                    for stream, tally in zip(streams, tallies, strict=True)
                ]
        except BaseException:
            for stream in streams:
                stream.abort()
            raise
        finally:
            live.cancel()
            self._progress.clear()
        return sum(task.result() for task in tasks), perf_counter() - begin

    async def _run(
        self,
        mode: Mode,
        stream: PeekedStream,
        seconds: float | None,
        count: int | None,
        tally: Tally,
    ) -> int:
        if mode == Mode.SEND:
            received = await _drain(stream, tally)
            if count is not None and received != count:
                raise CommandError(
                    f"the host sent {received} bytes, not {count}", ExitCode.CONNECTION_LOST
                )
            await _end(stream)
            return received
        await _fill(stream, seconds, count, tally)
        await stream.send_eof()
        async with asyncio.timeout(_SILENCE_S):
            report = await stream.exactly(REPORT.size)
        if report != REPORT.pack(tally.count):
            raise CommandError("the host did not receive all", ExitCode.CONNECTION_LOST)
        await stream.close()
        return tally.count

    async def _show(self, tallies: list[Tally], begin: float) -> None:
        before = 0
        while True:
            await asyncio.sleep(_LIVE_S)
            total = sum(tally.count for tally in tallies)
            elapsed = perf_counter() - begin
            rate = _rate((total - before) / _LIVE_S)
            self._progress.show(f"{elapsed:5.1f} s  {total / 1e6:.1f} MB  {rate}")
            before = total
