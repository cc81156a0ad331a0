"""The engine over the overlay."""

from __future__ import annotations

import contextlib
import ipaddress
from dataclasses import asdict, replace
from types import TracebackType
from typing import Final, Self

import overlay
import ztstack
from overlay.builtin import BUILTIN_NAME, BUILTIN_NODE, BuiltinPeer
from ztcli.boundary import code_of
from ztcli.engine import Datagrams, Listener, NetCheck, Pong, Stream
from ztcli.environment import Environment
from ztcli.exit_codes import CommandError, UsageProblem
from ztcli.options import Settings

_LOOPBACK: Final = (("127.0.0.1", 0), ("::1", 0))


class OverlayStream:
    """A stream of the overlay under the names that commands use."""

    path = "direct"

    def __init__(self, stream: overlay.Stream) -> None:
        self.network_name = stream.network
        self.local = stream.local
        self.remote = stream.remote
        self.remote_name = stream.remote_node
        self.receive_views = stream.receive_views
        self.receive = stream.receive
        self.send = stream.send
        self.send_eof = stream.send_eof
        self.wait_sent = stream.wait_sent
        self.close = stream.close
        self.abort = stream.abort


class _Listener:
    def __init__(self, listener: overlay.Listener) -> None:
        self._listener = listener
        self.close = listener.close

    @property
    def port(self) -> int:
        return self._listener.port

    @property
    def addresses(self) -> list[tuple[str, int]]:
        return self._listener.addresses

    async def accept(self) -> Stream:
        return OverlayStream(await self._listener.accept())


class OverlayEngine:
    """A node of the overlay, made from the settings of one command."""

    def __init__(self, env: Environment, settings: Settings) -> None:
        if len(settings.networks) > 1:
            raise UsageProblem("the overlay takes one network: -n NWID")
        networks = tuple(int(network, 16) for network in settings.networks)
        if not networks and settings.state is not None:
            networks = tuple(overlay.kept_networks(settings.state))
        if not networks:
            raise UsageProblem(
                "no network is named", "name one with -n NWID, or export ZT_NETWORK=NWID"
            )
        self._env = env
        self._settings = settings
        self._in_memory = settings.transport == "inmem"
        self._node = overlay.Node(_config(settings, networks, in_memory=self._in_memory))
        self._builtin: BuiltinPeer | None = None
        if self._in_memory:
            self._warn_of_sockets()
            self._node.book.add(BUILTIN_NAME, BUILTIN_NODE)
            self._builtin = BuiltinPeer(overlay.SHARED, self._node.config.networks)

    async def __aenter__(self) -> Self:
        try:
            await self._node.start()
        except overlay.StateInUse as error:
            if not self._is_default_state():
                raise
            # Two commands on one machine are what the overlay is for: one takes another id.
            self._env.warn(self._settings, f"warning: {error}; using a fresh node id")
            self._node = overlay.Node(replace(self._node.config, state=None))
            await self._node.start()
        if self._builtin is not None:
            try:
                await self._builtin.start()
            except overlay.PortInUse:
                self._builtin = None  # Another command of this process has brought it.
            except BaseException:
                await self._node.stop()
                raise
        return self

    def _warn_of_sockets(self) -> None:
        """Say which settings have nothing to act on: a command line may be tried in memory."""
        settings = self._settings
        given = {
            "--udp-port": settings.udp_port,
            "--bind-udp": settings.bind,
            "--advertise": settings.advertise,
            "--peer": settings.peers,
        }
        idle = ", ".join(option for option, value in given.items() if value)
        if idle:
            self._env.warn(settings, f"warning: in memory there are no sockets for {idle}")

    def _is_default_state(self) -> bool:
        profile = self._env.variables.get("ZT_PROFILE")
        return self._settings.state == self._env.state_folder(profile)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._node.stop()
        if self._builtin is not None:
            await self._builtin.stop()

    @property
    def node_id(self) -> str:
        return self._node.address

    @property
    def networks(self) -> list[str]:
        return self._node.networks

    @property
    def extra_lines(self) -> list[str]:
        lines = [f"Local UDP: {_text(place)}" for place in self._node.locals]
        if self._in_memory:
            lines.append(f"Built-in peer: {BuiltinPeer.address}")
        return lines

    async def join(self) -> None:
        """Return at once: nobody admits a node to the overlay."""

    async def wait_online(self) -> None:
        """Return at once: the overlay has no roots."""

    def addresses(self) -> list[str]:
        return self._node.addresses()

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
        if family or source is not None:
            raise UsageProblem("-4, -6 and --source mean nothing in the overlay")
        try:
            stream = await self._node.connect(host, port, timeout, source_port=source_port)
        except (overlay.NameNotResolved, overlay.Unreachable) as error:
            if not self._in_memory:
                raise
            hint = f"in memory nobody answers but {BUILTIN_NAME} ({BuiltinPeer.address})"
            raise CommandError(str(error), code_of(error), hint) from error
        return OverlayStream(stream)

    async def listen(self, port: int, host: str | None = None) -> Listener:
        return _Listener(await self._node.listen(port, self._own(host)))

    async def datagram(self, port: int = 0, host: str | None = None) -> Datagrams:
        return await self._node.datagram(port, self._own(host))

    def _own(self, host: str | None) -> str | None:
        """Return a host of ours as it is; others are refused."""
        with contextlib.suppress(overlay.NameNotResolved):
            if host is None or self._node.book.resolve(host) == int(self.node_id, 16):
                return host
        raise UsageProblem(f"{host}: is not an address of this node")

    async def ping(self, target: str, timeout: float | None, *, icmp: bool, size: int) -> Pong:
        if icmp:
            raise UsageProblem("the overlay has no ICMP", "zt ping NODEID works there")
        found = await self._node.echo(target, timeout, size)
        path = f"{found.place[0]}/{found.place[1]}"
        return Pong(found.node, "", found.rtt_ms, "direct", path, "")

    async def netcheck(self) -> NetCheck:
        raise UsageProblem("the overlay stack has no roots to check")

    async def status(self) -> dict[str, object]:
        found = self._node.status()
        return {
            "node": found.node,
            "online": True,
            "version": overlay.__name__,
            "transport": self._settings.transport,
            "planet": "",
            "local": [f"{host}/{port}" for host, port in found.local],
            "networks": [_network(network, found.node) for network in found.networks],
            "peers": [_peer(peer) for peer in found.peers],
            "drops": found.drops,
            "bonds": [],
        }


