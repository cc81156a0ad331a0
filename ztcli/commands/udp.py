"""zt udp-listen and zt udp-send: datagrams inside the network."""

from __future__ import annotations

import asyncio
import ipaddress
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from ztcli import parsing, ready, runner
from ztcli.binding import single
from ztcli.engine import Datagrams, Engine
from ztcli.environment import Environment
from ztcli.exit_codes import CommandError, ExitCode, UsageProblem
from ztcli.options import Settings
from ztcli.output.messages import plural
from ztcli.output.records import print_event
from ztcli.ready import ReadyFd, ReadyFile
from ztcli.server import Guard, link, need_address, ordered
from ztcli.terminal import harmless, shows_on_terminal

MAX_DATAGRAM: Final = 65507
CHILD_S: Final = 30.0

Text = str | None
Texts = list[str] | None


class Form(StrEnum):
    """How a payload is printed."""

    LINE = "line"
    RAW = "raw"
    HEX = "hex"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class UdpListenOptions:
    """Options of zt udp-listen."""

    place: Annotated[str, typer.Argument(metavar="PORT|IP:PORT", help="0 picks a port.")]
    no_pong: Annotated[bool, typer.Option("--no-pong", help="Do not answer pings.")] = False
    reply: Annotated[
        Text,
        typer.Option("--reply", metavar="TEXT|@FILE", help="What every datagram is answered with."),
    ] = None
    echo: Annotated[bool, typer.Option("--echo", help="Send every payload back.")] = False
    exec: Annotated[Text, typer.Option("--exec", metavar="CMD", help="Its output answers.")] = None
    count: Annotated[int | None, typer.Option("--count", min=1, help="Then exit.")] = None
    once: Annotated[bool, typer.Option("--once", help="The same as --count 1.")] = False
    format: Annotated[Form, typer.Option("--format", help="How payloads are printed.")] = Form.LINE
    raw: Annotated[bool, typer.Option("--raw", help="The same as --format raw.")] = False
    allow: Annotated[
        Texts,
        typer.Option("--allow", metavar="IP|CIDR", help="Who may come in; all others may not."),
    ] = None
    deny: Annotated[
        Texts, typer.Option("--deny", metavar="IP|CIDR", help="Who may not come in.")
    ] = None
    allow_any: Annotated[bool, typer.Option("--allow-any", help="With --exec: everybody.")] = False
    group: Annotated[Texts, typer.Option("--group", metavar="ADDR", help="Hear this one.")] = None
    ready_file: ReadyFile = None
    ready_fd: ReadyFd = None


@dataclass(frozen=True, slots=True)
class UdpSendOptions:
    """Options of zt udp-send."""

    to: Annotated[str, typer.Option("--to", metavar="IP:PORT", help="Where it goes.")]
    data: Annotated[
        Text, typer.Option("--data", metavar="TEXT|@FILE|-", help="Default: stdin.")
    ] = None
    lines: Annotated[bool, typer.Option("--lines", help="A datagram for each line.")] = False
    hex: Annotated[bool, typer.Option("--hex", help="The data is hexadecimal.")] = False
    repeat: Annotated[int, typer.Option("--repeat", min=1, help="Send it so often.")] = 1
    interval: Annotated[
        Text, typer.Option("--interval", metavar="DUR", help="Pause between repetitions.")
    ] = None
    wait: Annotated[Text, typer.Option("--wait", metavar="DUR", help="Print replies.")] = None
    count: Annotated[int, typer.Option("--count", min=1, help="So many replies.")] = 1
    source_port: Annotated[
        Text, typer.Option("--source-port", metavar="PORT", help="Our port.")
    ] = None


def udp_listen(env: Environment, settings: Settings, options: UdpListenOptions) -> ExitCode:
    place = parsing.place(options.place)
    if place.scheme not in ("", "udp"):
        raise UsageProblem("udp-listen takes PORT or IP:PORT")
    groups = options.group or []
    for group in groups:
        _check_group(group)
    if sum((options.reply is not None, options.echo, options.exec is not None)) > 1:
        raise UsageProblem("--reply, --echo and --exec exclude each other")
    if options.exec and not options.allow and not options.allow_any:
        raise UsageProblem(
            "--exec runs a command for whoever sends", "say who: --allow IP, or --allow-any"
        )
    if options.raw and options.format not in (Form.LINE, Form.RAW):
        raise UsageProblem(f"--raw and --format {options.format.value} exclude each other")
    guard = Guard(options.allow or [], options.deny or [], settings.names)
    reply = _bytes(env, options.reply) if options.reply is not None else None
    ready.check(options.ready_fd)
    settings = replace(settings, serves="zt udp-listen")

    async def main() -> ExitCode:
        async with env.engine(settings) as engine:
            await engine.join()
            endpoint = await engine.datagram(place.port, place.host)
            try:
                for group in groups:
                    endpoint.join_group(group)
                _announce(env, settings, options, engine, endpoint)
                responder = _Responder(env, settings, options, endpoint, reply)
                await responder.run(guard)
            finally:
                endpoint.close()
                ready.withdraw(options.ready_file)
        return ExitCode.OK

    return runner.run(env, main, settings.total_timeout())


