"""The engine over the legacy overlay."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import overlay
from ztcli.engine import Datagrams, Listener, NetCheck, Pong, Stream
from ztcli.exit_codes import UsageProblem
from ztcli.options import Settings


class OverlayStream:
    """A stream of the overlay under the names that commands use."""

    path = "direct"

    def __init__(self, stream: overlay.Stream, network_name: str) -> None:
        self.network_name = network_name
        self.local = stream.local
        self.remote = stream.remote
        self.remote_name = stream.remote[0]
        self.receive_views = stream.receive_views
        self.receive = stream.receive
        self.send = stream.send
        self.send_eof = stream.send_eof
        self.wait_sent = stream.wait_sent
        self.close = stream.close
        self.abort = stream.abort


class _Listener:
    def __init__(self, listener: overlay.OverlayListener, network_name: str) -> None:
        self._listener = listener
        self._network_name = network_name
        self.close = listener.close

    @property
    def port(self) -> int:
        return self._listener.port

    @property
    def addresses(self) -> list[tuple[str, int]]:
        return self._listener.addresses

    async def accept(self) -> Stream:
        return OverlayStream(await self._listener.accept(), self._network_name)


class OverlayEngine:
    """A node of the overlay, made from the settings of one command."""

    def __init__(self, settings: Settings) -> None:
        if len(settings.networks) != 1:
            raise UsageProblem("the overlay takes one network: -n NWID")
        if settings.planet is not None or settings.bind or settings.identity_file:
            raise UsageProblem(
                "--planet, --bind-udp and --identity-file belong to the managed stack"
            )
        self._network = settings.networks[0]
        self._settings = settings
        self._engine = overlay.OverlayEngine(
            overlay.OverlayConfig(
                network=int(self._network, 16),
                state=settings.state,
                in_memory=settings.transport == "inmem",
                udp_port=settings.udp_port,
                advertise=settings.advertise,
                peers={peer.node: (peer.host, peer.port) for peer in settings.peers},
                addresses=dict(settings.addresses),
            )
        )

    async def __aenter__(self) -> Self:
        await self._engine.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._engine.__aexit__(kind, error, trace)

    @property
    def node_id(self) -> str:
        return self._engine.node_id

    @property
    def networks(self) -> list[str]:
        return [self._network]

    @property
    def extra_lines(self) -> list[str]:
        return [f"Local UDP: {self._engine.local}"] if self._engine.local else []

    async def join(self) -> None:
        """Return at once: nobody admits a node to the overlay."""

    async def wait_online(self) -> None:
        """Return at once: the overlay has no roots."""

    def addresses(self) -> list[str]:
        return [self._engine.node_id]

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
        stream = await self._engine.connect(host, port, timeout, source_port)
        return OverlayStream(stream, self._network)

    async def listen(self, port: int, host: str | None = None) -> Listener:
        self._check_host(host)
        return _Listener(await self._engine.listen(port), self._network)

    async def datagram(self, port: int = 0, host: str | None = None) -> Datagrams:
        self._check_host(host)
        return await self._engine.datagram(port)

    def _check_host(self, host: str | None) -> None:
        if host is not None and host != self._engine.node_id:
            raise UsageProblem(f"{host}: is not an address of this node")

    async def ping(self, target: str, timeout: float | None, *, icmp: bool, size: int) -> Pong:
        del target, timeout, icmp, size
        raise UsageProblem("the overlay stack has no echo", "zt ping --tcp PORT works there")

    async def netcheck(self) -> NetCheck:
        raise UsageProblem("the overlay stack has no roots to check")

    async def status(self) -> dict[str, object]:
        known = self._engine.registry.known()
        return {
            "node": self._engine.node_id,
            "online": True,
            "version": overlay.__name__,
            "transport": self._settings.transport,
            "planet": "",
            "local": [self._engine.local] if self._engine.local else [],
            "networks": [
                {
                    "network": self._network,
                    "name": "",
                    "status": "OK",
                    "detail": "",
                    "addresses": [self._engine.node_id],
                    "routes": [],
                }
            ],
            "peers": [
                {
                    "address": f"{node:010x}",
                    "role": "leaf",
                    "version": "-",
                    "link": "direct",
                    "latency_ms": -1,
                    "paths": [f"{host}/{port}"],
                    "last_seen_ms": -1,
                }
                for node, (host, port) in known.items()
            ],
            "drops": {},
        }
