"""By which interface this machine's own routing table sends a datagram."""

from __future__ import annotations

import socket
from pathlib import Path

from ztstack.aio.local_addresses import interface_of
from ztstack.aio.udp import UdpSockets
from ztstack.base.endpoint import Endpoint


class Routes:
    """Asks the system, which knows routes that we do not."""

    def __init__(self, udp: UdpSockets) -> None:
        self._udp = udp

    def interface_to(self, number: int, remote: Endpoint) -> str:
        name = self._interface_to(number, remote)
        return name if name and _has_carrier(name) else ""

    def _interface_to(self, number: int, remote: Endpoint) -> str:
        sockets = self._udp.sockets
        if 0 <= number < len(sockets):
            sock = sockets[number]
            if sock.device:
                return sock.device
            if any(sock.local.ip):
                return interface_of(sock.local.ip)
        family = socket.AF_INET if remote.is_ipv4 else socket.AF_INET6
        try:
            # To connect a datagram socket sends nothing; it chooses the address to send from.
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((remote.host, remote.port))
                local = str(probe.getsockname()[0]).partition("%")[0]
        except OSError:
            return ""
        return interface_of(socket.inet_pton(family, local))


def _has_carrier(interface: str) -> bool:
    """Tell whether there is a signal on the cable; true where nobody knows."""
    try:
        return Path("/sys/class/net", interface, "carrier").read_text("ascii").strip() != "0"
    except OSError:
        return True
