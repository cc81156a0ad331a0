"""UDP inside a network."""

from __future__ import annotations

import asyncio
import ipaddress
from typing import Final

from ztstack.aio.service import Service
from ztstack.base.errors import Closed, InvalidConfig, NotJoined, TooLong, Unreachable
from ztstack.base.network_id import NetworkId
from ztstack.ip.addresses import ANY4
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
            own = self._service.addresses(network)
            found += [(ip, sock.port) for ip in bound_addresses(sock.ip, own)]
        return found

    async def send(self, data: bytes, host: str, port: int) -> None:
        """Send one datagram of at most 65507 bytes; NameNotResolved, Unreachable, TooLong."""
        self.send_now(data, host, port)

    def send_now(self, data: bytes, host: str, port: int) -> None:
        """Send one datagram as `send` does; nothing of it needs to wait."""
        if self._closed:
            raise Closed("the UDP endpoint is closed")
        if len(data) > MAX_DATAGRAM:
            raise TooLong(f"a UDP datagram holds {MAX_DATAGRAM} bytes, not {len(data)}")
        group = group_of(host)
        if group is not None:
            self._send_to_group(data, group, port)
            return
        network, ip = self._service.resolve(host)
        for joined, sock in self._sockets:
            if joined == network:
                sock.send(self._service.driver.now(), data, ip, port)
                self._service.driver.pump_soon()

    def _send_to_group(self, data: bytes, group: bytes, port: int) -> None:
        """Send on every network of this endpoint that has an address to send from."""
        now = self._service.driver.now()
        refused: Unreachable | None = None
        sent = False
        for _, sock in self._sockets:
            try:
                sock.send(now, data, group, port)
                sent = True
            except Unreachable as error:
                refused = error
        if refused is not None and not sent:
            raise refused
        self._service.driver.pump_soon()

    def join_group(self, group: str, network: NetworkId | str | None = None) -> None:
        """Hear what is sent to an IPv4 or IPv6 multicast address, on one network or on all.

        `receive` tells by its last value to which address a datagram came. InvalidConfig if this
        is no multicast address, NotJoined if the endpoint is not on that network.
        """
        ip = _multicast(group)
        for sock in self._on(network):
            sock.join_group(ip)
        self._service.driver.pump_soon()

    def leave_group(self, group: str, network: NetworkId | str | None = None) -> None:
        """Undo `join_group`; InvalidConfig if the group was not joined."""
        ip = _multicast(group)
        for sock in self._on(network):
            sock.leave_group(ip)
        self._service.driver.pump_soon()

    def _on(self, network: NetworkId | str | None) -> list[UdpSocket]:
        if self._closed:
            raise Closed("the UDP endpoint is closed")
        wanted = NetworkId.parse(network) if isinstance(network, str) else network
        found = [sock for joined, sock in self._sockets if wanted in (None, joined)]
        if not found:
            raise NotJoined(f"{network}: the endpoint is not on this network")
        return found

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


def bound_addresses(bound: bytes | None, own: list[str]) -> list[str]:
    """Return the addresses that a socket is bound to, of a node's own ones."""
    if bound is None:
        return own
    if bound == ANY4:
        return [ip for ip in own if ":" not in ip]
    return [str(ipaddress.ip_address(bound))]


def group_of(host: str) -> bytes | None:
    """Return the address if `host` is a multicast address, or the broadcast to everybody."""
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return None
    return ip.packed if ip.is_multicast or ip == _EVERYBODY else None


_EVERYBODY: Final = ipaddress.ip_address("255.255.255.255")


def _multicast(group: str) -> bytes:
    ip = group_of(group)
    if ip is None or ip == _EVERYBODY.packed:
        raise InvalidConfig(f"{group}: is not a multicast address")
    return ip
