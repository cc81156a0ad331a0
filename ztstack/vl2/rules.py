"""The rules engine: may this frame pass, and who gets a copy of it (vl2 sections 5.3 to 5.9)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import IntEnum, unique
from typing import Final, NamedTuple, Protocol

from ztstack.base.address import Address
from ztstack.base.entropy import Entropy
from ztstack.base.mac import Mac
from ztstack.vl2.packet_view import PacketView
from ztstack.wire.rules import ACCEPT_ALL, Rule, RuleType

NOBODY: Final = Address(0)

_FALSE: Final = 0
_TRUE: Final = 1
# Results that NOT does not turn around.
_NEVER: Final = 2
_ALWAYS: Final = 3

_NO_DRAWS: Final[Mapping[int, bool]] = {}

CHARACTERISTIC_INBOUND: Final = 1 << 63
CHARACTERISTIC_MULTICAST: Final = 1 << 62
CHARACTERISTIC_BROADCAST: Final = 1 << 61
CHARACTERISTIC_IP_AUTHENTICATED: Final = 1 << 60
CHARACTERISTIC_MAC_AUTHENTICATED: Final = 1 << 59
CHARACTERISTICS_TCP: Final = 0xFFF


class FilterFrame(NamedTuple):
    """A frame as the rules see it; a `destination` of zero is nobody in particular."""

    inbound: bool
    source: Address
    destination: Address
    source_mac: Mac
    destination_mac: Mac
    ethertype: int
    payload: bytes
    vlan: int = 0
    """Always zero, as frames have no VLAN here; the rules may still ask."""


class Credentials(Protocol):
    """What is certified about the two ends of a frame."""

    unknown_matches: bool
    """What a match says that this node does not know."""

    def own_tag(self, number: int) -> int | None: ...

    def other_tag(self, number: int) -> int | None: ...

    def sender_owns_ip(self, ip: bytes, *, inbound: bool) -> bool: ...

    def sender_owns_mac(self, mac: Mac, *, inbound: bool) -> bool: ...


@unique
class Outcome(IntEnum):
    """What one list of rules says."""

    NO_MATCH = 0
    DROP = 1
    REDIRECT = 2
    ACCEPT = 3
    SUPER_ACCEPT = 4


class Tee(NamedTuple):
    """A copy of `length` bytes for a third node; a watched one wants to be acknowledged.

    As a rule says it, a length of zero is the whole frame, and any other may be more than it has.
    """

    target: Address
    length: int
    watch: bool


class Evaluation(NamedTuple):
    """What one list says of one frame, where the frame is to go now, and a copy to make."""

    outcome: Outcome
    destination: Address
    tee: Tee | None = None

    def of_size(self, frame: FilterFrame) -> Evaluation:
        """Return the same with the copy that is to be made of this very frame."""
        tee = self.tee
        if tee is None:
            return self
        size = len(frame.payload)
        length = min(tee.length, size) if tee.length else size
        return self._replace(tee=tee._replace(length=length))


class _Context:
    """One frame under evaluation by one list."""

    __slots__ = (
        "credentials",
        "destination",
        "draws",
        "entropy",
        "frame",
        "is_super",
        "local",
        "packet",
        "skip_drop",
        "tee",
    )

    def __init__(
        self,
        frame: FilterFrame,
        packet: PacketView,
        local: Address,
        credentials: Credentials,
        entropy: Entropy,
        draws: Mapping[int, bool],
    ) -> None:
        self.frame = frame
        self.packet = packet
        self.local = local
        self.destination = frame.destination
        self.tee: Tee | None = None
        self.credentials = credentials
        self.entropy = entropy
        self.draws = draws
        self.is_super = False
        self.skip_drop = False


def _source(context: _Context, rule: Rule) -> int:
    return context.frame.source == rule.address


def _destination(context: _Context, rule: Rule) -> int:
    return context.frame.destination != 0 and context.frame.destination == rule.address


def _vlan_id(context: _Context, rule: Rule) -> int:
    return context.frame.vlan == rule.value


def _vlan_part(_context: _Context, rule: Rule) -> int:
    # Priority and indicator do not exist here, so they are zero.
    return rule.value == 0


def _mac_source(context: _Context, rule: Rule) -> int:
    return context.frame.source_mac == rule.value


def _mac_destination(context: _Context, rule: Rule) -> int:
    return context.frame.destination_mac == rule.value


def _ipv4(context: _Context, rule: Rule) -> int:
    packet = context.packet
    if packet.version != 4:
        return _NEVER
    at = 12 if rule.type == RuleType.MATCH_IPV4_SOURCE else 16
    ip = int.from_bytes(packet.payload[at : at + 4], "big")
    shift = 32 - min(rule.bits, 32)
    return ip >> shift == rule.value >> shift


def _ipv6(context: _Context, rule: Rule) -> int:
    packet = context.packet
    if packet.version != 6:
        return _NEVER
    at = 8 if rule.type == RuleType.MATCH_IPV6_SOURCE else 24
    ip = int.from_bytes(packet.payload[at : at + 16], "big")
    shift = 128 - min(rule.bits, 128)
    # The address of the rule is not masked: with host bits in it, it never matches.
    return ip >> shift << shift == rule.value


def _tos(context: _Context, rule: Rule) -> int:
    tos = context.packet.tos()
    return _NEVER if tos is None else rule.low <= tos & rule.mask <= rule.high


def _protocol(context: _Context, rule: Rule) -> int:
    protocol = context.packet.protocol
    return _NEVER if protocol is None else protocol == rule.value


def _ethertype(context: _Context, rule: Rule) -> int:
    return context.frame.ethertype == rule.value


def _icmp(context: _Context, rule: Rule) -> int:
    found = context.packet.icmp()
    if found is None or found[0] != rule.value:
        return _NEVER
    if not rule.compares_code:
        return _ALWAYS
    return found[1] == rule.code


def _port(context: _Context, rule: Rule) -> int:
    packet = context.packet
    if packet.protocol is None:
        return _NEVER
    ports = packet.ports()
    if ports is None:
        return _FALSE
    port = ports[rule.type != RuleType.MATCH_IP_SOURCE_PORT_RANGE]
    if port == 0 and packet.version == 6:
        return _FALSE  # zero means "no port" here, and here only
    return rule.low <= port <= rule.high


def _characteristics(context: _Context, rule: Rule) -> int:
    frame, mask = context.frame, rule.mask
    bits = context.packet.tcp_bits() if mask & CHARACTERISTICS_TCP else 0
    if frame.inbound:
        bits |= CHARACTERISTIC_INBOUND
    if frame.destination_mac.is_multicast:
        bits |= CHARACTERISTIC_MULTICAST
    if frame.destination_mac.is_broadcast:
        bits |= CHARACTERISTIC_BROADCAST
    if mask & CHARACTERISTIC_IP_AUTHENTICATED:
        ip = context.packet.sender_ip()
        if isinstance(ip, bytes):
            ip = context.credentials.sender_owns_ip(ip, inbound=frame.inbound)
        bits |= CHARACTERISTIC_IP_AUTHENTICATED if ip else 0
    if mask & CHARACTERISTIC_MAC_AUTHENTICATED and context.credentials.sender_owns_mac(
        frame.source_mac, inbound=frame.inbound
    ):
        bits |= CHARACTERISTIC_MAC_AUTHENTICATED
    return bits & mask != 0


def _size(context: _Context, rule: Rule) -> int:
    return rule.low <= len(context.frame.payload) <= rule.high


def draw(rule: Rule, entropy: Entropy) -> bool:
    """Let chance decide about a random match."""
    return int.from_bytes(entropy.take(4), "big") <= rule.value


def _random(context: _Context, rule: Rule) -> int:
    drawn = context.draws.get(id(rule))
    return draw(rule, context.entropy) if drawn is None else drawn


_COMPARISONS: Final[dict[int, Callable[[int, int, int], bool]]] = {
    RuleType.MATCH_TAGS_DIFFERENCE: lambda own, other, value: abs(own - other) <= value,
    RuleType.MATCH_TAGS_BITWISE_AND: lambda own, other, value: own & other == value,
    RuleType.MATCH_TAGS_BITWISE_OR: lambda own, other, value: own | other == value,
    RuleType.MATCH_TAGS_BITWISE_XOR: lambda own, other, value: own ^ other == value,
    RuleType.MATCH_TAGS_EQUAL: lambda own, other, value: own == value and other == value,
}


def _tags(context: _Context, rule: Rule) -> int:
    own = context.credentials.own_tag(rule.tag_id)
    if own is None:
        return _NEVER
    other = context.credentials.other_tag(rule.tag_id)
    if other is not None:
        return _COMPARISONS[rule.type](own, other, rule.value)
    if context.frame.inbound and not context.is_super:
        return _NEVER
    context.skip_drop = True
    return _ALWAYS


def _tag_of_one(context: _Context, rule: Rule) -> int:
    if context.is_super:
        context.skip_drop = True
        return _ALWAYS
    of_sender = rule.type == RuleType.MATCH_TAG_SENDER
    if of_sender is not context.frame.inbound:
        own = context.credentials.own_tag(rule.tag_id)
        return _NEVER if own is None else own == rule.value
    other = context.credentials.other_tag(rule.tag_id)
    if other is not None:
        return other == rule.value
    if of_sender:
        return _NEVER
    # The receiver decides: it knows its own tag.
    context.skip_drop = True
    return _ALWAYS


def _integer(context: _Context, rule: Rule) -> int:
    little = rule.is_little_endian
    value = context.packet.integer(rule.index, rule.width_bits, little_endian=little)
    return rule.low <= value <= rule.low + (rule.high - rule.low & 0xFFFFFFFF)


_MATCHES: Final[dict[int, Callable[[_Context, Rule], int]]] = {
    RuleType.MATCH_SOURCE_ZEROTIER_ADDRESS: _source,
    RuleType.MATCH_DEST_ZEROTIER_ADDRESS: _destination,
    RuleType.MATCH_VLAN_ID: _vlan_id,
    RuleType.MATCH_VLAN_PCP: _vlan_part,
    RuleType.MATCH_VLAN_DEI: _vlan_part,
    RuleType.MATCH_MAC_SOURCE: _mac_source,
    RuleType.MATCH_MAC_DEST: _mac_destination,
    RuleType.MATCH_IPV4_SOURCE: _ipv4,
    RuleType.MATCH_IPV4_DEST: _ipv4,
    RuleType.MATCH_IPV6_SOURCE: _ipv6,
    RuleType.MATCH_IPV6_DEST: _ipv6,
    RuleType.MATCH_IP_TOS: _tos,
    RuleType.MATCH_IP_PROTOCOL: _protocol,
    RuleType.MATCH_ETHERTYPE: _ethertype,
    RuleType.MATCH_ICMP: _icmp,
    RuleType.MATCH_IP_SOURCE_PORT_RANGE: _port,
    RuleType.MATCH_IP_DEST_PORT_RANGE: _port,
    RuleType.MATCH_CHARACTERISTICS: _characteristics,
    RuleType.MATCH_FRAME_SIZE_RANGE: _size,
    RuleType.MATCH_RANDOM: _random,
    RuleType.MATCH_TAGS_DIFFERENCE: _tags,
    RuleType.MATCH_TAGS_BITWISE_AND: _tags,
    RuleType.MATCH_TAGS_BITWISE_OR: _tags,
    RuleType.MATCH_TAGS_BITWISE_XOR: _tags,
    RuleType.MATCH_TAGS_EQUAL: _tags,
    RuleType.MATCH_TAG_SENDER: _tag_of_one,
    RuleType.MATCH_TAG_RECEIVER: _tag_of_one,
    RuleType.INTEGER_RANGE: _integer,
}
# Rules that say the same of every frame of one flow between two MACs.
_UNIFORM: Final = frozenset(
    (
        RuleType.ACTION_DROP,
        RuleType.ACTION_ACCEPT,
        RuleType.ACTION_BREAK,
        RuleType.ACTION_PRIORITY,
        RuleType.MATCH_SOURCE_ZEROTIER_ADDRESS,
        RuleType.MATCH_DEST_ZEROTIER_ADDRESS,
        RuleType.MATCH_VLAN_ID,
        RuleType.MATCH_VLAN_PCP,
        RuleType.MATCH_VLAN_DEI,
        RuleType.MATCH_MAC_SOURCE,
        RuleType.MATCH_MAC_DEST,
        RuleType.MATCH_ETHERTYPE,
    )
)


def is_accept_all(rules: Sequence[Rule]) -> bool:
    """Tell whether the rules accept every frame without looking at it."""
    return tuple(rules[:1]) == ACCEPT_ALL


def is_uniform(rules: Iterable[Rule]) -> bool:
    """Tell whether one frame of a batch stands for all of them."""
    return all(rule.type in _UNIFORM for rule in rules)


def _drop(context: _Context, _rule: Rule) -> Outcome | None:
    if context.skip_drop:
        context.skip_drop = False
        return None
    return Outcome.DROP


def _accept(context: _Context, _rule: Rule) -> Outcome | None:
    return Outcome.SUPER_ACCEPT if context.is_super else Outcome.ACCEPT


def _break(_context: _Context, _rule: Rule) -> Outcome | None:
    return Outcome.NO_MATCH


def _priority(_context: _Context, _rule: Rule) -> Outcome | None:
    # Its bucket does not travel, and nobody has queues for it.
    return Outcome.ACCEPT


def _forward(context: _Context, rule: Rule) -> Outcome | None:
    frame, target = context.frame, rule.target
    if target == frame.source:
        return None
    if target == context.local:
        return Outcome.SUPER_ACCEPT if frame.inbound else None
    if target == frame.destination:
        return None
    if rule.type == RuleType.ACTION_REDIRECT:
        context.destination = target
        return Outcome.REDIRECT
    context.tee = Tee(target, rule.length, rule.type == RuleType.ACTION_WATCH)
    return None


_ACTIONS: Final[dict[int, Callable[[_Context, Rule], Outcome | None]]] = {
    RuleType.ACTION_DROP: _drop,
    RuleType.ACTION_ACCEPT: _accept,
    RuleType.ACTION_TEE: _forward,
    RuleType.ACTION_WATCH: _forward,
    RuleType.ACTION_REDIRECT: _forward,
    RuleType.ACTION_BREAK: _break,
    RuleType.ACTION_PRIORITY: _priority,
}


def evaluate(
    rules: Iterable[Rule],
    frame: FilterFrame,
    local: Address,
    credentials: Credentials,
    entropy: Entropy,
) -> Evaluation:
    """Go through one list (section 5.3): strictly from left to right, no precedence."""
    packet = PacketView(frame.ethertype, frame.payload)
    return go_through(rules, frame, packet, local, credentials, entropy).of_size(frame)


def go_through(  # noqa: PLR0913, PLR0917 - all that rules can look at
    rules: Iterable[Rule],
    frame: FilterFrame,
    packet: PacketView,
    local: Address,
    credentials: Credentials,
    entropy: Entropy,
    draws: Mapping[int, bool] = _NO_DRAWS,
) -> Evaluation:
    """Do so, but for the size of a copy, which is as the rule says it.

    `draws` has what chance said already, by the identity of the rule.
    """
    context = _Context(frame, packet, local, credentials, entropy, draws)
    matched = True
    for rule in rules:
        if not rule.is_action:
            if matched or rule.alternative:
                result = _match(context, rule)
                matched = matched or result if rule.alternative else matched and result
        elif matched:
            action = _ACTIONS.get(rule.type)
            outcome = None if action is None else action(context, rule)
            if outcome is not None:
                return Evaluation(outcome, context.destination, context.tee)
        else:
            if frame.inbound and _ACTIONS.get(rule.type) is _forward and rule.target == local:
                context.is_super = True
            matched = True
    return Evaluation(Outcome.NO_MATCH, context.destination, context.tee)


def _match(context: _Context, rule: Rule) -> bool:
    match = _MATCHES.get(rule.type)
    result = context.credentials.unknown_matches if match is None else match(context, rule)
    if result >= _NEVER:
        return result == _ALWAYS
    return bool(result) is not rule.negate


class Decision(NamedTuple):
    """What a whole network says of one frame (section 5.9).

    `outcome` is DROP, ACCEPT, SUPER_ACCEPT (inbound, for third parties that watch), or REDIRECT:
    then the frame goes to `redirect`, whole, and nowhere else.
    """

    outcome: Outcome
    redirect: Address = NOBODY
    tees: tuple[Tee, ...] = ()

    @property
    def accepts(self) -> bool:
        return self.outcome >= Outcome.ACCEPT


ACCEPTED: Final = Decision(Outcome.ACCEPT)
DROPPED: Final = Decision(Outcome.DROP)


def decide(base: Evaluation, capable: Iterable[Evaluation]) -> Decision:
    """Take what the network's rules say, and if they do not know, the sender's capabilities.

    These are asked one after the other, until one knows.
    """
    if base.outcome is Outcome.DROP:
        return DROPPED
    if base.outcome is not Outcome.NO_MATCH:
        return Decision(base.outcome, _redirect(base), (base.tee,) if base.tee else ())
    for answer in capable:
        if answer.outcome >= Outcome.REDIRECT:
            tees = tuple(tee for tee in (answer.tee, base.tee) if tee is not None)
            return Decision(answer.outcome, _redirect(answer), tees)
    return DROPPED


def _redirect(evaluation: Evaluation) -> Address:
    return evaluation.destination if evaluation.outcome is Outcome.REDIRECT else NOBODY
