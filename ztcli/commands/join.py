"""zt join and zt ip: become a member, print what the network gave us."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated

import typer

from ztcli import names, ready, runner
from ztcli.binding import single
from ztcli.engine import Engine
from ztcli.environment import Environment
from ztcli.exit_codes import CommandError, ExitCode, UsageProblem
from ztcli.options import Settings
from ztcli.output.records import print_event, print_record
from ztcli.ready import ReadyFd, ReadyFile
from ztcli.services import HEALTH_HELP, with_health

Text = str | None


class Form(StrEnum):
    """What join prints."""

    IP = "ip"
    JSON = "json"
    ENV = "env"


@dataclass(frozen=True, slots=True)
class JoinOptions:
    """Options of zt join."""

    networks: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ALIAS=]NWID...", help="Beside --network; a name is kept."),
    ] = None
    once: Annotated[bool, typer.Option("--once", help="Join, print, exit.")] = False
    print: Annotated[Form | None, typer.Option("--print", help="Print only this.")] = None
    ready_file: ReadyFile = None
    ready_fd: ReadyFd = None
    health: Annotated[Text, typer.Option("--health", metavar="[HOST:]PORT", help=HEALTH_HELP)] = (
        None
    )


@dataclass(frozen=True, slots=True)
class IpOptions:
    """Options of zt ip."""

    ipv4: Annotated[bool, typer.Option("-4", help="IPv4 only.")] = False
    ipv6: Annotated[bool, typer.Option("-6", help="IPv6 only.")] = False
    all: Annotated[bool, typer.Option("--all", help="Every address; the default.")] = False


def join(env: Environment, settings: Settings, options: JoinOptions) -> ExitCode:
    named = [names.named_network(text, settings.names) for text in options.networks or []]
    everything = tuple(dict.fromkeys((*settings.networks, *(network for _, network, _ in named))))
    settings = with_health(replace(settings, networks=everything), options.health)
    settings = replace(settings, serves="" if options.once else "zt join")
    _remember(settings, {alias: network for alias, network, _ in named if alias})
    ready.check(options.ready_fd)

    async def main() -> ExitCode:
        async with env.engine(settings) as engine:
            await engine.join()
            try:
                _tell(env, settings, options, engine)
                if not options.once:
                    await asyncio.Event().wait()
            finally:
                if not options.once:
                    ready.withdraw(options.ready_file)
        return ExitCode.OK

    return runner.run(env, main, settings.total_timeout())


def _remember(settings: Settings, named: Mapping[str, str]) -> None:
    """Keep the names at once: who is not let in yet comes again by the name."""
    for alias, network in named.items():
        known = settings.names.networks.get(alias, network)
        if known != network:
            raise UsageProblem(f"{alias} is the network {known}", "see: zt network alias")
    if settings.state is None:
        return
    kept = names.load(settings.state)
    changed = replace(
        kept,
        networks={**kept.networks, **named},
        left=tuple(one for one in kept.left if one not in settings.networks),
    )
    if changed != kept:
        names.save(settings.state, changed)


def _tell(env: Environment, settings: Settings, options: JoinOptions, engine: Engine) -> None:
    addresses = _ordered(engine.addresses())
    values: dict[str, object] = {
        "state": str(settings.state) if settings.state is not None else None,
        "node": engine.node_id,
        "networks": engine.networks,
        "addresses": addresses,
    }
    form = Form.JSON if settings.json and options.print is None else options.print
    match form:
        case Form.JSON:
            print_record(env, "join", values)
        case Form.IP:
            for address in addresses:
                env.print(address)
        case Form.ENV:
            for line in _variables(settings, engine, addresses):
                env.print(line)
        case None:
            state = settings.state if settings.state is not None else "(none kept)"
            env.print(f"State: {state}")
            env.print(f"NodeId: {engine.node_id}")
            for line in engine.extra_lines:
                env.print(line)
            env.print("Managed IPs:")
            for address in addresses:
                env.print(f"  {address}")
    if settings.json and options.print is None and not options.once:
        print_event(env, "ready", values)
    ready.announce(env, values, options.ready_file, options.ready_fd)


def _variables(settings: Settings, engine: Engine, addresses: list[str]) -> list[str]:
    lines = [f"export ZT_NODE={engine.node_id}"]
    lines.append(f"export ZT_NETWORK={','.join(engine.networks)}")
    lines.append(f"export ZT_ADDRESSES={','.join(addresses)}")
    if settings.state is not None:
        lines.append(f"export ZT_STATE={quoted(str(settings.state))}")
    return lines


def quoted(text: str) -> str:
    """Quote a text for a POSIX shell."""
    import shlex

    return shlex.quote(text)


def _ordered(addresses: list[str]) -> list[str]:
    return sorted(addresses, key=lambda address: ":" in address)


def ip(env: Environment, settings: Settings, options: IpOptions) -> ExitCode:
    if options.ipv4 and options.ipv6:
        raise UsageProblem("-4 and -6 exclude each other")

    async def main() -> ExitCode:
        async with env.engine(settings) as engine:
            await engine.join()
            found = _ordered(engine.addresses())
        wanted = 4 if options.ipv4 else 6 if options.ipv6 else 0
        if wanted:
            found = [text for text in found if ipaddress.ip_address(text).version == wanted]
        if not found:
            raise CommandError("no address was assigned", ExitCode.NETWORK_NOT_FOUND)
        if settings.json:
            print_record(env, "ip", {"addresses": found})
        else:
            for text in found:
                env.print(text)
        return ExitCode.OK

    return runner.run(env, main, settings.total_timeout())


join_app = single("join", join, JoinOptions, "Join networks, print what they gave us.")
ip_app = single("ip", ip, IpOptions, "Print this node's addresses.")
