"""Runs a listener: the ready line, the streams, and the choice by the first bytes."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from typing import Final

from ztcli import parsing, ready, runner
from ztcli.child import run_child
from ztcli.commands.listen_http import HttpServer
from ztcli.commands.listen_options import ListenOptions, Mode
from ztcli.engine import Engine, Listener, Stream
from ztcli.environment import Environment
from ztcli.exit_codes import ChildExit, ExitCode
from ztcli.options import Settings
from ztcli.output.records import print_event
from ztcli.peeked import PeekedStream
from ztcli.pump import Manners, join
from ztcli.server import GRACE_S, Guard, Limits, Server, link, need_address, ordered
from ztcli.services import with_health
from ztcli.stdio import Discard, InputReader, NoInput, Sink, Source
from ztcli.terminal import output
from ztcli.tls import server_context, wrap

_REQUEST_LINE: Final = re.compile(rb"[A-Z]{3,16} ")
_DECIDE_BYTES: Final = 16
_DECIDE_S: Final = 1.0
_HANDSHAKE_S: Final = 10.0
_FILL: Final = b"a" * 65536


def run_listener(
    env: Environment,
    settings: Settings,
    options: ListenOptions,
    place: parsing.Place,
    mode: Mode,
) -> ExitCode:
    """Listen until the count is reached or a signal comes."""
    settings = with_health(replace(settings, serves="zt listen"), options.health)
    guard = Guard(options.allow or [], options.deny or [], settings.names)
    body_bytes = parsing.size(options.body_bytes) if options.body_bytes is not None else None
    http = HttpServer(env, settings, options, body_bytes)
    ready.check(options.ready_fd)
    idle = parsing.duration(options.idle_timeout) if options.idle_timeout is not None else None
    grace = parsing.duration(options.grace) if options.grace is not None else GRACE_S

    async def main() -> ExitCode:
        service = _Service(env, settings, options, http, idle, body_bytes)
        async with env.engine(settings) as engine:
            await engine.join()
            listener = await engine.listen(place.port, place.host)
            try:
                _announce(env, settings, options, engine, listener, mode)
                return await service.run(listener, guard, mode, grace)
            finally:
                listener.close()
                ready.withdraw(options.ready_file)

    return runner.run(env, main, settings.total_timeout())


def _announce(
    env: Environment,
    settings: Settings,
    options: ListenOptions,
    engine: Engine,
    listener: Listener,
    mode: Mode,
) -> None:
    addresses = ordered(listener.addresses)
    need_address(addresses)
    scheme = "http" if mode is Mode.HTTP else "tcp"
    if options.tls:
        scheme = "https" if mode is Mode.HTTP else "tls"
    links = [link(scheme, address, port) for address, port in addresses]
    if settings.quiet < 1:
        note = " (auto: http or tcp, as the first bytes say)" if mode is Mode.AUTO else ""
        for one in links:
            env.say(f"Listen: {one}{note}")
        host, port = addresses[0]
        target = links[0] if mode is Mode.HTTP or options.tls else f"{host} {port}"
        env.say(f"try: zt call {target}")
    values: dict[str, object] = {
        "mode": mode.value,
        "addresses": [address for address, _ in addresses],
        "port": listener.port,
        "urls": links,
        "node": engine.node_id,
        "networks": engine.networks,
    }
    if settings.json and mode is Mode.HTTP:
        print_event(env, "ready", values)
    ready.announce(env, values, options.ready_file, options.ready_fd)


class _Service:
    """What is done with the connections of one listener."""

    def __init__(
        self,
        env: Environment,
        settings: Settings,
        options: ListenOptions,
        http: HttpServer,
        idle: float | None,
        body_bytes: int | None,
    ) -> None:
        self._env = env
        self._settings = settings
        self._options = options
        self._http = http
        self._idle = idle
        self._body_bytes = body_bytes
        self._input: Source | None = None
        self._output: Sink | None = None
        self._child_code = 0
        self._context = server_context(options.cert, options.key) if options.tls else None

    async def run(
        self, listener: Listener, guard: Guard, mode: Mode, grace: float | None
    ) -> ExitCode:
        if mode is Mode.AUTO:
            mode, first = await self._first(listener, guard)
            listener = _Resumed(listener, first)
        limits = self._limits(mode, grace)
        server = Server(self._env, listener, guard, limits, quiet=self._settings.quiet > 0)
        await server.run(self._handle_http if mode is Mode.HTTP else self._handle_stream)
        if self._child_code:
            raise ChildExit(self._child_code)
        return ExitCode.OK

    def _limits(self, mode: Mode, grace: float | None) -> Limits:
        options = self._options
        if mode is Mode.HTTP:
            count = 1 if options.once else options.requests
            return Limits(count, options.max_conns, options.max_conns, grace)
        own = options.echo or options.discard or options.runs_command
        parallel = options.parallel or (own and not options.serial)
        at_once = options.max_conns if parallel else 1
        return Limits(None if options.keep_open else 1, at_once, options.max_conns, grace)

    async def _first(self, listener: Listener, guard: Guard) -> tuple[Mode, Stream]:
        """Wait for the first admitted connection, and for what it says."""
        while True:
            stream = await listener.accept()
            if guard.admits(stream.remote[0], stream.remote_name):
                break
            stream.abort()
        peeked = PeekedStream(stream)
        try:
            async with asyncio.timeout(_DECIDE_S):
                await peeked.peek(_DECIDE_BYTES)
        except TimeoutError:
            pass  # Whoever says nothing does not speak HTTP.
        mode = Mode.HTTP if _REQUEST_LINE.match(peeked.peeked) else Mode.TCP
        if self._settings.verbose:
            self._env.say(f"auto: {mode.value}")
        return mode, peeked

    async def _handle_http(self, stream: Stream) -> None:
        stream = await self._with_tls(stream)
        await self._http.serve(stream, self._idle)

    async def _handle_stream(self, stream: Stream) -> None:
        stream = await self._with_tls(stream)
        host, port = stream.remote
        if self._settings.verbose:
            self._env.say(f"open: {host}:{port} {stream.remote_name}".rstrip())
        if self._options.runs_command:
            code = await run_child(stream, self._options.exec, self._options.sh)
            if not self._options.keep_open:
                self._child_code = code
        elif self._options.echo:
            await _echo(stream, self._idle)
        else:
            await self._join(stream)
        if self._settings.verbose:
            self._env.say(f"close: {host}:{port}")

    async def _join(self, stream: Stream) -> None:
        options = self._options
        source: Source
        if self._body_bytes is not None:
            source = _Fill(self._body_bytes)
        elif options.recv_only or options.no_stdin or options.discard:
            source = NoInput()
        else:
            if self._input is None:
                self._input = InputReader(self._env.stdin)
            source = self._input
        if self._output is None:
            drops = options.discard or options.send_only
            self._output = Discard() if drops else output(self._env, raw=options.raw)
        # A listener in the background has an input that ends at once. Its FIN would tell the
        # peer that all is said, while the peer has just begun: so an empty input waits for it.
        await join(stream, source, self._output, Manners(hold_empty=True, idle_timeout=self._idle))

    async def _with_tls(self, stream: Stream) -> Stream:
        if self._context is None:
            return stream
        async with asyncio.timeout(_HANDSHAKE_S):
            return await wrap(stream, self._context, server=True)


async def _echo(stream: Stream, idle: float | None) -> None:
    while True:
        async with asyncio.timeout(idle):
            views = await stream.receive_views()
            if not views:
                break
            for view in views:
                await stream.send(view)
    await stream.send_eof()
    await stream.wait_sent(GRACE_S)
    await stream.close()


class _Fill:
    """A source of so many letters."""

    is_waiting = False

    def __init__(self, count: int) -> None:
        self._rest = count

    def read_now(self) -> bytes:
        part = _FILL[: self._rest]
        self._rest -= len(part)
        return part

    async def read(self) -> bytes:
        return self.read_now()


class _Resumed:
    """A listener that gives one stream again."""

    def __init__(self, listener: Listener, first: Stream) -> None:
        self._listener = listener
        self._first: Stream | None = first
        self.close = listener.close

    @property
    def port(self) -> int:
        return self._listener.port

    @property
    def addresses(self) -> list[tuple[str, int]]:
        return self._listener.addresses

    async def accept(self) -> Stream:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        return await self._listener.accept()
