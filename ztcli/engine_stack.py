"""The engine over ztstack: a whole ZeroTier node in this process."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import ztstack
from ztcli.engine import Datagrams, Listener, NetCheck, Pong, RootCheck, Stream
from ztcli.environment import Environment
from ztcli.exit_codes import CommandError, ExitCode, UsageProblem
from ztcli.options import Settings
from ztcli.output.messages import Progress
from ztcli.stages import told_stages

FOREVER_S: Final = 10.0 * 365 * 86400
_NETWORK_ID: Final = re.compile(r"[0-9a-f]{16}")


class StackStream:
    """A stream of the stack under the names that commands use."""

    def __init__(self, stream: ztstack.Stream) -> None:
        self._stream = stream
        self.local = stream.local
        self.remote = stream.remote
        self.receive_views = stream.receive_views
        self.receive = stream.receive
        self.send = stream.send
        self.send_eof = stream.send_eof
        self.wait_sent = stream.wait_sent
        self.close = stream.close
        self.abort = stream.abort

    @property
    def remote_name(self) -> str:
        node = self._stream.remote_node
        return str(node) if node is not None else ""

    @property
    def path(self) -> str:
        return self._stream.path

    @property
    def network_name(self) -> str:
        return str(self._stream.network)


class StackListener:
    """A listener of the stack; what it accepts has the names that commands use."""

    def __init__(self, listener: ztstack.Listener) -> None:
        self._listener = listener
        self.close = listener.close

    @property
    def port(self) -> int:
        return self._listener.port

    @property
    def addresses(self) -> list[tuple[str, int]]:
        return self._listener.addresses

    async def accept(self) -> Stream:
        return StackStream(await self._listener.accept())


def read_planet(path: Path) -> bytes:
    """Read a planet file; the content is checked by the node."""
    try:
        with path.open("rb") as stream:
            return stream.read(1 << 20)
    except OSError as error:
        raise CommandError(f"--planet {path}: {error.strerror}", ExitCode.CANNOT_READ) from error


class StackEngine:
    """A node made from the settings of one command."""

    def __init__(self, env: Environment, settings: Settings) -> None:
        self._settings = settings
        self._env = env
        self._networks = settings.networks or _remembered(settings.state)
        self._progress = Progress(env, settings)
        relay = relay_of(settings)
        self._node = ztstack.Node(
            ztstack.NodeConfig(
                networks=tuple(ztstack.NetworkId.parse(text) for text in self._networks),
                state=settings.state,
                identity=self._identity(),
                planet=read_planet(settings.planet) if settings.planet is not None else None,
                bind=tuple(_endpoint(host, port) for host, port in settings.bind),
                insecure_state=settings.insecure_state,
                use_cache=settings.use_cache,
                relay=relay,
                force_relay=settings.relay is not None,
                proxy=proxy_of(settings),
                port_mapping=settings.port_mapping,
                moons=moons_of(settings),
                hints=tuple(
                    (ztstack.Address(node), _endpoint(host, port))
                    for node, host, port in settings.hints
                ),
                multipath=multipath_of(settings),
                capture=ztstack.CaptureFiles(settings.pcap, settings.pcap_wire),
                progress=self._progress.tried,
            )
        )

    def _identity(self) -> ztstack.Identity | None:
        settings = self._settings
        text = self._env.variables.get("ZT_IDENTITY_SECRET", "")
        if settings.identity_file == "-":
            with open(self._env.stdin, "rb", closefd=False) as stream:
                text = stream.read(4096).decode("ascii", "replace")
        elif settings.identity_file:
            path = Path(settings.identity_file)
            try:
                mode = path.stat().st_mode
                text = path.read_text("ascii", "replace")[:4096]
            except OSError as error:
                raise CommandError(f"{path}: {error.strerror}", ExitCode.BAD_IDENTITY) from error
            if mode & 0o077 and not settings.insecure_state:
                raise CommandError(
                    f"{path}: can be read by others", ExitCode.BAD_IDENTITY, f"chmod 600 {path}"
                )
        if not text:
            return None
        try:
            identity = ztstack.Identity.parse(text)
        except ValueError as error:
            raise CommandError(f"the identity given: {error}", ExitCode.BAD_IDENTITY) from None
        identity.validate()
        identity.check_keys()
        return identity

    async def __aenter__(self) -> Self:
        if self._settings.state is None:
            self._env.warn(self._settings, "ephemeral: nothing of this node is kept")
        try:
            await self._node.start()
        finally:
            self._progress.clear()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._node.stop()

    @property
    def node(self) -> ztstack.Node:
        return self._node

    @property
    def node_id(self) -> str:
        return str(self._node.address)

    @property
    def networks(self) -> list[str]:
        return list(self._networks)

    @property
    def extra_lines(self) -> list[str]:
        return []

    async def join(self) -> None:
        settings = self._settings
        if not self._networks:
            raise UsageProblem(
                "no network is named", "name one with -n NWID, or export ZT_NETWORK=NWID"
            )
        await self.join_more(self._networks, settings.join_timeout, settings.wait_auth)

    def leave(self, network: str) -> None:
        """Leave a network that was joined."""
        self._node.leave(network)
        self._networks = tuple(one for one in self._networks if one != network)

    async def join_more(
        self, networks: Sequence[str], timeout: float | None, wait_auth: float
    ) -> None:
        """Join networks that may be others than those of the settings."""
        settings = self._settings
        for network in networks:
            with told_stages(self._env, settings, self._progress, network, self._node.status):
                await self._node.join(
                    network, timeout if timeout is not None else FOREVER_S, wait_auth
                )
            if network not in self._networks:
                self._networks = (*self._networks, network)
            if settings.verbose:
                found = ", ".join(self._node.addresses(network))
                self._env.say(f"joined {network} as {self._node.address}: {found}")

    async def wait_online(self) -> None:
        await self._node.online()

    def addresses(self) -> list[str]:
        return self._node.addresses()

    def addresses_of(self, network: str) -> list[str]:
        return self._node.addresses(network)

    async def connect(
        self,
        host: str,
        port: int,
        timeout: float | None,
        *,
        family: int = 0,
        source: str | None = None,
        source_port: int = 0,
    ) -> Stream:
        return StackStream(
            await self._node.connect(
                host, port, timeout, family=family, source=source, source_port=source_port
            )
        )

    async def listen(self, port: int, host: str | None = None) -> Listener:
        return StackListener(await self._node.listen(port, host))

    async def datagram(self, port: int = 0, host: str | None = None) -> Datagrams:
        return await self._node.datagram(port, host)

    async def ping(self, target: str, timeout: float | None, *, icmp: bool, size: int) -> Pong:
        ask = self._node.ping if icmp else self._node.echo
        found = await ask(target, timeout, size)
        return Pong(
            node=str(found.node) if found.node is not None else "",
            ip=found.ip,
            rtt_ms=found.rtt_ms,
            link=found.link,
            path=found.path,
            relay=str(found.relay) if found.relay is not None else "",
        )

    async def netcheck(self) -> NetCheck:
        found = self._node.net_report()
        return NetCheck(
            udp=found.udp,
            ipv4=found.ipv4,
            ipv6=found.ipv6,
            nat=found.nat.value,
            external=found.external,
            port_mapping=found.port_mapping,
            tcp_relay=found.tcp_relay,
            tcp_relay_state=found.tcp_relay_state,
            roots=tuple(
                RootCheck(
                    str(root.address),
                    root.link,
                    root.latency_ms,
                    root.path,
                    root.seen_as,
                    root.clock_skew_ms,
                )
                for root in found.roots
            ),
        )

    async def status(self) -> dict[str, object]:
        """Return a snapshot; its keys are those of `zt status --json`."""
        if self._node.status().online:
            # What was kept may be out of date, and the controller is about to answer.
            await self._node.refreshed()
        status = self._node.status()
        return {
            "node": str(status.address),
            "online": status.online,
            "version": status.version,
            "planet": status.planet,
            "local": list(status.local),
            "networks": [
                {**asdict(report), "network": str(report.network)} for report in status.networks
            ],
            "peers": [
                {**asdict(report), "address": str(report.address)} for report in status.peers
            ],
            "drops": status.drops,
            "bonds": [bond.values() for bond in status.bonds],
        }


def moons_of(settings: Settings) -> tuple[tuple[int, ztstack.Address], ...]:
    """Return the moons that are to be orbited, and their seeds."""
    return tuple((moon, ztstack.Address(seed)) for moon, seed in settings.moons)


def multipath_of(settings: Settings) -> ztstack.Multipath | None:
    """Return what is wanted of several paths; None leaves it to the state directory."""
    wanted = settings.multipath
    if wanted is None:
        return None
    return ztstack.Multipath(
        policy=ztstack.BondPolicy(wanted.policy) if wanted.policy is not None else None,
        ports=wanted.ports or (),
        bind=tuple(ipaddress.ip_address(ip).packed for ip in wanted.bind),
        warmup_root=wanted.warmup_root,
    )


def proxy_of(settings: Settings) -> ztstack.UpstreamProxy | None:
    """Return the proxy that leads to the relay."""
    found = settings.upstream_proxy
    if found is None:
        return None
    return ztstack.UpstreamProxy(found.scheme, found.host, found.port, found.user, found.password)


def relay_of(settings: Settings) -> ztstack.Endpoint | None:
    """Return the relay that is to be used, its name resolved by this machine."""
    if settings.relay is None:
        return None if settings.relay_off else ztstack.NodeConfig().relay
    host, port = settings.relay
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise CommandError(f"--relay {host}: {error.strerror}", ExitCode.NOT_RESOLVED) from error
    return _endpoint(str(found[0][4][0]).partition("%")[0], port)


def _remembered(state: Path | None) -> tuple[str, ...]:
    """Return the networks that a state directory was a member of."""
    if state is None:
        return ()
    names = sorted(path.stem for path in (state / "networks.d").glob("*.conf"))
    return tuple(name for name in names if _NETWORK_ID.fullmatch(name))


def _endpoint(host: str, port: int) -> ztstack.Endpoint:
    return ztstack.Endpoint.parse(f"{host}/{port}")
