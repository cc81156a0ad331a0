"""zt run: a program whose connections go into the network, by a proxy of its own."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, replace
from typing import Annotated, Final

import typer

from ztcli import parsing, runner, specs
from ztcli.binding import single
from ztcli.commands.proxy import ProxyService, Rules
from ztcli.environment import Environment
from ztcli.exit_codes import ExitCode
from ztcli.foreground import foreground
from ztcli.local import LocalListener
from ztcli.options import Settings
from ztcli.server import Guard, Limits, Server

USER: Final = "zt"
MAX_CONNECTIONS: Final = 1000
_PASSWORD_BYTES: Final = 24


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Options of zt run."""

    command: Annotated[
        list[str], typer.Argument(metavar="-- CMD [ARGS]...", help="The program and its words.")
    ]
    allow_ports: Annotated[
        str | None, typer.Option("--allow-ports", metavar="PORTS", help="Only to these: 80,8000.")
    ] = None
    direct: Annotated[
        bool, typer.Option("--direct", help="What is outside goes by the ordinary network.")
    ] = False


def run(env: Environment, settings: Settings, options: RunOptions) -> ExitCode:
    """Serve a proxy on loopback for the program alone: it knows the password."""
    ports = frozenset(parsing.ports(options.allow_ports)) if options.allow_ports else None
    settings = replace(settings, serves="zt run")

    async def main() -> ExitCode:
        async with env.engine(settings) as engine:
            await engine.join()
            listener = LocalListener()
            await listener.start(specs.LOOPBACK, 0)
            password = secrets.token_urlsafe(_PASSWORD_BYTES)
            rules = Rules({USER: password}, ports, direct=options.direct, reaches_us=True)
            service = ProxyService(env, settings, engine, rules)
            limits = Limits(None, MAX_CONNECTIONS, MAX_CONNECTIONS, None)
            server = Server(env, listener, Guard([], []), limits, quiet=settings.quiet > 0)
            serving = asyncio.create_task(server.run(service.serve))
            try:
                place = f"{USER}:{password}@{specs.pair(specs.LOOPBACK, listener.port)}"
                await foreground(env, options.command, variables(place))
            finally:
                serving.cancel()
                await asyncio.wait((serving,))
                listener.close()
        return ExitCode.OK

    return runner.run(env, main, settings.total_timeout())


def variables(place: str) -> dict[str, str | None]:
    """Return what tells programs of a proxy; their lists of exceptions are taken away.

    In both spellings where programs differ, so that none of the caller's own remains.
    """
    http, socks = f"http://{place}", f"socks5h://{place}"
    return {
        "http_proxy": http,
        "HTTP_PROXY": http,
        "https_proxy": http,
        "HTTPS_PROXY": http,
        "all_proxy": socks,
        "ALL_PROXY": socks,
        "no_proxy": None,
        "NO_PROXY": None,
    }


run_app = single("run", run, RunOptions, "Run a program whose connections go into the network.")
