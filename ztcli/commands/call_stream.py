"""The stream half of zt call, and its port test."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from ztcli import parsing, runner
from ztcli.boundary import code_of
from ztcli.child import run_child
from ztcli.commands.call_options import CallOptions
from ztcli.engine import Engine, Stream
from ztcli.environment import Environment
from ztcli.exit_codes import ChildExit, ExitCode
from ztcli.hexdump import DumpedStream, dumping
from ztcli.options import LINGER_S, Settings
from ztcli.output.meter import is_wanted, metered
from ztcli.output.records import print_record
from ztcli.pump import Manners, Pump
from ztcli.stdio import Discard, InputReader, NoInput, Sink, Source
from ztcli.terminal import output

Result = TypeVar("Result")
TEST_TIMEOUT_S: Final = 5.0
_TESTS_AT_ONCE: Final = 16
_RETRY_DELAY_S: Final = 1.0
_RETRIED: Final = (ExitCode.TIMED_OUT, ExitCode.CANNOT_CONNECT)


def run_stream(
    env: Environment, settings: Settings, options: CallOptions, target: parsing.Target
) -> ExitCode:
    """Connect, and join the stream with stdin and stdout or with a command."""
    if not options.test:
        assert target.port

    async def main() -> ExitCode:
        with dumping(env, options.hexdump) as dump:
            async with env.engine(settings) as engine:
                await engine.join()
                if options.test:
                    return await _test_ports(env, settings, options, engine, target)
                stream = await _connect(engine, settings, options, target)
                if settings.verbose and not options.stdio:
                    host, port = stream.remote
                    env.say(f"connected to {host}:{port} ({stream.path})")
                if dump is not None:
                    stream = DumpedStream(stream, dump)
                return await _use(env, settings, options, stream)

    return runner.run(env, main, settings.total_timeout())


async def _connect(
    engine: Engine, settings: Settings, options: CallOptions, target: parsing.Target
) -> Stream:
    stream = await retrying(options, lambda: _connect_once(engine, settings, options, target))
    if not options.tls and target.scheme != "tls":
        return stream
    from ztcli.tls import client_context, wrap

    context = client_context(options.cacert, options.cert, options.key, insecure=options.insecure)
    if options.alpn:
        context.set_alpn_protocols(options.alpn.split(","))
    try:
        async with asyncio.timeout(settings.connect_timeout):
            return await wrap(stream, context, server_name=options.servername or target.host)
    except BaseException:
        stream.abort()
        raise


async def _connect_once(
    engine: Engine, settings: Settings, options: CallOptions, target: parsing.Target
) -> Stream:
    return await engine.connect(
        target.host,
        target.port,
        settings.connect_timeout,
        family=options.family,
        source=options.source,
        source_port=int(options.source_port or 0),
    )


async def retrying(
    options: CallOptions,
    attempt: Callable[[], Awaitable[Result]],
    *,
    may_repeat: Callable[[], bool] = lambda: True,
    gives_up: Callable[[Result], Awaitable[bool]] | None = None,
) -> Result:
    """Await `attempt()`, again as --retry says, unless what it took cannot be had again.

    `gives_up` tells of a result whether it is to be forgotten for another attempt.
    """
    loop = asyncio.get_running_loop()
    limit = parsing.duration(options.retry_max_time) if options.retry_max_time else None
    deadline = loop.time() + limit if limit is not None else None
    delay = parsing.duration(options.retry_delay) if options.retry_delay else None
    pause = _RETRY_DELAY_S
    for rest in range(options.retry, -1, -1):
        try:
            result = await attempt()
        except Exception as error:
            code = code_of(error)
            retried = code in _RETRIED and may_repeat()
            if code is ExitCode.CANNOT_CONNECT and isinstance(error, ConnectionRefusedError):
                retried = options.retry_connrefused
            if not retried or not rest or (deadline is not None and loop.time() >= deadline):
                raise
        else:
            is_last = not rest or (deadline is not None and loop.time() >= deadline)
            if gives_up is None or is_last or not may_repeat() or not await gives_up(result):
                return result
        await asyncio.sleep(delay if delay is not None else pause)
        pause = min(pause * 2, 60.0)
    raise AssertionError("unreachable")


async def _use(
    env: Environment, settings: Settings, options: CallOptions, stream: Stream
) -> ExitCode:
    if options.exec or options.sh:
        code = await run_child(stream, options.exec, options.sh)
        if code:
            raise ChildExit(code)
        return ExitCode.OK
    quiet_input = options.recv_only or options.no_stdin
    source: Source = NoInput() if quiet_input else InputReader(env.stdin)
    sink: Sink = Discard() if options.send_only else output(env, raw=options.raw)
    linger = parsing.duration(options.linger) if options.linger else LINGER_S
    manners = Manners(
        shutdown=not options.no_shutdown,
        keep_sending=options.keep_sending,
        idle_timeout=parsing.duration(options.idle_timeout) if options.idle_timeout else None,
        linger=linger,
        crlf=options.crlf,
        delay=parsing.duration(options.delay) if options.delay else None,
    )
    pump = Pump(stream, source, sink, manners)
    wanted = not options.stdio and is_wanted(
        env, settings, asked=options.progress, to_file=options.send_only
    )
    with metered(env, lambda: (pump.sent, pump.received, None), wanted=wanted):
        await pump.run()
    return ExitCode.OK


async def _test_ports(
    env: Environment,
    settings: Settings,
    options: CallOptions,
    engine: Engine,
    target: parsing.Target,
) -> ExitCode:
    """Print a line for each open port; success if there is one."""
    gate = asyncio.Semaphore(_TESTS_AT_ONCE)
    limit = min(settings.connect_timeout or TEST_TIMEOUT_S, TEST_TIMEOUT_S)
    failures: list[Exception] = []

    async def test(port: int) -> bool:
        async with gate:
            try:
                stream = await engine.connect(target.host, port, limit, family=options.family)
            except Exception as error:  # noqa: BLE001 - the first one is told if none is open
                failures.append(error)
                return False
            stream.abort()
            return True

    tasks = [(port, asyncio.create_task(test(port))) for port in target.ports]
    found = 0
    for port, task in tasks:
        is_open = await task
        found += is_open
        if settings.json:
            print_record(env, "port", {"host": target.host, "port": port, "open": is_open})
        elif is_open:
            env.print(f"{port} open")
        elif settings.verbose:
            env.say(f"{port} closed")
    if not found:
        raise failures[0]
    return ExitCode.OK
