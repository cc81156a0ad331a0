"""zt controller and zt network: run a controller, manage its networks."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from ztcli import parsing, ready, runner
from ztcli.binding import CONTEXT, NoOptions, bind, new_app
from ztcli.environment import Environment
from ztcli.exit_codes import ExitCode, UsageProblem
from ztcli.options import Settings
from ztcli.output.messages import Progress
from ztcli.output.records import print_event, print_record
from ztcli.output.tables import print_table

Text = str | None
Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Options of zt controller run."""

    api_port: Annotated[
        int | None,
        typer.Option("--api-port", metavar="PORT", min=0, max=65535, help="JSON on 127.0.0.1."),
    ] = None
    ready_file: Annotated[Text, typer.Option("--ready-file", metavar="PATH")] = None
    ready_fd: Annotated[int | None, typer.Option("--ready-fd", metavar="N", min=0)] = None


@dataclass(frozen=True, slots=True)
class CreateOptions:
    """Options of zt network create."""

    name: Annotated[str, typer.Option("--name", help="What people call it.")] = ""
    pool: Annotated[
        list[str] | None, typer.Option("--pool", metavar="CIDR|FIRST-LAST", help="IPv4 to give.")
    ] = None
    public: Annotated[bool, typer.Option("--public", help="Everybody may join.")] = False
    no_rfc4193: Annotated[bool, typer.Option("--no-rfc4193", help="No derived IPv6.")] = False
    mtu: Annotated[int, typer.Option("--mtu", min=1280, max=10000)] = 2800


@dataclass(frozen=True, slots=True)
class NetworkOptions:
    """Options of zt network members."""

    network_id: Annotated[Text, typer.Argument(metavar="NWID", help="Or -n.")] = None


@dataclass(frozen=True, slots=True)
class MemberOptions:
    """Options of zt network authorize and deauthorize."""

    first: Annotated[str, typer.Argument(metavar="NWID")]
    second: Annotated[Text, typer.Argument(metavar="NODE")] = None


def run_controller(env: Environment, settings: Settings, options: RunOptions) -> ExitCode:
    state = _state(settings)
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
            moons=moons_of(settings),
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


def create(env: Environment, settings: Settings, options: CreateOptions) -> ExitCode:
    request: Answer = {
        "command": "create",
        "name": options.name,
        "private": not options.public,
        "pools": options.pool or [],
        "rfc4193": not options.no_rfc4193,
        "mtu": options.mtu,
    }
    network = _ask(env, settings, request)["network"]
    if settings.json:
        print_record(env, "network", network)
    else:
        env.print(network["id"])
    return ExitCode.OK


def list_networks(env: Environment, settings: Settings, _: NoOptions) -> ExitCode:
    networks = _ask(env, settings, {"command": "networks"})["networks"]
    if settings.json:
        print_record(env, "networks", {"networks": networks})
        return ExitCode.OK
    rows = [
        [
            network["id"],
            network["name"] or "-",
            "private" if network["private"] else "public",
            str(network["mtu"]),
            ",".join(network["pools"]) or "-",
        ]
        for network in networks
    ]
    print_table(env, ("NWID", "NAME", "TYPE", "MTU", "POOLS"), rows)
    return ExitCode.OK


def members(env: Environment, settings: Settings, options: NetworkOptions) -> ExitCode:
    request = {"command": "members", "network": _network(settings, options.network_id)}
    found = _ask(env, settings, request)["members"]
    if settings.json:
        print_record(env, "members", {"members": found})
        return ExitCode.OK
    rows = [
        [
            member["address"],
            "yes" if member["authorized"] else "no",
            member["version"] or "-",
            ",".join(member["addresses"]) or "-",
        ]
        for member in found
    ]
    print_table(env, ("NODE", "AUTHORIZED", "VER", "ADDRESSES"), rows)
    return ExitCode.OK


def authorize(env: Environment, settings: Settings, options: MemberOptions) -> ExitCode:
    return _change(env, settings, options, "authorize")


def deauthorize(env: Environment, settings: Settings, options: MemberOptions) -> ExitCode:
    return _change(env, settings, options, "deauthorize")


def _change(env: Environment, settings: Settings, options: MemberOptions, command: str) -> ExitCode:
    # With -n there is only one argument, the node.
    network, node = (
        (None, options.first)
        if options.second is None
        else (
            options.first,
            options.second,
        )
    )
    request = {
        "command": command,
        "network": _network(settings, network),
        "address": f"{parsing.node_id(node):010x}",
    }
    member = _ask(env, settings, request)["member"]
    if settings.json:
        print_record(env, "member", member)
    else:
        env.print(f"{member['address']} {'' if member['authorized'] else 'not '}authorized")
    return ExitCode.OK


def _network(settings: Settings, text: str | None) -> str:
    if text is not None:
        return parsing.network_text(text)
    if len(settings.networks) != 1:
        raise UsageProblem("the network is missing: give its id")
    return settings.networks[0]


def _ask(env: Environment, settings: Settings, request: Answer) -> Answer:
    state = _state(settings)

    async def main() -> ExitCode:
        import ztstack

        answer.update(await ztstack.ask_controller(state, request))
        return ExitCode.OK

    answer: Answer = {}
    runner.run(env, main, settings.total_timeout(30.0))
    return answer


def _state(settings: Settings) -> Path:
    if settings.state is None:
        raise UsageProblem("a controller keeps its networks: name a directory with --state")
    return settings.state


def _make_controller_app() -> typer.Typer:
    app = new_app("Run a network controller.")
    app.callback()(lambda: None)
    app.command("run", context_settings=CONTEXT)(
        bind("controller run", run_controller, RunOptions, "Run it until a signal comes.")
    )
    return app


def _make_network_app() -> typer.Typer:
    app = new_app("Manage the networks of the controller whose state directory this is.")
    app.command("create", context_settings=CONTEXT)(
        bind("network create", create, CreateOptions, "Make a network; print its id.")
    )
    app.command("list", context_settings=CONTEXT)(
        bind("network list", list_networks, NoOptions, "Print the networks.")
    )
    app.command("members", context_settings=CONTEXT)(
        bind("network members", members, NetworkOptions, "Print who asked to join.")
    )
    app.command("authorize", context_settings=CONTEXT)(
        bind("network authorize", authorize, MemberOptions, "Let a node in.")
    )
    app.command("deauthorize", context_settings=CONTEXT)(
        bind("network deauthorize", deauthorize, MemberOptions, "Put a node out.")
    )
    return app


controller_app = _make_controller_app()
network_app = _make_network_app()
