"""The options that every command takes, and what they mean together."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Final, Self

import typer

from ztcli import parsing
from ztcli.exit_codes import UsageProblem
from ztcli.multipath import Multipath, multipath
from ztcli.names import Names

JOIN_TIMEOUT_S: Final = 60.0
CONNECT_TIMEOUT_S: Final = 30.0
LINGER_S: Final = 5.0
_NODE: Final = "Node"
_OUTPUT: Final = "Output"
_OVERLAY: Final = "Overlay stack"
_MULTIPATH: Final = "Multipath"

_PROFILE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")

Text = str | None
Flag = bool | None
Texts = list[str] | None


@dataclass(frozen=True, slots=True)
class Common:
    """The options as they were written, before or after the command's name."""

    network: Annotated[
        Texts,
        typer.Option(
            "--network",
            "-n",
            metavar="NWID",
            help="Network to use; may be repeated.",
            rich_help_panel=_NODE,
        ),
    ] = None
    state: Annotated[
        Text,
        typer.Option("--state", metavar="PATH", help="State directory.", rich_help_panel=_NODE),
    ] = None
    profile: Annotated[
        Text, typer.Option("--profile", metavar="NAME", help="Selects the state directory.")
    ] = None
    ephemeral: Annotated[
        Flag, typer.Option("--ephemeral", help="Keep nothing; a fresh identity.")
    ] = None
    identity_file: Annotated[
        Text, typer.Option("--identity-file", metavar="PATH|-", help="Use this secret identity.")
    ] = None
    stack: Annotated[
        Text,
        typer.Option("--stack", metavar="NAME", help="managed (zerotier, libzt) or overlay."),
    ] = None
    planet: Annotated[Text, typer.Option("--planet", metavar="FILE", help="Private roots.")] = None
    bind_udp: Annotated[
        Texts, typer.Option("--bind-udp", metavar="IP[:PORT]", help="Physical UDP sockets.")
    ] = None
    timeout: Annotated[
        Text, typer.Option("--timeout", metavar="DUR", help="Limit of the whole command.")
    ] = None
    join_timeout: Annotated[
        Text, typer.Option("--join-timeout", metavar="DUR", help="Until an address is usable.")
    ] = None
    connect_timeout: Annotated[
        Text, typer.Option("--connect-timeout", metavar="DUR", help="Until a peer answers.")
    ] = None
    wait_auth: Annotated[
        Text, typer.Option("--wait-auth", metavar="DUR", help="Keep asking while denied.")
    ] = None
    insecure_state: Annotated[
        Flag, typer.Option("--insecure-state", help="Accept an identity that others can read.")
    ] = None
    json: Annotated[Flag, typer.Option("--json", help="Output for machines.")] = None
    quiet: Annotated[int, typer.Option("--quiet", "-q", count=True, help="Say less.")] = 0
    verbose: Annotated[int, typer.Option("--verbose", "-v", count=True, help="Say more.")] = 0
    color: Annotated[
        Text, typer.Option("--color", metavar="WHEN", help="auto, always or never.")
    ] = None
    no_cache: Annotated[
        Flag, typer.Option("--no-cache", help="Begin without what the controller said before.")
    ] = None
    no_progress: Annotated[Flag, typer.Option("--no-progress", help="No progress line.")] = None
    trace: Annotated[Flag, typer.Option("--trace", help="Python tracebacks on errors.")] = None
    multipath: Annotated[Flag, typer.Option("--multipath", help="Several paths to one peer.")] = (
        None
    )
    mp_bond: Annotated[
        Text, typer.Option("--mp-bond", metavar="POLICY", help="Bonding policy.")
    ] = None
    mp_udp_sockets: Annotated[
        Text, typer.Option("--mp-udp-sockets", metavar="N", help="UDP sockets, 1 to 8.")
    ] = None
    mp_udp_ports: Annotated[
        Text, typer.Option("--mp-udp-ports", metavar="P1,P2", help="Their ports.")
    ] = None
    mp_warmup_root: Annotated[
        Text,
        typer.Option("--mp-warmup-root", metavar="BOOL", help="Send doubtful packets twice."),
    ] = None
    mp_bind: Annotated[
        Text, typer.Option("--mp-bind", metavar="IP,IP", help="Local addresses of the sockets.")
    ] = None
    transport: Annotated[
        Text, typer.Option("--transport", metavar="NAME", help="Overlay: osudp or inmem.")
    ] = None
    udp_port: Annotated[
        Text, typer.Option("--udp-port", metavar="PORT", help="Overlay: local UDP port.")
    ] = None
    advertise: Annotated[
        Text, typer.Option("--advertise", metavar="IP[:PORT]", help="Overlay: told to peers.")
    ] = None
    peer: Annotated[
        Texts, typer.Option("--peer", metavar="NODEID@IP:PORT", help="Overlay: a known peer.")
    ] = None
    map_ip: Annotated[
        Texts, typer.Option("--map-ip", metavar="IP=NODEID", help="Overlay: address book.")
    ] = None
    config: Annotated[
        Text,
        typer.Option(
            "--config", metavar="PATH|none", help="Default: config.toml where settings are kept."
        ),
    ] = None
    agent: Annotated[
        Text,
        typer.Option(
            "--agent", metavar="HOW", help="Use the node that runs already: auto, never, require."
        ),
    ] = None
    moon: Annotated[
        Texts,
        typer.Option(
            "--moon",
            metavar="ID@SEED",
            help="Orbit a moon, of which SEED is a root; may be repeated.",
            rich_help_panel=_NODE,
        ),
    ] = None
    root_hint: Annotated[
        Texts,
        typer.Option("--root-hint", metavar="ID@IP:PORT", help="Try a root or peer there too."),
    ] = None
    relay: Annotated[
        Text,
        typer.Option(
            "--relay",
            metavar="HOW",
            help="TCP relay: auto (where UDP is blocked), off, or tcp://HOST:PORT instead of UDP.",
            rich_help_panel=_NODE,
        ),
    ] = None
    port_mapping: Annotated[
        Flag,
        typer.Option(
            "--port-mapping/--no-port-mapping",
            help="Ask the router for a port (UPnP), so that strangers reach this node.",
            rich_help_panel=_NODE,
        ),
    ] = None
    upstream_proxy: Annotated[
        Text,
        typer.Option(
            "--upstream-proxy",
            metavar="URL",
            help="A proxy on the way to the TCP relay: http://HOST:PORT or socks5h://.",
        ),
    ] = None
    authorize: Annotated[
        Flag,
        typer.Option("--authorize", help="Let this node in, by the controller's interface."),
    ] = None
    token_file: Annotated[
        Text,
        typer.Option("--token-file", metavar="FILE|-", help="Its token; or in ZT_TOKEN."),
    ] = None
    controller: Annotated[
        Text,
        typer.Option("--controller", metavar="URL", help="Where it is; default: Central."),
    ] = None
    log_file: Annotated[
        Text, typer.Option("--log-file", metavar="PATH", help="What stderr would be told.")
    ] = None
    log_format: Annotated[
        Text, typer.Option("--log-format", metavar="KIND", help="text or json.")
    ] = None
    pcap: Annotated[
        Text,
        typer.Option("--pcap", metavar="FILE", help="Capture the frames of the networks."),
    ] = None
    pcap_wire: Annotated[
        Text,
        typer.Option("--pcap-wire", metavar="FILE", help="Capture what crosses the UDP sockets."),
    ] = None

    def merged(self, later: Self) -> Self:
        """Return these options overridden by those after the command's name."""
        values: dict[str, object] = {}
        for entry in fields(self):
            before, after = getattr(self, entry.name), getattr(later, entry.name)
            if entry.name in ("quiet", "verbose"):
                values[entry.name] = before + after
            else:
                values[entry.name] = before if after is None or after == [] else after
        return type(self)(**values)  # type: ignore[arg-type]

    def without(self, names: Iterable[str]) -> Self:
        """Return these options with the named ones as if they were not given."""
        return replace(self, **dict.fromkeys(names))  # type: ignore[arg-type]

    def texts(self, name: str) -> list[str]:
        """Return a repeatable option; commas separate as well, as in environment variables."""
        values: list[str] = getattr(self, name) or []
        return [part.strip() for value in values for part in value.split(",") if part.strip()]


