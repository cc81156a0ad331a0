"""What commands need of a network, whichever engine provides it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Protocol, Self


@dataclass(frozen=True, slots=True)
class Pong:
    """A sign of life; `link` is direct, relay or tunnel, and what is not known is empty.

    `path` is the IP/PORT from which the answer came, `relay` the root that brought it.
    """

    node: str
    ip: str
    rtt_ms: float
    link: str
    path: str
    relay: str


@dataclass(frozen=True, slots=True)
class RootCheck:
    """How one root is reached: `path` is empty if it is silent, `latency_ms` -1 if unknown."""

    address: str
    link: str
    latency_ms: int
    path: str
    seen_as: tuple[str, ...]
    clock_skew_ms: int | None = None


@dataclass(frozen=True, slots=True)
class NetCheck:
    """How the roots are reached from here; endpoints are IP/PORT texts, empty if there is none."""

    udp: bool
    ipv4: bool
    ipv6: bool
    nat: str
    external: tuple[str, ...]
    port_mapping: str
    tcp_relay: str
    tcp_relay_state: str
    roots: tuple[RootCheck, ...]

    def values(self) -> dict[str, object]:
        return asdict(self)


class Stream(Protocol):
    """A connected byte stream with half-close."""

    @property
    def local(self) -> tuple[str, int]: ...
    @property
    def remote(self) -> tuple[str, int]: ...
    @property
    def remote_name(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def network_name(self) -> str: ...

    async def receive_views(self, limit: int = ...) -> list[memoryview]: ...
    async def receive(self, limit: int = ...) -> bytes: ...
    async def send(self, data: bytes | bytearray | memoryview) -> None: ...
    async def send_eof(self) -> None: ...
    async def wait_sent(self, timeout: float | None = None) -> None: ...
    async def close(self) -> None: ...
    def abort(self) -> None: ...


class Listener(Protocol):
    """Accepts streams."""

    @property
    def port(self) -> int: ...
    @property
    def addresses(self) -> list[tuple[str, int]]: ...

    async def accept(self) -> Stream: ...
    def close(self) -> None: ...


class Datagrams(Protocol):
    """Sends and receives datagrams on one port."""

    @property
    def local_port(self) -> int: ...
    @property
    def addresses(self) -> list[tuple[str, int]]: ...

    async def send(self, data: bytes, host: str, port: int) -> None: ...
    async def receive(self) -> tuple[bytes, tuple[str, int], str]: ...
    def join_group(self, group: str) -> None:
        """Hear what is sent to a multicast address."""

    def close(self) -> None: ...


class Engine(Protocol):
    """A running node; entering it starts it, leaving it stops it."""

    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    @property
    def node_id(self) -> str: ...
    @property
    def networks(self) -> list[str]: ...
    @property
    def extra_lines(self) -> list[str]: ...

    async def join(self) -> None:
        """Wait until every network of the settings is usable."""
        ...

    async def wait_online(self) -> None:
        """Wait until a root has answered."""
        ...

    def addresses(self) -> list[str]: ...

    async def connect(
        self,
        host: str,
        port: int,
        timeout: float | None,
        *,
        family: int = 0,
        source: str | None = None,
        source_port: int = 0,
    ) -> Stream: ...

    async def listen(self, port: int, host: str | None = None) -> Listener: ...
    async def datagram(self, port: int = 0, host: str | None = None) -> Datagrams: ...

    async def ping(self, target: str, timeout: float | None, *, icmp: bool, size: int) -> Pong:
        """Ask a node id, or with `icmp` an address inside a network; TimeoutError."""
        ...

    async def netcheck(self) -> NetCheck: ...

    async def status(self) -> dict[str, object]: ...
