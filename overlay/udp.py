"""The transport over the operating system's UDP; neither encrypted nor authenticated."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from overlay.errors import InvalidConfig, MalformedMessage, PortInUse, Unreachable
from overlay.messages import Kind, Message
from overlay.registry import Registry

Receiver = Callable[[Message], None]


class _Protocol(asyncio.DatagramProtocol):
    def __init__(self, owner: UdpTransport) -> None:
        self._owner = owner

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._owner.received(data, addr)


class UdpTransport:
    """Sends messages to where nodes were heard last, or where we were told they are."""

    def __init__(
        self,
        network: int,
        node: int,
        registry: Registry,
        port: int = 0,
        advertise: tuple[str, int] | None = None,
    ) -> None:
        self._network = network
        self._node = node
        self._registry = registry
        self._port = port
        self._advertise = advertise
        self._receiver: Receiver | None = None
        self._transport: asyncio.DatagramTransport | None = None
        self.malformed = 0

    async def start(self, receiver: Receiver) -> None:
        loop = asyncio.get_running_loop()
        try:
            self._transport, _ = await loop.create_datagram_endpoint(
                lambda: _Protocol(self),
                local_addr=("0.0.0.0", self._port),  # noqa: S104
            )
        except OSError as error:
            raise PortInUse(f"UDP port {self._port}: {error.strerror}") from error
        self._receiver = receiver
        for node in self._registry.known():
            with contextlib.suppress(Unreachable):
                self.send(self._hello(Kind.HELLO, node))

    async def stop(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._transport = None
        self._receiver = None

    @property
    def local(self) -> str:
        if self._transport is None:
            return ""
        host, port = self._transport.get_extra_info("sockname")[:2]
        return f"{host}:{port}"

    def send(self, message: Message) -> None:
        place = self._registry.place(message.destination)
        if place is None or self._transport is None:
            raise Unreachable(f"{message.destination:010x}: nobody told where it is; see --peer")
        self._transport.sendto(message.encode(), place)

    def received(self, data: bytes, place: tuple[str, int]) -> None:
        """Take a datagram in; what is not for us is dropped."""
        try:
            message = Message.decode(data)
        except MalformedMessage:
            self.malformed += 1
            return
        if message.network != self._network or message.destination != self._node:
            return
        self._registry.heard(message.source, _advertised(message) or place[:2])
        if message.kind is Kind.HELLO:
            self.send(self._hello(Kind.HELLO_REPLY, message.source))
        elif message.kind is not Kind.HELLO_REPLY and self._receiver is not None:
            self._receiver(message)

    def _hello(self, kind: Kind, node: int) -> Message:
        text = b""
        if self._advertise is not None:
            host, port = self._advertise
            own = self.local.rpartition(":")[2]
            text = f"{host} {port or own}".encode()
        return Message(kind, self._network, self._node, node, text)


def _advertised(message: Message) -> tuple[str, int] | None:
    if message.kind not in (Kind.HELLO, Kind.HELLO_REPLY) or not message.payload:
        return None
    host, _, port = message.payload.decode("ascii", "replace").partition(" ")
    if not port.isdigit() or not 0 < int(port) < 65536:
        return None
    return host, int(port)


def check_port(port: int) -> None:
    if not 0 <= port <= 65535:
        raise InvalidConfig(f"a port is a number from 0 to 65535, not {port}")
