"""A node for programs that are not asynchronous: it runs in a thread of its own."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

from ztstack.aio.service import NodeConfig
from ztstack.aio.status import NodeStatus
from ztstack.base.address import Address
from ztstack.base.network_id import NetworkId
from ztstack.sockets.api import JOIN_TIMEOUT_S, Node
from ztstack.sockets.background import Background
from ztstack.sockets.blocking_socket import DatagramSocket, ServerSocket, Socket
from ztstack.sockets.duplex import Duplex
from ztstack.sockets.extras import load
from ztstack.sockets.forwarding import MAX_CONNECTIONS, Forward, Named
from ztstack.sockets.listener import Listener
from ztstack.sockets.mirror import BACKLOG, CONNECT_TIMEOUT_S
from ztstack.sockets.ping import TIMEOUT_S, EchoReport

T = TypeVar("T")


def connect(
    network: str | None = None,
    *,
    config: NodeConfig | None = None,
    state: str | Path | None = None,
    planet: bytes | None = None,
    join_timeout: float = JOIN_TIMEOUT_S,
) -> BlockingNode:
    """Start a node in a thread, join, and return it: `with ztstack.connect("8056...") as node:`.

    `join_timeout` is in seconds. Raises AccessDenied, NetworkNotFound, Offline, StorageError.
    """
    loop = Background()
    try:
        node = loop.run(_start(config, network, state, planet, join_timeout))
    except BaseException:
        loop.stop()
        raise
    return BlockingNode(node, loop, owns_loop=True)


async def _start(
    config: NodeConfig | None,
    network: str | None,
    state: str | Path | None,
    planet: bytes | None,
    join_timeout: float,
) -> Node:
    node = Node(config, network=network, state=state, planet=planet, join_timeout=join_timeout)
    return await node.__aenter__()


class BlockingNode:
    """A running node whose methods block; any thread may call them."""

    def __init__(self, node: Node, loop: Background, *, owns_loop: bool = False) -> None:
        self._node = node
        self._loop = loop
        self._owns_loop = owns_loop
        self._closed = False

    def run(self, work: Coroutine[object, object, T]) -> T:
        """Run a coroutine on the event loop of the node, and wait for it."""
        return self._loop.run(work)

    @property
    def node(self) -> Node:
        """The node itself; its methods belong into coroutines for `run`."""
        return self._node

    @property
    def loop(self) -> Background:
        return self._loop

    @property
    def address(self) -> Address:
        return self._node.address

    def addresses(self, network: NetworkId | str | None = None) -> list[str]:
        """Return this node's IP addresses on one network, or on all."""

        async def ask() -> list[str]:
            return self._node.addresses(network)

        return self.run(ask())

    def status(self) -> NodeStatus:
        async def ask() -> NodeStatus:
            return self._node.status()

        return self.run(ask())

    def join(self, network: NetworkId | str, timeout: float = JOIN_TIMEOUT_S) -> None:
        """Join one more network and wait `timeout` seconds for an address."""
        self.run(self._node.join(network, timeout))

    def ping(self, host: str, timeout: float | None = TIMEOUT_S) -> EchoReport:
        """Ask an IP address by ICMP; raises NameNotResolved, Unreachable, TimeoutError."""
        return self.run(self._node.ping(host, timeout))

    def create_connection(
        self,
        address: tuple[str, int],
        timeout: float | None = CONNECT_TIMEOUT_S,
        source_address: tuple[str, int] | None = None,
        *,
        family: int = 0,
    ) -> Socket:
        """Connect to (IP address or node id, port), as `socket.create_connection`.

        The socket keeps `timeout`, in seconds. Raises NameNotResolved, Unreachable,
        ConnectRefused, TimeoutError.
        """
        source, source_port = source_address if source_address is not None else (None, 0)

        async def open_stream() -> Duplex:
            stream = await self._node.connect(
                *address, timeout, family=family, source=source, source_port=source_port
            )
            return Duplex.over(self._node, stream)

        made = Socket(self._loop, self.run(open_stream()))
        made.settimeout(timeout)
        return made

    def create_server(
        self, address: tuple[str | None, int], *, backlog: int = BACKLOG
    ) -> ServerSocket:
        """Listen on (own IP address or None for all, port); port 0 picks one.

        Raises PortInUse, InvalidConfig, NotJoined.
        """
        host, port = address
        listener = self.run(self._node.listen(port, host or None, backlog))
        return ServerSocket(self._loop, listener, self._accept)

    async def _accept(self, listener: Listener) -> Duplex:
        return Duplex.over(self._node, await listener.accept())

    def create_datagram(self, address: tuple[str | None, int] = (None, 0)) -> DatagramSocket:
        """Bind UDP to (own IP address or None for all, port); port 0 picks one.

        Raises PortInUse, InvalidConfig, NotJoined.
        """
        host, port = address
        return DatagramSocket(self._loop, self.run(self._node.datagram(port, host or None)))

    @contextmanager
    def forward(
        self,
        local: Named,
        target: str | tuple[str, int],
        *,
        timeout: float | None = CONNECT_TIMEOUT_S,
        max_connections: int = MAX_CONNECTIONS,
    ) -> Iterator[Forward]:
        """Give a service inside a port of this machine, as long as a `with` block lasts.

        Both are "HOST:PORT" or (host, port); a `local` port alone is on 127.0.0.1, and 0 picks one,
        which `address` of the result tells. `timeout` are the seconds for each connection to the
        target. Raises InvalidConfig, and OSError if this machine does not give the port.
        """
        made = self._node.forward(local, target, timeout=timeout, max_connections=max_connections)
        self.run(made.__aenter__())
        try:
            yield made
        finally:
            self.run(made.__aexit__())

    # Under other libraries.

    def httpx_transport(self, **options: Any) -> Any:  # noqa: ANN401 - loaded only when asked for
        """Return `ztstack.integrations.httpx_transport.NodeTransport` for httpx.Client.

        Options: `verify` (True, False, a file, an SSLContext), `http2`, `limits`, `local_address`.
        """
        return load("httpx_transport").NodeTransport(self, **options)

    def requests_adapter(self, **options: Any) -> Any:  # noqa: ANN401 - loaded only when asked for
        """Return `ztstack.integrations.requests_adapter.NodeAdapter` for Session.mount.

        Takes the options of requests.adapters.HTTPAdapter. MissingExtra without requests.
        """
        return load("requests_adapter", "requests").NodeAdapter(self, **options)

    def close(self) -> None:
        """Stop the node; what closed sockets hold gets up to five seconds to go out."""
        if self._closed:
            return
        self._closed = True
        self.run(self._node.stop())
        if self._owns_loop:
            self._loop.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
