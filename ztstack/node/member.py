"""A node on one of its networks."""

from __future__ import annotations

from ztstack.base.endpoint import Endpoint
from ztstack.ip.interface import Interface
from ztstack.vl2.local_settings import LocalSettings
from ztstack.vl2.network import Network
from ztstack.vl2.network_config import Route


class Member:
    """This node on one network: the VL2 machine and the IP host above it."""

    __slots__ = ("interface", "network", "settings")

    def __init__(self, network: Network, interface: Interface, settings: LocalSettings) -> None:
        self.network = network
        self.interface = interface
        self.settings = settings

    @property
    def addresses(self) -> tuple[tuple[bytes, int], ...]:
        """Managed addresses with prefix lengths, as far as the owner of this node allows them."""
        config = self.network.config
        given = config.addresses if config is not None else ()
        return tuple(item for item in given if self.settings.accepts(*item))

    @property
    def is_refused_by_settings(self) -> bool:
        """Whether the network gave addresses, and none of them is allowed."""
        config = self.network.config
        return config is not None and bool(config.addresses) and not self.addresses

    @property
    def routes(self) -> tuple[Route, ...]:
        config = self.network.config
        given = config.routes if config is not None else ()
        return tuple(r for r in given if self.settings.accepts(r.target_ip, r.bits))

    @property
    def dns(self) -> tuple[str, tuple[Endpoint, ...]]:
        """The domain and the servers of the network, if this node may ask them."""
        config = self.network.config
        if config is None or not self.settings.allow_dns:
            return "", ()
        return config.dns_domain, config.dns_servers
