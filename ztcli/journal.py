"""What a request's connections were: where they led, over which path, when, how many bytes."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from ztcli.engine import Stream


@dataclass(slots=True)
class Journal:
    """Filled while a request runs; times are seconds since it was made, 0 for what never was."""

    began: float = field(default_factory=time.monotonic)
    joined: float = 0.0
    connected: float = 0.0
    secured: float = 0.0
    answered: float = 0.0
    direct: float = 0.0
    connects: int = 0
    sent: int = 0
    received: int = 0
    path: str = ""
    node: str = ""
    network: str = ""
    local: tuple[str, int] = ("", 0)
    remote: tuple[str, int] = ("", 0)

    def now(self) -> float:
        return time.monotonic() - self.began

    def connect(self, stream: Stream) -> None:
        self.connects += 1
        self.connected = self.now()
        self.local, self.remote = stream.local, stream.remote
        self.node, self.network = stream.remote_name, stream.network_name
        self.see(stream)

    def see(self, stream: Stream) -> None:
        """Note over which path a stream goes now."""
        self.path = stream.path
        self.node = stream.remote_name or self.node
        if not self.direct and self.path == "direct":
            self.direct = self.now()
