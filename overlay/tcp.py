"""Streams: the stack's TCP between node ids, whose segments travel in frames."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Hashable
from typing import Final, Self

from overlay.clock import clock_of
from overlay.errors import Closed, ConnectReset
from overlay.messages import HEAD_BYTES, Place, node_text
from ztstack.base.endpoint import Endpoint
from ztstack.base.entropy import Entropy
from ztstack.base.trace import CountingTracer
from ztstack.ip.events import Event
from ztstack.ip.tcp.connection import Connection
from ztstack.ip.tcp.host import TcpHost
from ztstack.ip.tcp.listener import Listener as Backlog
from ztstack.ip.tcp.state import State
from ztstack.sockets.carrier import Sink

FRAME_BYTES: Final = 1400
"""The largest frame with a segment: it passes every path that carries IPv6."""
LOOPBACK_FRAME_BYTES: Final = 8192
"""The same where nothing leaves this machine; the smaller one of two nodes is used."""
_IP_HEADER: Final = 40
PACKETS: Final = 32
"""Segments for each turn, so that what arrives is seen in between."""
ROUNDS: Final = 8
LINGER_S: Final = 5.0
POLITE_S: Final = 0.5
RECEIVE_LIMIT: Final = 1 << 20
_LEAST_TIMER_S: Final = 0.001


def address_of(network: int, node: int) -> bytes:
    """Return what stands for a node in TCP's checksums and tables."""
    return b"\xfd" + network.to_bytes(8, "big") + b"\0\0" + node.to_bytes(5, "big")


def node_of(address: bytes) -> int:
    return int.from_bytes(address[11:], "big")


def network_of(address: bytes) -> int:
    return int.from_bytes(address[1:9], "big")


SendSegment = Callable[[bytes, bytes], None]
"""Called with the remote address and the segment."""


class TcpDriver:
    """One TCP host on an event loop: segments in and out, one timer, events to their sinks."""

    def __init__(self, entropy: Entropy, send: SendSegment, frame_bytes: int = FRAME_BYTES) -> None:
        self.tracer = CountingTracer()
        self.host = TcpHost(entropy, self.tracer, lambda _: True, [])
        self.loop = asyncio.get_running_loop()
        self._clock = clock_of(self.loop)
        self._send = send
        self._sinks: dict[Hashable, Sink] = {}
        self._soon: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0
        self._closing: set[Connection] = set()
        self._pumped = asyncio.Event()
        self._stopped = False
        self.mtu = frame_bytes - HEAD_BYTES + _IP_HEADER
        self.host.set_mtu(self.now(), self.mtu)

    @property
    def is_running(self) -> bool:
        return not self._stopped

    @property
    def driver(self) -> Self:
        """Itself: what asyncio's transports ask of a node is all here."""
        return self

    def now(self) -> int:
        return int(self._clock() * 1e6)

    def attach(self, key: Hashable, sink: Sink) -> None:
        self._sinks[key] = sink

    def detach(self, key: Hashable) -> None:
        self._sinks.pop(key, None)

    def received(self, source: bytes, destination: bytes, segment: memoryview) -> None:
        self.host.receive(self.now(), source, destination, segment)
        self.pump_soon()

    def pump_soon(self) -> None:
        """Pump at the end of this turn of the loop; many wishes make one pump."""
        if self._soon is None and not self._stopped:
            self._soon = self.loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._soon = None
        host, now = self.host, self.now()
        due = host.next_timer()
        if due is not None and due <= now:
            host.handle_timer(now)
        host.flush(now)
        for _ in range(ROUNDS):
            runs = host.take_packets(now, PACKETS)
            for run in runs:
                remote = run.remote.ip
                for head, body in run.packets:
                    self._send(remote, b"".join((head[_IP_HEADER:], body)))
            if not runs:
                break
        events = host.events[:]
        host.events.clear()
        for event in events:
            sink = self._sinks.get(event.socket)
            if sink is not None:
                sink.socket_event(event)
        if host.has_output:
            self.pump_soon()
        self._pumped.set()
        self._rearm(now)

    def _rearm(self, now: int) -> None:
        due = self.host.next_timer()
        if due is None or self._stopped:
            return
        if self._timer is not None:
            # A timer that fires too early does nothing, so it only moves when it must be earlier.
            if self._timer_at <= due:
                return
            self._timer.cancel()
        self._timer_at = due
        delay = max((due - now) / 1e6, _LEAST_TIMER_S)
        self._timer = self.loop.call_later(delay, self._timer_fired)

    def _timer_fired(self) -> None:
        self._timer = None
        self._pump_now()

    def _pump_now(self) -> None:
        if self._soon is not None:
            self._soon.cancel()
        self._pump()

    # The end.

    def closing(self, connection: Connection) -> None:
        """Remember a connection that its user closed in good order."""
        self._closing = {one for one in self._closing if _is_open(one)}
        self._closing.add(connection)

    async def _wait_while(self, holds: Callable[[Connection], bool], limit: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit):
                while any(holds(one) for one in self._closing):
                    self._pumped.clear()
                    await self._pumped.wait()

    async def stop(self, linger: float = LINGER_S) -> None:
        """Send what closed streams hold, for a limited time; then break off what is left."""
        await self._wait_while(_holds_data, linger)
        # A peer that closes a moment later is to have its end acknowledged.
        await self._wait_while(_is_open, min(linger, POLITE_S))
        for sink in list(self._sinks.values()):
            if isinstance(sink, Stream):
                sink.abort()
            elif isinstance(sink, Listener):
                sink.close()
        self._pump_now()
        self._stopped = True
        for handle in (self._soon, self._timer):
            if handle is not None:
                handle.cancel()
        self._soon = self._timer = None


