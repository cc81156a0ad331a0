from __future__ import annotations

import asyncio
import importlib.util

import pytest

import ztstack
from tests.support.upnp_router import UpnpRouter
from tests.support.vl2 import BOB
from ztstack.aio.portmap import (
    LEASE_S,
    REFRESH_S,
    TRIES,
    Gateway,
    GatewayError,
    PortMapping,
    PortTaken,
    UpnpGateway,
)
from ztstack.base.endpoint import Endpoint
from ztstack.base.errors import InvalidConfig

EXTERNAL = bytes((203, 0, 113, 9))


class Router:
    """A gateway in memory; `refused` makes every question fail."""

    def __init__(self) -> None:
        self.taken: set[int] = set()
        self.mapped: dict[int, int] = {}
        self.ip = EXTERNAL
        self.refused = False
        self.found = 0
        self.added = 0

    async def find(self) -> Gateway:
        self.found += 1
        if self.refused:
            raise GatewayError("no router answered")
        return self

    async def external_ip(self) -> bytes:
        if self.refused:
            raise GatewayError("the router is gone")
        return self.ip

    async def add(self, external: int, internal: int) -> None:
        self.added += 1
        if external in self.taken:
            raise PortTaken(f"{external}")
        self.mapped[external] = internal

    async def remove(self, external: int) -> None:
        if self.refused:
            raise GatewayError("the router is gone")
        del self.mapped[external]


def test_constants() -> None:
    assert (REFRESH_S, LEASE_S, TRIES) == (300.0, 600, 60)


def test_mapped_renewed_and_given_back() -> None:
    async def main() -> None:
        router = Router()
        seen: list[Endpoint | None] = []
        mapping = PortMapping(router.find, 9993, seen.append)
        await mapping.refresh()
        await mapping.refresh()
        assert seen == [Endpoint(EXTERNAL, 9993)]
        assert (router.mapped, router.found, router.added) == ({9993: 9993}, 1, 2)
        await mapping.stop()
        assert (router.mapped, mapping.external) == ({}, None)

    asyncio.run(main())


def test_next_free_port() -> None:
    async def main() -> None:
        router = Router()
        router.taken = set(range(9993, 10_000))
        mapping = PortMapping(router.find, 9993, lambda _: None)
        await mapping.refresh()
        assert router.mapped == {10_000: 9993}
        await mapping.refresh()
        assert router.mapped == {10_000: 9993}

    asyncio.run(main())


@pytest.mark.parametrize(("port", "tries"), [(9993, TRIES), (65_530, 6)])
def test_no_free_port(port: int, tries: int) -> None:
    async def main() -> None:
        router = Router()
        router.taken = set(range(1 << 16))
        seen: list[Endpoint | None] = []
        mapping = PortMapping(router.find, port, seen.append)
        await mapping.refresh()
        assert (seen, router.added) == ([], tries)
        assert mapping.trouble == f"the router has no free port from {port} on"

    asyncio.run(main())


def test_router_that_goes_and_returns_with_another_address() -> None:
    async def main() -> None:
        router = Router()
        seen: list[Endpoint | None] = []
        mapping = PortMapping(router.find, 9993, seen.append)
        await mapping.refresh()
        router.refused = True
        await mapping.refresh()
        await mapping.refresh()
        router.refused = False
        router.ip = bytes((203, 0, 113, 10))
        await mapping.refresh()
        assert seen == [Endpoint(EXTERNAL, 9993), None, Endpoint(router.ip, 9993)]
        assert mapping.trouble == ""

    asyncio.run(main())


def test_stop_without_an_answer() -> None:
    async def main() -> None:
        router = Router()
        mapped = asyncio.Event()
        mapping = PortMapping(router.find, 9993, lambda _: mapped.set())
        mapping.start()
        await mapped.wait()
        router.refused = True
        await mapping.stop()
        assert mapping.external is None

    asyncio.run(main())


# A router of UPnP.


@pytest.mark.parametrize(("permanent_only", "lease"), [(False, LEASE_S), (True, 0)])
def test_upnp(permanent_only: bool, lease: int) -> None:
    async def main() -> None:
        router = UpnpRouter(taken=frozenset((9993,)), permanent_only=permanent_only)
        await router.start()
        mapping = PortMapping(lambda: UpnpGateway.open(router.location), 9993, lambda _: None)
        await mapping.refresh()
        assert mapping.trouble == ""
        assert mapping.external == Endpoint(EXTERNAL, 9994)
        assert router.mappings == {9994: ("127.0.0.1", 9993, lease)}
        await mapping.stop()
        assert router.mappings == {}
        await router.stop()

    asyncio.run(main())


@pytest.mark.parametrize("external", ["", "0.0.0.0", "127.0.0.1", "router"])
def test_upnp_without_external_address(external: str) -> None:
    async def main() -> None:
        router = UpnpRouter(external=external)
        await router.start()
        mapping = PortMapping(lambda: UpnpGateway.open(router.location), 9993, lambda _: None)
        await mapping.refresh()
        assert mapping.trouble.startswith("the router has no external address")
        await router.stop()

    asyncio.run(main())


def test_upnp_router_that_is_gone() -> None:
    async def main() -> None:
        router = UpnpRouter()
        await router.start()
        await router.stop()
        with pytest.raises(GatewayError, match="cannot be used"):
            await UpnpGateway.open(router.location)

    asyncio.run(main())


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    config = ztstack.NodeConfig(identity=BOB, port_mapping=True)
    with pytest.raises(InvalidConfig, match=r"not installed .*pip install 'ztstack\[portmap\]'"):
        asyncio.run(ztstack.Node(config).start())
