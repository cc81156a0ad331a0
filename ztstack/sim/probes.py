"""Applications that ask each other for signs of life all the time, and remember the answers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ztstack.base.endpoint import Endpoint
from ztstack.base.errors import ZtError
from ztstack.base.network_id import NetworkId
from ztstack.base.timers import MILLISECOND, SECOND
from ztstack.ip.events import Event, Readable
from ztstack.ip.udp_socket import UdpSocket
from ztstack.sim.host import Host

PORT: Final = 7
EVERY_US: Final = 4 * SECOND
"""From an answer to the next question."""
AGAIN_US: Final = 500 * MILLISECOND
"""So long an answer may take until the question is sent again."""
_QUESTION: Final = b"?"
_ANSWER: Final = b"!"


class Pair:
    """Two hosts, of which the first asks; `answers` are the times at which it heard the other."""

    __slots__ = ("answers", "asked", "asker", "other", "size")

    def __init__(self, asker: Host, other: Host, size: int) -> None:
        self.asker = asker
        self.other = other
        self.size = size
        self.asked = 0
        self.answers: list[int] = []

    def __repr__(self) -> str:
        return f"{self.asker.name}-{self.other.name}"


class Probes:
    """Questions over UDP inside a virtual network, IPv4 and IPv6 in turn, between many pairs."""

    def __init__(self, hosts: Iterable[Host], network: NetworkId) -> None:
        self.network = network
        self.pairs: list[Pair] = []
        self.is_stopped = False
        self.heard: list[tuple[int, str, bytes]] = []
        """Every datagram that came: when, to which host, and from which address."""
        self._sockets: dict[str, UdpSocket] = {}
        # Where each host was found: addresses do not change while a controller knows its members.
        self._ips: dict[tuple[str, int], bytes] = {}
        self._by_ip: dict[tuple[str, bytes], Pair] = {}
        for host in hosts:
            self._serve(host)

    def add(self, asker: Host, other: Host, size: int) -> Pair:
        """Let one host ask another, by its address of `size` bytes."""
        pair = Pair(asker, other, size)
        self.pairs.append(pair)
        stagger = len(self.pairs) * EVERY_US // 97 % EVERY_US
        asker.network.at(asker.network.now + stagger, lambda: self._ask(pair, len(pair.answers)))
        return pair

    def stop(self) -> None:
        self.is_stopped = True

    def _serve(self, host: Host) -> None:
        host.on_started = lambda: self.open(host)
        host.on_socket = lambda network, event: self._readable(host, network, event)
        self.open(host)

    def open(self, host: Host) -> None:
        """Open the socket of a host that has just joined or started; nothing if it is neither."""
        interface = host.interface(self.network)
        if interface is not None:
            self._sockets[host.name] = interface.bind_udp(host.now, None, PORT)

    def _ip(self, host: Host, size: int) -> bytes | None:
        ip = host.ip(self.network, size)
        if ip is not None:
            self._ips[host.name, size] = ip
        return self._ips.get((host.name, size))

    def _ask(self, pair: Pair, known: int) -> None:
        """Ask, and again until there is an answer more than `known`."""
        if self.is_stopped:
            return
        clock = pair.asker.network
        if len(pair.answers) > known:
            clock.at(pair.answers[-1] + EVERY_US, lambda: self._ask(pair, len(pair.answers)))
            return
        ip = self._ip(pair.other, pair.size)
        if ip is not None and pair.asker.is_running:
            self._by_ip[pair.asker.name, ip] = pair
            pair.asked += 1
            self._send(pair.asker, _QUESTION, Endpoint(ip, PORT))
        clock.at(clock.now + AGAIN_US, lambda: self._ask(pair, known))

    def _send(self, host: Host, data: bytes, to: Endpoint) -> None:
        if host.interface(self.network) is None:
            return
        try:
            self._sockets[host.name].send(host.now, data, to.ip, to.port)
        except ZtError:
            # There is no route while a restarted node has no configuration yet.
            return
        host.pump()

    def _readable(self, host: Host, network: NetworkId, event: Event) -> None:
        sock = self._sockets[host.name]
        if network != self.network or not isinstance(event, Readable) or event.socket is not sock:
            return
        sock.take_error()
        while (received := sock.receive()) is not None:
            data, remote, _ = received
            self.heard.append((host.network.now, host.name, remote.ip))
            if data == _QUESTION:
                self._send(host, _ANSWER, remote)
            elif (pair := self._by_ip.get((host.name, remote.ip))) is not None:
                pair.answers.append(host.network.now)
