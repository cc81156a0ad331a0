"""The memberships that a state directory keeps, read and ended without a running node."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from ztstack.aio.storage import Storage
from ztstack.base.errors import DecodeError
from ztstack.base.network_id import NetworkId
from ztstack.vl2.events import NetworkStatus
from ztstack.vl2.network_config import NetworkConfig


@dataclass(frozen=True, slots=True)
class KeptNetwork:
    """One network of a state directory, as its controller described it last.

    `status` is the protocol's word; without a description all but `network` and it are empty.
    """

    network: NetworkId
    status: str
    name: str = ""
    is_public: bool = False
    mtu: int = 0
    addresses: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    dns_domain: str = ""
    dns_servers: tuple[str, ...] = ()


def kept_networks(state: Path) -> list[KeptNetwork]:
    """Return the networks of which the node of this directory is a member, in order."""
    storage = Storage(state)
    return [
        _described(network, storage.load_network(network) or b"") for network in storage.networks()
    ]


def forget_network(state: Path, network: NetworkId) -> bool:
    """End a membership; False if there was none, StateInUse while a node runs here."""
    storage = Storage(state)
    if network not in storage.networks():
        return False
    storage.open()
    try:
        storage.forget_network(network)
    finally:
        storage.close()
    return True


def _described(network: NetworkId, data: bytes) -> KeptNetwork:
    try:
        config = NetworkConfig.from_dictionary(data)
    except DecodeError:
        return KeptNetwork(network, NetworkStatus.REQUESTING.value)
    return KeptNetwork(
        network=network,
        status=NetworkStatus.OK.value,
        name=config.name,
        is_public=config.is_public,
        mtu=config.mtu,
        addresses=tuple(f"{ipaddress.ip_address(ip)}/{bits}" for ip, bits in config.addresses),
        routes=tuple(
            f"{ipaddress.ip_address(route.target_ip)}/{route.bits}"
            + (f" via {ipaddress.ip_address(route.via)}" if route.via else "")
            for route in config.routes
        ),
        dns_domain=config.dns_domain,
        dns_servers=tuple(server.host for server in config.dns_servers),
    )
