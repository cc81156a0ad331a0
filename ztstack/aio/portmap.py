"""Asks the router for a port, so that strangers reach this node (vl1 section 6.15)."""

from __future__ import annotations

import asyncio
import importlib.util
import ipaddress
import logging
import socket
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final, Protocol, Self
from urllib.parse import urlsplit

from ztstack.base.endpoint import Endpoint, Scope
from ztstack.base.errors import InvalidConfig

REFRESH_S: Final = 300.0
LEASE_S: Final = 600
TRIES: Final = 60
"""External ports that are tried, one after the other, until one is free."""
SEARCH_S: Final = 3
REMOVE_S: Final = 2.0

_LIBRARY: Final = "async_upnp_client"
_ANYBODY: Final = ipaddress.IPv4Address(0)
_DISCOVERY_PORT: Final = 1900
# What UPnP routers answer: the port is somebody else's; leases never end here.
_CONFLICTS: Final = (501, 718)
_PERMANENT_ONLY: Final = 725
_NEAR: Final = frozenset((Scope.PRIVATE, Scope.LINK_LOCAL, Scope.SHARED, Scope.PSEUDO_PRIVATE))
_log = logging.getLogger("ztstack")


class GatewayError(Exception):
    """The router did not do what it was asked."""


class PortTaken(GatewayError):
    """The router has given that port to somebody else."""


class Gateway(Protocol):
    """A router that maps UDP ports to this machine."""

    async def external_ip(self) -> bytes: ...

    async def add(self, external: int, internal: int) -> None:
        """Map or renew; PortTaken or GatewayError if that is refused."""

    async def remove(self, external: int) -> None: ...


def check_installed() -> None:
    """Raise InvalidConfig unless the optional library is there."""
    if importlib.util.find_spec(_LIBRARY) is None:
        raise InvalidConfig("port mapping is not installed (run: pip install 'ztstack[portmap]')")


