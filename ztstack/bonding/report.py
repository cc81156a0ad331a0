"""Read-only snapshots of bonds for people and tools."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from ztstack.base.address import Address
from ztstack.base.endpoint import Endpoint


@dataclass(frozen=True, slots=True)
class LinkReport:
    """One path of a bond; -1 is what is not known.

    `state` is a word such as active, standby, suspect or dead, and `reason` says in words why it
    is used or not. `share` is its part of what was sent in the last seconds, from 0 to 1;
    `errors` is what part of what came was not authentic.
    """

    socket: int
    remote: Endpoint
    interface: str
    state: str
    reason: str
    rtt_ms: float
    variance_ms: float
    loss: float
    errors: float
    rate_bytes: float
    share: float
    sent_bytes: int
    received_bytes: int
    flows: int

    def values(self) -> dict[str, object]:
        return {**asdict(self), "remote": str(self.remote)}


@dataclass(frozen=True, slots=True)
class BondReport:
    """The bond with one peer; `warmups` counts packets that went by the root as well."""

    peer: Address
    policy: str
    links: tuple[LinkReport, ...]
    warmups: int
    duplicates: int

    def values(self) -> dict[str, object]:
        """Return what stands in `zt bond show --json`."""
        return {
            "peer": str(self.peer),
            "policy": self.policy,
            "warmups": self.warmups,
            "duplicates": self.duplicates,
            "links": [link.values() for link in self.links],
        }
