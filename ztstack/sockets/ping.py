"""Asking for signs of life: a node by an echo of VL1, an IP address by ICMP."""

from __future__ import annotations

import asyncio
import ipaddress
from dataclasses import dataclass
from typing import Final

from ztstack.aio.echoes import check_size
from ztstack.aio.entropy import SystemEntropy
from ztstack.aio.service import Service
from ztstack.base.address import Address
from ztstack.base.datagram import ALL_SOCKETS
from ztstack.base.errors import InvalidConfig
from ztstack.base.network_id import NetworkId
from ztstack.ip.events import Event, Pong

SIZE: Final = 32
TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class EchoReport:
    """One answer: who gave it, in what time, and how it came.

    `link` is direct, relay or tunnel. `path` is the IP/PORT it came from, empty if only the link is
    known; `relay` is the root between us. `ip` is empty if a node was asked and not an address.
    """

    node: Address | None
    ip: str
    rtt_ms: float
    link: str
    path: str
    relay: Address | None


async def echo(
    service: Service, address: Address, timeout: float | None = TIMEOUT_S, size: int = SIZE
) -> EchoReport:
    """Ask a node; TimeoutError if it is silent."""
    reply = await service.echoes.ask(service.driver, address, timeout, size)
    link = "tunnel" if reply.path.socket == ALL_SOCKETS else "direct"
    if reply.hops:
        link = "relay"
    path = str(reply.path.remote)
    return EchoReport(address, "", reply.rtt_us / 1000, link, path, reply.relay)


async def ping(
    service: Service, host: str, timeout: float | None = TIMEOUT_S, size: int = SIZE
) -> EchoReport:
    """Ask an IP address, or the one that a network derives from a node id.

    Raises NameNotResolved, Unreachable, TimeoutError.
    """
    check_size(size)
    network, ip = service.resolve(host)
    text = str(ipaddress.ip_address(ip))
    if text in service.addresses(network):
        raise InvalidConfig(f"{host} is this node itself")
    rtt_us = await _Ping(service, network, ip).run(text, timeout, size)
    node = service.node_of(network, ip)
    switch = service.node.switch
    for peer in service.status().peers:
        if peer.address == node:
            path = peer.paths[0] if peer.paths else ""
            relay = switch.best_upstream() if peer.link == "relay" else None
            return EchoReport(node, text, rtt_us / 1000, peer.link, path, relay)
    return EchoReport(node, text, rtt_us / 1000, "relay", "", switch.best_upstream())


class _Ping:
    """One echo request of ICMP; its identifier is the socket that the answer names."""

    def __init__(self, service: Service, network: NetworkId, ip: bytes) -> None:
        self._service = service
        self._network = network
        self._ip = ip
        self._answer: asyncio.Future[int] = service.driver.loop.create_future()

    async def run(self, text: str, timeout: float | None, size: int) -> int:
        """Return the microseconds until the answer."""
        identifier = int.from_bytes(SystemEntropy().take(2), "big")
        driver = self._service.driver
        self._service.attach(identifier, self)
        try:
            start = driver.now()
            interface = self._service.node.member(self._network).interface
            interface.ping(start, self._ip, identifier, 1, bytes(size))
            driver.pump_soon()
            async with asyncio.timeout(timeout):
                return await self._answer - start
        except TimeoutError:
            raise TimeoutError(f"{text}: no answer in {timeout:g} s") from None
        finally:
            self._service.detach(identifier)

    def socket_event(self, event: Event) -> None:
        if isinstance(event, Pong) and event.ip == self._ip and not self._answer.done():
            self._answer.set_result(self._service.driver.now())
