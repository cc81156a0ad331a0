"""The end of zt bench that answers."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

from ztcli import ready, runner
from ztcli.commands.bench_options import MAX_TIME_S, BenchOptions
from ztcli.commands.bench_wire import (
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
from ztcli.engine import Engine, Stream
from ztcli.environment import Environment
from ztcli.exit_codes import ExitCode
from ztcli.options import Settings
from ztcli.output.messages import Progress, rate_of
from ztcli.peeked import PeekedStream
from ztcli.server import GRACE_S, Guard, Limits, Server, link, need_address, ordered

_GREETING_S: Final = 10.0
_LIVE_S: Final = 0.5
_BLOCK: Final = 256 * 1024


def serve(env: Environment, settings: Settings, options: BenchOptions, port: int) -> ExitCode:
    """Answer until a signal comes."""
    guard = Guard(options.allow or [], options.deny or [], settings.names)
    ready.check(options.ready_fd)
    settings = replace(settings, serves="zt bench serve")

    async def main() -> ExitCode:
        async with env.engine(settings) as engine:
            await engine.join()
            listener = await engine.listen(port)
            host = _Host(engine)
            live = asyncio.create_task(_show(Progress(env, settings), host))
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
                await server.run(host.answer)
            finally:
                live.cancel()
                listener.close()
                ready.withdraw(options.ready_file)
        return ExitCode.OK

    return runner.run(env, main, settings.total_timeout())


async def _show(progress: Progress, host: _Host) -> None:
    """Say on a terminal what passes at the moment, as long as something does."""
    before = 0
    try:
        while True:
            await asyncio.sleep(_LIVE_S)
            total = host.past + sum(tally.count for tally in host.tallies)
            if total != before:
                progress.show(f"{len(host.tallies)} at work  {rate_of((total - before) / _LIVE_S)}")
            else:
                progress.clear()
            before = total
    finally:
        progress.clear()


class _Host:
    """Does what clients ask, and knows how much passes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.tallies: list[Tally] = []
        self.past = 0

    async def answer(self, stream: Stream) -> None:
        """Do what one client asks."""
        inner = PeekedStream(stream)
        async with asyncio.timeout(_GREETING_S):
            question = await inner.exactly(QUESTION.size)
        if len(question) < QUESTION.size or not question.startswith(MAGIC):
            raise foreign()
        _, mode, port, milliseconds, count, rate = QUESTION.unpack(question)
        seconds = min(milliseconds / 1000, MAX_TIME_S) or None
        amount = Amount(seconds, count or None, rate or None)
        tally = Tally()
        self.tallies.append(tally)
        try:
            await inner.send(MAGIC)
            await self._do(mode, inner, port, amount, tally)
        finally:
            self.tallies.remove(tally)
            self.past += tally.count
        await end(inner)

    async def _do(
        self, mode: int, inner: PeekedStream, port: int, amount: Amount, tally: Tally
    ) -> None:
        is_endless = amount.seconds is None and amount.count is None
        if mode == Mode.COUNT:
            await inner.send(REPORT.pack(await drain(inner, tally)))
        elif mode == Mode.SEND and not is_endless:
            await fill(inner, amount, tally)
        elif mode == Mode.RETURN:
            while data := await _receive(inner):
                await inner.send(data)
        elif mode == Mode.COUNT_DATAGRAMS:
            await self._count_datagrams(inner, tally)
        elif mode == Mode.SEND_DATAGRAMS and port and amount.rate and not is_endless:
            await self._send_datagrams(inner, port, amount, tally)
        else:
            raise foreign()

    async def _count_datagrams(self, inner: PeekedStream, tally: Tally) -> None:
        endpoint = await self._engine.datagram()
        arrivals = Arrivals()
        said: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        catching = asyncio.ensure_future(catch(endpoint, arrivals, said, tally))
        try:
            await inner.send(PORT.pack(endpoint.local_port))
            async with asyncio.timeout(MAX_TIME_S + SILENCE_S):
                report = await inner.exactly(REPORT.size)
            if len(report) < REPORT.size:
                raise foreign()
            said.set_result(REPORT.unpack(report)[0])
            await catching
            await inner.send(arrivals.pack())
        finally:
            catching.cancel()
            await asyncio.wait((catching,))
            endpoint.close()

    async def _send_datagrams(
        self, inner: PeekedStream, port: int, amount: Amount, tally: Tally
    ) -> None:
        endpoint = await self._engine.datagram()
        shooting = asyncio.ensure_future(shoot(endpoint, (inner.remote[0], port), amount, tally))
        # Who goes away gets no more: its stream says that it is there.
        watching = asyncio.ensure_future(_receive(inner, MAX_TIME_S + SILENCE_S))
        try:
            await asyncio.wait((shooting, watching), return_when=asyncio.FIRST_COMPLETED)
            if not shooting.done():
                raise foreign()
            await inner.send(REPORT.pack(shooting.result()))
        finally:
            for task in (shooting, watching):
                task.cancel()
            await asyncio.wait((shooting, watching))
            endpoint.close()


async def _receive(stream: Stream, patience: float = SILENCE_S) -> bytes:
    async with asyncio.timeout(patience):
        return await stream.receive(_BLOCK)
