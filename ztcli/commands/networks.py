"""zt networks and zt leave: the memberships of a state directory."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from ztcli import names
from ztcli.agent_wire import ask, bound_path, is_supported
from ztcli.binding import NoOptions, single
from ztcli.environment import Environment
from ztcli.exit_codes import ExitCode, UsageProblem
from ztcli.options import Settings
from ztcli.output.records import print_record
from ztcli.output.tables import print_table

_HEAD = ("ALIAS", "NWID", "NAME", "STATUS", "TYPE", "MTU", "ADDRESSES", "ROUTES", "DNS")

Network = dict[str, Any]


@dataclass(frozen=True, slots=True)
class LeaveOptions:
    """Options of zt leave."""

    network_id: Annotated[str, typer.Argument(metavar="NWID|ALIAS")]
    forget: Annotated[
        bool, typer.Option("--forget", help="Its name, settings and that it was there, too.")
    ] = False


def networks(env: Environment, settings: Settings, _: NoOptions) -> ExitCode:
    found = _found(settings)
    if settings.json:
        print_record(env, "networks", {"networks": found})
        return ExitCode.OK
    rows = [
        [
            network["alias"] or "-",
            network["network"],
            network["name"] or "-",
            network["status"],
            network["type"] or "-",
            str(network["mtu"] or "-"),
            ",".join(network["addresses"]) or "-",
            ",".join(network["routes"]) or "-",
            " ".join([network["dns_domain"], *network["dns_servers"]]).strip() or "-",
        ]
        for network in found
    ]
    print_table(env, _HEAD, rows)
    return ExitCode.OK


def _found(settings: Settings) -> list[Network]:
    """Return the memberships, and what was one or has a name."""
    known = settings.names
    found = _overlay_members(settings) if settings.is_overlay else _members(settings)
    members = {network["network"] for network in found}
    others = dict.fromkeys((*known.left, *known.networks.values()))
    for network in others:
        if network not in members:
            status = "left" if network in known.left else "not joined"
            found.append(_empty(known.alias(network), network, status))
    return found


def _overlay_members(settings: Settings) -> list[Network]:
    import overlay

    kept = overlay.kept_networks(settings.state) if settings.state is not None else []
    names = [f"{network:016x}" for network in kept]
    return [_empty(settings.names.alias(name), name, "OK") for name in names]


def _members(settings: Settings) -> list[Network]:
    import ztstack

    known = settings.names
    kept = ztstack.kept_networks(settings.state) if settings.state is not None else []
    return [
        {
            "alias": known.alias(str(one.network)),
            "network": str(one.network),
            "name": one.name,
            "status": one.status,
            "type": _type(one),
            "mtu": one.mtu,
            "addresses": sorted(one.addresses, key=lambda address: ":" in address),
            "routes": list(one.routes),
            "dns_domain": one.dns_domain,
            "dns_servers": list(one.dns_servers),
        }
        for one in kept
    ]


def _type(one: Any) -> str:  # noqa: ANN401 - the class is loaded by the caller
    if not one.mtu:
        return ""
    return "public" if one.is_public else "private"


def _empty(alias: str, network: str, status: str) -> Network:
    return {
        "alias": alias,
        "network": network,
        "name": "",
        "status": status,
        "type": "",
        "mtu": 0,
        "addresses": [],
        "routes": [],
        "dns_domain": "",
        "dns_servers": [],
    }


def leave(env: Environment, settings: Settings, options: LeaveOptions) -> ExitCode:
    if settings.state is None:
        raise UsageProblem("--ephemeral keeps no memberships: there is nothing to leave")
    network, _ = settings.names.network(options.network_id)
    kept = names.load(settings.state)
    was_member = _forget(settings, settings.state, network)
    is_known = network in kept.left or network in kept.networks.values()
    if not was_member and not (options.forget and is_known):
        raise UsageProblem(f"this node is no member of {network}", "see: zt networks")
    changed = kept.without_network(network) if options.forget else kept.with_left(network)
    if changed != kept:
        names.save(settings.state, changed)
    if settings.json:
        print_record(env, "leave", {"network": network, "forgotten": options.forget})
    else:
        env.print(f"{network} {'forgotten' if options.forget else 'left'}")
    return ExitCode.OK


def _left_by_agent(state: Path, network: str) -> bool:
    """Have the node that runs leave, if it is an agent's; False if none runs."""
    path = bound_path(state) if is_supported() else None
    if path is None:
        return False
    return asyncio.run(ask(path, "leave", {"network": network})) is not None


def _forget(settings: Settings, state: Path, network: str) -> bool:
    """Leave, by the agent if one runs; False if there is nothing to leave."""
    if settings.is_overlay:
        import overlay

        return overlay.forget_network(state, int(network, 16))
    import ztstack

    parsed = ztstack.NetworkId.parse(network)
    was_member = any(one.network == parsed for one in ztstack.kept_networks(state))
    if was_member and not _left_by_agent(state, network):
        ztstack.forget_network(state, parsed)
    return was_member


networks_app = single("networks", networks, NoOptions, "Print the networks, left ones too.")
leave_app = single("leave", leave, LeaveOptions, "Leave a network; its name is kept.")
