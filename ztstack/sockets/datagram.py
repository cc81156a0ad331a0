"""UDP inside a network."""

from __future__ import annotations

import asyncio
import ipaddress
from typing import Final

from ztstack.aio.service import Service
from ztstack.base.errors import Closed, InvalidConfig
from ztstack.base.network_id import NetworkId
from ztstack.ip.events import Event
from ztstack.ip.udp_socket import UdpSocket

MAX_DATAGRAM: Final = 65507


class DatagramEndpoint:
    """One UDP port on every joined network, or on one address."""

    def __init__(self, service: Service, sockets: list[tuple[NetworkId, UdpSocket]]) -> None:
        self._service = service
        self._sockets = sockets
        self._arrived = asyncio.Event()
        self._closed = False
        for _, sock in sockets:
            service.attach(sock, self)

    @property
    def local_port(self) -> int:
        return self._sockets[0][1].port

    @property
    def addresses(self) -> list[tuple[str, int]]:
        found = []
        for network, sock in self._sockets:
            if sock.ip is not None:
                found.append((str(ipaddress.ip_address(sock.ip)), sock.port))
                continue
            found.extend((ip, sock.port) for ip in self._service.addresses(network))
        return found

    async def send(self, data: bytes, host: str, port: int) -> None:
        """Send one datagram of at most 65507 bytes; NameNotResolved, Unreachable."""
        self.send_now(data, host, port)

    def send_now(self, data: bytes, host: str, port: int) -> None:
        """Send one datagram as `send` does; nothing of it needs to wait."""
        if self._closed:
            raise Closed("the UDP endpoint is closed")
        if len(data) > MAX_DATAGRAM:
            raise InvalidConfig(f"a UDP datagram holds {MAX_DATAGRAM} bytes, not {len(data)}")
        network, ip = self._service.resolve(host)
        for joined, sock in self._sockets:
            if joined == network:
                sock.send(self._service.driver.now(), data, ip, port)
                self._service.driver.pump_soon()

    async def receive(self) -> tuple[bytes, tuple[str, int], str]:
        """Wait for a datagram: data, (host, port) of the sender, and our address it came to.

        Raises what an ICMP message says about an earlier `send`: ConnectRefused, Unreachable.
        """
        while True:
            if self._closed:
                raise Closed("the UDP endpoint is closed")
            for _, sock in self._sockets:
                received = sock.receive()
                if received is not None:
                    data, remote, local = received
                    return data, (remote.host, remote.port), str(ipaddress.ip_address(local))
                error = sock.take_error()
                if error is not None:
                    raise error
            self._arrived.clear()
            await self._arrived.wait()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._arrived.set()
        for _, sock in self._sockets:
            self._service.detach(sock)
            if self._service.is_running:
                sock.close()

    def socket_event(self, event: Event) -> None:
        del event
        self._arrived.set()
