"""zt forward: local ports for services inside the network."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ztcli import flows, parsing, runner, services, specs
from ztcli.binding import single
from ztcli.bridge import Counts, bridge
from ztcli.engine import Engine, Stream
from ztcli.environment import Environment
from ztcli.exit_codes import CommandError, ExitCode, UsageProblem
from ztcli.local import LocalListener
from ztcli.options import LINGER_S, Settings
from ztcli.output.records import print_event
from ztcli.pump import Manners, join
from ztcli.ready import ReadyFd, ReadyFile
from ztcli.server import GRACE_S, Guard, Limits, Server
from ztcli.services import HEALTH_HELP
from ztcli.specs import Forwarding
from ztcli.stdio import InputReader
from ztcli.terminal import output

Text = str | None


@dataclass(frozen=True, slots=True)
class ForwardOptions:
    """Options of zt forward."""

    specs: Annotated[
        list[str],
        typer.Argument(
            metavar="[BIND:]LPORT:HOST:RPORT[/udp]...",
            help="Also LPORT:HOST, unix:PATH:HOST:RPORT, -:HOST:RPORT; 0 picks a port.",
        ),
    ]
    max_conns: Annotated[int, typer.Option("--max-conns", min=1, help="Connections at once.")] = 100
    idle_timeout: Annotated[
        Text, typer.Option("--idle-timeout", metavar="DUR", help="End what is still for so long.")
    ] = None
    udp_idle: Annotated[Text, typer.Option("--udp-idle", metavar="DUR", help="Default: 2m.")] = None
    grace: Annotated[Text, typer.Option("--grace", metavar="DUR", help="After SIGTERM.")] = None
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check all, print what would be done, do nothing.")
    ] = False
    open_browser: Annotated[
        bool, typer.Option("--open-browser", help="Show the first port in a browser.")
    ] = False
    ready_file: ReadyFile = None
    ready_fd: ReadyFd = None
    health: Annotated[Text, typer.Option("--health", metavar="[HOST:]PORT", help=HEALTH_HELP)] = (
        None
    )


def forward(env: Environment, settings: Settings, options: ForwardOptions) -> ExitCode:
    service = ForwardService(env, settings, options)
    if options.dry_run:
        return services.rehearse(env, settings, service, options)
    if service.joins_stdio:
        return service.join_stdio()
    return services.serve(env, settings, service, options)


class ForwardService:
    """All that one command forwards."""

    command = "forward"

    def __init__(self, env: Environment, settings: Settings, options: ForwardOptions) -> None:
        wanted = [specs.forwarding(text) for text in options.specs]
        self.joins_stdio = _check_together(wanted, options)
        self._env = env
        self._settings = settings
        self._options = options
        self._wanted = wanted
        self._idle = parsing.duration_or(options.idle_timeout, None)
        self._udp_idle = parsing.duration_or(options.udp_idle, flows.UDP_IDLE_S)
        self._grace = parsing.duration_or(options.grace, GRACE_S)
        self._streams: list[tuple[Forwarding, LocalListener]] = []
        self._datagrams: list[tuple[Forwarding, flows.LocalPort]] = []

    def join_stdio(self) -> ExitCode:
        """Be a call: stdin and stdout are the local end."""
        wanted, settings = self._wanted[0], self._settings

        async def main() -> ExitCode:
            async with self._env.engine(settings) as engine:
                await engine.join()
                stream = await engine.connect(wanted.host, wanted.port, settings.connect_timeout)
                source, sink = InputReader(self._env.stdin), output(self._env, raw=False)
                await join(stream, source, sink, Manners(idle_timeout=self._idle, linger=LINGER_S))
            return ExitCode.OK

        return runner.run(self._env, main, settings.total_timeout())

    async def check(self) -> None:
        """Nothing can be known before."""

    async def open(self, engine: Engine) -> None:
        del engine
        for wanted in self._wanted:
            await self._open(wanted)

    async def _open(self, wanted: Forwarding) -> None:
        end = wanted.local
        if wanted.udp:
            self._datagrams.append((wanted, await flows.LocalPort.bound(end.host, end.port)))
            return
        listener = LocalListener()
        if end.path:
            await listener.start_unix(end.path)
        else:
            await listener.start(end.host, end.port)
        self._streams.append((wanted, listener))

    def close(self) -> None:
        for _, listener in self._streams:
            listener.close()
        for _, port in self._datagrams:
            port.close()

    def announce(self, engine: Engine) -> dict[str, object]:
        found = [
            self._told(wanted, *where)
            for wanted, where in [
                *((wanted, listener.addresses[0]) for wanted, listener in self._streams),
                *((wanted, port.address) for wanted, port in self._datagrams),
            ]
        ]
        values: dict[str, object] = {
            "mode": "forward",
            "port": found[0]["port"],
            "forwards": found,
            "node": engine.node_id,
            "networks": engine.networks,
        }
        if self._settings.json:
            print_event(self._env, "ready", values)
        if self._options.open_browser:
            import webbrowser

            webbrowser.open(f"http://{found[0]['local']}/")
        return values

    def _told(self, wanted: Forwarding, host: str, number: int) -> dict[str, object]:
        """Print one forward, unless events are printed, and return it as a record."""
        end = wanted.local
        own = str(end) if end.path or end.is_stdio else specs.pair(host, number)
        own += "/udp" if wanted.udp else ""
        target = specs.pair(wanted.host, wanted.port)
        if not self._settings.json:
            self._env.print(f"Forward: {own} -> {target}")
        protocol = "udp" if wanted.udp else "tcp"
        return {"protocol": protocol, "port": number, "local": own, "target": target}

    def rehearse(self) -> dict[str, object]:
        """Print what would be forwarded."""
        for wanted in self._wanted:
            if wanted.local.path and Path(wanted.local.path).exists():
                raise CommandError(f"{wanted.local.path}: exists already", ExitCode.PORT_IN_USE)
        ends = [(wanted, wanted.local.host, wanted.local.port) for wanted in self._wanted]
        return {"forwards": [self._told(*one) for one in ends]}

    async def run(self, engine: Engine) -> None:
        """Serve until cancelled, or until a port cannot be served any more."""
        most = self._options.max_conns
        limits = Limits(None, most, most, self._grace)
        everybody = Guard([], [])
        quiet = self._settings.quiet > 0
        async with asyncio.TaskGroup() as group:
            for wanted, listener in self._streams:
                server = Server(self._env, listener, everybody, limits, quiet=quiet)
                group.create_task(server.run(_Handler(self, engine, wanted).serve))
            for wanted, port in self._datagrams:
                group.create_task(self._pass(engine, wanted, port))

    async def _pass(self, engine: Engine, wanted: Forwarding, port: flows.LocalPort) -> None:
        async def open_port() -> flows.Port:
            return await engine.datagram(0)

        target = (wanted.host, wanted.port)
        await flows.Flows(port, open_port, target, self._udp_idle, self._say).run(lambda _: True)

    def _say(self, line: str) -> None:
        self._env.warn(self._settings, line)

    async def serve(self, engine: Engine, inner: Stream, wanted: Forwarding) -> None:
        """Join a local connection with a new stream; if there is none it is reset."""
        outer = await engine.connect(wanted.host, wanted.port, self._settings.connect_timeout)
        counts = Counts()
        self._tell("open", inner, wanted, counts)
        try:
            await bridge(inner, outer, counts, self._idle)
        finally:
            self._tell("close", inner, wanted, counts)

    def _tell(self, event: str, inner: Stream, wanted: Forwarding, counts: Counts) -> None:
        host, port = inner.remote
        target = specs.pair(wanted.host, wanted.port)
        if self._settings.json:
            values: dict[str, object] = {"local": host, "port": port, "target": target}
            if event == "close":
                values |= {"sent": counts.there, "received": counts.back}
            print_event(self._env, event, values)
        elif self._settings.verbose:
            self._env.say(f"{event}: {specs.pair(host, port)} -> {target}")


class _Handler:
    """What is done with the connections of one local port."""

    def __init__(self, service: ForwardService, engine: Engine, wanted: Forwarding) -> None:
        self._service = service
        self._engine = engine
        self._wanted = wanted

    async def serve(self, inner: Stream) -> None:
        await self._service.serve(self._engine, inner, self._wanted)


def _check_together(wanted: list[Forwarding], options: ForwardOptions) -> bool:
    """Tell whether stdin and stdout are the local end; they are so alone."""
    has_stdio = any(one.local.is_stdio for one in wanted)
    if has_stdio and len(wanted) != 1:
        raise UsageProblem("-:HOST:RPORT is forwarded alone: there is one stdin")
    if options.open_browser and (has_stdio or wanted[0].udp or wanted[0].local.path):
        raise UsageProblem("--open-browser wants a TCP port first")
    return has_stdio


forward_app = single("forward", forward, ForwardOptions, "Lead local ports to the network.")