def _check_group(text: str) -> None:
    try:
        is_group = ipaddress.ip_address(text).is_multicast
    except ValueError:
        is_group = False
    if not is_group:
        raise UsageProblem(f"--group: {text} is not a multicast address")


def _announce(
    env: Environment,
    settings: Settings,
    options: UdpListenOptions,
    engine: Engine,
    endpoint: Datagrams,
) -> None:
    addresses = ordered(endpoint.addresses)
    need_address(addresses)
    links = [link("udp", address, port) for address, port in addresses]
    if settings.quiet < 1:
        for one in links:
            env.say(f"Listen: {one}")
        where = links[0].partition("://")[2]
        if options.group:
            where = f"{_host(options.group[0])}:{endpoint.local_port}"
        env.say(f"try: zt udp-send --to {where} --data ping --wait 2s")
    values: dict[str, object] = {
        "mode": "udp",
        "addresses": [address for address, _ in addresses],
        "port": endpoint.local_port,
        "urls": links,
        "node": engine.node_id,
        "networks": engine.networks,
        "groups": options.group or [],
    }
    if settings.json or options.format is Form.JSON:
        print_event(env, "ready", values)
    ready.announce(env, values, options.ready_file, options.ready_fd)


class _Responder:
    """Prints datagrams and answers them."""

    def __init__(
        self,
        env: Environment,
        settings: Settings,
        options: UdpListenOptions,
        endpoint: Datagrams,
        reply: bytes | None,
    ) -> None:
        self._env = env
        self._settings = settings
        self._options = options
        self._endpoint = endpoint
        self._reply = reply
        form = Form.RAW if options.raw else options.format
        self._form = Form.JSON if settings.json else form

    async def run(self, guard: Guard) -> None:
        rest = 1 if self._options.once else self._options.count
        while rest is None or rest > 0:
            try:
                data, (host, port), local = await self._endpoint.receive()
            except OSError as error:
                # Somebody we answered is gone; others may still come.
                self._env.warn(self._settings, f"reply: {error}")
                continue
            if not guard.admits(host, ""):
                self._env.warn(self._settings, f"denied: {host}")
                continue
            own = f"{_host(local)}:{self._endpoint.local_port}"
            size = plural(len(data), "byte")
            self._env.warn(self._settings, f"UDP RX {own} <- {_host(host)}:{port} ({size})")
            show(self._env, self._form, data, (host, port), local)
            answer = await self._answer(data, host, port)
            if answer is not None:
                try:
                    await self._endpoint.send(answer, host, port)
                except OSError as error:
                    self._env.warn(self._settings, f"reply: {error}")
            if rest is not None:
                rest -= 1
        # What was answered last is still on its way to the wire.
        await asyncio.sleep(0.05)

    async def _answer(self, data: bytes, host: str, port: int) -> bytes | None:
        if self._options.exec is not None:
            return await self._run_child(data, host, port)
        if self._options.echo:
            return data
        if self._reply is not None:
            return self._reply
        return b"pong" if data == b"ping" and not self._options.no_pong else None

    async def _run_child(self, data: bytes, host: str, port: int) -> bytes | None:
        from ztcli.child import start_child, stop_child

        variables = {"ZT_REMOTE_ADDR": host, "ZT_REMOTE_PORT": str(port), "ZT_PROTO": "udp"}
        process = await start_child(self._options.exec, None, variables)
        try:
            async with asyncio.timeout(CHILD_S):
                output, _ = await process.communicate(data)
        except TimeoutError:
            self._env.warn(self._settings, "the command took too long")
            return None
        finally:
            await stop_child(process)
        if process.returncode:
            self._env.warn(self._settings, f"the command exited with {process.returncode}")
            return None
        return output[:MAX_DATAGRAM] or None


