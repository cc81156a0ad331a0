"""zt network: manage the networks of a controller."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from ztcli import parsing
from ztcli.binding import CONTEXT, bind, new_app
from ztcli.commands.host import AliasOptions, alias
from ztcli.commands.network_api import Asker, Json, Where
from ztcli.controller_api import read_text
from ztcli.environment import Environment
from ztcli.exit_codes import ExitCode, UsageProblem
from ztcli.options import Settings
from ztcli.output.records import print_record
from ztcli.output.tables import print_table

Text = str | None
Texts = list[str] | None
_NETWORKS = "/controller/network"
_POOL = typer.Option("--pool", metavar="CIDR|FIRST-LAST", help="Addresses to give, and a route.")


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateOptions(Where):
    """Options of zt network create."""

    name: Annotated[str, typer.Option("--name", help="What people call it.")] = ""
    pool: Annotated[Texts, _POOL] = None
    public: Annotated[bool, typer.Option("--public", help="Everybody may join.")] = False
    no_rfc4193: Annotated[bool, typer.Option("--no-rfc4193", help="No derived IPv6.")] = False
    sixplane: Annotated[bool, typer.Option("--6plane", help="An IPv6 /80 for each.")] = False
    mtu: Annotated[int, typer.Option("--mtu", min=1280, max=10000, help="The largest packet.")] = (
        2800
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SetOptions(Where):
    """Options of zt network set; what is not named stays."""

    network_id: Annotated[Text, typer.Argument(metavar="NWID", help="Or -n.")] = None
    name: Annotated[Text, typer.Option("--name", help="What people call it.")] = None
    private: Annotated[bool | None, typer.Option("--private/--public", help="Who may join.")] = None
    mtu: Annotated[
        int | None, typer.Option("--mtu", min=1280, max=10000, help="The largest packet.")
    ] = None
    pool: Annotated[Texts, _POOL] = None
    route: Annotated[
        Texts, typer.Option("--route", metavar="CIDR[,VIA]", help="All routes; replaces them.")
    ] = None
    dns: Annotated[
        Text, typer.Option("--dns", metavar="DOMAIN,IP,...", help="What members may ask.")
    ] = None
    rfc4193: Annotated[
        bool | None, typer.Option("--rfc4193/--no-rfc4193", help="A derived IPv6 address.")
    ] = None
    sixplane: Annotated[
        bool | None, typer.Option("--6plane/--no-6plane", help="An IPv6 /80 for each.")
    ] = None
    broadcast: Annotated[
        bool | None, typer.Option("--broadcast/--no-broadcast", help="Broadcasts go to all.")
    ] = None
    multicast_limit: Annotated[
        int | None, typer.Option("--multicast-limit", min=0, help="To how many a multicast goes.")
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkOptions(Where):
    """Options of what is about one network."""

    network_id: Annotated[Text, typer.Argument(metavar="NWID", help="Or -n.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberOptions(Where):
    """Options of zt network deauthorize."""

    first: Annotated[str, typer.Argument(metavar="NWID")]
    second: Annotated[Text, typer.Argument(metavar="NODE")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizeOptions(MemberOptions):
    """Options of zt network authorize."""

    name: Annotated[Text, typer.Option("--name", help="What people call it.")] = None
    ip: Annotated[Texts, typer.Option("--ip", metavar="IP", help="Its addresses.")] = None
    bridge: Annotated[
        bool | None, typer.Option("--bridge/--no-bridge", help="It may bring devices of its own.")
    ] = None
    tag: Annotated[
        Texts, typer.Option("--tag", metavar="ID=VALUE", help="All its tags; replaces them.")
    ] = None
    capability: Annotated[
        list[int] | None, typer.Option("--capability", metavar="ID", min=0, help="All it may use.")
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesOptions(Where):
    """Options of zt network rules."""

    first: Annotated[str, typer.Argument(metavar="NWID")]
    second: Annotated[Text, typer.Argument(metavar="FILE|-", help="Rules as text or JSON.")] = None


@dataclass(frozen=True, slots=True)
class AdhocOptions:
    """Options of zt network adhoc."""

    ports: Annotated[str, typer.Argument(metavar="START-END", help="TCP ports that are open.")]


def create(env: Environment, settings: Settings, options: CreateOptions) -> ExitCode:
    import ztstack

    modes = {"rfc4193": not options.no_rfc4193, "6plane": options.sixplane}
    pools = ztstack.address_pools(options.pool or [])
    body: Json = {
        "name": options.name,
        "private": not options.public,
        "mtu": options.mtu,
        **pools,
        "v6AssignMode": {**modes, "zt": _gives_ipv6(pools)},
    }
    network = Asker(env, settings, options).ask("POST", _NETWORKS, body)
    return _tell(env, settings, "network", network, network["id"])


def set_network(env: Environment, settings: Settings, options: SetOptions) -> ExitCode:
    asker, path = Asker(env, settings, options), _path(settings, options.network_id)
    named = {
        "name": options.name,
        "private": options.private,
        "mtu": options.mtu,
        "enableBroadcast": options.broadcast,
        "multicastLimit": options.multicast_limit,
    }
    body: Json = {key: value for key, value in named.items() if value is not None}
    if options.dns is not None:
        domain, *servers = options.dns.split(",")
        body["dns"] = {"domain": domain, "servers": servers}
    addresses = (options.pool, options.route, options.rfc4193, options.sixplane)
    if any(value is not None for value in addresses):
        body |= _addressing(asker.ask("GET", path), options)
    if not body:
        raise UsageProblem("nothing is to be changed: name a setting, as --mtu 1400")
    network = asker.ask("POST", path, body)
    return _tell(env, settings, "network", network, _description(network))


def _addressing(network: Json, options: SetOptions) -> Json:
    """Return what changes of pools, routes and modes in a network as it is now."""
    import ztstack

    modes = {**network["v6AssignMode"]}
    if options.rfc4193 is not None:
        modes["rfc4193"] = options.rfc4193
    if options.sixplane is not None:
        modes["6plane"] = options.sixplane
    body: Json = {}
    routes = network["routes"]
    if options.route is not None:
        routes = [_route(text) for text in options.route]
    if options.pool is not None:
        pools = ztstack.address_pools(options.pool)
        body |= pools
        modes["zt"] = _gives_ipv6(pools)
        targets = [route["target"] for route in routes]
        added: Any = pools["routes"]
        routes = [*routes, *(route for route in added if route["target"] not in targets)]
    return {**body, "routes": routes, "v6AssignMode": modes}


def _route(text: str) -> Json:
    target, _, via = text.partition(",")
    return {"target": target, "via": via or None}


def _gives_ipv6(pools: dict[str, Any]) -> bool:
    return any(":" in pool["ipRangeStart"] for pool in pools["ipAssignmentPools"])


def list_networks(env: Environment, settings: Settings, where: Where) -> ExitCode:
    asker = Asker(env, settings, where)
    status, answer = asker.attempt("GET", f"/unstable{_NETWORKS}")
    if status == 200:
        networks = answer["data"]
    else:  # Official controllers before 1.12 have only the ids.
        networks = [
            asker.ask("GET", f"{_NETWORKS}/{network}") for network in asker.ask("GET", _NETWORKS)
        ]
    if settings.json:
        print_record(env, "networks", {"networks": networks})
        return ExitCode.OK
    rows = [
        [
            network["id"],
            network["name"] or "-",
            "private" if network["private"] else "public",
            str(network["mtu"]),
            ",".join(_pools(network)) or "-",
        ]
        for network in networks
    ]
    print_table(env, ("NWID", "NAME", "TYPE", "MTU", "POOLS"), rows)
    return ExitCode.OK


def show(env: Environment, settings: Settings, options: NetworkOptions) -> ExitCode:
    network = Asker(env, settings, options).ask("GET", _path(settings, options.network_id))
    return _tell(env, settings, "network", network, _description(network))


def _tell(env: Environment, settings: Settings, kind: str, values: Json, said: str) -> ExitCode:
    """Print the whole record for a machine, a few words for a person."""
    if settings.json:
        print_record(env, kind, values)
    else:
        env.print(said)
    return ExitCode.OK


def _description(network: Json) -> str:
    v6 = network["v6AssignMode"]
    modes = [*(["v4"] if network["v4AssignMode"].get("zt") else [])]
    modes += [
        name for name, key in (("v6", "zt"), ("rfc4193",) * 2, ("6plane",) * 2) if v6.get(key)
    ]
    dns = network.get("dns") or {}
    routes = [
        route["target"] + (f" via {route['via']}" if route.get("via") else "")
        for route in network["routes"]
    ]
    lines = {
        "Network": network["id"],
        "Name": network["name"] or "-",
        "Type": "private" if network["private"] else "public",
        "MTU": network["mtu"],
        "Pools": ", ".join(_pools(network)) or "-",
        "Assigned": ", ".join(modes) or "-",
        "Routes": ", ".join(routes) or "-",
        "DNS": " ".join([dns.get("domain", ""), *dns.get("servers", [])]).strip() or "-",
        "Broadcast": "yes" if network["enableBroadcast"] else "no",
        "Rules": len(network["rules"]),
        "Revision": network["revision"],
    }
    return "\n".join(f"{name}: {value}" for name, value in lines.items())


def _pools(network: Json) -> list[str]:
    return [f"{p['ipRangeStart']}-{p['ipRangeEnd']}" for p in network["ipAssignmentPools"]]


def delete(env: Environment, settings: Settings, options: NetworkOptions) -> ExitCode:
    network = Asker(env, settings, options).ask("DELETE", _path(settings, options.network_id))
    return _tell(env, settings, "network", network, f"{network['id']} deleted")


def members(env: Environment, settings: Settings, options: NetworkOptions) -> ExitCode:
    asker, path = Asker(env, settings, options), f"{_path(settings, options.network_id)}/member"
    status, answer = asker.attempt("GET", f"/unstable{path}")
    if status == 200:
        found = answer["data"]
    else:
        found = [asker.ask("GET", f"{path}/{address}") for address in asker.ask("GET", path)]
    if settings.json:
        print_record(env, "members", {"members": found})
        return ExitCode.OK
    rows = [
        [
            member["address"],
            "yes" if member["authorized"] else "no",
            _version(member),
            ",".join(member["ipAssignments"]) or "-",
        ]
        for member in found
    ]
    print_table(env, ("NODE", "AUTHORIZED", "VER", "ADDRESSES"), rows)
    return ExitCode.OK


def _version(member: Json) -> str:
    parts = [member[key] for key in ("vMajor", "vMinor", "vRev")]
    return "-" if min(parts) < 0 else ".".join(str(part) for part in parts)


def authorize(env: Environment, settings: Settings, options: AuthorizeOptions) -> ExitCode:
    named = {
        "name": options.name,
        "ipAssignments": options.ip,
        "activeBridge": options.bridge,
        "tags": None if options.tag is None else [_tag(text) for text in options.tag],
        "capabilities": options.capability,
    }
    body = {key: value for key, value in named.items() if value is not None}
    return _change(env, settings, options, {"authorized": True, **body})


def _tag(text: str) -> list[int]:
    pair = [part.strip() for part in text.split("=")]
    if len(pair) != 2 or not all(part.isdecimal() and part.isascii() for part in pair):
        raise UsageProblem(f"a tag is like 1000=2, not {text!r}")
    return [int(part) for part in pair]


def deauthorize(env: Environment, settings: Settings, options: MemberOptions) -> ExitCode:
    asker = Asker(env, settings, options)
    network, _ = _two(settings, options)
    if not asker.ask("GET", f"{_NETWORKS}/{network}")["private"]:
        raise UsageProblem(
            f"network {network} is public: everybody is a member; make a private network",
            f"zt network set {network} --private",
        )
    return _change(env, settings, options, {"authorized": False})


def _change(env: Environment, settings: Settings, options: MemberOptions, body: Json) -> ExitCode:
    asker = Asker(env, settings, options)
    network, node = _two(settings, options)
    path = f"{_NETWORKS}/{network}/member/{parsing.node_id(node):010x}"
    asker.ask("GET", f"{_NETWORKS}/{network}")  # Official controllers take members of nothing.
    if not body["authorized"]:
        asker.ask("GET", path)
    member = asker.ask("POST", path, body)
    said = f"{member['address']} {'' if member['authorized'] else 'not '}authorized"
    return _tell(env, settings, "member", member, said)


def rules(env: Environment, settings: Settings, options: RulesOptions) -> ExitCode:
    asker = Asker(env, settings, options)
    path = _path(settings, options.first)
    if options.second is None:
        network = asker.ask("GET", path)
        if settings.json or not network.get("rulesSource"):
            keys = ("rules", "capabilities", "tags")
            env.print(json.dumps({key: network[key] for key in keys}, indent=1))
        else:
            env.print(network["rulesSource"].rstrip("\n"))
        return ExitCode.OK
    network = asker.ask("POST", path, _rules_of(env, options.second))
    counts = {key: len(network[key]) for key in ("rules", "capabilities", "tags")}
    said = ", ".join(f"{count} {name}" for name, count in counts.items())
    return _tell(env, settings, "network", network, said)


def _rules_of(env: Environment, name: str) -> Json:
    """Read a file: JSON if it begins like JSON, else the rules language."""
    import ztstack

    text = read_text(env, name)
    if text.lstrip()[:1] not in ("{", "["):
        try:
            return dict(ztstack.compile_rules(text))
        except ztstack.LocalError as error:
            raise UsageProblem(f"{name}: {error}") from None
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageProblem(f"{name}: is not JSON: {error}") from None
    if isinstance(data, list):
        return {"rules": data}
    # The official compiler writes the three inside "config".
    inner = data.get("config", data)
    found = {
        key: inner[key]
        for key in ("rules", "capabilities", "tags")
        if isinstance(inner, dict) and key in inner
    }
    if "rules" not in found:
        raise UsageProblem(f"{name}: has no rules")
    return found


def adhoc(env: Environment, settings: Settings, options: AdhocOptions) -> ExitCode:
    first, dash, last = options.ports.partition("-")
    ends = [text for text in (first, last or first) if text.isdecimal() and text.isascii()]
    start, end = (int(text) for text in ends) if len(ends) == 2 else (1, 0)
    if not 0 <= start <= end <= 0xFFFF or (dash and not last):
        raise UsageProblem(f"ports are like 22-22 or 8000-8080, not {options.ports!r}")
    network = f"ff{start:04x}{end:04x}000000"
    env.warn(settings, "everybody who knows this id is in the network: it is public")
    return _tell(env, settings, "network", {"id": network, "start": start, "end": end}, network)


def _two(settings: Settings, options: MemberOptions) -> tuple[str, str]:
    """Return network and node; with -n there is only one argument, the node."""
    if options.second is None:
        return _network(settings, None), options.first
    return _network(settings, options.first), options.second


def _network(settings: Settings, text: str | None) -> str:
    if text is not None:
        return settings.names.network(text)[0]
    if len(settings.networks) != 1:
        raise UsageProblem("the network is missing: give its id")
    return settings.networks[0]


def _path(settings: Settings, text: str | None) -> str:
    return f"{_NETWORKS}/{_network(settings, text)}"


def _make_network_app() -> typer.Typer:
    app = new_app("Manage the networks of a controller: the one of --state, or by --controller.")
    commands = (
        ("create", create, CreateOptions, "Make a network; print its id."),
        ("set", set_network, SetOptions, "Change a network; members hear of it at once."),
        ("list", list_networks, Where, "Print the networks."),
        ("info", show, NetworkOptions, "Print one network."),
        ("show", show, NetworkOptions, "The same as info."),
        ("delete", delete, NetworkOptions, "Forget a network and its members."),
        ("members", members, NetworkOptions, "Print who asked to join."),
        ("authorize", authorize, AuthorizeOptions, "Let a node in."),
        ("deauthorize", deauthorize, MemberOptions, "Put a node out."),
        ("rules", rules, RulesOptions, "Set the rules from a file; print them without one."),
        ("alias", alias, AliasOptions, "Name a network, or print the names."),
        ("adhoc", adhoc, AdhocOptions, "Print the id of a network that needs no controller."),
    )
    for name, run, kind, summary in commands:
        callback = bind(f"network {name}", run, kind, summary)  # type: ignore[arg-type]  # each run takes its own kind
        app.command(name, context_settings=CONTEXT)(callback)
    return app


network_app = _make_network_app()
