"""A tunnel for asyncssh: `asyncssh.connect(host, tunnel=node.asyncssh_tunnel())`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from ztstack.sockets.mirror import AnyNode
from ztstack.sockets.server import Server

ProtocolT = TypeVar("ProtocolT", bound=asyncio.BaseProtocol)


class NodeTunnel:
    """What asyncssh uses of a connection that it tunnels through, on a node.

    `asyncssh.connect` and `asyncssh.listen` take it as `tunnel`; hosts are IP addresses and node
    ids, and None listens on every address of the node.
    """

    def __init__(self, node: AnyNode) -> None:
        self._node = node

    async def create_connection(
        self, factory: Callable[[], ProtocolT], host: str, port: int
    ) -> tuple[asyncio.Transport, ProtocolT]:
        return await self._node.create_connection(factory, host, port)

    async def create_server(
        self, factory: Callable[[str, int], asyncio.BaseProtocol], host: str | None, port: int
    ) -> Server:
        # A tunnel of SSH would tell here who began the connection; the transport knows it, too.
        return await self._node.create_server(lambda: factory("", 0), host, port)
