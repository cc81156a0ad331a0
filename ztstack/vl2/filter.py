"""The rules of one network applied to its frames, with short cuts where rules look at nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ztstack.base.address import Address
from ztstack.base.entropy import Entropy
from ztstack.base.limits import BoundedMap
from ztstack.base.mac import Mac
from ztstack.vl2.membership import Membership, Memberships
from ztstack.vl2.ndp_emulation import embedded_node
from ztstack.vl2.network_config import NetworkConfig
from ztstack.vl2.rule_cache import RuleCache
from ztstack.vl2.rules import (
    DROPPED,
    Decision,
    Evaluation,
    FilterFrame,
    Outcome,
    decide,
    is_accept_all,
    is_uniform,
)
from ztstack.wire.credentials import Capability

CAPABILITIES_LIMIT: Final = 256
"""Capabilities whose rules are compiled, and what is kept of each."""
CAPABILITY_ENTRIES: Final = 256
_NO_TAGS: Final[dict[int, int]] = {}


class _Ends:
    """What is certified about us and one other node; answers the questions of rules."""

    __slots__ = ("_config", "_member", "_own_tags", "unknown_matches")

    def __init__(
        self, config: NetworkConfig, own_tags: dict[int, int], member: Membership | None
    ) -> None:
        self._config = config
        self._own_tags = own_tags
        self._member = member
        self.unknown_matches = config.unknown_matches

    def own_tag(self, number: int) -> int | None:
        return self._own_tags.get(number)

    def other_tag(self, number: int) -> int | None:
        if self._member is None:
            return None
        config = self._config
        return self._member.valid_tag(number, config.timestamp, config.credential_delta_ms)

    def sender_owns_ip(self, ip: bytes, *, inbound: bool) -> bool:
        config = self._config
        if not inbound:
            return any(owned.owns_ip(ip) for owned in config.ownerships)
        member = self._member
        if member is not None and member.owns_ip(ip, config.timestamp, config.credential_delta_ms):
            return True
        return (
            config.emulates_ndp
            and len(ip) == 16
            and embedded_node(ip, config.network, config.addresses) is not None
        )

    def sender_owns_mac(self, mac: Mac, *, inbound: bool) -> bool:
        config = self._config
        if not inbound:
            return any(owned.owns_mac(mac) for owned in config.ownerships)
        member = self._member
        return member is not None and member.owns_mac(
            mac, config.timestamp, config.credential_delta_ms
        )


class Filter:
    """Decides about frames; before it is configured nothing passes."""

    def __init__(self, local: Address, entropy: Entropy) -> None:
        self.accepts_all = False
        """Every frame passes both ways without a look, and no copy is made."""
        self._is_uniform = False
        self._local = local
        self._entropy = entropy
        self._config: NetworkConfig | None = None
        self._own_tags = _NO_TAGS
        self._base = RuleCache(())
        # By the holder and the number: the capability itself, which may be replaced, and its rules.
        self._capable: BoundedMap[tuple[Address, int], tuple[Capability, RuleCache]] = BoundedMap(
            CAPABILITIES_LIMIT
        )

    def configure(self, config: NetworkConfig) -> None:
        self._config = config
        self._base = RuleCache(config.rules)
        self._capable = BoundedMap(CAPABILITIES_LIMIT)
        self._own_tags = {tag.id: tag.value for tag in config.tags}
        self.accepts_all = is_accept_all(config.rules)
        self._is_uniform = is_uniform(config.rules) and all(
            is_uniform(capability.rules) for capability in config.capabilities
        )

    def outbound(self, frame: FilterFrame, memberships: Memberships) -> Decision:
        config = self._config
        if config is None:
            return DROPPED
        member = memberships.get(frame.destination) if frame.destination else None
        return self._decide(frame, member, config.capabilities, memberships.version)

    def inbound(self, frame: FilterFrame, memberships: Memberships) -> Decision:
        config = self._config
        if config is None:
            return DROPPED
        member = memberships.get(frame.source)
        capabilities: Iterable[Capability] = ()
        if member is not None and len(member.capabilities):
            capabilities = member.valid_capabilities(config.timestamp, config.credential_delta_ms)
        return self._decide(frame, member, capabilities, memberships.version)

    def evaluate_base(self, frame: FilterFrame, memberships: Memberships) -> Evaluation:
        """Ask the network's own rules only, without anybody's capabilities."""
        config = self._config
        if config is None:
            return Evaluation(Outcome.DROP, frame.destination)
        member = memberships.get(frame.source if frame.inbound else frame.destination)
        ends = _Ends(config, self._own_tags, member)
        return self._base.evaluate(frame, self._local, ends, self._entropy, memberships.version)

    def is_same_for_all(self, source: Address, memberships: Memberships) -> bool:
        """Tell whether one frame of a batch from this node stands for all of them."""
        if not self._is_uniform:
            return False
        member = memberships.get(source)
        return member is None or not len(member.capabilities)

    def _decide(
        self,
        frame: FilterFrame,
        member: Membership | None,
        capabilities: Iterable[Capability],
        version: int,
    ) -> Decision:
        assert self._config is not None
        ends = _Ends(self._config, self._own_tags, member)
        base = self._base.evaluate(frame, self._local, ends, self._entropy, version)
        capable = (
            self._rules_of(one).evaluate(frame, self._local, ends, self._entropy, version)
            for one in capabilities
        )
        return decide(base, capable)

    def _rules_of(self, capability: Capability) -> RuleCache:
        key = (capability.issued_to, capability.id)
        found = self._capable.get(key)
        if found is None or found[0] is not capability:
            found = (capability, RuleCache(capability.rules, CAPABILITY_ENTRIES))
            self._capable.set(key, found)
        return found[1]
