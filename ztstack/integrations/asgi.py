"""Serves an ASGI application inside a network, by uvicorn's protocols on our transports."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import uvicorn

from ztstack.sockets.mirror import AnyNode
from ztstack.sockets.server import Server

GRACE_S = 5

Application = Callable[..., Awaitable[None]]
Listen = Callable[[Callable[[], asyncio.Protocol]], Awaitable[Server]]


class _Server(uvicorn.Server):
    """Uvicorn on a server of a node, inside a loop whose signals are somebody else's."""

    def __init__(
        self, config: uvicorn.Config, listen: Listen, ready: Callable[[Server], None] | None
    ) -> None:
        super().__init__(config)
        self._listen = listen
        self._ready = ready

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        del sockets
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            raise RuntimeError("the application did not start")
        server = await self._listen(self._protocol)
        self.servers = [server]  # type: ignore[list-item] # it has what uvicorn uses
        self.started = True
        if self._ready is not None:
            self._ready(server)

    def _protocol(self) -> asyncio.Protocol:
        made: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg] # as uvicorn
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return made


async def serve(
    node: AnyNode,
    app: Application,
    port: int,
    host: str | None = None,
    *,
    ssl: ssl.SSLContext | None = None,
    ready: Callable[[Server], None] | None = None,
    **options: Any,  # noqa: ANN401 - uvicorn's
) -> None:
    """Serve until cancelled; then requests get five seconds to end."""

    async def listen(protocol: Callable[[], asyncio.Protocol]) -> Server:
        return await node.create_server(protocol, host, port, ssl=ssl)

    settings: dict[str, Any] = {
        "log_config": None,
        "access_log": False,
        "proxy_headers": False,
        "timeout_graceful_shutdown": GRACE_S,
        **options,
    }
    server = _Server(uvicorn.Config(app, **settings), listen, ready)
    serving = asyncio.create_task(server.serve())
    try:
        await asyncio.shield(serving)
    finally:
        server.should_exit = True
        if not serving.done():
            await asyncio.wait((serving,))
