"""zt host and zt network alias: names that only this machine knows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ztcli import names
from ztcli.binding import CONTEXT, NoOptions, bind, new_app
from ztcli.environment import Environment
from ztcli.exit_codes import ExitCode, UsageProblem
from ztcli.options import Settings
from ztcli.output.records import print_record
from ztcli.output.tables import print_table


@dataclass(frozen=True, slots=True)
class AddOptions:
    """Options of zt host add."""

    name: Annotated[str, typer.Argument(metavar="NAME")]
    address: Annotated[str, typer.Argument(metavar="ADDR", help="An IP address or a node id.")]


@dataclass(frozen=True, slots=True)
class RemoveOptions:
    """Options of zt host rm."""

    name: Annotated[str, typer.Argument(metavar="NAME")]


@dataclass(frozen=True, slots=True)
class AliasOptions:
    """Options of zt network alias."""

    name: Annotated[str | None, typer.Argument(metavar="NAME", help="None: print them.")] = None
    network_id: Annotated[str | None, typer.Argument(metavar="NWID")] = None
    rm: Annotated[bool, typer.Option("--rm", help="Take the name away.")] = False


def folder(settings: Settings) -> Path:
    """Return where names are kept."""
    if settings.state is None:
        raise UsageProblem("--ephemeral keeps no names; write them into the config file")
    return settings.state


def add(env: Environment, settings: Settings, options: AddOptions) -> ExitCode:
    state = folder(settings)
    kept = names.load(state)
    changed = kept.with_host(options.name, options.address)
    name = options.name.lower()
    if settings.names.hosts.get(name, "") != kept.hosts.get(name, ""):
        raise UsageProblem(f"{name}: the config file says what it is", "change it there")
    names.save(state, changed)
    return _tell(env, settings, name, changed.hosts[name])


def remove(env: Environment, settings: Settings, options: RemoveOptions) -> ExitCode:
    state = folder(settings)
    kept = names.load(state)
    name = options.name.lower()
    if name not in kept.hosts:
        is_in_file = name in settings.names.hosts
        hint = "it is in the config file: remove it there" if is_in_file else "see: zt host list"
        raise UsageProblem(f"{name}: no host was added under this name", hint)
    names.save(state, kept.without_host(name))
    return _tell(env, settings, name, "")


def _tell(env: Environment, settings: Settings, name: str, address: str) -> ExitCode:
    if settings.json:
        print_record(env, "host", {"name": name, "address": address or None})
    else:
        env.print(f"{name} {address or 'removed'}")
    return ExitCode.OK


def list_hosts(env: Environment, settings: Settings, _: NoOptions) -> ExitCode:
    found = sorted(settings.names.hosts.items())
    if settings.json:
        values = [{"name": name, "address": address} for name, address in found]
        print_record(env, "hosts", {"hosts": values})
    else:
        print_table(env, ("NAME", "ADDRESS"), [list(pair) for pair in found])
    return ExitCode.OK


def alias(env: Environment, settings: Settings, options: AliasOptions) -> ExitCode:
    if options.name is None:
        found = sorted(settings.names.networks.items())
        if settings.json:
            values = [{"alias": name, "network": network} for name, network in found]
            print_record(env, "aliases", {"aliases": values})
        else:
            print_table(env, ("ALIAS", "NWID"), [list(pair) for pair in found])
        return ExitCode.OK
    state = folder(settings)
    kept = names.load(state)
    name = options.name
    if settings.names.networks.get(name, "") != kept.networks.get(name, ""):
        raise UsageProblem(f"{name}: the config file says which network it is", "change it there")
    if options.rm:
        if name not in kept.networks:
            raise UsageProblem(f"{name}: no network has this name", "see: zt network alias")
        others = {key: value for key, value in kept.networks.items() if key != name}
        names.save(state, names.Names(others, kept.hosts, kept.left))
        return _tell_alias(env, settings, name, "")
    text = options.network_id
    if text is None and len(settings.networks) != 1:
        raise UsageProblem("the network is missing: give its id")
    network = settings.names.network(text)[0] if text is not None else settings.networks[0]
    names.save(state, kept.with_network(name, network))
    return _tell_alias(env, settings, name, network)


def _tell_alias(env: Environment, settings: Settings, name: str, network: str) -> ExitCode:
    if settings.json:
        print_record(env, "alias", {"alias": name, "network": network or None})
    else:
        env.print(f"{name} {network or 'removed'}")
    return ExitCode.OK


def _make() -> typer.Typer:
    app = new_app("Names for hosts of a network, asked before its DNS.")
    commands = (
        ("add", add, AddOptions, "Give a name to an address or a node."),
        ("rm", remove, RemoveOptions, "Take a name away."),
        ("list", list_hosts, NoOptions, "Print the names."),
    )
    for name, run, kind, summary in commands:
        callback = bind(f"host {name}", run, kind, summary)  # type: ignore[arg-type]  # each run takes its own kind
        app.command(name, context_settings=CONTEXT)(callback)
    return app


host_app = _make()
