"""A UDP relay on loopback that loses a share of the datagrams, both ways."""

from __future__ import annotations

import random
import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

BUFFER = 4 << 20


class LossyRelay:
    """Passes datagrams between whoever comes and one target; counts them."""

    def __init__(self, host: str, target: int, loss: float, seed: int) -> None:
        self._family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._target = (host, target)
        self._loss = loss
        self._random = random.Random(seed)
        self._selector = selectors.DefaultSelector()
        self._front = self._socket()
        self._front.bind((host, 0))
        self._clients: dict[object, socket.socket] = {}
        self._running = True
        self.passed = 0
        self.lost = 0
        self._selector.register(self._front, selectors.EVENT_READ, None)

    @property
    def port(self) -> int:
        return int(self._front.getsockname()[1])

    def _socket(self) -> socket.socket:
        sock = socket.socket(self._family, socket.SOCK_DGRAM)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, BUFFER)
        sock.setblocking(False)
        return sock

    def run(self) -> None:
        while self._running:
            for key, _ in self._selector.select(0.1):
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                with suppress(OSError):
                    for _ in range(64):
                        self._pass(sock, key.data)

    def _pass(self, sock: socket.socket, client: object) -> None:
        data, place = sock.recvfrom(65536)
        if self._random.random() < self._loss:
            self.lost += 1
            return
        self.passed += 1
        if client is not None:
            self._front.sendto(data, client)  # type: ignore[call-overload] # as recvfrom gave it
            return
        if place not in self._clients:
            upstream = self._socket()
            upstream.connect(self._target)
            self._clients[place] = upstream
            self._selector.register(upstream, selectors.EVENT_READ, place)
        self._clients[place].send(data)

    def close(self) -> None:
        self._running = False

    def release(self) -> None:
        self._selector.close()
        for sock in (self._front, *self._clients.values()):
            sock.close()


@contextmanager
def lossy_relay(host: str, target: int, loss: float, seed: int = 1) -> Iterator[LossyRelay]:
    relay = LossyRelay(host, target, loss, seed)
    thread = threading.Thread(target=relay.run, daemon=True)
    thread.start()
    try:
        yield relay
    finally:
        relay.close()
        thread.join(10)
        relay.release()
