"""zt relay run: a TCP relay of one's own, for nodes whose UDP is blocked."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated

import typer

from ztcli import parsing, ready, runner
from ztcli.binding import CONTEXT, bind, new_app
from ztcli.environment import Environment
from ztcli.exit_codes import ExitCode
from ztcli.options import Settings
from ztcli.output.records import print_event
from ztcli.ready import ReadyFd, ReadyFile
from ztcli.specs import pair

Text = str | None


@dataclass(frozen=True, slots=True)
class RelayOptions:
    """Options of zt relay run."""

    listen: Annotated[
        str, typer.Option("--listen", metavar="[IP:]PORT", help="TCP address of this machine.")
    ] = "0.0.0.0:443"
    max_conns: Annotated[int, typer.Option("--max-conns", min=1, help="Nodes at once.")] = 1024
    ready_file: ReadyFile = None
    ready_fd: ReadyFd = None


def run(env: Environment, settings: Settings, options: RelayOptions) -> ExitCode:
    text = f"0.0.0.0:{options.listen}" if options.listen.isdigit() else options.listen
    place = parsing.host_port(text, zero=True)
    ready.check(options.ready_fd)

    async def main() -> ExitCode:
        import ztstack

        server = ztstack.RelayServer(*place, max_clients=options.max_conns)
        await server.start()
        try:
            values: dict[str, object] = {"mode": "relay", "host": server.ip, "port": server.port}
            if settings.json:
                print_event(env, "ready", values)
            else:
                env.print(f"Relay: tcp://{pair(server.ip, server.port)}")
            env.warn(settings, f"nodes use it with: --relay tcp://HOST:{server.port}")
            ready.announce(env, values, options.ready_file, options.ready_fd)
            await asyncio.Event().wait()
        finally:
            await server.stop()
            ready.withdraw(options.ready_file)
            if settings.verbose:
                env.say(f"{server.outward} datagrams were relayed, {server.refused} refused")
        return ExitCode.OK

    return runner.run(env, main, settings.total_timeout())


relay_app = new_app("Run a TCP relay.")
relay_app.callback()(lambda: None)
relay_app.command("run", context_settings=CONTEXT)(
    bind("relay run", run, RelayOptions, "Carry nodes whose UDP is blocked, until a signal comes.")
)
