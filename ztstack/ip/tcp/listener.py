"""A listening port and the connections that wait to be accepted."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from ztstack.ip.tcp.connection import Connection


class Listener:
    """Accepts connections on one address, or on all if `ip` is None."""

    __slots__ = ("_forget", "backlog", "half_open", "ip", "is_closed", "port", "queue")

    def __init__(
        self, ip: bytes | None, port: int, backlog: int, forget: Callable[[Listener], None]
    ) -> None:
        self.ip = ip
        self.port = port
        self.backlog = backlog
        self.half_open = 0
        self.queue: deque[Connection] = deque()
        self.is_closed = False
        self._forget = forget

    @property
    def is_full(self) -> bool:
        return len(self.queue) >= self.backlog

    @property
    def is_flooded(self) -> bool:
        """Whether so many have begun to connect that no more is kept of others."""
        return self.half_open >= self.backlog

    def accept(self) -> Connection | None:
        """Return the connection that waits longest, None if none does."""
        while self.queue:
            connection = self.queue.popleft()
            # One that the peer broke off before anybody looked is not worth accepting.
            if connection.error is None or connection.received.size:
                return connection
        return None

    def close(self, now: int) -> None:
        """Stop listening; connections that nobody accepted are broken off."""
        if self.is_closed:
            return
        self.is_closed = True
        self._forget(self)
        while self.queue:
            self.queue.popleft().abort(now)
