"""asyncio's Transport over a TCP connection inside a network."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from ztstack.base.errors import Closed, ZtError
from ztstack.ip.events import Event
from ztstack.ip.tcp.connection import Connection
from ztstack.sockets.carrier import Carrier
from ztstack.sockets.open_sockets import OpenSockets
from ztstack.sockets.options import ConnectionSocket

READ_BYTES: Final = 256 * 1024
HIGH_WATER: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Facts:
    """What `get_extra_info` of a transport knows: once and for all, or while its node runs."""

    fixed: Mapping[str, object]
    live: Mapping[str, Callable[[], object]]


class StreamTransport(asyncio.Transport):
    """One TCP connection; calls its protocol as asyncio's own transport does.

    `get_extra_info` knows `peername` and `sockname`, which are (IP address, port) in both families,
    and beside them `zt_network` (a NetworkId), `zt_node` (the peer's Address or None) and `zt_path`
    (`direct` or `relay`). Its `socket` has names and options (see ConnectionSocket), no bytes. The
    write buffer that the water marks measure is what the connection's own send buffer (4 MiB, sent
    and not acknowledged) had no room for.
    """

    # What asyncio's start_tls looks for.
    _start_tls_compatible = True

    def __init__(
        self,
        service: Carrier,
        opened: OpenSockets,
        connection: Connection,
        protocol: asyncio.BaseProtocol,
        facts: Facts,
    ) -> None:
        super().__init__(dict(facts.fixed))
        self._live = facts.live
        self._service = service
        self._opened = opened
        self._connection = connection
        self._protocol = protocol
        self._loop = service.driver.loop
        self._pending: deque[bytes] = deque()
        self._pending_bytes = 0
        self._high, self._low = HIGH_WATER, HIGH_WATER // 4
        self._made = False
        self._reading_paused = False
        self._writing_paused = False
        self._eof_written = False
        self._eof_received = False
        self._closing = False
        self._lost = False
        self._finished = False
        self._reason: Exception | None = None
        self._soon: asyncio.Handle | None = None
        self._socket: ConnectionSocket | None = None
        self.on_lost: Callable[[StreamTransport], None] = _nobody
        service.attach(connection, self)
        opened.add(self)

    def begin(self) -> None:
        """Call `connection_made` and start to read, at the next turn of the loop."""
        self._loop.call_soon(self._make)

    def _make(self) -> None:
        if self._finished:
            return
        # Even if it was closed at once: `connection_lost` follows, and somebody may wait for it.
        self._made = True
        if self._call(self._protocol.connection_made, self):
            self._turn()

    # What it is.

    def get_extra_info(self, name: str, default: object = None) -> object:
        if name == "socket":
            if self._socket is None:
                self._socket = ConnectionSocket(self._service, self._connection)
            return self._socket
        live = self._live.get(name)
        if live is not None:
            return live() if self._service.is_running else default
        return super().get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    # Events of the connection.

    def socket_event(self, event: Event) -> None:
        del event
        if self._made:
            self._turn()

    def _turn(self) -> None:
        self._soon = None
        if self._lost or not self._service.is_running:
            return
        if self._pending:
            self._flush()
        self._receive()

    def _turn_soon(self) -> None:
        if self._soon is None and not self._lost:
            self._soon = self._loop.call_soon(self._turn)

    def _receive(self) -> None:
        """Deliver what arrived, then the end of the stream, then the error that ended it."""
        connection = self._connection
        if self._lost:
            return
        if not self._reading_paused and not self._closing:
            if connection.received.size:
                if self._deliver() and (
                    connection.received.size or connection.at_eof or connection.error is not None
                ):
                    self._turn_soon()
                return
            if connection.at_eof and not self._eof_received:
                self._receive_eof()
        unread = connection.received.size > 0 and not self._closing
        if connection.error is not None and not unread and not self._lost:
            self._lose(connection.error)

    def _deliver(self) -> bool:
        driver, protocol = self._service.driver, self._protocol
        driver.pump_soon()  # The window may open.
        if isinstance(protocol, asyncio.BufferedProtocol):
            return self._fill(protocol)
        assert isinstance(protocol, asyncio.Protocol)
        data = b"".join(self._connection.read(driver.now(), READ_BYTES))
        return self._call(protocol.data_received, data)

    def _fill(self, protocol: asyncio.BufferedProtocol) -> bool:
        try:
            buffer = memoryview(protocol.get_buffer(-1)).cast("B")
            if not buffer:
                raise RuntimeError("get_buffer() returned an empty buffer")
            size = 0
            for view in self._connection.read(self._service.driver.now(), len(buffer)):
                buffer[size : size + len(view)] = view
                size += len(view)
            protocol.buffer_updated(size)
        except Exception as error:  # noqa: BLE001 - of the protocol, as asyncio treats it
            self._fail(error, "a protocol failed with what it received")
            return False
        return True

    def _receive_eof(self) -> None:
        self._eof_received = True
        protocol = self._protocol
        assert isinstance(protocol, asyncio.Protocol | asyncio.BufferedProtocol)
        try:
            keeps_open = protocol.eof_received()
        except Exception as error:  # noqa: BLE001 - of the protocol, as asyncio treats it
            self._fail(error, "a protocol failed at the end of its stream")
            return
        if not keeps_open:
            self.close()

    def _call(self, method: Callable[..., object], value: object) -> bool:
        """Call the protocol; a failure of it ends the connection."""
        try:
            method(value)
        except Exception as error:  # noqa: BLE001 - of the protocol, as asyncio treats it
            self._fail(error, "a protocol failed")
            return False
        return True

    def _fail(self, error: Exception, message: str) -> None:
        self._loop.call_exception_handler(
            {"message": message, "exception": error, "transport": self, "protocol": self._protocol}
        )
        self._force_close(error)

    # Reading.

    def is_reading(self) -> bool:
        return not self._closing and not self._reading_paused

    def pause_reading(self) -> None:
        self._reading_paused = True

    def resume_reading(self) -> None:
        if self._reading_paused and not self._closing:
            self._reading_paused = False
            if self._made:
                self._turn_soon()

    # Writing.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send `data`, or keep what there is no room for; never blocks."""
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"data is to be bytes-like, not {type(data).__name__}")
        if self._eof_written:
            raise RuntimeError("write() after write_eof()")
        if self._closing or not self._service.is_running:
            return
        view = memoryview(data).cast("B")
        if not self._pending:
            view = view[self._take(view) :]
        if view:
            self._pending.append(bytes(view))
            self._pending_bytes += len(view)
            self._pause_protocol()

    def _take(self, view: memoryview) -> int:
        """Give the connection what it has room for."""
        driver = self._service.driver
        try:
            taken = self._connection.write(driver.now(), view) if view else 0
        except (ZtError, OSError):
            # It is over; the protocol learns that from `connection_lost`.
            self._turn_soon()
            return len(view)
        if taken:
            driver.pump_soon()
        return taken

    def _flush(self) -> None:
        pending = self._pending
        while pending:
            data = pending[0]
            taken = self._take(memoryview(data))
            if not taken:
                break
            self._pending_bytes -= taken
            if taken == len(data):
                pending.popleft()
            else:
                pending[0] = data[taken:]
        self._resume_protocol()
        if not pending and not self._lost:
            if self._closing:
                self._connection_close()
            elif self._eof_written:
                self._connection_shutdown()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """Half-close: FIN follows what was written; reading goes on."""
        if self._closing or self._eof_written:
            return
        self._eof_written = True
        if not self._pending:
            self._connection_shutdown()

    def _connection_shutdown(self) -> None:
        if self._service.is_running:
            self._connection.shutdown(self._service.driver.now())
            self._service.driver.pump_soon()

    # Flow control of the writer.

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if high is None:
            high = HIGH_WATER if low is None else 4 * low
        if low is None:
            low = high // 4
        if not 0 <= low <= high:
            raise ValueError(f"the marks are to be 0 <= low <= high, not {low} and {high}")
        self._high, self._low = high, low
        self._pause_protocol()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def get_write_buffer_size(self) -> int:
        return self._pending_bytes

    def _pause_protocol(self) -> None:
        if self._pending_bytes > self._high and not self._writing_paused:
            self._writing_paused = True
            self._tell(self._protocol.pause_writing)

    def _resume_protocol(self) -> None:
        if self._writing_paused and self._pending_bytes <= self._low:
            self._writing_paused = False
            self._tell(self._protocol.resume_writing)

    def _tell(self, method: Callable[[], None]) -> None:
        try:
            method()
        except Exception as error:  # noqa: BLE001 - of the protocol, as asyncio treats it
            self._loop.call_exception_handler(
                {"message": "a protocol failed", "exception": error, "transport": self}
            )

    # The end.

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """Stop reading, send what was written, then call `connection_lost(None)`."""
        if self._closing:
            return
        if self._socket is not None and self._socket.resets_on_close:
            self.abort()
            return
        self._closing = True
        if not self._pending:
            self._connection_close()

    def _connection_close(self) -> None:
        if self._service.is_running:
            self._connection.close(self._service.driver.now())
            self._service.driver.pump_soon()
            self._opened.closed(self._connection)
        self._lose(self._reason)

    def abort(self) -> None:
        """Reset the connection and forget what was not sent."""
        self._force_close(None)

    def _force_close(self, error: Exception | None) -> None:
        """End as `abort` does, with a reason; asyncio's TLS calls it so."""
        if not self._lost:
            self._connection_abort()
            self._lose(error)

    def _connection_abort(self) -> None:
        if self._service.is_running:
            self._connection.abort(self._service.driver.now())
            self._service.driver.pump_soon()

    def node_stops(self) -> None:
        if not self._closing:
            self._reason = Closed("the node was stopped")
            self.close()

    def node_stopped(self) -> None:
        self._force_close(Closed("the node was stopped"))

    def _lose(self, error: Exception | None) -> None:
        if self._lost:
            return
        self._lost = self._closing = True
        self._pending.clear()
        self._pending_bytes = 0
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        self._service.detach(self._connection)
        self._opened.discard(self)
        self._loop.call_soon(self._finish, error)

    def _finish(self, error: Exception | None) -> None:
        self._finished = True
        try:
            if self._made:
                self._protocol.connection_lost(error)
        finally:
            self.on_lost(self)


def _nobody(transport: StreamTransport) -> None:
    del transport
