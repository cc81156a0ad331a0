"""What a list of rules said, by what it looks at: frames that look alike are judged once.

Going through a list costs with its length. So the list is compiled, once for each configuration,
into questions that tell apart all frames of which it may say different things: of ports and other
numbers only between which limits of the rules they lie. An evaluation is kept under the answers,
and a longer list costs no more than a short one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from typing import Final

from ztstack.base.address import Address
from ztstack.base.entropy import Entropy
from ztstack.vl2.packet_view import PacketView
from ztstack.vl2.rules import (
    CHARACTERISTIC_IP_AUTHENTICATED,
    CHARACTERISTIC_MAC_AUTHENTICATED,
    CHARACTERISTICS_TCP,
    Credentials,
    Evaluation,
    FilterFrame,
    draw,
    evaluate,
    go_through,
)
from ztstack.wire.rules import Rule, RuleType

ENTRIES_LIMIT: Final = 4_096
"""When there are more, all are forgotten: that is cheaper than to know which is the oldest."""
SHORT_LIST: Final = 4
"""A list of fewer rules is gone through at once."""
RANDOM_LIMIT: Final = 8
"""With more rules of chance than this, frames that look alike are rare."""

_Question = Callable[[PacketView], Hashable]

_IPS: Final = frozenset(
    (
        RuleType.MATCH_IPV4_SOURCE,
        RuleType.MATCH_IPV4_DEST,
        RuleType.MATCH_IPV6_SOURCE,
        RuleType.MATCH_IPV6_DEST,
    )
)
_PORTS: Final = frozenset((RuleType.MATCH_IP_SOURCE_PORT_RANGE, RuleType.MATCH_IP_DEST_PORT_RANGE))
_TAGS: Final = frozenset(range(RuleType.MATCH_TAGS_DIFFERENCE, RuleType.MATCH_TAG_RECEIVER + 1))


class RuleCache:
    """One list of rules, and what it said of the frames seen lately."""

    def __init__(self, rules: Sequence[Rule], limit: int = ENTRIES_LIMIT) -> None:
        self._limit = limit
        # Each rule of chance is an object of its own, as its draws are.
        self._rules = tuple(replace(r) if r.type == RuleType.MATCH_RANDOM else r for r in rules)
        self._random = [rule for rule in self._rules if rule.type == RuleType.MATCH_RANDOM]
        self._is_useful = len(rules) >= SHORT_LIST and len(self._random) <= RANDOM_LIMIT
        self._questions = _questions(rules)
        self._sizes = _limits(r for r in rules if r.type == RuleType.MATCH_FRAME_SIZE_RANGE)
        self._knows_credentials = _asks_credentials(rules)
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
        """Judge a frame; `version` changes whenever anybody's credentials do.

        Named by the benchmark `rules`.
        """
        if not self._is_useful:
            return evaluate(self._rules, frame, local, credentials, entropy)
        if version != self._version:
            self._version = version
            if self._knows_credentials:
                self._known.clear()
        packet = PacketView(frame.ethertype, frame.payload)
        draws = {id(rule): draw(rule, entropy) for rule in self._random}
        key = (
            frame[:6],
            frame.vlan,
            bisect_right(self._sizes, len(frame.payload)),
            *draws.values(),
            *[question(packet) for question in self._questions],
        )
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= self._limit:
                self._known.clear()
            found = go_through(self._rules, frame, packet, local, credentials, entropy, draws)
            self._known[key] = found
        return found.of_size(frame)

    def __len__(self) -> int:
        return len(self._known)


def _asks_credentials(rules: Iterable[Rule]) -> bool:
    certified = CHARACTERISTIC_IP_AUTHENTICATED | CHARACTERISTIC_MAC_AUTHENTICATED
    return any(rule.type in _TAGS or rule.mask & certified for rule in rules)


def _limits(rules: Iterable[Rule]) -> list[int]:
    """Return the numbers at which a match begins or ends: between them all are the same."""
    return sorted({limit for rule in rules for limit in (rule.low, rule.high + 1)})


def _questions(rules: Sequence[Rule]) -> list[_Question]:
    """Return what to ask of a packet so that the answers tell what each rule would say."""
    types = {rule.type for rule in rules}
    masks = 0
    for rule in rules:
        if rule.type == RuleType.MATCH_CHARACTERISTICS:
            masks |= rule.mask
    found: list[_Question] = []
    if RuleType.MATCH_IP_TOS in types:
        found.append(PacketView.tos)
    if RuleType.MATCH_IP_PROTOCOL in types:
        found.append(lambda packet: packet.protocol)
    if RuleType.MATCH_ICMP in types:
        found.append(PacketView.icmp)
    if types & _IPS:
        found.append(PacketView.ips)
    if types & _PORTS:
        found.append(_about_ports(rules))
    if masks & CHARACTERISTICS_TCP:
        found.append(lambda packet: packet.tcp_bits() & masks)
    if masks & CHARACTERISTIC_IP_AUTHENTICATED:
        found.append(PacketView.sender_ip)
    places: dict[tuple[int, int], list[Rule]] = {}
    for rule in rules:
        if rule.type == RuleType.INTEGER_RANGE:
            places.setdefault((rule.index, rule.format), []).append(rule)
    return [*found, *map(_about_integer, places.values())]


def _about_ports(rules: Sequence[Rule]) -> _Question:
    # In IPv6 a port of zero is none.
    sources = _limits(r for r in rules if r.type == RuleType.MATCH_IP_SOURCE_PORT_RANGE)
    destinations = _limits(r for r in rules if r.type == RuleType.MATCH_IP_DEST_PORT_RANGE)

    def question(packet: PacketView) -> Hashable:
        ports = packet.ports()
        if ports is None:
            return packet.protocol is None
        source, destination = ports
        return (
            source and bisect_right(sources, source) + 1,
            destination and bisect_right(destinations, destination) + 1,
        )

    return question


def _about_integer(rules: Sequence[Rule]) -> _Question:
    first = rules[0]
    index, width, little = first.index, first.width_bits, first.is_little_endian
    limits = sorted(
        {limit for r in rules for limit in (r.low, r.low + (r.high - r.low & 0xFFFFFFFF) + 1)}
    )

    def question(packet: PacketView) -> Hashable:
        return bisect_right(limits, packet.integer(index, width, little_endian=little))

    return question
