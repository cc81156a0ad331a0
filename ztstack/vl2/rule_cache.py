"""What a list of rules said, by what it looked at: frames of one flow are judged once.

Going through a list costs with its length. Rules look at little of a frame, most of which is the
same for a whole flow: so an evaluation is kept under what the rules may have looked at, and a
longer list costs no more than a short one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable, Sequence
from typing import Final

from ztstack.base.address import Address
from ztstack.base.entropy import Entropy
from ztstack.base.frame import EtherType
from ztstack.vl2.rules import Credentials, Evaluation, FilterFrame, evaluate
from ztstack.wire.rules import Rule, RuleType

ENTRIES_LIMIT: Final = 4_096
"""When there are more, all are forgotten: that is cheaper than to know which is the oldest."""
SHORT_LIST: Final = 4
"""A list of fewer rules is gone through at once."""
_SHORT_PACKET: Final = 96
"""Rules look no further into a packet; the length of a shorter one is a part of what they see."""
_TCP: Final = 6
_ICMPV6: Final = 58
_EXTENSIONS: Final = frozenset((0, 43, 60, 135))

# What these say depends on more than the flow.
_CHANGING: Final = frozenset(
    (
        RuleType.MATCH_RANDOM,
        RuleType.INTEGER_RANGE,
        RuleType.ACTION_TEE,
        RuleType.ACTION_WATCH,
    )
)


class RuleCache:
    """One list of rules, and what it said of the flows seen lately."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules
        self._is_useful = len(rules) >= SHORT_LIST and all(r.type not in _CHANGING for r in rules)
        sizes = [r for r in rules if r.type == RuleType.MATCH_FRAME_SIZE_RANGE]
        # Two sizes between which no limit lies are the same to the rules.
        self._limits = sorted({limit for r in sizes for limit in (r.low, r.high + 1)})
        self._known: dict[Hashable, Evaluation] = {}
        self._version = 0

    def evaluate(
        self,
        frame: FilterFrame,
        local: Address,
        credentials: Credentials,
        entropy: Entropy,
        version: int,
    ) -> Evaluation:
        """Judge a frame; `version` changes whenever anybody's credentials do."""
        if not self._is_useful:
            return evaluate(self._rules, frame, local, credentials, entropy)
        if version != self._version:
            self._known.clear()
            self._version = version
        payload = frame.payload
        seen = _seen(frame.ethertype, payload)
        if seen is None:
            return evaluate(self._rules, frame, local, credentials, entropy)
        size = len(payload)
        key = (
            frame[:6],
            frame.vlan,
            seen,
            min(size, _SHORT_PACKET),
            bisect_right(self._limits, size),
        )
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= ENTRIES_LIMIT:
                self._known.clear()
            found = evaluate(self._rules, frame, local, credentials, entropy)
            self._known[key] = found
        return found

    def __len__(self) -> int:
        return len(self._known)


def _seen(ethertype: int, payload: bytes) -> Hashable | None:
    """Return what rules can see of a packet besides its length; None if that is not simple."""
    if ethertype == EtherType.IPV4 and len(payload) >= 20:
        at, protocol = (payload[0] & 0x0F) * 4, payload[9]
        head = payload[12:20]
    elif ethertype == EtherType.IPV6 and len(payload) >= 40:
        at, protocol = 40, payload[6]
        if protocol in _EXTENSIONS:
            return None
        head = payload[8:40]
        if protocol == _ICMPV6:
            # The target of a neighbour advertisement is who the sender says it is.
            return payload[:2], head, payload[40:42], payload[48:64]
    else:
        return payload[:28] if ethertype == EtherType.ARP else b""
    flags = payload[at + 12 : at + 14] if protocol == _TCP else b""
    return payload[:2], protocol, head, payload[at : at + 4], flags
