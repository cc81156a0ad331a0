"""Health over HTTP: /livez, /readyz and /metrics, for whoever watches over a process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Final, Self

import h11
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from ztcli import specs
from ztcli.engine import Engine, Stream
from ztcli.engine_around import EngineAround
from ztcli.environment import Environment
from ztcli.local import LocalListener
from ztcli.options import Settings

ASK_S: Final = 5.0
"""How long somebody may take to ask."""
MAX_AT_ONCE: Final = 16
_TEXT: Final = "text/plain; charset=utf-8"
_METRICS: Final = "text/plain; version=0.0.4; charset=utf-8"

Snapshot = dict[str, Any]


class HealthEngine(EngineAround):
    """An engine that tells over HTTP how its node is."""

    def __init__(
        self, inner: Engine, env: Environment, settings: Settings, place: tuple[str, int]
    ) -> None:
        super().__init__(inner)
        self._env = env
        self._settings = settings
        self._place = place
        self._listener = LocalListener()
        self._is_joined = False
        self._serving: asyncio.Task[None] | None = None
        self._gate = asyncio.Semaphore(MAX_AT_ONCE)
        self._running: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        # The port first: whether it is free is known before a node is started.
        await self._listener.start(*self._place)
        try:
            await super().__aenter__()
        except BaseException:
            self._listener.close()
            raise
        self._serving = asyncio.create_task(self._accept())
        place = specs.pair(*self._listener.addresses[0])
        self._env.warn(self._settings, f"Health: http://{place}/readyz")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await super().__aexit__(kind, error, trace)
        finally:
            self._listener.close()
            tasks = [*self._running, *([self._serving] if self._serving is not None else [])]
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)

    async def join(self) -> None:
        await super().join()
        self._is_joined = True

    async def _accept(self) -> None:
        while True:
            await self._gate.acquire()
            stream = await self._listener.accept()
            task = asyncio.create_task(self._serve(stream))
            self._running.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._gate.release()

    async def _serve(self, stream: Stream) -> None:
        """Answer one request; whoever asks wrongly or not at all is let go."""
        connection = h11.Connection(h11.SERVER)
        with contextlib.suppress(OSError, h11.ProtocolError):
            try:
                async with asyncio.timeout(ASK_S):
                    request = await _request(stream, connection)
                    if request is not None:
                        await self._answer(stream, connection, request)
                        await stream.send_eof()
            finally:
                await stream.close()

    async def _answer(
        self, stream: Stream, connection: h11.Connection, request: h11.Request
    ) -> None:
        status, kind, body = await self._page(request.target.decode("ascii", "replace"))
        if request.method not in (b"GET", b"HEAD"):
            status, kind, body = 405, _TEXT, b"GET or HEAD\n"
        headers = [
            ("Content-Type", kind),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
        ]
        parts = [connection.send(h11.Response(status_code=status, headers=headers))]
        if request.method != b"HEAD":
            parts.append(connection.send(h11.Data(data=body)))
        parts.append(connection.send(h11.EndOfMessage()))
        await stream.send(b"".join(part for part in parts if part))

    async def _page(self, target: str) -> tuple[int, str, bytes]:
        match target.partition("?")[0]:
            case "/livez":
                return 200, _TEXT, b"ok\n"
            case "/readyz":
                lacks = self._lacks(await self.status())
                return (503, _TEXT, f"{lacks}\n".encode()) if lacks else (200, _TEXT, b"ok\n")
            case "/metrics":
                registry = CollectorRegistry(auto_describe=False)
                registry.register(_Snapshot(await self.status(), self._is_joined))
                return 200, _METRICS, generate_latest(registry)
            case _:
                return 404, _TEXT, b"/livez, /readyz or /metrics\n"

    def _lacks(self, snapshot: Snapshot) -> str:
        """Say what is missing before the node is usable, empty if nothing is."""
        if not snapshot["online"]:
            return "no root answers"
        if not self._is_joined:
            return "not joined yet"
        return "" if self.addresses() else "no address"


async def _request(stream: Stream, connection: h11.Connection) -> h11.Request | None:
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await stream.receive(4096))
        elif isinstance(event, h11.Request):
            return event
        else:
            return None


class _Snapshot:
    """What Prometheus is told of one snapshot."""

    def __init__(self, snapshot: Snapshot, is_joined: bool) -> None:  # noqa: FBT001
        self._snapshot = snapshot
        self._is_joined = is_joined

    def collect(self) -> Iterator[Metric]:
        snapshot = self._snapshot
        info = GaugeMetricFamily("zt_node", "This node.", labels=["node", "version"])
        info.add_metric([snapshot["node"], snapshot["version"]], 1)
        yield info
        yield GaugeMetricFamily("zt_online", "Whether a root answers.", int(snapshot["online"]))
        yield GaugeMetricFamily("zt_joined", "Whether all networks are.", int(self._is_joined))
        networks = GaugeMetricFamily(
            "zt_network_ok", "Whether a membership is good.", labels=["network", "status"]
        )
        addresses = GaugeMetricFamily(
            "zt_network_addresses", "Addresses in a network.", labels=["network"]
        )
        for network in snapshot["networks"]:
            name, status = network["network"], network["status"]
            networks.add_metric([name, status], int(status == "OK"))
            addresses.add_metric([name], len(network["addresses"]))
        yield from (networks, addresses)
        peers = GaugeMetricFamily("zt_peers", "Peers by how they are reached.", labels=["link"])
        links = [peer["link"] for peer in snapshot["peers"]]
        for link in ("direct", "relay", "tunnel"):
            peers.add_metric([link], links.count(link))
        latency = GaugeMetricFamily(
            "zt_peer_latency_seconds", "Time there and back.", labels=["peer", "role"]
        )
        for peer in snapshot["peers"]:
            if peer["latency_ms"] >= 0:
                latency.add_metric([peer["address"], peer["role"]], peer["latency_ms"] / 1000)
        yield from (peers, latency)
        drops = CounterMetricFamily("zt_dropped_packets", "Dropped packets.", labels=["reason"])
        for reason, count in snapshot["drops"].items():
            drops.add_metric([reason], count)
        yield drops
