"""The end of zt bench that asks: latency, throughput, and latency under that load."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Final

from ztcli import runner
from ztcli.commands.bench_options import BenchOptions
from ztcli.commands.bench_wire import (
    ARRIVALS,
    MAGIC,
    PORT,
    QUESTION,
    REPORT,
    SILENCE_S,
    Amount,
    Arrivals,
    Mode,
    Tally,
    catch,
    drain,
    end,
    fill,
    foreign,
    shoot,
)
from ztcli.engine import Datagrams, Engine
from ztcli.environment import Environment
from ztcli.exit_codes import CommandError, ExitCode
from ztcli.options import Settings
from ztcli.output.messages import Progress, rate_of
from ztcli.output.records import print_record
from ztcli.peeked import PeekedStream

_GREETING_S: Final = 10.0
_PROBE: Final = 64
_PROBES: Final = 20
_LOADED_S: Final = 0.1
_LIVE_S: Final = 0.5
_DIRECT_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class Result:
    """What went one way; of datagrams also what became of them."""

    direction: str
    size: int
    seconds: float
    sent: int = 0
    arrivals: Arrivals | None = None

    @property
    def rate(self) -> float:
        return self.size / self.seconds

    def values(self) -> dict[str, object]:
        found: dict[str, object] = {
            "direction": self.direction,
            "bytes": self.size,
            "seconds": round(self.seconds, 6),
            "bytes_per_second": round(self.rate),
        }
        if self.arrivals is not None:
            found["datagrams"] = {
                "sent": self.sent,
                "received": self.arrivals.count,
                "lost": max(self.sent - self.arrivals.count, 0),
                "late": self.arrivals.late,
                "jitter_ms": round(self.arrivals.jitter_ms, 3),
            }
        return found

    def words(self) -> str:
        text = f"{rate_of(self.rate)} ({self.size / 1e6:.1f} MB {self.direction}"
        text += f" in {self.seconds:.2f} s)"
        if self.arrivals is not None:
            lost = max(self.sent - self.arrivals.count, 0)
            share = 100 * lost / self.sent if self.sent else 0.0
            text += f"\ndatagrams   {self.sent} sent, {lost} lost ({share:.1f} %)"
            text += f", {self.arrivals.late} late, jitter {self.arrivals.jitter_ms:.2f} ms"
        return text


def measure(
    env: Environment, settings: Settings, options: BenchOptions, port: int, amount: Amount
) -> ExitCode:
    """Measure latency, then throughput, and print both."""

    async def main() -> ExitCode:
        async with env.engine(settings) as engine:
            await engine.join()
            client = _Client(env, settings, options, engine, port)
            times, path = await client.latency()
            results = await client.throughput(amount)
        loaded = client.loaded
        if settings.json:
            first = results[0].values()
            values: dict[str, object] = {
                "host": options.target,
                "port": port,
                "path": path,
                "streams": options.parallel,
                "latency_ms": _summary(times),
                "loaded_ms": _summary(loaded) if loaded else None,
                **first,
            }
            if len(results) > 1:
                values["reverse"] = results[1].values()
            print_record(env, "bench", values)
            return ExitCode.OK
        env.print(f"latency     {_words(times)} {path}")
        for result in results:
            env.print(f"throughput  {result.words()}")
        if loaded:
            env.print(f"under load  {_words(loaded)} {client.last_path}")
        return ExitCode.OK

    return runner.run(env, main, settings.total_timeout())


def _summary(times: Sequence[float]) -> dict[str, float]:
    return {
        "min": round(min(times) * 1000, 3),
        "median": round(statistics.median(times) * 1000, 3),
        "max": round(max(times) * 1000, 3),
        "count": len(times),
    }


def _words(times: Sequence[float]) -> str:
    found = _summary(times)
    edges = f"min {found['min']:g}, max {found['max']:g}, {len(times)} times"
    return f"{found['median']:g} ms ({edges})"


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
        self.loaded: list[float] = []
        self.last_path = ""

    async def _ask(self, mode: Mode, amount: Amount, udp_port: int = 0) -> PeekedStream:
        stream = await self._engine.connect(
            self._options.target, self._port, self._settings.connect_timeout
        )
        try:
            milliseconds = round((amount.seconds or 0) * 1000)
            limits = (milliseconds, amount.count or 0, round(amount.rate or 0))
            await stream.send(QUESTION.pack(MAGIC, mode, udp_port, *limits))
            inner = PeekedStream(stream)
            async with asyncio.timeout(_GREETING_S):
                if await inner.exactly(len(MAGIC)) != MAGIC:
                    raise foreign()
        except BaseException:
            stream.abort()
            raise
        return inner

    async def latency(self) -> tuple[list[float], str]:
        """Return the times of some exchanges, and the path: shared relays are not loaded."""
        stream = await self._ask(Mode.RETURN, Amount(None))
        try:
            await self._wait_direct(stream)
            times = [await self._exchange(stream) for _ in range(_PROBES)]
            await end(stream)
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
        async with asyncio.timeout(SILENCE_S):
            if len(await stream.exactly(_PROBE)) < _PROBE:
                raise CommandError("the host ended too early", ExitCode.CONNECTION_LOST)
        return perf_counter() - begin

    # Load.

    async def throughput(self, amount: Amount) -> list[Result]:
        """Load the way, in one direction or both, and probe it meanwhile."""
        options, many = self._options, self._options.parallel
        if amount.rate is not None:
            amount = replace(amount, rate=amount.rate / many)
        outward = [True] if not options.reverse else []
        inward = [False] if options.reverse or options.bidir else []
        tallies = [Tally() for _ in range(many * len(outward + inward))]
        probe = await self._ask(Mode.RETURN, Amount(None))
        helpers = [
            asyncio.create_task(self._show(tallies, perf_counter())),
            asyncio.create_task(self._probe(probe)),
        ]
        try:
            async with asyncio.TaskGroup() as group:
                ways = [
                    group.create_task(self._way(amount, tallies[at * many :][:many], out=out))
                    for at, out in enumerate(outward + inward)
                ]
            return [way.result() for way in ways]
        finally:
            for task in helpers:
                task.cancel()
            await asyncio.wait(helpers)
            # What a probe met, the streams that are measured met too.
            for task in helpers:
                _ = task.cancelled() or task.exception()
            self.last_path = probe.path
            probe.abort()
            self._progress.clear()

    async def _way(self, amount: Amount, tallies: Sequence[Tally], *, out: bool) -> Result:
        run = self._run_datagrams if self._options.udp else self._run_stream
        begin = perf_counter()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(run(amount, tally, out=out)) for tally in tallies]
        parts = [task.result() for task in tasks]
        return _together(parts, "sent" if out else "received", perf_counter() - begin)

    async def _run_stream(self, amount: Amount, tally: Tally, *, out: bool) -> Result:
        stream = await self._ask(Mode.COUNT if out else Mode.SEND, amount)
        try:
            if out:
                await fill(stream, amount, tally)
                await stream.send_eof()
                async with asyncio.timeout(SILENCE_S):
                    report = await stream.exactly(REPORT.size)
                if report != REPORT.pack(tally.count):
                    raise CommandError("the host did not receive all", ExitCode.CONNECTION_LOST)
                await stream.close()
            else:
                received = await drain(stream, tally)
                if amount.count is not None and received != amount.count:
                    raise CommandError(
                        f"the host sent {received} bytes, not {amount.count}",
                        ExitCode.CONNECTION_LOST,
                    )
                await end(stream)
        except BaseException:
            stream.abort()
            raise
        return Result("", tally.count, 0.0)

    async def _run_datagrams(self, amount: Amount, tally: Tally, *, out: bool) -> Result:
        endpoint = await self._engine.datagram()
        try:
            if out:
                return await self._send_datagrams(amount, tally, endpoint)
            return await self._catch_datagrams(amount, tally, endpoint)
        finally:
            endpoint.close()

    async def _send_datagrams(self, amount: Amount, tally: Tally, endpoint: Datagrams) -> Result:
        stream = await self._ask(Mode.COUNT_DATAGRAMS, amount)
        try:
            async with asyncio.timeout(_GREETING_S):
                (port,) = PORT.unpack(await _exactly(stream, PORT.size))
            sent = await shoot(endpoint, (stream.remote[0], port), amount, tally)
            await stream.send(REPORT.pack(sent))
            async with asyncio.timeout(SILENCE_S):
                found = ARRIVALS.unpack(await _exactly(stream, ARRIVALS.size))
            await end(stream)
        except BaseException:
            stream.abort()
            raise
        arrivals = Arrivals(*found)
        return Result("", arrivals.size, 0.0, sent, arrivals)

    async def _catch_datagrams(self, amount: Amount, tally: Tally, endpoint: Datagrams) -> Result:
        arrivals = Arrivals()
        said: asyncio.Future[int] = self._loop.create_future()
        catching = asyncio.ensure_future(catch(endpoint, arrivals, said, tally))
        stream = await self._ask(Mode.SEND_DATAGRAMS, amount, endpoint.local_port)
        try:
            async with asyncio.timeout((amount.seconds or 0.0) + SILENCE_S):
                (sent,) = REPORT.unpack(await _exactly(stream, REPORT.size))
            said.set_result(sent)
            await catching
            await end(stream)
        except BaseException:
            stream.abort()
            raise
        finally:
            catching.cancel()
            await asyncio.wait((catching,))
        return Result("", arrivals.size, 0.0, sent, arrivals)

    # Meanwhile.

    async def _probe(self, stream: PeekedStream) -> None:
        while True:
            await asyncio.sleep(_LOADED_S)
            self.loaded.append(await self._exchange(stream))

    async def _show(self, tallies: list[Tally], begin: float) -> None:
        before = 0
        while True:
            await asyncio.sleep(_LIVE_S)
            total = sum(tally.count for tally in tallies)
            elapsed = perf_counter() - begin
            rate = rate_of((total - before) / _LIVE_S)
            self._progress.show(f"{elapsed:5.1f} s  {total / 1e6:.1f} MB  {rate}")
            before = total


async def _exactly(stream: PeekedStream, count: int) -> bytes:
    data = await stream.exactly(count)
    if len(data) < count:
        raise CommandError("the host ended too early", ExitCode.CONNECTION_LOST)
    return data


def _together(parts: Sequence[Result], direction: str, seconds: float) -> Result:
    """Return the sum of what ran side by side; the worst jitter counts."""
    found = [part.arrivals for part in parts if part.arrivals is not None]
    arrivals = None
    if found:
        arrivals = Arrivals(
            sum(one.count for one in found),
            sum(one.size for one in found),
            sum(one.late for one in found),
            max(one.jitter_ms for one in found),
        )
    size, sent = sum(part.size for part in parts), sum(part.sent for part in parts)
    return Result(direction, size, seconds, sent, arrivals)
