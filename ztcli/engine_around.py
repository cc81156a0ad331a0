"""An engine around another one: what is not said otherwise is passed on; and names of hosts."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from ztcli.engine import Datagrams, Engine, Listener, NetCheck, Pong, Stream
from ztcli.names import Names


class EngineAround:
    """Passes everything on to the engine inside."""

    def __init__(self, inner: Engine) -> None:
        self._inner = inner

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._inner.__aexit__(kind, error, trace)

    @property
    def node_id(self) -> str:
        return self._inner.node_id

    @property
    def networks(self) -> list[str]:
        return self._inner.networks

    @property
    def extra_lines(self) -> list[str]:
        return self._inner.extra_lines

    async def join(self) -> None:
        await self._inner.join()

    async def wait_online(self) -> None:
        await self._inner.wait_online()

    def addresses(self) -> list[str]:
        return self._inner.addresses()

    async def connect(
        self,
        host: str,
        port: int,
        timeout: float | None,
        *,
        family: int = 0,
        source: str | None = None,
        source_port: int = 0,
    ) -> Stream:
        return await self._inner.connect(
            host, port, timeout, family=family, source=source, source_port=source_port
        )

    async def listen(self, port: int, host: str | None = None) -> Listener:
        return await self._inner.listen(port, host)

    async def datagram(self, port: int = 0, host: str | None = None) -> Datagrams:
        return await self._inner.datagram(port, host)

    async def ping(self, target: str, timeout: float | None, *, icmp: bool, size: int) -> Pong:
        return await self._inner.ping(target, timeout, icmp=icmp, size=size)

    async def netcheck(self) -> NetCheck:
        return await self._inner.netcheck()

    async def status(self) -> dict[str, object]:
        return await self._inner.status()


class NamedEngine(EngineAround):
    """An engine that knows hosts by the names people gave them; nobody else is asked for these."""

    def __init__(self, inner: Engine, names: Names) -> None:
        super().__init__(inner)
        self._names = names

    async def connect(
        self,
        host: str,
        port: int,
        timeout: float | None,
        *,
        family: int = 0,
        source: str | None = None,
        source_port: int = 0,
    ) -> Stream:
        return await super().connect(
            self._names.host(host),
            port,
            timeout,
            family=family,
            source=source,
            source_port=source_port,
        )

    async def listen(self, port: int, host: str | None = None) -> Listener:
        return await super().listen(port, self._names.host(host) if host is not None else None)

    async def datagram(self, port: int = 0, host: str | None = None) -> Datagrams:
        own = self._names.host(host) if host is not None else None
        return NamedDatagrams(await super().datagram(port, own), self._names)

    async def ping(self, target: str, timeout: float | None, *, icmp: bool, size: int) -> Pong:
        return await super().ping(self._names.host(target), timeout, icmp=icmp, size=size)


class NamedDatagrams:
    """A port from which datagrams go to named hosts too."""

    def __init__(self, inner: Datagrams, names: Names) -> None:
        self._inner = inner
        self._names = names
        self.receive = inner.receive
        self.join_group = inner.join_group
        self.close = inner.close

    @property
    def local_port(self) -> int:
        return self._inner.local_port

    @property
    def addresses(self) -> list[tuple[str, int]]:
        return self._inner.addresses

    async def send(self, data: bytes, host: str, port: int) -> None:
        await self._inner.send(data, self._names.host(host), port)
