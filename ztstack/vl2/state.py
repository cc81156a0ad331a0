"""What the parts of one network's machine share: identity, configuration, members, outputs."""

from __future__ import annotations

from typing import Protocol

from ztstack.base.address import Address
from ztstack.base.entropy import Entropy
from ztstack.base.errors import Drop
from ztstack.base.mac import Mac
from ztstack.base.network_id import NetworkId
from ztstack.base.trace import Tracer
from ztstack.crypto.identity import Identity
from ztstack.vl2.events import Output, SendMessage, WantIdentity
from ztstack.vl2.filter import Filter
from ztstack.vl2.membership import Memberships
from ztstack.vl2.multicast import Multicast
from ztstack.vl2.network_config import NetworkConfig
from ztstack.vl2.parking import Parking
from ztstack.vl2.subscriptions import Subscriptions


class Directory(Protocol):
    """What a network has to know about other nodes; VL1 knows it."""

    def identity_of(self, address: Address) -> Identity | None: ...

    def upstreams(self) -> list[Address]: ...

    def best_upstream(self) -> Address | None: ...

    def is_upstream(self, address: Address) -> bool: ...

    def direct_latency(self, address: Address) -> int | None: ...


class NetworkState:
    """One joined network; its machine and the two directions of frames work on it."""

    def __init__(
        self,
        network: NetworkId,
        identity: Identity,
        directory: Directory,
        entropy: Entropy,
        tracer: Tracer,
    ) -> None:
        self.network = network
        self.identity = identity
        self.own = identity.address
        self.mac = Mac.of_node(identity.address, network)
        self.directory = directory
        self.entropy = entropy
        self.tracer = tracer
        self.config: NetworkConfig | None = None
        self.memberships = Memberships(network)
        self.filter = Filter(identity.address, entropy)
        self.multicast = Multicast(identity.address, entropy)
        self.subscriptions = Subscriptions(network)
        self.parking = Parking()
        self.out: list[Output] = []
        self._controller: Identity | None = None

    def configure(self, now: int, config: NetworkConfig) -> None:
        self.config = config
        self.memberships.configure(now, config)
        self.filter.configure(config)

    def drop(self, reason: Drop) -> None:
        self.tracer.drop(reason, "vl2")

    def send(
        self, destination: Address, verb: int, payload: bytes, *, compress: bool = False
    ) -> None:
        self.out.append(SendMessage(destination, verb, payload, compress))

    def identity_of(self, address: Address) -> Identity | None:
        if address == self.own:
            return self.identity
        if address != self.network.controller:
            return self.directory.identity_of(address)
        # VL1 forgets who is silent for long; without this one no certificate can be checked.
        if self._controller is None:
            self._controller = self.directory.identity_of(address)
        return self._controller

    def obtain_identity(self, address: Address) -> Identity | None:
        """Return an identity, or have it looked for."""
        identity = self.identity_of(address)
        if identity is None:
            self.out.append(WantIdentity(address))
        return identity

    def is_allowed(self, address: Address) -> bool:
        config = self.config
        if config is None:
            return False
        if config.is_public:
            return True
        return self.memberships.is_allowed(address, self.identity_of(address))

    def is_bridge(self, address: Address) -> bool:
        return self.config is not None and address in self.config.active_bridges

    def contacts(self) -> list[Address]:
        """Return the nodes that keep track of groups: the controller, roots and specialists."""
        found = list(self.directory.upstreams())
        if not self.network.is_adhoc:
            found.insert(0, self.network.controller)
        if self.config is not None:
            found.extend(self.config.always_contact)
        return [address for address in dict.fromkeys(found) if address != self.own]
