"""The legacy engine over a transport: streams and datagrams between node ids."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol, Self

from overlay.errors import (
    Closed,
    InvalidConfig,
    MalformedMessage,
    PortInUse,
    Unreachable,
)
from overlay.memory import MemoryTransport, Receiver
from overlay.messages import MAX_DATAGRAM, Datagram, Flag, Kind, Message, Segment
from overlay.registry import Place, Registry, node_text
from overlay.stream import Stream
from overlay.udp import UdpTransport, check_port

BACKLOG: Final = 128
QUEUE: Final = 1024
_EPHEMERAL: Final = range(49152, 65536)


class Transport(Protocol):
    """Carries messages to nodes."""

    @property
    def local(self) -> str: ...

    async def start(self, receiver: Receiver) -> None: ...
    async def stop(self) -> None: ...
    def send(self, message: Message) -> None: ...


@dataclass(frozen=True, slots=True)
class OverlayConfig:
    """What an engine is to be; `node` None means the one kept in `state`, or a fresh one."""

    network: int
    node: int | None = None
    state: Path | None = None
    in_memory: bool = False
    udp_port: int = 0
    advertise: Place | None = None
    peers: Mapping[int, Place] = field(default_factory=dict)
    addresses: Mapping[str, int] = field(default_factory=dict)


class OverlayListener:
    """Accepts streams on a port."""

    def __init__(self, engine: OverlayEngine, port: int) -> None:
        self._engine = engine
        self.port = port
        self._ready: asyncio.Queue[Stream | None] = asyncio.Queue()
        self._closed = False

    @property
    def addresses(self) -> list[tuple[str, int]]:
        return [(self._engine.node_id, self.port)]

    async def accept(self) -> Stream:
        if self._closed:
            raise Closed("the listener is closed")
        stream = await self._ready.get()
        if stream is None:
            raise Closed("the listener is closed")
        return stream

    def offer(self, stream: Stream) -> None:
        self._ready.put_nowait(stream)

    @property
    def is_full(self) -> bool:
        return self._ready.qsize() >= BACKLOG

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._ready.put_nowait(None)
            self._engine.close_port(self.port)


class OverlayDatagrams:
    """Datagrams on a port; the oldest go when nobody takes them."""

    def __init__(self, engine: OverlayEngine, port: int) -> None:
        self._engine = engine
        self.local_port = port
        self._queue: deque[tuple[bytes, tuple[str, int]]] = deque(maxlen=QUEUE)
        self._arrived = asyncio.Event()
        self._closed = False

    @property
    def addresses(self) -> list[tuple[str, int]]:
        return [(self._engine.node_id, self.local_port)]

    async def send(self, data: bytes, host: str, port: int) -> None:
        if len(data) > MAX_DATAGRAM:
            raise InvalidConfig(f"a datagram holds {MAX_DATAGRAM} bytes, not {len(data)}")
        self._engine.send_datagram(self.local_port, data, host, port)

    async def receive(self) -> tuple[bytes, tuple[str, int], str]:
        while not self._queue:
            if self._closed:
                raise Closed("the endpoint is closed")
            self._arrived.clear()
            await self._arrived.wait()
        data, remote = self._queue.popleft()
        return data, remote, self._engine.node_id

    def offer(self, data: bytes, remote: tuple[str, int]) -> None:
        self._queue.append((data, remote))
        self._arrived.set()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._arrived.set()
            self._engine.close_datagrams(self.local_port)


class OverlayEngine:
    """A node of the overlay on the current event loop."""

    def __init__(self, config: OverlayConfig) -> None:
        check_port(config.udp_port)
        self.config = config
        self.node = config.node if config.node is not None else _kept_node(config.state)
        self.registry = Registry(config.addresses, config.peers)
        self._transport: Transport
        if config.in_memory:
            self._transport = MemoryTransport(config.network, self.node)
        else:
            self._transport = UdpTransport(
                config.network, self.node, self.registry, config.udp_port, config.advertise
            )
        self._streams: dict[tuple[int, int, int], Stream] = {}
        self._listeners: dict[int, OverlayListener] = {}
        self._datagrams: dict[int, OverlayDatagrams] = {}

    async def __aenter__(self) -> Self:
        await self._transport.start(self._received)
        return self

    async def __aexit__(self, *exception: object) -> None:
        for stream in list(self._streams.values()):
            stream.abort()
        await self._transport.stop()

    @property
    def node_id(self) -> str:
        return node_text(self.node)

    @property
    def local(self) -> str:
        """The UDP address of this process, or nothing."""
        return self._transport.local

    # Streams.

    async def connect(
        self,
        host: str,
        port: int,
        timeout: float | None,
        source_port: int = 0,
    ) -> Stream:
        """Open a stream to a node; NameNotResolved, Unreachable, ConnectRefused, TimeoutError."""
        node = self.registry.resolve(host)
        local = source_port or self._free_port(node, port)
        if (local, node, port) in self._streams:
            raise PortInUse(f"port {local} is connected there already")
        stream = self._new_stream(local, node, port, host)
        stream.start()
        try:
            async with asyncio.timeout(timeout):
                await stream.wait_established()
        except TimeoutError:
            stream.abort()
            raise TimeoutError(f"{host}:{port}: no answer in {timeout:g} s") from None
        except BaseException:
            stream.abort()
            raise
        return stream

    async def listen(self, port: int) -> OverlayListener:
        check_port(port)
        if port in self._listeners:
            raise PortInUse(f"port {port} is in use")
        if not port:
            port = next(p for p in _EPHEMERAL if p not in self._listeners)
        self._listeners[port] = OverlayListener(self, port)
        return self._listeners[port]

    def close_port(self, port: int) -> None:
        self._listeners.pop(port, None)

    def _new_stream(self, local: int, node: int, port: int, host: str) -> Stream:
        key = (local, node, port)

        def send(segment: Segment) -> None:
            self._send(Kind.SEGMENT, node, segment.encode())

        def forget(_: Stream) -> None:
            self._streams.pop(key, None)

        stream = Stream((self.node_id, local), (host, port), send, forget)
        self._streams[key] = stream
        return stream

    def _free_port(self, node: int, port: int) -> int:
        start = secrets.randbelow(len(_EPHEMERAL))
        for step in range(len(_EPHEMERAL)):
            local = _EPHEMERAL[(start + step) % len(_EPHEMERAL)]
            if (local, node, port) not in self._streams:
                return local
        raise PortInUse("no port is free")

    # Datagrams.

    async def datagram(self, port: int = 0) -> OverlayDatagrams:
        check_port(port)
        if port in self._datagrams:
            raise PortInUse(f"UDP port {port} is in use")
        if not port:
            start = secrets.randbelow(len(_EPHEMERAL))
            order = (_EPHEMERAL[(start + i) % len(_EPHEMERAL)] for i in range(len(_EPHEMERAL)))
            port = next(p for p in order if p not in self._datagrams)
        self._datagrams[port] = OverlayDatagrams(self, port)
        return self._datagrams[port]

    def close_datagrams(self, port: int) -> None:
        self._datagrams.pop(port, None)

    def send_datagram(self, local: int, data: bytes, host: str, port: int) -> None:
        node = self.registry.resolve(host)
        self._send(Kind.DATAGRAM, node, Datagram(local, port, data).encode())

    # Messages.

    def _send(self, kind: Kind, node: int, payload: bytes) -> None:
        self._transport.send(Message(kind, self.config.network, self.node, node, payload))

    def _received(self, message: Message) -> None:
        with contextlib.suppress(MalformedMessage, Unreachable):
            if message.kind is Kind.DATAGRAM:
                datagram = Datagram.decode(message.payload)
                endpoint = self._datagrams.get(datagram.port)
                if endpoint is not None:
                    remote = (node_text(message.source), datagram.source_port)
                    endpoint.offer(datagram.data, remote)
            elif message.kind is Kind.SEGMENT:
                self._segment(message.source, Segment.decode(message.payload))

    def _segment(self, source: int, segment: Segment) -> None:
        key = (segment.port, source, segment.source_port)
        stream = self._streams.get(key)
        if stream is not None:
            if segment.flags == Flag.SYN:
                return  # Repeated: our answer to it is repeated as well.
            stream.segment_arrived(segment)
            return
        if segment.flags & Flag.RST:
            return
        listener = self._listeners.get(segment.port)
        if segment.flags == Flag.SYN and listener is not None and not listener.is_full:
            stream = self._new_stream(segment.port, source, segment.source_port, node_text(source))
            stream.accept(segment)
            listener.offer(stream)
            return
        # An acknowledgement alone may be the last of a stream that is over here.
        if segment.length:
            reset = Segment(
                segment.port,
                segment.source_port,
                Flag.RST,
                segment.acknowledged,
                segment.sequence + segment.length,
                0,
            )
            self._send(Kind.SEGMENT, source, reset.encode())


def _kept_node(state: Path | None) -> int:
    """Return the node id of a state directory, or a fresh one."""
    if state is None:
        return _fresh_node()
    path = state / "overlay.node"
    with contextlib.suppress(OSError, ValueError):
        return int(path.read_text("ascii")[:10], 16)
    node = _fresh_node()
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_text(node_text(node) + "\n", "ascii")
    return node


def _fresh_node() -> int:
    while True:
        node = int.from_bytes(secrets.token_bytes(5), "big")
        if node and node >> 32 != 0xFF:
            return node
