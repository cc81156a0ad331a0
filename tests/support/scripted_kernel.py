"""The kernel's TCP and UDP as a program that does as it is told; see `scripted.py`."""

from __future__ import annotations

import errno
import select
import socket
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.support.scripted import LIMIT_S, answer

_STATES: Final = (
    *("", "ESTABLISHED", "SYN_SENT", "SYN_RECEIVED", "FIN_WAIT_1", "FIN_WAIT_2", "TIME_WAIT"),
    *("CLOSED", "CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING"),
)
"""The names of our side by the kernel's numbers."""


class Kernel:
    """Sockets by name."""

    def __init__(self) -> None:
        self._sockets: dict[str, socket.socket] = {}
        self._listeners: dict[int, socket.socket] = {}

    def listen(self, port: int) -> None:
        server = socket.create_server(("0.0.0.0", port), backlog=16)
        server.settimeout(LIMIT_S)
        self._listeners[port] = server

    def unlisten(self, port: int) -> None:
        self._listeners.pop(port).close()

    def accept(self, name: str, port: int) -> None:
        self._keep(name, self._listeners[port].accept()[0])

    def connect(self, name: str, host: str, port: int, local_port: int = 0) -> None:
        """Begin to connect."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("0.0.0.0", local_port))
        sock.setblocking(False)
        code = sock.connect_ex((host, port))
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, "connect")
        self._keep(name, sock)

    def _keep(self, name: str, sock: socket.socket) -> None:
        sock.settimeout(LIMIT_S)
        self._sockets[name] = sock

    def write(self, name: str, text: str) -> None:
        self._sockets[name].sendall(text.encode())

    def urgent(self, name: str, text: str) -> None:
        self._sockets[name].send(text.encode(), socket.MSG_OOB)

    def read(self, name: str, count: int) -> str:
        """Return so many characters, or fewer at the end."""
        data = b""
        while len(data) < count and (piece := self._sockets[name].recv(count - len(data))):
            data += piece
        return data.decode()

    def shutdown(self, name: str) -> None:
        self._sockets[name].shutdown(socket.SHUT_WR)

    def close(self, name: str) -> None:
        self._sockets.pop(name).close()

    def reset(self, name: str) -> None:
        sock = self._sockets.pop(name)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()

    def state(self, name: str) -> str:
        found = self._sockets[name].getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
        return _STATES[found[0]]

    def until(self, name: str, state: str) -> None:
        self._until(lambda: self.state(name) == state, f"{self.state(name)}, not {state}")

    def error(self, name: str) -> str | None:
        """Wait until a socket has failed; return how."""
        poll = select.poll()
        poll.register(self._sockets[name], 0)
        poll.poll(LIMIT_S * 1000)
        code = self._sockets[name].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return errno.errorcode[code] if code else None

    def half_open(self, port: int, count: int) -> None:
        """Wait until so many connections to a port are in SYN-RECEIVED."""
        wanted = f"{port:04X}"

        def found() -> int:
            lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
            return sum(line[1].endswith(":" + wanted) and line[3] == "03" for line in lines)

        self._until(lambda: found() == count, f"{found()} half open")

    @staticmethod
    def _until(done: Callable[[], bool], words: str) -> None:
        deadline = time.monotonic() + LIMIT_S
        while not done():
            if time.monotonic() > deadline:
                raise TimeoutError(words)
            time.sleep(0.002)

    # UDP.

    def bind(self, name: str, port: int) -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("0.0.0.0", port))
        self._keep(name, sock)

    def echo(self, name: str) -> int:
        """Send one datagram back to where it came from; return its length."""
        data, remote = self._sockets[name].recvfrom(1 << 16)
        self._sockets[name].sendto(data, remote)
        return len(data)


def main() -> int:
    kernel = Kernel()
    for line in sys.stdin.buffer:
        sys.stdout.buffer.write(answer(kernel, line))
        sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