def _holds_data(connection: Connection) -> bool:
    """Tell whether the peer may miss something if we go, our end of the stream included."""
    if connection.fin_acknowledged or connection.state is State.CLOSED:
        return False
    all_but_end = connection.send_unacknowledged == connection.fin_offset
    return not (all_but_end and connection.fin_received is not None)


def _is_open(connection: Connection) -> bool:
    return connection.state not in (State.CLOSED, State.TIME_WAIT)


class Stream:
    """One connection between two nodes, for one reader and one writer at a time."""

    path = "direct"

    def __init__(self, driver: TcpDriver, connection: Connection) -> None:
        self._driver = driver
        self._connection = connection
        self._waiters: list[asyncio.Future[None]] = []
        self._closed = False
        self.bytes_received = 0
        self.bytes_sent = 0
        driver.attach(connection, self)

    @property
    def network(self) -> str:
        return f"{network_of(self._connection.local.ip):016x}"

    @property
    def local(self) -> Place:
        return _name(self._connection.local)

    @property
    def remote(self) -> Place:
        return _name(self._connection.remote)

    @property
    def remote_node(self) -> str:
        return self.remote[0]

    # Receiving.

    @property
    def is_readable(self) -> bool:
        """Whether `receive` would return, or raise, at once."""
        connection = self._connection
        return bool(connection.received.size) or connection.at_eof or connection.error is not None

    async def receive_views(self, limit: int = RECEIVE_LIMIT) -> list[memoryview]:
        """Return what arrived, at most `limit` bytes in pieces; [] is the end of the stream.

        Raises ConnectReset, or TimeoutError if the peer vanished. What arrived before is
        delivered first.
        """
        while True:
            self._check_open()
            views = self._connection.read(self._driver.now(), limit)
            if views:
                self.bytes_received += sum(map(len, views))
                self._driver.pump_soon()  # The window may have opened.
                return views
            if self._connection.at_eof:
                return []
            self._check_alive()
            await self._wait()

    async def receive(self, limit: int = RECEIVE_LIMIT) -> bytes:
        """Return what arrived, at most `limit` bytes; b"" is the end of the stream."""
        return b"".join(await self.receive_views(limit))

    # Sending.

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        """Return when all of `data` is in the send buffer; waits while that is full."""
        rest = memoryview(data)
        while rest:
            self._check_open()
            self._check_alive()
            taken = self._connection.write(self._driver.now(), rest)
            self.bytes_sent += taken
            rest = rest[taken:]
            if taken:
                self._driver.pump_soon()
            else:
                await self._wait()

    async def send_eof(self) -> None:
        """Half-close: what was sent goes out, then the end; receiving goes on."""
        self._check_open()
        self._connection.shutdown(self._driver.now())
        self._driver.pump_soon()

    async def wait_sent(self, timeout: float | None = None) -> None:
        """Wait until the peer acknowledged our end; TimeoutError after `timeout` seconds."""
        async with asyncio.timeout(timeout):
            while not self._connection.fin_acknowledged:
                self._check_alive()
                await self._wait()

    # The end.

    async def close(self) -> None:
        """Close both directions; what was sent still goes out, for seconds after a stop too."""
        if self._end():
            self._connection.close(self._driver.now())
            self._driver.closing(self._connection)
            self._driver.pump_soon()

    def abort(self) -> None:
        """Reset the connection at once."""
        if self._end():
            self._connection.abort(self._driver.now())
            self._driver.pump_soon()

    def release(self) -> Connection:
        """Give the connection to somebody else; this object is closed afterwards."""
        self._check_open()
        self._end()
        return self._connection

    def _end(self) -> bool:
        if self._closed:
            return False
        self._closed = True
        self._driver.detach(self._connection)
        self._wake()
        return True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            await self.close()
        else:
            self.abort()

    # Waiting.

    async def wait_established(self) -> None:
        """Wait for the handshake; raises ConnectRefused, Unreachable, ConnectReset."""
        while not self._connection.is_established:
            self._check_alive()
            await self._wait()

    def socket_event(self, event: Event) -> None:
        del event
        self._wake()

    def _check_open(self) -> None:
        if self._closed:
            raise Closed("the stream is closed")

    def _check_alive(self) -> None:
        error = self._connection.error
        if error is not None:
            # TCP names its peers as it knows them; people know node ids.
            raise type(error)(str(error).replace(self._connection.remote.host, self.remote[0]))
        if self._connection.state is State.CLOSED and not self._connection.fin_acknowledged:
            raise ConnectReset("the connection is over")

    async def _wait(self) -> None:
        waiter: asyncio.Future[None] = self._driver.loop.create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


