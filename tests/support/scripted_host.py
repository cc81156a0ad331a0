"""Our TCP and UDP as a program that does as it is told; see `scripted.py`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from ipaddress import ip_address

from tests.support.scripted import LIMIT_S, answer
from tests.support.tap_host import TapHost
from ztstack.ip.tcp.connection import Connection
from ztstack.ip.tcp.listener import Listener
from ztstack.ip.udp_socket import UdpSocket


class Host:
    """Connections by name, over the link of a TapHost."""

    def __init__(self) -> None:
        self.link = TapHost(1)
        self._connections: dict[str, Connection] = {}
        self._seen: dict[str, list[str]] = {}
        self._listeners: dict[int, Listener] = {}
        self._datagrams: dict[str, UdpSocket] = {}

    def turn(self, *also: int) -> None:
        """Do what is to be done on the link, and note the states that it led to."""
        self.link.turn(*also)
        for name, connection in self._connections.items():
            seen, state = self._seen[name], connection.state.name
            if not seen or seen[-1] != state:
                seen.append(state)

    def _until(self, done: Callable[[], bool], words: Callable[[], str]) -> None:
        deadline = time.monotonic() + LIMIT_S
        while not done():
            if time.monotonic() > deadline:
                raise TimeoutError(words())
            self.turn()

    def _keep(self, name: str, connection: Connection) -> None:
        self._connections[name] = connection
        self._seen[name] = []

    def listen(self, port: int) -> None:
        self._listeners[port] = self.link.interface.listen(self.link.now(), None, port)

    def unlisten(self, port: int) -> None:
        self._listeners.pop(port).close(self.link.now())

    def accept(self, name: str, port: int) -> None:
        listener = self._listeners[port]
        self._until(lambda: bool(listener.queue), lambda: "nobody connects")
        connection = listener.accept()
        assert connection is not None
        self._keep(name, connection)

    def half_open(self, port: int, count: int) -> None:
        """Wait until so many connections to a port are in SYN-RECEIVED."""
        listener = self._listeners[port]
        self._until(lambda: listener.half_open == count, lambda: f"{listener.half_open} half open")

    def connect(self, name: str, host: str, port: int, local_port: int = 0) -> None:
        """Begin to connect; what is to be sent has been sent."""
        ip = ip_address(host).packed
        now = self.link.now()
        made = self.link.interface.connect(now, ip, port, local_port=local_port)
        self._keep(name, made)
        self.turn()

    def write(self, name: str, text: str) -> None:
        assert self._connections[name].write(self.link.now(), text.encode()) == len(text)

    def read(self, name: str, count: int) -> str:
        """Return so many characters, or fewer at the end."""
        connection, data = self._connections[name], bytearray()

        def is_done() -> bool:
            for view in connection.read(self.link.now(), count - len(data)):
                data.extend(view)
            return len(data) == count or connection.at_eof or connection.error is not None

        self._until(is_done, lambda: f"{len(data)} of {count} bytes")
        return data.decode()

    def shutdown(self, name: str) -> None:
        self._connections[name].shutdown(self.link.now())

    def abort(self, name: str) -> None:
        self._connections[name].abort(self.link.now())

    def until(self, name: str, state: str) -> list[str]:
        """Wait for a state; return those before."""
        connection = self._connections[name]
        self._until(lambda: connection.state.name == state, lambda: connection.state.name)
        return self._seen[name]

    def error(self, name: str) -> list[object]:
        """Return kind and number of the error that a connection has ended with."""
        found = self._connections[name].error
        return [type(found).__name__, getattr(found, "errno", None)]

    # UDP.

    def bind(self, name: str, port: int) -> None:
        self._datagrams[name] = self.link.interface.bind_udp(self.link.now(), None, port)

    def send(self, name: str, size: int, host: str, port: int) -> None:
        ip = ip_address(host).packed
        self._datagrams[name].send(self.link.now(), bytes(size), ip, port)

    def receive(self, name: str) -> int:
        """Wait for a datagram; return its length."""
        sock = self._datagrams[name]
        self._until(lambda: not sock.is_empty, lambda: "nothing arrives")
        received = sock.receive()
        assert received is not None
        return len(received[0])

    def complaint(self, name: str) -> list[object]:
        """Wait for what ICMP says of an earlier `send`; return kind and number of the error."""
        sock, found = self._datagrams[name], list[Exception]()

        def is_told() -> bool:
            error = sock.take_error()
            if error is not None:
                found.append(error)
            return bool(found)

        self._until(is_told, lambda: "nobody complains")
        return [type(found[0]).__name__, getattr(found[0], "errno", None)]


def main() -> int:
    host = Host()
    pending = b""
    os.set_blocking(0, False)
    while True:
        host.turn(0)
        try:
            data = os.read(0, 1 << 16)
        except BlockingIOError:
            continue
        if not data:
            return 0
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            sys.stdout.buffer.write(answer(host, line))
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(main())
