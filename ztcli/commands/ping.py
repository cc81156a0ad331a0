"""zt ping: asks whether a node is there, how far it is, and whether it answers directly."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import asdict, dataclass
from typing import Annotated, Final

import typer

from ztcli import parsing, runner
from ztcli.binding import single
from ztcli.engine import Engine, Pong
from ztcli.environment import Environment
from ztcli.exit_codes import CommandError, ExitCode, UsageProblem
from ztcli.options import Settings
from ztcli.output.endpoints import colon_form
from ztcli.output.records import print_event

COUNT: Final = 4
COUNT_UNTIL_DIRECT: Final = 10
INTERVAL_S: Final = 1.0
LEAST_INTERVAL_S: Final = 0.2
"""Nodes answer six echoes a second on one path."""
WAIT_S: Final = 5.0
SIZE: Final = 32
_NODE: Final = re.compile(r"(?i)[0-9a-f]{10}(\.zt)?")

Text = str | None


@dataclass(frozen=True, slots=True)
class PingOptions:
    """Options of zt ping."""

    target: Annotated[str, typer.Argument(metavar="TARGET", help="A node id or an IP address.")]
    count: Annotated[
        int | None,
        typer.Option("--count", "-c", min=1, help="Ask so often; default 4, until direct 10."),
    ] = None
    interval: Annotated[
        Text, typer.Option("--interval", "-i", metavar="DUR", help="From one to the next; 1s.")
    ] = None
    timeout: Annotated[
        Text, typer.Option("--timeout", metavar="DUR", help="Wait so long for an answer; 5s.")
    ] = None
    until_direct: Annotated[
        bool, typer.Option("--until-direct", help="End with the first answer without a relay.")
    ] = False
    icmp: Annotated[
        bool, typer.Option("--icmp", help="Ask a node id's address inside the network.")
    ] = False
    tcp: Annotated[
        Text, typer.Option("--tcp", metavar="PORT", help="Open a TCP connection instead.")
    ] = None
    size: Annotated[
        int | None, typer.Option("--size", min=8, max=1400, help="Bytes that are sent; 32.")
    ] = None


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is asked, and how often."""

    target: str
    count: int
    interval: float
    wait: float | None
    size: int
    port: int | None
    is_inside: bool
    until_direct: bool


def ping(env: Environment, settings: Settings, options: PingOptions) -> ExitCode:
    plan = _plan(options)

    async def main() -> ExitCode:
        async with env.engine(settings) as engine:
            if plan.is_inside:
                await engine.join()
            else:
                await engine.wait_online()
            return await _Pinger(env, settings, plan, engine).run()

    return runner.run(env, main, settings.total_timeout())


def _plan(options: PingOptions) -> _Plan:
    if options.tcp is not None and (options.icmp or options.size is not None):
        raise UsageProblem("--tcp opens a connection: --icmp and --size do not go with it")
    interval = parsing.duration(options.interval) if options.interval is not None else INTERVAL_S
    if interval is None or interval < LEAST_INTERVAL_S:
        raise UsageProblem(f"--interval is {LEAST_INTERVAL_S:g}s or more: nodes answer no faster")
    is_node = _NODE.fullmatch(options.target) is not None
    return _Plan(
        target=options.target.lower().removesuffix(".zt") if is_node else options.target,
        count=options.count or (COUNT_UNTIL_DIRECT if options.until_direct else COUNT),
        interval=interval,
        wait=parsing.duration(options.timeout) if options.timeout is not None else WAIT_S,
        size=options.size or SIZE,
        port=parsing.port(options.tcp) if options.tcp is not None else None,
        is_inside=not is_node or options.icmp or options.tcp is not None,
        until_direct=options.until_direct,
    )


class _Pinger:
    """Asks again and again, tells each answer, and comes to a result."""

    def __init__(self, env: Environment, settings: Settings, plan: _Plan, engine: Engine) -> None:
        self._env = env
        self._settings = settings
        self._plan = plan
        self._engine = engine
        self._times: list[float] = []
        self._sent = 0

    async def run(self) -> ExitCode:
        plan = self._plan
        while self._sent < plan.count:
            began = time.monotonic()
            self._sent += 1
            try:
                pong = await self._ask()
            except TimeoutError as error:
                self._lost(str(error))
            else:
                self._answered(pong)
                if plan.until_direct and pong.link == "direct":
                    break
            if self._sent < plan.count:
                await asyncio.sleep(began + plan.interval - time.monotonic())
        else:
            self._sum_up()
            self._judge()
            return ExitCode.OK
        self._sum_up()
        return ExitCode.OK

    async def _ask(self) -> Pong:
        plan = self._plan
        if plan.port is None:
            return await self._engine.ping(
                plan.target, plan.wait, icmp=plan.is_inside, size=plan.size
            )
        began = time.monotonic()
        stream = await self._engine.connect(plan.target, plan.port, plan.wait)
        rtt_ms = (time.monotonic() - began) * 1000
        try:
            return Pong(stream.remote_name, stream.remote[0], rtt_ms, stream.path, "", "")
        finally:
            await stream.close()

    def _answered(self, pong: Pong) -> None:
        self._times.append(pong.rtt_ms)
        if self._settings.json:
            values = {"seq": self._sent, **asdict(pong), "rtt_ms": round(pong.rtt_ms, 3)}
            print_event(self._env, "pong", values)
            return
        who = pong.node or pong.ip
        if pong.node and pong.ip:
            who = f"{pong.node} ({pong.ip})"
        self._env.print(f"pong from {who} via {_way(pong)} in {_time(pong.rtt_ms)}")

    def _lost(self, words: str) -> None:
        if self._settings.json:
            print_event(self._env, "timeout", {"seq": self._sent, "error": words})
        elif not self._settings.quiet:
            self._env.say(words)

    def _sum_up(self) -> None:
        if self._settings.quiet or self._settings.json or self._sent == 1:
            return
        words = f"{self._sent} sent, {len(self._times)} answered"
        if self._times:
            mean = sum(self._times) / len(self._times)
            figures = (min(self._times), mean, max(self._times))
            words += ", least/mean/most " + " / ".join(_time(figure) for figure in figures)
        self._env.say(words)

    def _judge(self) -> None:
        """Say what is missing when all were sent."""
        if not self._times:
            raise CommandError(f"{self._plan.target}: no answer", ExitCode.TIMED_OUT)
        if self._plan.until_direct:
            raise CommandError(
                f"{self._plan.target}: answers by way of a relay only",
                ExitCode.RELAYED_ONLY,
                "zt netcheck tells what the router here does",
            )


def _way(pong: Pong) -> str:
    if pong.link == "direct":
        return colon_form(pong.path) if pong.path else "DIRECT"
    detail = pong.relay or (colon_form(pong.path) if pong.path else "")
    return f"{pong.link.upper()}({detail})" if detail else pong.link.upper()


def _time(milliseconds: float) -> str:
    return f"{milliseconds:.0f} ms" if milliseconds >= 10 else f"{milliseconds:.1f} ms"


ping_app = single("ping", ping, PingOptions, "Ask a node or an address for signs of life.")