def show(env: Environment, form: Form, data: bytes, remote: tuple[str, int], local: str) -> None:
    """Print a payload; lines on a terminal are made harmless before."""
    match form:
        case Form.LINE:
            shown = harmless(data) if shows_on_terminal(env) else data
            env.write(shown if shown.endswith(b"\n") else shown + b"\n")
        case Form.RAW:
            env.write(data)
        case Form.HEX:
            env.print(data.hex())
        case Form.JSON:
            values: dict[str, object] = {
                "remote": remote[0],
                "port": remote[1],
                "local": local,
                "data": data.hex(),
                "text": data.decode("utf-8", "replace"),
            }
            print_event(env, "datagram", values)


def udp_send(env: Environment, settings: Settings, options: UdpSendOptions) -> ExitCode:
    host, port = parsing.host_port(options.to.removeprefix("udp://"))
    wait = parsing.duration(options.wait) if options.wait is not None else None
    interval = parsing.duration(options.interval) if options.interval is not None else 1.0
    source_port = parsing.port(options.source_port or "0", zero=True)
    payloads = _payloads(env, options)
    for payload in payloads:
        if len(payload) > MAX_DATAGRAM:
            raise UsageProblem(f"a datagram holds {MAX_DATAGRAM} bytes, not {len(payload)}")

    async def main() -> ExitCode:
        async with env.engine(settings) as engine:
            await engine.join()
            endpoint = await engine.datagram(source_port)
            try:
                sending = _Sending(env, settings, endpoint, (host, port))
                await sending.send(payloads, options.repeat, interval or 0.0)
                await sending.settle(settings.connect_timeout, wait, options.count)
            finally:
                endpoint.close()
        return ExitCode.OK

    return runner.run(env, main, settings.total_timeout())


class _Sending:
    """Sends datagrams to one place, and prints what comes back."""

    def __init__(
        self, env: Environment, settings: Settings, endpoint: Datagrams, to: tuple[str, int]
    ) -> None:
        self._env = env
        self._settings = settings
        self._endpoint = endpoint
        self._to = to

    async def send(self, payloads: list[bytes], repeat: int, interval: float) -> None:
        host, port = self._to
        for turn in range(repeat):
            if turn:
                await asyncio.sleep(interval)
            for payload in payloads:
                await self._endpoint.send(payload, host, port)
                self._tell(payload)

    def _tell(self, payload: bytes) -> None:
        host, port = self._to
        same = [ip for ip, _ in self._endpoint.addresses if (":" in ip) == (":" in host)]
        own = f"{_host(same[0]) if same else '*'}:{self._endpoint.local_port}"
        size = plural(len(payload), "byte")
        self._env.warn(self._settings, f"UDP Send: {own} -> {_host(host)}:{port} ({size})")

    async def settle(self, connect_timeout: float | None, wait: float | None, count: int) -> None:
        """Print replies if they are wanted; else wait a moment until all is on the wire."""
        if wait is None:
            await self._leave(connect_timeout)
            return
        form = Form.JSON if self._settings.json else Form.LINE
        got = 0
        try:
            async with asyncio.timeout(wait):
                while got < count:
                    data, remote, local = await self._endpoint.receive()
                    if remote[1] != self._to[1]:
                        continue
                    got += 1
                    show(self._env, form, data, remote, local)
        except TimeoutError:
            if not got:
                raise CommandError(f"no reply in {wait:g} s", ExitCode.TIMED_OUT) from None

    async def _leave(self, connect_timeout: float | None) -> None:
        """Stay until the neighbour was found: packets wait for that, and nothing tells of it."""
        limit = min(SETTLE_S, connect_timeout or SETTLE_S)
        try:
            async with asyncio.timeout(limit):
                await self._endpoint.receive()
        except TimeoutError:
            return


SETTLE_S: Final = 1.0


def _payloads(env: Environment, options: UdpSendOptions) -> list[bytes]:
    data = _bytes(env, options.data if options.data is not None else "-")
    if options.hex:
        try:
            data = bytes.fromhex(data.decode("ascii"))
        except ValueError:
            raise UsageProblem("--hex: the data is not hexadecimal") from None
    return data.splitlines() if options.lines else [data]


def _bytes(env: Environment, text: str) -> bytes:
    if text == "-":
        with open(env.stdin, "rb", closefd=False) as stream:
            return stream.read()
    if text.startswith("@"):
        try:
            return Path(text[1:]).read_bytes()
        except OSError as error:
            raise CommandError(f"{text[1:]}: {error.strerror}", ExitCode.CANNOT_READ) from error
    return text.encode("utf-8", "surrogateescape")


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


udp_listen_app = single(
    "udp-listen", udp_listen, UdpListenOptions, "Print datagrams; answer pings with pong."
)
udp_send_app = single("udp-send", udp_send, UdpSendOptions, "Send a datagram.")
