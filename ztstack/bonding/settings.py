"""What the owner of a node wants of its bonds: policies, their times, links, and single peers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from ztstack.base.address import Address
from ztstack.base.timers import SECOND

MAX_SOCKETS: Final = 8
LEAST_FAILOVER_US: Final = SECOND // 2
"""Official nodes take a smaller wish for this."""


class BondPolicy(Enum):
    """How packets are shared among the paths to a peer, under the names of the CLI."""

    OFF = "off"
    ACTIVE_BACKUP = "active-backup"
    BROADCAST = "broadcast"
    BALANCE_RR = "balance-rr"
    BALANCE_XOR = "balance-xor"
    BALANCE_AWARE = "balance-aware"


class Reselect(Enum):
    """When active-backup leaves a link that works for another one."""

    ALWAYS = "always"
    BETTER = "better"
    FAILURE = "failure"
    OPTIMIZE = "optimize"


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """What is said of one local interface; a capacity of 0 is unknown (bonding 2.5).

    Capacities are believed until more is known; only their ratios count. `ip_preference` is 0, 4,
    6, 46 or 64: any family, one of them only, or one of them rather. No datagram is longer than
    `mtu`, if that is not 0.
    """

    is_primary: bool = True
    capacity: int = 0
    ip_preference: int = 0
    failover_to: str = ""
    mtu: int = 0
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class QualitySettings:
    """The greatest values of a good path, and what each weighs (bonding 3)."""

    max_latency_ms: float = 500.0
    max_variance_ms: float = 100.0
    max_loss: float = 0.001
    max_errors: float = 0.0001
    latency_weight: float = 0.25
    variance_weight: float = 0.25
    loss_weight: float = 0.25
    errors_weight: float = 0.25


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """A policy and what was changed about it; without links, every interface may be used.

    `failover_us` is in what time a path that has fallen silent is to be left; a path is asked as
    seldom as that allows. With 0 it is left as soon as can be.
    """

    policy: BondPolicy = BondPolicy.OFF
    name: str = ""
    failover_us: int = 0
    up_delay_us: int = 0
    down_delay_us: int = 0
    packets_per_link: int = 1
    reselect: Reselect = Reselect.ALWAYS
    quality: QualitySettings | None = None
    links: Mapping[str, LinkSettings] = field(default_factory=dict)

    def relative_capacity(self, interface: str) -> float:
        """Return the capacity of a link against the greatest; 1 if it is not known."""
        link = self.links.get(interface)
        most = max((one.capacity for one in self.links.values()), default=0)
        return link.capacity / most if link is not None and link.capacity else 1.0


@dataclass(frozen=True, slots=True)
class BondSettings:
    """The bonds of a node: how to treat peers, and which of them differently.

    With `warmup_root`, what goes by a path that is not confirmed also goes by the root. Paths by
    interfaces whose names begin with one of `unused_interfaces` are no paths.
    """

    default: PolicySettings = PolicySettings()
    peers: Mapping[Address, PolicySettings] = field(default_factory=dict)
    warmup_root: bool = True
    unused_interfaces: tuple[str, ...] = ()

    def of(self, peer: Address) -> PolicySettings:
        return self.peers.get(peer, self.default)


@dataclass(frozen=True, slots=True)
class Multipath:
    """What a program or a command line wants; what is None is left to `local.conf`.

    `ports` are UDP ports, 0 is any; each is opened on each of the local addresses `bind`, without
    them on what the node finds.
    """

    policy: BondPolicy | None = None
    ports: tuple[int, ...] = ()
    bind: tuple[bytes, ...] = ()
    warmup_root: bool | None = None

    def settings(
        self, conf: BondSettings | None, unused_interfaces: tuple[str, ...] = ()
    ) -> BondSettings:
        """Return the settings of `local.conf`, or the usual ones, changed by these wishes."""
        base = conf if conf is not None else BondSettings()
        return BondSettings(
            default=PolicySettings(self.policy) if self.policy is not None else base.default,
            peers=base.peers,
            warmup_root=base.warmup_root if self.warmup_root is None else self.warmup_root,
            unused_interfaces=unused_interfaces,
        )
