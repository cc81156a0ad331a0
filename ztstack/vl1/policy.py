"""What the owner of a node lays down about physical networks (vl1 sections 3.5, 6.6 and 6.10)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from ztstack.base.address import Address
from ztstack.base.endpoint import Endpoint
from ztstack.base.errors import InvalidConfig
from ztstack.wire.header import DEFAULT_MTU

NETWORKS_LIMIT: Final = 32
MTU_MIN: Final = 1400
MTU_MAX: Final = 10_324

Subnet = tuple[bytes, int]


def in_subnet(ip: bytes, network: bytes, bits: int) -> bool:
    """Tell whether `ip` shares the first `bits` bits with `network` of the same family."""
    if len(ip) != len(network):
        return False
    shift = len(ip) * 8 - bits
    return int.from_bytes(ip, "big") >> shift == int.from_bytes(network, "big") >> shift


def clamp_mtu(mtu: int) -> int:
    """Return the MTU that a configured number means (vl1 section 2.5)."""
    return DEFAULT_MTU if mtu <= 0 else min(max(mtu, MTU_MIN), MTU_MAX)


@dataclass(frozen=True, slots=True)
class PhysicalNetwork:
    """A physical subnet and how it is used; a `trusted_path_id` of zero means as any other."""

    ip: bytes
    bits: int
    trusted_path_id: int = 0
    mtu: int = DEFAULT_MTU
    blacklisted: bool = False

    def __post_init__(self) -> None:
        if len(self.ip) not in (4, 16) or not 0 <= self.bits <= len(self.ip) * 8:
            raise InvalidConfig(f"not a network: {len(self.ip)} bytes, {self.bits} bits")
        if not 0 <= self.trusted_path_id < 1 << 64:
            raise InvalidConfig(f"a trusted path id has 64 bits, not {self.trusted_path_id:x}")
        if not MTU_MIN <= self.mtu <= MTU_MAX:
            raise InvalidConfig(f"an MTU is {MTU_MIN} to {MTU_MAX}, not {self.mtu}")

    def contains(self, ip: bytes) -> bool:
        return in_subnet(ip, self.ip, self.bits)


@dataclass(frozen=True, slots=True)
class PhysicalPolicy:
    """The physical networks, and for each peer what is refused and what is worth a try.

    `unused` are refused to all: the subnets of interfaces that are not to be used.
    """

    networks: tuple[PhysicalNetwork, ...] = ()
    refused: Mapping[Address, tuple[Subnet, ...]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    hints: Mapping[Address, tuple[Endpoint, ...]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    unused: tuple[Subnet, ...] = ()

    def __post_init__(self) -> None:
        if len(self.networks) > NETWORKS_LIMIT:
            raise InvalidConfig(f"at most {NETWORKS_LIMIT} physical networks can be configured")
        # The first that contains an address counts: IPv4 first, then by address and prefix.
        ordered = sorted(self.networks, key=lambda n: (len(n.ip), n.ip, n.bits))
        object.__setattr__(self, "networks", tuple(ordered))

    def rule(self, remote: Endpoint) -> PhysicalNetwork | None:
        """Return the network that says how to send to an address."""
        for network in self.networks:
            if network.contains(remote.ip):
                return network
        return None

    def trusts(self, remote: Endpoint, trusted_path_id: int) -> bool:
        """Tell whether packets from an address may come without cryptography."""
        if not trusted_path_id:
            return False
        return any(
            network.trusted_path_id == trusted_path_id and network.contains(remote.ip)
            for network in self.networks
        )

    def refuses(self, address: Address, remote: Endpoint) -> bool:
        """Tell whether an address may not become a path to a peer."""
        if any(network.blacklisted and network.contains(remote.ip) for network in self.networks):
            return True
        refused = (*self.unused, *self.refused.get(address, ()))
        return any(in_subnet(remote.ip, ip, bits) for ip, bits in refused)