@dataclass(frozen=True, slots=True)
class Settings:
    """The options, checked: what a command and its engine work with."""

    networks: tuple[str, ...] = ()
    state: Path | None = None
    identity_file: str = ""
    insecure_state: bool = False
    use_cache: bool = True
    stack: str = "managed"
    planet: Path | None = None
    bind: tuple[tuple[str, int], ...] = ()
    relay: tuple[str, int] | None = None
    relay_off: bool = False
    upstream_proxy: parsing.Proxy | None = None
    hints: tuple[tuple[int, str, int], ...] = ()
    port_mapping: bool = False
    moons: tuple[tuple[int, int], ...] = ()
    timeout: float | None = None
    has_timeout: bool = False
    join_timeout: float | None = JOIN_TIMEOUT_S
    connect_timeout: float | None = CONNECT_TIMEOUT_S
    wait_auth: float = 0.0
    json: bool = False
    quiet: int = 0
    verbose: int = 0
    progress: bool = True
    trace: bool = False
    transport: str = "osudp"
    udp_port: int = 0
    advertise: tuple[str, int] | None = None
    peers: tuple[parsing.OverlayPeer, ...] = ()
    addresses: tuple[tuple[str, int], ...] = ()
    multipath: Multipath | None = None
    names: Names = field(default_factory=Names)
    authorize: bool = False
    controller: str = ""
    token_file: str = ""
    health: tuple[str, int] | None = None
    pcap: Path | None = None
    pcap_wire: Path | None = None
    agent: str = "auto"
    serves: str = ""
    """The command that others may ride on, if it is one that stays."""
    warnings: tuple[str, ...] = field(default=())

    @property
    def is_overlay(self) -> bool:
        return self.stack == "overlay"

    def total_timeout(self, default: float | None = None) -> float | None:
        return self.timeout if self.has_timeout else default


