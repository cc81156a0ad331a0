"""zt wait: until the network can do what is asked, and not longer than that."""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Final

import typer

from ztcli import parsing, runner
from ztcli.binding import single
from ztcli.boundary import code_of
from ztcli.engine import Engine
from ztcli.environment import Environment
from ztcli.exit_codes import CommandError, ExitCode, UsageProblem
from ztcli.options import Settings
from ztcli.output.records import print_event

WAIT_S: Final = 60.0
AGAIN_S: Final = 0.5
"""From one failure to the next attempt."""
TRY_S: Final = 5.0
"""How long one attempt may take, so that a peer that has just come is asked soon."""
HTTP_S: Final = 30.0
PING_BYTES: Final = 32
_NODE: Final = re.compile(r"(?i)[0-9a-f]{10}(\.zt)?")
_FORMS: Final = "ip, online, peer=HOST, direct=HOST, tcp=HOST:PORT or http=URL"
# What no patience mends.
_FINAL: Final = frozenset(
    (
        ExitCode.USAGE,
        ExitCode.INTERNAL,
        ExitCode.ACCESS_DENIED,
        ExitCode.AUTHENTICATION_REQUIRED,
        ExitCode.STATE_IN_USE,
        ExitCode.BAD_IDENTITY,
        ExitCode.TLS_NOT_TRUSTED,
        ExitCode.CANNOT_WRITE,
    )
)

Attempt = Callable[[Engine], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class WaitOptions:
    """Options of zt wait."""

    for_: Annotated[
        list[str] | None,
        typer.Option("--for", metavar="WHAT", help=f"{_FORMS}; may be repeated. Default: ip."),
    ] = None


@dataclass(frozen=True, slots=True)
class Stage:
    """One thing that is waited for; an attempt returns if it is there."""

    text: str
    attempt: Attempt
    inside: bool


def wait(env: Environment, settings: Settings, options: WaitOptions) -> ExitCode:
    stages = [_stage(text, settings) for text in options.for_ or ["ip"]]
    limit = settings.total_timeout(WAIT_S)
    deadline = None if limit is None else time.monotonic() + limit

    async def main() -> ExitCode:
        async with env.engine(settings) as engine:
            is_inside = False
            for stage in stages:
                if stage.inside and not is_inside:
                    await _reach(Stage("ip", engine_join, inside=True), engine, deadline)
                    is_inside = True
                await _reach(stage, engine, deadline)
                if settings.json:
                    print_event(env, "ready", {"for": stage.text})
                elif settings.verbose:
                    env.say(f"{stage.text}: yes")
        return ExitCode.OK

    # The stages know the limit and say which one it was; this one is for the start of the node.
    return runner.run(env, main, None if limit is None else limit + TRY_S)


async def engine_join(engine: Engine) -> None:
    """Be a member with an address."""
    await engine.join()


async def _online(engine: Engine) -> None:
    await engine.wait_online()


async def _reach(stage: Stage, engine: Engine, deadline: float | None) -> None:
    """Try until it holds; when the time is over the last failure's code is ours."""
    last: Exception | None = None
    while True:
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            break
        try:
            async with asyncio.timeout(left):
                await stage.attempt(engine)
        except Exception as error:
            code = code_of(error)
            if code in _FINAL:
                raise
            # That our own time is over says less than what was seen before.
            last = last if isinstance(error, TimeoutError) and last is not None else error
        else:
            return
        pause = AGAIN_S if deadline is None else min(AGAIN_S, deadline - time.monotonic())
        await asyncio.sleep(max(pause, 0.0))
    code = code_of(last) if last is not None else ExitCode.TIMED_OUT
    why = f": {last}" if last is not None and str(last) else ""
    raise CommandError(f"{stage.text}: not in time{why}", code)


def _stage(text: str, settings: Settings) -> Stage:
    kind, equals, rest = text.partition("=")
    match kind, bool(equals and rest):
        case "ip", False if not equals:
            return Stage(text, engine_join, inside=True)
        case "online", False if not equals:
            return Stage(text, _online, inside=False)
        case (("peer" | "direct"), True):
            return _peer(text, settings.names.host(rest), direct=kind == "direct")
        case "tcp", True:
            host, port = parsing.host_port(rest)
            return Stage(text, _connects(host, port), inside=True)
        case "http", True:
            target = parsing.target(rest)
            if not target.is_http:
                raise UsageProblem(f"--for {text}: is no http:// or https:// URL")
            return Stage(text, _fetches(rest), inside=True)
        case _:
            raise UsageProblem(f"--for is {_FORMS}, not {text!r}")


def _peer(text: str, host: str, *, direct: bool) -> Stage:
    is_node = _NODE.fullmatch(host) is not None
    target = host.lower().removesuffix(".zt") if is_node else host

    async def attempt(engine: Engine) -> None:
        pong = await engine.ping(target, TRY_S, icmp=not is_node, size=PING_BYTES)
        if direct and pong.link != "direct":
            raise CommandError("answers by way of a relay only", ExitCode.RELAYED_ONLY)

    return Stage(text, attempt, inside=not is_node)


def _connects(host: str, port: int) -> Attempt:
    async def attempt(engine: Engine) -> None:
        await (await engine.connect(host, port, TRY_S)).close()

    return attempt


def _fetches(url: str) -> Attempt:
    async def attempt(engine: Engine) -> None:
        import httpx

        from ztcli.http_transport import OverlayBackend, OverlayTransport

        transport = OverlayTransport(OverlayBackend(engine, TRY_S), ssl.create_default_context())
        async with (
            asyncio.timeout(HTTP_S),
            httpx.AsyncClient(transport=transport, trust_env=False, timeout=HTTP_S) as client,
            client.stream("GET", url) as answer,
        ):
            if answer.status_code >= 400:
                raise CommandError(f"HTTP {answer.status_code}", ExitCode.HTTP_STATUS)

    return attempt


wait_app = single("wait", wait, WaitOptions, "Wait until the network can do what is asked.")
