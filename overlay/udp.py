"""The transport over the operating system's UDP, IPv4 and IPv6; loopback unless told otherwise."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import socket
from collections.abc import Callable, Sequence
from typing import Final, Protocol, cast

from overlay.errors import InvalidConfig, PortInUse
from overlay.messages import Place

Receive = Callable[[bytes, Place], None]
LOOPBACK: Final = ("127.0.0.1", "::1")
BUFFER_BYTES: Final = 4 << 20
MAX_UNSENT: Final = 1 << 20
"""Bytes that wait for a socket of ours; what is more is lost."""
_TRIES: Final = 16


class _Sender(Protocol):
    """A transport of asyncio or uvloop, with what both have and asyncio's class lacks."""

    def sendto(self, data: bytes, addr: Place) -> None: ...
    def get_write_buffer_size(self) -> int: ...
    def get_extra_info(self, name: str) -> tuple[str, int]: ...
    def close(self) -> None: ...


class _Protocol(asyncio.DatagramProtocol):
    def __init__(self, receive: Receive) -> None:
        self._receive = receive

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._receive(data, addr[:2])

    def error_received(self, exc: Exception) -> None:
        """Pass over what ICMP says: it is about one of many peers, and anybody can send it."""


class UdpTransport:
    """Sockets with one port on all addresses that are to be bound."""

    def __init__(self, port: int = 0, bind: Sequence[Place] = ()) -> None:
        ports = sorted({port, *(own for _, own in bind)} - {0})
        if len(ports) > 1:
            raise InvalidConfig(f"two UDP ports are asked for: {ports[0]} and {ports[1]}")
        self._hosts = tuple(dict.fromkeys(host for host, _ in bind)) or LOOPBACK
        if len({":" in host for host in self._hosts}) < len(self._hosts):
            raise InvalidConfig("one address of each family can be bound")
        self._may_lack = not bind
        self._port = next(iter(ports), 0)
        self._transports: dict[int, _Sender] = {}
        self.unsent = 0

    @property
    def is_loopback(self) -> bool:
        return all(ipaddress.ip_address(host).is_loopback for host in self._hosts)

    async def start(self, receive: Receive) -> None:
        """Bind; with port 0 a port is looked for that is free on every address."""
        for attempt in range(_TRIES):
            try:
                await self._bind(receive)
            except PortInUse:
                await self.stop()
                if self._port or attempt + 1 == _TRIES:
                    raise
            except BaseException:
                await self.stop()
                raise
            else:
                return

    async def _bind(self, receive: Receive) -> None:
        loop = asyncio.get_running_loop()
        port = self._port
        for host in self._hosts:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            try:
                sock = socket.socket(family, socket.SOCK_DGRAM)
            except OSError as error:
                if self._may_lack and self._transports:
                    continue
                raise InvalidConfig(f"{host}: {error.strerror}") from error
            try:
                sock.settimeout(0)
                for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                    with contextlib.suppress(OSError):
                        sock.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
                if family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.bind((host, port))
            except OSError as error:
                sock.close()
                lacks = error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
                if self._may_lack and self._transports and lacks:
                    continue  # A machine without IPv6.
                if lacks:
                    raise InvalidConfig(f"{host}: is no address of this machine") from error
                raise PortInUse(f"UDP port {port} on {host}: {error.strerror}") from error
            transport, _ = await loop.create_datagram_endpoint(
                lambda: _Protocol(receive), sock=sock
            )
            self._transports[family] = cast("_Sender", transport)
            port = int(transport.get_extra_info("sockname")[1])

    async def stop(self) -> None:
        transports, self._transports = self._transports, {}
        for transport in transports.values():
            transport.close()
        # The sockets are closed in the next turn of the loop; then the port is free again.
        await asyncio.sleep(0)

    @property
    def locals(self) -> tuple[Place, ...]:
        """The addresses and the port that were bound."""
        names = (one.get_extra_info("sockname") for one in self._transports.values())
        return tuple((str(name[0]), int(name[1])) for name in names)

    def place_of(self, node: int) -> Place | None:
        """Nobody is found here by number alone."""
        del node
        return None

    def send(self, frame: bytes, place: Place) -> None:
        """Send, or lose."""
        family = socket.AF_INET6 if ":" in place[0] else socket.AF_INET
        transport = self._transports.get(family)
        if transport is None or transport.get_write_buffer_size() > MAX_UNSENT:
            self.unsent += 1
            return
        try:
            transport.sendto(frame, place)
        except OSError:
            self.unsent += 1


def plain_ip(host: str) -> str:
    """Return an IP address as the system spells it; InvalidConfig if it is none."""
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        raise InvalidConfig(f"{host}: is not an IP address") from None
    return str(getattr(ip, "ipv4_mapped", None) or ip)


def peer_place(place: Place, *, zero: bool = False) -> Place:
    """Return where somebody can be, spelled as the system does; `zero` allows port 0."""
    host, port = plain_ip(place[0]), place[1]
    ip = ipaddress.ip_address(host)
    if ip.is_unspecified or ip.is_multicast:
        raise InvalidConfig(f"{host}: nobody is there")
    check_port(port)
    if not (port or zero):
        raise InvalidConfig(f"{host}: nobody is at port 0")
    return host, port


def check_port(port: int) -> None:
    if not 0 <= port <= 65535:
        raise InvalidConfig(f"a port is a number from 0 to 65535, not {port}")