def settings(common: Common, default_state: Path, names: Names | None = None) -> Settings:
    """Check the options against one another; nothing is loaded and nothing is sent."""
    names = names or Names()
    _check_words(common)
    stack = parsing.stack(common.stack) if common.stack is not None else "managed"
    warnings = []
    networks = []
    for text in common.texts("network"):
        network, is_decimal = names.network(text)
        networks.append(network)
        if is_decimal:
            warnings.append(f"network {text} was read as decimal: {network}")
        if stack == "overlay":
            continue
        parsing.check_controller(network, text)
        is_short = text not in names.networks and len(text) < len(network)
        if is_short and not is_decimal and text[:2].lower() != "0x":
            warnings.append(f"network {text} has less than sixteen digits: {network}")
    if common.ephemeral and common.state is not None:
        raise UsageProblem("--ephemeral keeps nothing, --state names where to keep it: choose")
    if common.profile is not None and not _PROFILE.fullmatch(common.profile):
        raise UsageProblem(
            f"a profile is named by letters, digits, - and _, not {common.profile!r}"
        )
    state = Path(common.state) if common.state is not None else default_state
    transport = (common.transport or "osudp").lower()
    if transport not in ("osudp", "inmem"):
        raise UsageProblem(f"--transport is osudp or inmem, not {common.transport!r}")
    bonded = _multipath(common)
    _check_stack(common, stack)
    if common.pcap and common.pcap == common.pcap_wire:
        raise UsageProblem("--pcap and --pcap-wire are of two kinds: name two files")
    udp_port = parsing.port(common.udp_port, zero=True) if common.udp_port is not None else 0
    return Settings(
        networks=tuple(dict.fromkeys(networks)),
        state=None if common.ephemeral else state,
        identity_file=common.identity_file or "",
        insecure_state=bool(common.insecure_state),
        use_cache=not common.no_cache,
        stack=stack,
        planet=Path(common.planet) if common.planet else None,
        bind=tuple(parsing.physical(text) for text in common.texts("bind_udp")),
        relay=parsing.relay(common.relay) if common.relay else None,
        relay_off=(common.relay or "").lower() == "off",
        upstream_proxy=_upstream_proxy(common),
        hints=tuple(parsing.root_hint(text) for text in common.texts("root_hint")),
        port_mapping=bool(common.port_mapping),
        moons=tuple(parsing.moon(text) for text in common.texts("moon")),
        timeout=parsing.duration(common.timeout) if common.timeout is not None else None,
        has_timeout=common.timeout is not None,
        join_timeout=_duration(common.join_timeout, JOIN_TIMEOUT_S),
        connect_timeout=_duration(common.connect_timeout, CONNECT_TIMEOUT_S),
        wait_auth=_duration(common.wait_auth, 0.0) or 0.0,
        json=bool(common.json),
        quiet=common.quiet,
        verbose=common.verbose,
        progress=not common.no_progress and not common.quiet,
        trace=bool(common.trace),
        transport=transport,
        udp_port=udp_port,
        advertise=parsing.physical(common.advertise) if common.advertise else None,
        peers=tuple(parsing.overlay_peer(text) for text in common.texts("peer")),
        addresses=tuple(parsing.ip_mapping(text) for text in common.texts("map_ip")),
        multipath=bonded,
        names=names,
        authorize=bool(common.authorize),
        controller=common.controller or "",
        token_file=common.token_file or "",
        pcap=Path(common.pcap) if common.pcap else None,
        pcap_wire=Path(common.pcap_wire) if common.pcap_wire else None,
        agent=(common.agent or "auto").lower(),
        warnings=tuple(warnings),
    )


