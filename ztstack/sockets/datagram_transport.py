"""asyncio's DatagramTransport over a UDP port inside a network."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from ztstack.base.errors import Closed, ZtError
from ztstack.sockets.carrier import DatagramPort
from ztstack.sockets.open_sockets import OpenSockets

Bytes = bytes | bytearray | memoryview

_BATCH: Final = 64


class DatagramTransport(asyncio.DatagramTransport):
    """One UDP port; what cannot be sent is told to the protocol's `error_received`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        endpoint: DatagramPort,
        protocol: asyncio.BaseProtocol,
        opened: OpenSockets,
        peer: tuple[str, int] | None,
    ) -> None:
        super().__init__({"peername": peer})
        assert isinstance(protocol, asyncio.DatagramProtocol)
        self._loop = loop
        self._endpoint = endpoint
        self._protocol: asyncio.DatagramProtocol = protocol
        self._opened = opened
        self._peer = peer
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        opened.add(self)

    def begin(self) -> None:
        self._loop.call_soon(self._make)

    def _make(self) -> None:
        if self._closing:
            return
        self._protocol.connection_made(self)
        self._task = self._loop.create_task(self._receive())

    async def _receive(self) -> None:
        count = 0
        while not self.is_closing():
            try:
                data, remote, _ = await self._endpoint.receive()
            except Closed:
                return
            except (ZtError, OSError) as error:
                self._call_error(error)
                continue
            if self.is_closing() or self._peer not in (None, remote):
                continue
            try:
                self._protocol.datagram_received(data, remote)
            except Exception as error:  # noqa: BLE001 - of the protocol, as asyncio treats it
                self._loop.call_exception_handler(
                    {"message": "a protocol failed", "exception": error, "transport": self}
                )
                self.abort()
            count += 1
            if count % _BATCH == 0:
                await asyncio.sleep(0)

    def _call_error(self, error: Exception) -> None:
        wrapped = error if isinstance(error, OSError) else OSError(str(error))
        self._protocol.error_received(wrapped)

    def get_extra_info(self, name: str, default: object = None) -> object:
        if name == "sockname":
            found = [] if self._closing else self._endpoint.addresses
            return found[0] if found else default
        return super().get_extra_info(name, default)

    def sendto(self, data: Bytes, addr: Any = None) -> None:  # noqa: ANN401 - as asyncio has it
        """Send one datagram to `addr`, or to the remote address that was given at the start."""
        if self._closing:
            return
        target = self._peer
        if addr is not None:
            host, port = addr[0], int(addr[1])
            if target is not None and target != (host, port):
                raise ValueError(f"the endpoint sends to {target} only")
            target = (host, port)
        if target is None:
            raise ValueError("no address to send to")
        try:
            self._endpoint.send_now(bytes(data), *target)
        except (ZtError, OSError) as error:
            self._call_error(error)

    def join_group(self, group: str) -> None:
        """Hear what is sent to a multicast address; there is no socket to set options of."""
        self._endpoint.join_group(group)

    def leave_group(self, group: str) -> None:
        """Undo `join_group`; InvalidConfig if the group was not joined."""
        self._endpoint.leave_group(group)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.DatagramProtocol)
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def is_closing(self) -> bool:
        return self._closing

    def get_write_buffer_size(self) -> int:
        return 0

    def close(self) -> None:
        self._end(None)

    def abort(self) -> None:
        self._end(None)

    def node_stops(self) -> None:
        self._end(Closed("the node was stopped"))

    def node_stopped(self) -> None:
        self.node_stops()

    def _end(self, error: Exception | None) -> None:
        if self._closing:
            return
        self._closing = True
        self._opened.discard(self)
        self._endpoint.close()
        self._loop.call_soon(self._protocol.connection_lost, error)
