"""zt controller: run a controller."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated

import typer

from ztcli import ready, runner
from ztcli.binding import CONTEXT, bind, new_app
from ztcli.commands.network_api import state_of
from ztcli.environment import Environment
from ztcli.exit_codes import ExitCode
from ztcli.options import Settings
from ztcli.output.messages import Progress
from ztcli.output.records import print_event
from ztcli.ready import ReadyFd, ReadyFile

Text = str | None


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Options of zt controller run."""

    api_port: Annotated[
        int | None,
        typer.Option("--api-port", metavar="PORT", min=0, max=65535, help="JSON on 127.0.0.1."),
    ] = None
    ready_file: ReadyFile = None
    ready_fd: ReadyFd = None


def run_controller(env: Environment, settings: Settings, options: RunOptions) -> ExitCode:
    state = state_of(settings)
    ready.check(options.ready_fd)
    progress = Progress(env, settings)

    async def main() -> ExitCode:
        import ztstack
        from ztcli.engine_stack import moons_of, read_planet, relay_of

        config = ztstack.NodeConfig(
            state=state,
            planet=read_planet(settings.planet) if settings.planet is not None else None,
            bind=tuple(ztstack.Endpoint.parse(f"{host}/{port}") for host, port in settings.bind),
            controller=ztstack.controller_store(state),
            insecure_state=settings.insecure_state,
            relay=relay_of(settings),
            force_relay=settings.relay is not None,
            port_mapping=settings.port_mapping,
            moons=moons_of(settings),
            capture=ztstack.CaptureFiles(settings.pcap, settings.pcap_wire),
            progress=progress.tried,
        )
        running = ztstack.ControllerService(config, state, api_port=options.api_port)
        try:
            await running.start()
        finally:
            progress.clear()
        try:
            status = running.service.status()
            values: dict[str, object] = {
                "node": str(status.address),
                "local": list(status.local),
                "networks": [str(record.id) for record in running.controller.networks()],
            }
            if running.api is not None:
                values["api"] = f"http://127.0.0.1:{running.api.port}/controller"
            if settings.json:
                print_event(env, "ready", values)
            else:
                env.print(f"Controller: {status.address} on {', '.join(status.local)}")
                if running.api is not None:
                    env.print(f"API: {values['api']} (token in {state / 'authtoken.secret'})")
            ready.announce(env, values, options.ready_file, options.ready_fd)
            await asyncio.Event().wait()
        finally:
            ready.withdraw(options.ready_file)
            await running.stop()
        return ExitCode.OK

    return runner.run(env, main, settings.total_timeout())


def _make_controller_app() -> typer.Typer:
    app = new_app("Run a network controller.")
    app.callback()(lambda: None)
    app.command("run", context_settings=CONTEXT)(
        bind("controller run", run_controller, RunOptions, "Run it until a signal comes.")
    )
    return app


controller_app = _make_controller_app()
