"""zt lab: a root, a controller and one network on this machine, to try things out."""

from __future__ import annotations

import asyncio
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ztcli import parsing, ready, runner
from ztcli.binding import CONTEXT, bind, new_app
from ztcli.environment import Environment
from ztcli.exit_codes import CommandError, ExitCode, UsageProblem
from ztcli.options import Settings
from ztcli.output.messages import Progress
from ztcli.output.records import print_event, print_record
from ztcli.ready import ReadyFd, ReadyFile

Text = str | None
LAB_POOL = "10.147.20.0/24"


@dataclass(frozen=True, slots=True)
class UpOptions:
    """Options of zt lab up."""

    env: Annotated[
        bool, typer.Option("--env", help="Print what to export for the lab that runs.")
    ] = False
    host: Annotated[str, typer.Option("--host", metavar="IP", help="Where the root is.")] = (
        "127.0.0.1"
    )
    port: Annotated[str, typer.Option("--port", help="Its UDP port; 0 picks one.")] = "0"
    pool: Annotated[str, typer.Option("--pool", metavar="CIDR", help="Addresses.")] = LAB_POOL
    private: Annotated[bool, typer.Option("--private", help="Members must be authorised.")] = False
    ready_file: ReadyFile = None
    ready_fd: ReadyFd = None


def up(env: Environment, settings: Settings, options: UpOptions) -> ExitCode:
    state = _folder(env, settings)
    if options.env:
        return _print_variables(env, settings, state)
    port = parsing.port(options.port, zero=True)
    ready.check(options.ready_fd)
    progress = Progress(env, settings)

    async def main() -> ExitCode:
        import ztstack

        lab = ztstack.Lab(
            state,
            host=options.host,
            port=port,
            pool=options.pool,
            private=options.private,
            progress=progress.tried,
        )
        try:
            details = await lab.start()
        finally:
            progress.clear()
        try:
            values: dict[str, object] = {
                "network": str(details.network),
                "planet": str(details.planet.absolute()),
                "root": str(details.root),
                "state": str(state.absolute()),
            }
            if settings.json:
                print_event(env, "ready", values)
            else:
                env.print(f"Network: {details.network}")
                env.print(f"Planet: {values['planet']}")
                env.print(f"Root: {details.root}")
                env.print(_hint(state, settings, env))
            ready.announce(env, values, options.ready_file, options.ready_fd)
            await asyncio.Event().wait()
        finally:
            ready.withdraw(options.ready_file)
            await lab.stop()
        return ExitCode.OK

    return runner.run(env, main, settings.total_timeout())


def _folder(env: Environment, settings: Settings) -> Path:
    """Return the lab's own folder: nodes of the same profile must find theirs free."""
    if settings.state is None:
        raise UsageProblem("a lab keeps its planet: name a directory with --state")
    default = env.state_folder(env.variables.get("ZT_PROFILE"))
    return env.state_folder("lab") if settings.state == default else settings.state


def _hint(state: Path, settings: Settings, env: Environment) -> str:
    own = f" --state {shlex.quote(str(state))}" if state != env.state_folder("lab") else ""
    del settings
    return f'eval "$(zt lab up{own} --env)"'


def _print_variables(env: Environment, settings: Settings, state: Path) -> ExitCode:
    planet = state / "planet"
    if not planet.is_file():
        raise CommandError(
            f"{state}: there is no lab", ExitCode.CANNOT_READ, "start it first: zt lab up &"
        )
    answer: dict[str, object] = {}

    async def main() -> ExitCode:
        import ztstack

        _, answer["networks"] = await ztstack.ask_controller(state, "GET", "/controller/network")
        return ExitCode.OK

    runner.run(env, main, settings.total_timeout(30.0))
    networks = answer.get("networks")
    if not isinstance(networks, list) or not networks:
        raise CommandError(f"{state}: the lab has no network", ExitCode.NETWORK_NOT_FOUND)
    network = str(networks[0])
    if settings.json:
        values: dict[str, object] = {"network": network, "planet": str(planet.absolute())}
        print_record(env, "lab", values)
        return ExitCode.OK
    env.print(f"export ZT_NETWORK={network}")
    env.print(f"export ZT_PLANET={shlex.quote(str(planet.absolute()))}")
    return ExitCode.OK


def _make() -> typer.Typer:
    app = new_app("A root, a controller and a network on this machine.")
    app.callback()(lambda: None)
    app.command("up", context_settings=CONTEXT)(
        bind("lab up", up, UpOptions, "Run a lab until a signal comes.")
    )
    return app


lab_app = _make()
