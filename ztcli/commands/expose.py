"""zt expose: a port inside the network for a service of this machine."""

from __future__ import annotations

import asyncio
import ipaddress
from dataclasses import dataclass
from typing import Annotated, Final

import typer

from ztcli import flows, local, parsing, services, specs
from ztcli.binding import single
from ztcli.boundary import code_of
from ztcli.bridge import Counts, bridge
from ztcli.engine import Datagrams, Engine, Listener, Stream
from ztcli.environment import Environment
from ztcli.exit_codes import CommandError, ExitCode, UsageProblem
from ztcli.options import Settings
from ztcli.output.records import print_event
from ztcli.ready import ReadyFd, ReadyFile
from ztcli.server import GRACE_S, Guard, Limits, Server, link, need_address, ordered
from ztcli.services import HEALTH_HELP
from ztcli.specs import Exposure

Text = str | None
Texts = list[str] | None
TARGET_TIMEOUT_S: Final = 10.0
_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"


@dataclass(frozen=True, slots=True)
class ExposeOptions:
    """Options of zt expose."""

    ports: Annotated[
        list[str],
        typer.Argument(metavar="PORT[:HOST:PORT][/udp]...", help="0:HOST:PORT picks a port."),
    ]
    listen: Annotated[
        Text, typer.Option("--listen", metavar="PORT|IP:PORT", help="Default: the same port.")
    ] = None
    to: Annotated[
        Text, typer.Option("--to", metavar="HOST:PORT|unix:PATH", help="Default: 127.0.0.1:PORT.")
    ] = None
    udp: Annotated[bool, typer.Option("--udp", help="Datagrams, not streams.")] = False
    allow: Annotated[
        Texts,
        typer.Option("--allow", metavar="ID|CIDR", help="Who may come in; all others may not."),
    ] = None
    deny: Annotated[
        Texts, typer.Option("--deny", metavar="ID|CIDR", help="Who may not come in.")
    ] = None
    max_conns: Annotated[int, typer.Option("--max-conns", min=1, help="Connections at once.")] = 100
    proxy_protocol: Annotated[
        int | None,
        typer.Option("--proxy-protocol", min=1, max=2, help="Tell the service who comes."),
    ] = None
    check: Annotated[
        bool, typer.Option("--check", help="Refuse to start if the service is down.")
    ] = False
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check all, print what would be done, do nothing.")
    ] = False
    idle_timeout: Annotated[
        Text, typer.Option("--idle-timeout", metavar="DUR", help="End what is still for so long.")
    ] = None
    udp_idle: Annotated[Text, typer.Option("--udp-idle", metavar="DUR", help="Default: 2m.")] = None
    grace: Annotated[Text, typer.Option("--grace", metavar="DUR", help="After SIGTERM.")] = None
    ready_file: ReadyFile = None
    ready_fd: ReadyFd = None
    health: Annotated[Text, typer.Option("--health", metavar="[HOST:]PORT", help=HEALTH_HELP)] = (
        None
    )


def expose(env: Environment, settings: Settings, options: ExposeOptions) -> ExitCode:
    service = ExposeService(env, settings, options)
    if options.dry_run:
        return services.rehearse(env, settings, service, options)
    return services.serve(env, settings, service, options)


def _wanted(options: ExposeOptions) -> list[Exposure]:
    """Read the ports, and refuse what does not go together."""
    if (options.listen is not None or options.to is not None) and len(options.ports) != 1:
        raise UsageProblem("--listen and --to belong to one port; write PORT:HOST:PORT for several")
    wanted = [
        specs.exposure(text, options.listen, options.to, udp=options.udp) for text in options.ports
    ]
    if options.proxy_protocol is not None and any(one.udp for one in wanted):
        raise UsageProblem("--proxy-protocol is for streams")
    if options.check and all(one.udp for one in wanted):
        raise UsageProblem("--check is for streams: UDP does not tell who listens")
    return wanted


async def _check(exposed: Exposure) -> None:
    if exposed.udp:
        return
    try:
        (await _connect(exposed.target)).abort()
    except OSError as error:
        raise CommandError(
            f"{exposed.target}: {error.strerror or error}", ExitCode.CANNOT_CONNECT
        ) from error


async def _connect(target: specs.Local) -> Stream:
    if target.path:
        return await local.connect_unix(target.path, TARGET_TIMEOUT_S)
    return await local.connect(target.host, target.port, TARGET_TIMEOUT_S)