class Listener:
    """A listening port; iterate over it, or call `accept`."""

    def __init__(self, driver: TcpDriver, backlog: Backlog, node: str) -> None:
        self._driver = driver
        self._backlog = backlog
        self._node = node
        self._arrived = asyncio.Event()
        self._closed = False
        driver.attach(backlog, self)

    @property
    def port(self) -> int:
        return self._backlog.port

    @property
    def addresses(self) -> list[Place]:
        return [(self._node, self.port)]

    async def accept(self) -> Stream:
        """Wait for a connection; Closed once `close` was called."""
        while not self._closed:
            connection = self._backlog.accept()
            if connection is not None:
                return Stream(self._driver, connection)
            self._arrived.clear()
            await self._arrived.wait()
        raise Closed("the listener is closed")

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Stream:
        try:
            return await self.accept()
        except Closed:
            raise StopAsyncIteration from None

    def close(self) -> None:
        """Stop listening; accepted streams live on."""
        if not self._closed:
            self._closed = True
            self._arrived.set()
            self._driver.detach(self._backlog)
            self._backlog.close(self._driver.now())
            self._driver.pump_soon()

    def socket_event(self, event: Event) -> None:
        del event
        self._arrived.set()


def _name(endpoint: Endpoint) -> Place:
    return node_text(node_of(endpoint.ip)), endpoint.port