def _duration(text: str | None, default: float | None) -> float | None:
    return parsing.duration(text) if text is not None else default


def _check_words(common: Common) -> None:
    for name, value, allowed in (
        ("--color", common.color, ("auto", "always", "never")),
        ("--agent", common.agent, ("auto", "never", "require")),
    ):
        if value is not None and value.lower() not in allowed:
            raise UsageProblem(f"{name} is {', '.join(allowed)}, not {value!r}")


def _upstream_proxy(common: Common) -> parsing.Proxy | None:
    if common.upstream_proxy is None:
        return None
    if (common.relay or "").lower() == "off":
        raise UsageProblem("--upstream-proxy leads to the TCP relay, and --relay is off: choose")
    return parsing.upstream_proxy(common.upstream_proxy)


def _multipath(common: Common) -> Multipath | None:
    """Check every value first, so that a wrong one is named, and then what it goes with."""
    found = multipath(
        wanted=bool(common.multipath),
        bond=common.mp_bond,
        sockets=common.mp_udp_sockets,
        ports=common.mp_udp_ports,
        warmup_root=common.mp_warmup_root,
        bind=common.mp_bind,
    )
    if found is None:
        return None
    if common.bind_udp and (found.ports is not None or found.bind):
        raise UsageProblem("--bind-udp and --mp-udp-sockets, -ports, --mp-bind: choose")
    if common.relay is not None and parsing.relay(common.relay) is not None:
        raise UsageProblem("--relay leaves UDP out, --multipath is about UDP: choose")
    return found


OF_MANAGED: Final = (
    *("planet", "identity_file", "moon", "root_hint", "upstream_proxy", "port_mapping"),
    *("pcap", "pcap_wire", "multipath"),
    *("mp_bond", "mp_udp_sockets", "mp_udp_ports", "mp_warmup_root", "mp_bind"),
)
OF_OVERLAY: Final = ("transport", "udp_port", "advertise", "peer", "map_ip")


def foreign(common: Common) -> tuple[str, ...]:
    """Return the options that are of the stack which is not in use."""
    stack = parsing.stack(common.stack) if common.stack is not None else "managed"
    return OF_MANAGED if stack == "overlay" else OF_OVERLAY


def _check_stack(common: Common, stack: str) -> None:
    for name in foreign(common):
        if getattr(common, name) not in (None, [], False):
            option = f"--{name.replace('_', '-')}"
            if stack == "overlay":
                raise UsageProblem(f"{option} belongs to the managed stack, not to the overlay")
            raise UsageProblem(f"{option} belongs to --stack overlay")
    if stack == "overlay" and parsing.relay(common.relay or "off") is not None:
        raise UsageProblem("--relay belongs to the managed stack, not to the overlay")