# What the managed stack tells, as far as it means something here.


def _network(network: str, node: str) -> dict[str, object]:
    number = ztstack.NetworkId.parse(network)
    report = ztstack.NetworkReport(
        number, "", "OK", "", is_public=True, mac="", mtu=0, addresses=(node,), routes=()
    )
    return {**asdict(report), "network": network}


def _peer(peer: overlay.PeerStatus) -> dict[str, object]:
    host, port = peer.place
    report = ztstack.PeerReport(
        address=ztstack.Address.parse(peer.node),
        role="leaf",
        version=str(peer.version),
        latency_ms=-1,
        link="direct",
        paths=(f"{host}/{port}",),
        last_seen_ms=-1 if peer.seen_s is None else int(peer.seen_s * 1000),
        sent_bytes=peer.sent_bytes,
        received_bytes=peer.received_bytes,
    )
    return {**asdict(report), "address": peer.node}


def _config(
    settings: Settings, networks: tuple[int, ...], *, in_memory: bool
) -> overlay.NodeConfig:
    config = overlay.NodeConfig(
        networks=networks,
        state=settings.state,
        memory=overlay.SHARED if in_memory else None,
        udp_port=settings.udp_port,
        bind=settings.bind,
        advertise=settings.advertise,
        peers={peer.node: (peer.host, peer.port) for peer in settings.peers},
        addresses=dict(settings.addresses),
    )
    if not in_memory:
        for host, _ in config.peers.values():
            _check_reach(config, f"--peer {host}", host)
        if config.advertise is not None:
            host, _ = config.advertise
            _check_reach(config, f"--advertise {host}", host)
    return config


def _check_reach(config: overlay.NodeConfig, option: str, host: str) -> None:
    """Refuse what the sockets that are bound cannot do: nobody outside is met by accident."""
    place = ipaddress.ip_address(host)
    bound = [ipaddress.ip_address(one) for one, _ in config.bind or _LOOPBACK]
    usable = [one for one in bound if one.version == place.version]
    anywhere = "0.0.0.0" if place.version == 4 else "::"  # noqa: S104 - advice
    hint = f"to open it to others: --bind-udp {anywhere}"
    if not usable:
        raise UsageProblem(f"{option}: no IPv{place.version} socket is to be bound", hint)
    if not place.is_loopback and all(one.is_loopback for one in usable):
        raise UsageProblem(f"{option} is not on this machine, and the overlay binds loopback", hint)


def _text(place: tuple[str, int]) -> str:
    host, port = place
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