class ExposeService:
    """All that one command exposes."""

    command = "expose"

    def __init__(self, env: Environment, settings: Settings, options: ExposeOptions) -> None:
        self._env = env
        self._settings = settings
        self._options = options
        self._wanted = _wanted(options)
        self._idle = parsing.duration_or(options.idle_timeout, None)
        self._udp_idle = parsing.duration_or(options.udp_idle, flows.UDP_IDLE_S)
        self._grace = parsing.duration_or(options.grace, GRACE_S)
        self._guard = Guard(options.allow or [], options.deny or [], settings.names)
        self._streams: list[tuple[Exposure, Listener]] = []
        self._datagrams: list[tuple[Exposure, Datagrams]] = []

    async def check(self) -> None:
        if self._options.check:
            for one in self._wanted:
                await _check(one)

    async def open(self, engine: Engine) -> None:
        for exposed in self._wanted:
            if exposed.udp:
                endpoint = await engine.datagram(exposed.port, exposed.host)
                self._datagrams.append((exposed, endpoint))
            else:
                self._streams.append((exposed, await engine.listen(exposed.port, exposed.host)))

    def close(self) -> None:
        for _, listener in self._streams:
            listener.close()
        for _, endpoint in self._datagrams:
            endpoint.close()

    def announce(self, engine: Engine) -> dict[str, object]:
        found: list[dict[str, object]] = []
        opened: list[tuple[Exposure, Listener | Datagrams]] = [*self._streams, *self._datagrams]
        for exposed, where in opened:
            addresses = ordered(where.addresses)
            need_address(addresses)
            scheme = "udp" if exposed.udp else "http"
            links = [link(scheme, address, port) for address, port in addresses]
            found.append(
                {
                    "protocol": "udp" if exposed.udp else "tcp",
                    "port": addresses[0][1],
                    "urls": links,
                    "target": str(exposed.target),
                }
            )
            if not self._settings.json:
                self._env.print(f"Expose: {links[0]} -> {exposed.target}")
        values: dict[str, object] = {
            "mode": "expose",
            "port": found[0]["port"],
            "exposes": found,
            "node": engine.node_id,
            "networks": engine.networks,
        }
        if self._settings.json:
            print_event(self._env, "ready", values)
        return values

    def rehearse(self) -> dict[str, object]:
        """Print what would be exposed."""
        found: list[dict[str, object]] = []
        for exposed in self._wanted:
            protocol = "udp" if exposed.udp else "tcp"
            place = specs.pair(exposed.host or "*", exposed.port)
            target = str(exposed.target)
            found.append({"protocol": protocol, "port": exposed.port, "target": target})
            if not self._settings.json:
                self._env.print(f"Expose: {protocol}://{place} -> {target}")
        return {"exposes": found}

    async def run(self, engine: Engine) -> None:
        """Serve until cancelled, or until a port cannot be served any more."""
        del engine
        quiet = self._settings.quiet > 0
        most = self._options.max_conns
        limits = Limits(None, most, most, self._grace)
        async with asyncio.TaskGroup() as group:
            for exposed, listener in self._streams:
                server = Server(self._env, listener, self._guard, limits, quiet=quiet)
                group.create_task(server.run(_Handler(self, exposed).serve))
            for exposed, endpoint in self._datagrams:
                group.create_task(self._pass(exposed, endpoint))

    async def _pass(self, exposed: Exposure, endpoint: Datagrams) -> None:
        target = exposed.target

        async def open_port() -> flows.Port:
            return await flows.LocalPort.connected(target.host, target.port)

        passing = flows.Flows(
            endpoint, open_port, (target.host, target.port), self._udp_idle, self.say
        )
        await passing.run(self._admits)

    def _admits(self, host: str) -> bool:
        node = host if len(host) == 10 and ":" not in host and "." not in host else ""
        return self._guard.admits(host, node)

    def say(self, line: str) -> None:
        self._env.warn(self._settings, line)

    async def serve(self, stream: Stream, exposed: Exposure) -> None:
        """Join a stream with a new connection to the service."""
        try:
            inner = await _connect(exposed.target)
        except OSError as error:
            # The peer gets a reset, and not a connection at which nobody is.
            raise CommandError(
                f"{exposed.target}: {error.strerror or error}", code_of(error)
            ) from error
        counts = Counts()
        self.tell("open", stream, exposed, counts)
        try:
            if self._options.proxy_protocol is not None:
                await inner.send(proxy_head(self._options.proxy_protocol, stream))
            await bridge(stream, inner, counts, self._idle)
        except BaseException:
            inner.abort()
            raise
        finally:
            self.tell("close", stream, exposed, counts)

    def tell(self, event: str, stream: Stream, exposed: Exposure, counts: Counts) -> None:
        host, port = stream.remote
        if self._settings.json:
            values: dict[str, object] = {
                "remote": host,
                "port": port,
                "node": stream.remote_name,
                "target": str(exposed.target),
            }
            if event == "close":
                values |= {"received": counts.there, "sent": counts.back}
            print_event(self._env, event, values)
        elif self._settings.verbose:
            self._env.say(f"{event}: {specs.pair(host, port)} -> {exposed.target}")


class _Handler:
    """What is done with the streams of one port."""

    def __init__(self, service: ExposeService, exposed: Exposure) -> None:
        self._service = service
        self._exposed = exposed

    async def serve(self, stream: Stream) -> None:
        await self._service.serve(stream, self._exposed)


def proxy_head(version: int, stream: Stream) -> bytes:
    """Return the head of the PROXY protocol; node ids are no addresses, so they stay untold."""
    (host, port), (own, own_port) = stream.remote, stream.local
    try:
        there, here = ipaddress.ip_address(host), ipaddress.ip_address(own)
    except ValueError:
        if version == 1:
            return b"PROXY UNKNOWN\r\n"
        return _SIGNATURE + bytes((0x21, 0x00, 0, 0))
    if version == 1:
        return f"PROXY TCP{there.version} {there} {here} {port} {own_port}\r\n".encode()
    ports = port.to_bytes(2, "big") + own_port.to_bytes(2, "big")
    body = there.packed + here.packed + ports
    family = 0x11 if there.version == 4 else 0x21
    return _SIGNATURE + bytes((0x21, family)) + len(body).to_bytes(2, "big") + body


expose_app = single("expose", expose, ExposeOptions, "Lead a port of the network to a service.")
