"""One bound UDP port of an interface, and the table of them."""

from __future__ import annotations

from collections import deque
from typing import Final, Protocol

from ztstack.base.endpoint import Endpoint
from ztstack.base.entropy import Entropy
from ztstack.base.errors import Closed, Drop, InvalidConfig, PortInUse
from ztstack.base.mac import MulticastGroup
from ztstack.base.trace import Tracer
from ztstack.ip.addresses import ANY4, is_multicast, multicast_mac, overlaps
from ztstack.ip.events import Event, GroupsChanged, Readable
from ztstack.ip.ports import choose_port

MAX_QUEUED: Final = 256
MAX_QUEUED_BYTES: Final = 1 << 20
MAX_GROUPS: Final = 256
"""Which one socket can join."""


class UdpSender(Protocol):
    """What a socket needs from its interface."""

    def send_udp(self, now: int, socket: UdpSocket, data: bytes, ip: bytes, port: int) -> None: ...


class UdpSocket:
    """A UDP port on one address of the interface, on all, or on all of IPv4 (None, ANY4)."""

    def __init__(self, table: UdpTable, sender: UdpSender, ip: bytes | None, port: int) -> None:
        self._table = table
        self._sender = sender
        self.ip = ip
        self.port = port
        self.is_closed = False
        self.groups: frozenset[bytes] = frozenset()
        self._queue: deque[tuple[bytes, Endpoint, bytes]] = deque()
        self._queued_bytes = 0
        self._error: Exception | None = None

    def send(self, now: int, data: bytes, ip: bytes, port: int) -> None:
        """Send one datagram; Unreachable without a route, InvalidConfig if it is too long."""
        if self.is_closed:
            raise Closed("the UDP socket is closed")
        self._sender.send_udp(now, self, data, ip, port)

    def receive(self) -> tuple[bytes, Endpoint, bytes] | None:
        """Return the next datagram, its sender and the own address it came to."""
        if not self._queue:
            return None
        received = self._queue.popleft()
        self._queued_bytes -= len(received[0])
        return received

    def join_group(self, ip: bytes) -> None:
        """Hear what is sent to a multicast address; joining twice does nothing."""
        if self.is_closed:
            raise Closed("the UDP socket is closed")
        if not is_multicast(ip):
            raise InvalidConfig("not a multicast address")
        if len(self.groups | {ip}) > MAX_GROUPS:
            raise InvalidConfig(f"{MAX_GROUPS} groups are the most for one socket")
        self.groups |= {ip}
        self._table.groups_changed(self)

    def leave_group(self, ip: bytes) -> None:
        """Hear it no more; InvalidConfig if it was not joined."""
        if ip not in self.groups:
            raise InvalidConfig("the group was not joined")
        self.groups -= {ip}
        self._table.groups_changed(self)

    def take_error(self) -> Exception | None:
        """Return, once, what ICMP or a silent neighbour said about an earlier `send`."""
        error, self._error = self._error, None
        return error

    def close(self) -> None:
        if self.is_closed:
            return
        self.is_closed = True
        self._queue.clear()
        self._queued_bytes = 0
        self._table.remove(self)

    # For the table.

    @property
    def is_empty(self) -> bool:
        return not self._queue

    def deliver(self, data: bytes, remote: Endpoint, local: bytes) -> bool:
        """Queue a datagram; False if there is no room."""
        if len(self._queue) >= MAX_QUEUED or self._queued_bytes + len(data) > MAX_QUEUED_BYTES:
            return False
        self._queue.append((data, remote, local))
        self._queued_bytes += len(data)
        return True

    def fail(self, error: Exception) -> None:
        self._error = error


class UdpTable:
    """The UDP sockets of one interface by port; what they have to tell goes to `events`."""

    def __init__(self, entropy: Entropy, tracer: Tracer, events: list[Event]) -> None:
        self._entropy = entropy
        self._tracer = tracer
        self._sockets: dict[int, dict[bytes | None, UdpSocket]] = {}
        self._joined: frozenset[bytes] = frozenset()
        self.events = events
        self.groups: frozenset[MulticastGroup] = frozenset()

    def bind(self, sender: UdpSender, ip: bytes | None, port: int) -> UdpSocket:
        """Open a socket; port 0 picks one. PortInUse if another socket overlaps."""
        if port == 0:
            port = choose_port(self._entropy, self._sockets.__contains__)
        bound = self._sockets.get(port, {})
        if any(overlaps(ip, other) for other in bound):
            raise PortInUse(f"UDP port {port} is in use")
        sock = UdpSocket(self, sender, ip, port)
        self._sockets.setdefault(port, {})[ip] = sock
        return sock

    def remove(self, sock: UdpSocket) -> None:
        bound = self._sockets.get(sock.port, {})
        if bound.get(sock.ip) is sock:
            del bound[sock.ip]
        if not bound:
            self._sockets.pop(sock.port, None)
        if sock.groups:
            self.groups_changed(sock)

    def groups_changed(self, by: UdpSocket) -> None:
        """Find out anew what is to be heard for the sockets together."""
        bound = (sock for one in self._sockets.values() for sock in one.values())
        self._joined = frozenset(ip for sock in bound for ip in sock.groups)
        self.groups = frozenset(MulticastGroup(multicast_mac(ip)) for ip in self._joined)
        self.events.append(GroupsChanged(by))

    def is_joined(self, ip: bytes) -> bool:
        return ip in self._joined

    def find(self, ip: bytes, port: int) -> UdpSocket | None:
        bound = self._sockets.get(port)
        if bound is None:
            return None
        return bound.get(ip) or bound.get(None) or (bound.get(ANY4) if len(ip) == 4 else None)

    def receive(self, data: bytes, remote: Endpoint, local: Endpoint) -> bool:
        """Deliver a datagram; False if nobody listens there."""
        if local.ip in self._joined:
            return self._receive_group(data, remote, local)
        sock = self.find(local.ip, local.port)
        if sock is None:
            self._tracer.drop(Drop.NO_SOCKET, "udp")
            return False
        self._deliver(sock, data, remote, local)
        return True

    def _receive_group(self, data: bytes, remote: Endpoint, local: Endpoint) -> bool:
        """Deliver to every socket of the port that joined the group."""
        bound = self._sockets.get(local.port, {}).values()
        joined = [sock for sock in bound if local.ip in sock.groups]
        for sock in joined:
            self._deliver(sock, data, remote, local)
        if not joined:
            self._tracer.drop(Drop.NO_SOCKET, "udp")
        return bool(joined)

    def _deliver(self, sock: UdpSocket, data: bytes, remote: Endpoint, local: Endpoint) -> None:
        was_empty = sock.is_empty
        if sock.deliver(data, remote, local.ip):
            if was_empty:
                self.events.append(Readable(sock))
        else:
            self._tracer.drop(Drop.QUEUE_FULL, "udp")

    def receive_error(self, local: Endpoint, error: Exception) -> None:
        sock = self.find(local.ip, local.port)
        if sock is not None:
            sock.fail(error)
            self.events.append(Readable(sock))
