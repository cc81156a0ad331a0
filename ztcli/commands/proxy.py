"""zt proxy: SOCKS5, SOCKS4a and HTTP on one local port, leading into the network."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer

from ztcli import parsing, services, socks, specs
from ztcli.binding import single
from ztcli.boundary import code_of
from ztcli.bridge import Counts, bridge
from ztcli.engine import Engine, Stream
from ztcli.environment import Environment
from ztcli.exit_codes import CommandError, ExitCode, UsageProblem
from ztcli.flows import LocalPort
from ztcli.inside import PAC_PATH, Inside, Outside, system_addresses
from ztcli.local import LocalListener
from ztcli.options import Settings
from ztcli.output.records import print_event
from ztcli.peeked import PeekedStream
from ztcli.ready import ReadyFd, ReadyFile
from ztcli.server import GRACE_S, Guard, Limits, Server
from ztcli.services import HEALTH_HELP

Text = str | None
DEFAULT_PORT: Final = 1080
GREETING_S: Final = 10.0
"""How long a client may take to say what it wants."""


@dataclass(frozen=True, slots=True)
class ProxyOptions:
    """Options of zt proxy."""

    listen: Annotated[
        Text, typer.Option("--listen", metavar="[IP:]PORT", help="Default: 127.0.0.1:1080.")
    ] = None
    auth_file: Annotated[
        Text, typer.Option("--auth-file", metavar="FILE", help="Lines of USER:PASSWORD.")
    ] = None
    allow_ports: Annotated[
        Text, typer.Option("--allow-ports", metavar="PORTS", help="Only to these: 80,8000-8999.")
    ] = None
    direct: Annotated[
        bool, typer.Option("--direct", help="What is outside goes by the ordinary network.")
    ] = False
    dns: Annotated[
        Text, typer.Option("--dns", metavar="WHICH", help="overlay alone, or the system's too.")
    ] = None
    pac: Annotated[
        bool, typer.Option("--pac", help="Print the URL of a script that configures browsers.")
    ] = False
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check all, print what would be done, do nothing.")
    ] = False
    max_conns: Annotated[int, typer.Option("--max-conns", min=1, help="Connections at once.")] = 100
    idle_timeout: Annotated[
        Text, typer.Option("--idle-timeout", metavar="DUR", help="End what is still for so long.")
    ] = None
    grace: Annotated[Text, typer.Option("--grace", metavar="DUR", help="After SIGTERM.")] = None
    ready_file: ReadyFile = None
    ready_fd: ReadyFd = None
    health: Annotated[Text, typer.Option("--health", metavar="[HOST:]PORT", help=HEALTH_HELP)] = (
        None
    )


def proxy(env: Environment, settings: Settings, options: ProxyOptions) -> ExitCode:
    port = ProxyPort(env, settings, options)
    if options.dry_run:
        return services.rehearse(env, settings, port, options)
    return services.serve(env, settings, port, options)


class ProxyPort:
    """The port of one proxy."""

    command = "proxy"

    def __init__(self, env: Environment, settings: Settings, options: ProxyOptions) -> None:
        self._env = env
        self._settings = settings
        self._options = options
        self._place = host, _ = _place(options.listen)
        file = options.auth_file
        self._users = _users(Path(file), settings) if file is not None else None
        if self._users is None and not _is_loopback(host):
            raise UsageProblem(
                f"--listen {host}: whoever reaches this address could enter the network",
                "say who may: --auth-file FILE with lines of USER:PASSWORD",
            )
        self._dns = (options.dns or "overlay").lower()
        if self._dns not in ("overlay", "system"):
            raise UsageProblem(f"--dns is overlay or system, not {options.dns!r}")
        ports = options.allow_ports
        self._ports = frozenset(parsing.ports(ports)) if ports else None
        self._idle = parsing.duration_or(options.idle_timeout, None)
        self._grace = parsing.duration_or(options.grace, GRACE_S)
        self._listener: LocalListener | None = None

    async def check(self) -> None:
        """Nothing can be known before."""

    async def open(self, engine: Engine) -> None:
        del engine
        self._listener = LocalListener()
        await self._listener.start(*self._place)

    def announce(self, engine: Engine) -> dict[str, object]:
        assert self._listener is not None
        found = self._found(*self._listener.addresses[0])
        values = {**found, "node": engine.node_id, "networks": engine.networks}
        if self._settings.json:
            print_event(self._env, "ready", values)
        else:
            self._print(found)
        return values

    def _found(self, host: str, port: int) -> dict[str, object]:
        place = specs.pair(host, port)
        found: dict[str, object] = {
            "mode": "proxy",
            "port": port,
            "urls": [f"socks5h://{place}", f"http://{place}"],
        }
        return {**found, "pac": f"http://{place}{PAC_PATH}"} if self._options.pac else found

    def _print(self, found: Mapping[str, object]) -> None:
        urls = found["urls"]
        assert isinstance(urls, list)
        self._env.print("Proxy: " + " ".join(urls))
        if "pac" in found:
            self._env.print(f"PAC: {found['pac']}")

    def rehearse(self) -> dict[str, object]:
        """Print what would be served."""
        found = self._found(*self._place)
        if not self._settings.json:
            self._print(found)
        return found

    async def run(self, engine: Engine) -> None:
        assert self._listener is not None
        env, settings = self._env, self._settings
        rules = Rules(
            users=self._users,
            ports=self._ports,
            idle=self._idle,
            direct=self._options.direct,
            reaches_us=_is_loopback(self._place[0]),
            pac=self._options.pac,
            asks_system=self._dns == "system",
        )
        service = ProxyService(env, settings, engine, rules)
        most = self._options.max_conns
        limits = Limits(None, most, most, self._grace)
        quiet = settings.quiet > 0
        server = Server(env, self._listener, Guard([], []), limits, quiet=quiet)
        await server.run(service.serve)

    def close(self) -> None:
        if self._listener is not None:
            self._listener.close()


def _place(text: str | None) -> tuple[str, int]:
    if text is None:
        return specs.LOOPBACK, DEFAULT_PORT
    if text.isdigit():
        return specs.LOOPBACK, parsing.port(text, zero=True)
    return parsing.host_port(text, zero=True)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _users(path: Path, settings: Settings) -> dict[str, str]:
    """Read who may come in; a file with passwords is for its owner only."""
    try:
        mode = path.stat().st_mode
        text = path.read_text("utf-8")
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}", ExitCode.CANNOT_READ) from error
    except UnicodeDecodeError:
        raise UsageProblem(f"{path}: is not UTF-8") from None
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO) and not settings.insecure_state:
        raise UsageProblem(f"{path}: others can read the passwords", f"chmod 600 {path}")
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        user, colon, password = line.partition(":")
        if not colon or not user or not password:
            raise UsageProblem(f"{path}, line {number}: write USER:PASSWORD")
        found[user] = password
    if not found:
        raise UsageProblem(f"{path}: there is no USER:PASSWORD in it")
    return found


@dataclass(frozen=True, slots=True)
class Rules:
    """Who may come to a proxy, and what it leads to; None means all of them.

    With `direct` what is outside the networks is reached too, this machine if `reaches_us`. With
    `asks_system` names that the networks do not know are asked of this machine's resolver.
    """

    users: Mapping[str, str] | None = None
    ports: frozenset[int] | None = None
    idle: float | None = None
    direct: bool = False
    reaches_us: bool = False
    pac: bool = False
    asks_system: bool = False


class ProxyService:
    """What is done with the clients of one proxy."""

    def __init__(self, env: Environment, settings: Settings, engine: Engine, rules: Rules) -> None:
        self._env = env
        self._settings = settings
        self._engine = engine
        self._rules = rules
        self._users = rules.users
        self._ports = rules.ports
        self._idle = rules.idle
        hosts = settings.names.hosts
        self._outside = (
            Outside(engine, hosts, reaches_us=rules.reaches_us) if rules.direct else None
        )

    async def serve(self, stream: Stream) -> None:
        """Find out by the first byte which protocol a client speaks, and serve it."""
        inner = PeekedStream(stream)
        async with asyncio.timeout(GREETING_S):
            await inner.peek(1)
        match inner.peeked[:1]:
            case b"":
                await inner.close()
            case b"\x05":
                await self._socks_5(inner)
            case b"\x04":
                await self._socks_4(inner)
            case _:
                from ztcli.commands.proxy_http import Doors, HttpProxy

                doors = Doors(
                    connect=self._reach_http,
                    join=self._join,
                    admits=self._admits if self._users is not None else None,
                    pac=self._pac if self._rules.pac else None,
                )
                await HttpProxy(inner, doors, limit=GREETING_S, idle=self._idle).serve()

    async def _pac(self, place: str) -> str:
        return (await Inside.of(self._engine, self._settings.names.hosts)).pac(place)

    def _admits(self, user: str, password: str) -> bool:
        wanted = (self._users or {}).get(user, "")
        return bool(wanted) and hmac.compare_digest(wanted.encode(), password.encode())

    # SOCKS.

    async def _socks_5(self, inner: PeekedStream) -> None:
        try:
            async with asyncio.timeout(GREETING_S):
                request = await self._greet(inner)
        except socks.UnknownAddress:
            await _say_last(inner, socks.answer(socks.Outcome.NO_SUCH_ADDRESS_TYPE))
            return
        if request is None:
            return
        if request.command == socks.Command.UDP_ASSOCIATE:
            await self._associate(inner)
            return
        if request.command != socks.Command.CONNECT:
            await _say_last(inner, socks.answer(socks.Outcome.NO_SUCH_COMMAND))
            return
        found = await self._reach(request.host, request.port)
        if isinstance(found, socks.Outcome):
            await _say_last(inner, socks.answer(found))
            return
        await self._join_after(inner, found, socks.answer(socks.Outcome.OK, *found.local))

    async def _greet(self, inner: PeekedStream) -> socks.Request | None:
        """Agree on a method and read the request; None if the client was turned away."""

        async def take(count: int) -> bytes:
            return await _exactly(inner, count)

        await take(1)
        is_closed = self._users is not None
        method = socks.choose_method(await socks.read_methods(take), password=is_closed)
        if method is None:
            await _say_last(inner, socks.method_answer(None))
            return None
        await inner.send(socks.method_answer(method))
        if is_closed:
            known = self._admits(*await socks.read_password(take))
            if not known:
                await _say_last(inner, socks.password_answer(accepted=False))
                return None
            await inner.send(socks.password_answer(accepted=True))
        return await socks.read_request(take)

    async def _socks_4(self, inner: PeekedStream) -> None:
        async def take(count: int) -> bytes:
            return await _exactly(inner, count)

        async with asyncio.timeout(GREETING_S):
            await take(1)
            request = await socks.read_request_4(take)
        found: Stream | socks.Outcome = socks.Outcome.NOT_ALLOWED
        # Version 4 knows no passwords, so that a proxy that wants one refuses it.
        if self._users is None and request.command == socks.Command.CONNECT:
            found = await self._reach(request.host, request.port)
        if isinstance(found, socks.Outcome):
            await _say_last(inner, socks.answer_4(found))
            return
        await self._join_after(inner, found, socks.answer_4(socks.Outcome.OK))

    async def _join_after(self, inner: Stream, outer: Stream, answer: bytes) -> None:
        try:
            await inner.send(answer)
        except BaseException:
            outer.abort()
            raise
        await self._join(inner, outer)

    # Connections inside.

    async def _reach(self, host: str, port: int) -> Stream | socks.Outcome:
        """Connect inside the network; names are asked there too, not this machine's resolver."""
        if not port or (self._ports is not None and port not in self._ports):
            return socks.Outcome.NOT_ALLOWED
        try:
            return await self._open(host, port, self._settings.connect_timeout)
        except Exception as error:
            code = code_of(error)
            if code is ExitCode.INTERNAL:
                raise
            self._env.warn(self._settings, f"{specs.pair(host, port)}: {error}")
            if isinstance(error, ConnectionRefusedError):
                return socks.Outcome.REFUSED
            return (
                socks.Outcome.NOT_ALLOWED
                if code is ExitCode.FORBIDDEN
                else socks.Outcome.HOST_UNREACHABLE
            )

    async def _open(self, host: str, port: int, timeout: float | None) -> Stream:
        try:
            return await self._connect(host, port, timeout)
        except Exception as error:
            if self._outside is None or not await self._outside.takes(host, code_of(error)):
                raise
        return await self._outside.connect(host, port, timeout)

    async def _connect(self, host: str, port: int, timeout: float | None) -> Stream:
        """Connect inside; a name that only the system knows stands for an address inside."""
        try:
            return await self._engine.connect(host, port, timeout)
        except Exception as error:
            if not self._rules.asks_system or code_of(error) is not ExitCode.NOT_RESOLVED:
                raise
            inside = await Inside.of(self._engine, self._settings.names.hosts)
            if inside.holds(host):
                raise
            found = [one for one in await system_addresses(host, port) if inside.holds(one)]
            if not found:
                raise
        return await self._engine.connect(found[0], port, timeout)

    async def _reach_http(self, host: str, port: int) -> Stream | int:
        found = await self._reach(host, port)
        if not isinstance(found, socks.Outcome):
            return found
        return 403 if found is socks.Outcome.NOT_ALLOWED else 502

    async def _join(self, inner: Stream, outer: Stream) -> None:
        counts = Counts()
        client, target = specs.pair(*inner.remote), specs.pair(*outer.remote)
        self._tell("open", client, target, counts)
        try:
            await bridge(inner, outer, counts, self._idle)
        finally:
            self._tell("close", client, target, counts)

    def _tell(self, event: str, client: str, target: str, counts: Counts) -> None:
        if self._settings.json:
            values: dict[str, object] = {"client": client, "target": target}
            if event == "close":
                values |= {"sent": counts.there, "received": counts.back}
            print_event(self._env, event, values)
        elif self._settings.verbose:
            self._env.say(f"{event}: {client} -> {target}")

    # Datagrams.

    async def _associate(self, inner: PeekedStream) -> None:
        """Pass datagrams on for as long as the client keeps its connection."""
        from ztcli.commands.proxy_udp import associated

        front = await LocalPort.bound(inner.local[0], 0)
        try:
            back = await self._engine.datagram(0)
        except BaseException:
            front.close()
            raise
        await inner.send(socks.answer(socks.Outcome.OK, *front.address))
        await associated(inner, front, back, self._ports, self._outside)
        await inner.close()


async def _exactly(inner: PeekedStream, count: int) -> bytes:
    data = await inner.exactly(count)
    if len(data) < count:
        raise socks.NotSocks("it ends too early")
    return data


async def _say_last(inner: Stream, data: bytes) -> None:
    """Send the last that there is to say."""
    await inner.send(data)
    await inner.send_eof()
    await inner.close()


proxy_app = single(
    "proxy", proxy, ProxyOptions, "SOCKS and HTTP on a local port, into the network."
)