class PortMapping:
    """Keeps one port of the router open, and says where it is."""

    def __init__(
        self,
        find: Callable[[], Awaitable[Gateway]],
        port: int,
        changed: Callable[[Endpoint | None], None],
    ) -> None:
        self.external: Endpoint | None = None
        self.trouble = ""
        self._find = find
        self._port = port
        self._changed = changed
        self._gateway: Gateway | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._refresh_regularly())

    async def stop(self) -> None:
        """Give the port back, if the router answers in time."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
            self._task = None
        if self._gateway is not None and self.external is not None:
            try:
                async with asyncio.timeout(REMOVE_S):
                    await self._gateway.remove(self.external.port)
            except (GatewayError, TimeoutError) as error:
                _log.info("port mapping: %s stays until its lease ends: %s", self.external, error)
        self._gateway = self.external = None

    async def _refresh_regularly(self) -> None:
        while True:
            await self.refresh()
            await asyncio.sleep(REFRESH_S)

    async def refresh(self) -> None:
        """Map the port, or renew its lease."""
        try:
            if self._gateway is None:
                self._gateway = await self._find()
            external = await self._map(self._gateway)
            self.trouble = ""
        except GatewayError as error:
            # The next time another router is looked for.
            self._gateway = external = None
            self.trouble = str(error)
            _log.info("port mapping: %s", error)
        if external != self.external:
            self.external = external
            self._changed(external)

    async def _map(self, gateway: Gateway) -> Endpoint:
        ip = await gateway.external_ip()
        wanted = self.external.port if self.external is not None else self._port
        for port in range(wanted, min(wanted + TRIES, 1 << 16)):
            try:
                await gateway.add(port, self._port)
            except PortTaken:
                continue
            return Endpoint(ip, port)
        raise GatewayError(f"the router has no free port from {wanted} on")


class UpnpGateway:
    """A router that speaks UPnP, found by asking the local network."""

    def __init__(self, device: object, own: ipaddress.IPv4Address) -> None:
        from async_upnp_client.profiles.igd import IgdDevice  # noqa: PLC0415 - optional

        assert isinstance(device, IgdDevice)
        self._device = device
        self._own = own
        self._lease = timedelta(seconds=LEASE_S)

    @classmethod
    async def find(cls) -> Self:
        """Return the first router that answers; GatewayError if none does."""
        from async_upnp_client.exceptions import UpnpError  # noqa: PLC0415 - optional
        from async_upnp_client.profiles.igd import IgdDevice  # noqa: PLC0415 - optional

        try:
            answers = await IgdDevice.async_search(timeout=SEARCH_S)
        except (UpnpError, OSError) as error:
            raise GatewayError(f"the network cannot be asked for routers: {error}") from error
        found = sorted({str(answer.get("location", "")) for answer in answers})
        for location in found:
            if _is_near(location):
                return await cls.open(location)
        raise GatewayError("no router answered (UPnP)")

    @classmethod
    async def open(cls, location: str) -> Self:
        """Return the router that describes itself at a URL."""
        from async_upnp_client.aiohttp import AiohttpRequester  # noqa: PLC0415 - optional
        from async_upnp_client.client_factory import UpnpFactory  # noqa: PLC0415 - optional
        from async_upnp_client.exceptions import UpnpError  # noqa: PLC0415 - optional
        from async_upnp_client.profiles.igd import IgdDevice  # noqa: PLC0415 - optional

        factory = UpnpFactory(AiohttpRequester(timeout=SEARCH_S), non_strict=True)
        try:
            device = await factory.async_create_device(location)
            own = _own_address(urlsplit(location).hostname or "")
            return cls(IgdDevice(device, None), own)
        except (UpnpError, OSError) as error:
            raise GatewayError(f"the router at {location} cannot be used: {error}") from error

    async def external_ip(self) -> bytes:
        from async_upnp_client.exceptions import UpnpError  # noqa: PLC0415 - optional

        try:
            text = await self._device.async_get_external_ip_address()
            ip = ipaddress.IPv4Address(text or "").packed
        except (UpnpError, ValueError) as error:
            raise GatewayError(f"the router has no external address: {error}") from error
        if Endpoint(ip, 0).scope in (Scope.NONE, Scope.LOOPBACK, Scope.MULTICAST):
            raise GatewayError(f"the router has no external address: {text}")
        return ip

    async def add(self, external: int, internal: int) -> None:
        from async_upnp_client.exceptions import (  # noqa: PLC0415 - optional
            UpnpActionError,
            UpnpError,
        )

        try:
            await self._add(external, internal)
        except UpnpActionError as error:
            if error.error_code in _CONFLICTS:
                raise PortTaken(str(error)) from error
            if error.error_code != _PERMANENT_ONLY or not self._lease:
                raise GatewayError(str(error)) from error
            self._lease = timedelta()
            await self.add(external, internal)
        except UpnpError as error:
            raise GatewayError(str(error)) from error

    async def _add(self, external: int, internal: int) -> None:
        await self._device.async_add_port_mapping(
            remote_host=_ANYBODY,
            external_port=external,
            protocol="UDP",
            internal_port=internal,
            internal_client=self._own,
            enabled=True,
            description=f"ZeroTier {internal}",
            lease_duration=self._lease,
        )

    async def remove(self, external: int) -> None:
        from async_upnp_client.exceptions import UpnpError  # noqa: PLC0415 - optional

        try:
            await self._device.async_delete_port_mapping(_ANYBODY, external, "UDP")
        except UpnpError as error:
            raise GatewayError(str(error)) from error


def _is_near(location: str) -> bool:
    """Tell whether a URL leads into the local network: anybody there may have answered."""
    parts = urlsplit(location)
    try:
        ip = ipaddress.IPv4Address(parts.hostname or "").packed
    except ValueError:
        return False
    return parts.scheme == "http" and Endpoint(ip, 0).scope in _NEAR


def _own_address(router: str) -> ipaddress.IPv4Address:
    """Return the address of this machine that the router sees; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((router, _DISCOVERY_PORT))
        return ipaddress.IPv4Address(sock.getsockname()[0])
