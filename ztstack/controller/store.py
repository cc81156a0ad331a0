"""Where a controller keeps its records."""

from __future__ import annotations

from typing import Protocol

from ztstack.base.address import Address
from ztstack.base.network_id import NetworkId
from ztstack.controller.model import MemberRecord, NetworkRecord


class Store(Protocol):
    """Records that survive; a call that returned has stored."""

    def load(self) -> list[tuple[NetworkRecord, list[MemberRecord]]]: ...

    def save_network(self, network: NetworkRecord) -> None: ...

    def save_member(self, network: NetworkId, member: MemberRecord) -> None: ...

    def delete_member(self, network: NetworkId, address: Address) -> None: ...

    def delete_network(self, network: NetworkId) -> None: ...


class MemoryStore:
    """Keeps records for as long as the process lives."""

    def __init__(self) -> None:
        self.networks: dict[NetworkId, NetworkRecord] = {}
        self.members: dict[NetworkId, dict[Address, MemberRecord]] = {}

    def load(self) -> list[tuple[NetworkRecord, list[MemberRecord]]]:
        return [
            (network, list(self.members.get(network.id, {}).values()))
            for network in self.networks.values()
        ]

    def save_network(self, network: NetworkRecord) -> None:
        self.networks[network.id] = network

    def save_member(self, network: NetworkId, member: MemberRecord) -> None:
        self.members.setdefault(network, {})[member.address] = member

    def delete_member(self, network: NetworkId, address: Address) -> None:
        self.members.get(network, {}).pop(address, None)

    def delete_network(self, network: NetworkId) -> None:
        self.networks.pop(network, None)
        self.members.pop(network, None)
