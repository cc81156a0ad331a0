"""Rules of networks and capabilities: what they are and how they travel (vl2 section 5.2)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum, unique
from typing import Final

from ztstack.base.address import Address
from ztstack.base.codec import Reader
from ztstack.base.errors import DecodeError, InvalidConfig
from ztstack.base.mac import Mac

MAX_RULES: Final = 1024
MAX_CAPABILITY_RULES: Final = 64

_NOT: Final = 0x80
_OR: Final = 0x40
_TYPE_MASK: Final = 0x3F
_ADDRESS_MASK: Final = 0xFFFFFFFFFF

ICMP_COMPARE_CODE: Final = 0x01
"""Flag of MATCH_ICMP: the code must be equal too."""
INTEGER_LITTLE_ENDIAN: Final = 0x80
INTEGER_WIDTH_MASK: Final = 0x3F


@unique
class RuleType(IntEnum):
    """Actions are 0 to 15, matches 16 to 63; what is not here is unknown and harmless."""

    ACTION_DROP = 0
    ACTION_ACCEPT = 1
    ACTION_TEE = 2
    ACTION_WATCH = 3
    ACTION_REDIRECT = 4
    ACTION_BREAK = 5
    ACTION_PRIORITY = 6
    MATCH_SOURCE_ZEROTIER_ADDRESS = 24
    MATCH_DEST_ZEROTIER_ADDRESS = 25
    MATCH_VLAN_ID = 26
    MATCH_VLAN_PCP = 27
    MATCH_VLAN_DEI = 28
    MATCH_MAC_SOURCE = 29
    MATCH_MAC_DEST = 30
    MATCH_IPV4_SOURCE = 31
    MATCH_IPV4_DEST = 32
    MATCH_IPV6_SOURCE = 33
    MATCH_IPV6_DEST = 34
    MATCH_IP_TOS = 35
    MATCH_IP_PROTOCOL = 36
    MATCH_ETHERTYPE = 37
    MATCH_ICMP = 38
    MATCH_IP_SOURCE_PORT_RANGE = 39
    MATCH_IP_DEST_PORT_RANGE = 40
    MATCH_CHARACTERISTICS = 41
    MATCH_FRAME_SIZE_RANGE = 42
    MATCH_RANDOM = 43
    MATCH_TAGS_DIFFERENCE = 44
    MATCH_TAGS_BITWISE_AND = 45
    MATCH_TAGS_BITWISE_OR = 46
    MATCH_TAGS_BITWISE_XOR = 47
    MATCH_TAGS_EQUAL = 48
    MATCH_TAG_SENDER = 49
    MATCH_TAG_RECEIVER = 50
    INTEGER_RANGE = 51


Layout = tuple[tuple[str, int], ...]
"""The fields of a rule in the order of the wire, each with its size in bytes."""

_FORWARD: Final[Layout] = (("address", 8), ("flags", 4), ("length", 2))
_RANGE: Final[Layout] = (("low", 2), ("high", 2))
_TAG: Final[Layout] = (("tag_id", 4), ("value", 4))

LAYOUTS: Final[dict[int, Layout]] = {
    RuleType.ACTION_DROP: (),
    RuleType.ACTION_ACCEPT: (),
    RuleType.ACTION_TEE: _FORWARD,
    RuleType.ACTION_WATCH: _FORWARD,
    RuleType.ACTION_REDIRECT: _FORWARD,
    RuleType.ACTION_BREAK: (),
    RuleType.ACTION_PRIORITY: (),
    RuleType.MATCH_SOURCE_ZEROTIER_ADDRESS: (("address", 5),),
    RuleType.MATCH_DEST_ZEROTIER_ADDRESS: (("address", 5),),
    RuleType.MATCH_VLAN_ID: (("value", 2),),
    RuleType.MATCH_VLAN_PCP: (("value", 1),),
    RuleType.MATCH_VLAN_DEI: (("value", 1),),
    RuleType.MATCH_MAC_SOURCE: (("value", 6),),
    RuleType.MATCH_MAC_DEST: (("value", 6),),
    RuleType.MATCH_IPV4_SOURCE: (("value", 4), ("bits", 1)),
    RuleType.MATCH_IPV4_DEST: (("value", 4), ("bits", 1)),
    RuleType.MATCH_IPV6_SOURCE: (("value", 16), ("bits", 1)),
    RuleType.MATCH_IPV6_DEST: (("value", 16), ("bits", 1)),
    RuleType.MATCH_IP_TOS: (("mask", 1), ("low", 1), ("high", 1)),
    RuleType.MATCH_IP_PROTOCOL: (("value", 1),),
    RuleType.MATCH_ETHERTYPE: (("value", 2),),
    RuleType.MATCH_ICMP: (("value", 1), ("code", 1), ("flags", 1)),
    RuleType.MATCH_IP_SOURCE_PORT_RANGE: _RANGE,
    RuleType.MATCH_IP_DEST_PORT_RANGE: _RANGE,
    RuleType.MATCH_CHARACTERISTICS: (("mask", 8),),
    RuleType.MATCH_FRAME_SIZE_RANGE: _RANGE,
    RuleType.MATCH_RANDOM: (("value", 4),),
    RuleType.MATCH_TAGS_DIFFERENCE: _TAG,
    RuleType.MATCH_TAGS_BITWISE_AND: _TAG,
    RuleType.MATCH_TAGS_BITWISE_OR: _TAG,
    RuleType.MATCH_TAGS_BITWISE_XOR: _TAG,
    RuleType.MATCH_TAGS_EQUAL: _TAG,
    RuleType.MATCH_TAG_SENDER: _TAG,
    RuleType.MATCH_TAG_RECEIVER: _TAG,
    RuleType.INTEGER_RANGE: (("low", 8), ("high", 8), ("index", 2), ("format", 1)),
}

_SIZES: Final = {kind: sum(size for _, size in layout) for kind, layout in LAYOUTS.items()}


@dataclass(frozen=True, slots=True)
class Rule:
    """One action or match; which fields count says `LAYOUTS[type]`, the others are zero.

    All fields are integers, ready to be compared: `value` is an IP address, a MAC, an ethertype, a
    protocol, an ICMP type, a probability, a VLAN number or the value of a tag; `low` and `high` are
    the ends of a range, both in it; `address` is the node to match or to send to. `raw` are the
    bytes of an unknown type, or those of a known one that were not written the usual way.
    """

    type: int
    negate: bool = False
    alternative: bool = False
    address: int = 0
    flags: int = 0
    length: int = 0
    value: int = 0
    bits: int = 0
    mask: int = 0
    low: int = 0
    high: int = 0
    code: int = 0
    tag_id: int = 0
    index: int = 0
    format: int = 0
    raw: bytes | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.type <= _TYPE_MASK:
            raise InvalidConfig(f"a rule of type {self.type}")
        for name, size in LAYOUTS.get(self.type, ()):
            value = getattr(self, name)
            if not 0 <= value < 1 << 8 * size:
                raise InvalidConfig(f"{name} of a rule of type {self.type} cannot be {value}")

    @property
    def is_action(self) -> bool:
        return self.type < 16

    @property
    def is_known(self) -> bool:
        return self.type in LAYOUTS

    @property
    def target(self) -> Address:
        return Address(self.address & _ADDRESS_MASK)

    @property
    def mac(self) -> Mac:
        return Mac(self.value)

    @property
    def ip(self) -> bytes:
        """The address of an IPv4 or IPv6 match."""
        is_ipv4 = self.type in (RuleType.MATCH_IPV4_SOURCE, RuleType.MATCH_IPV4_DEST)
        return self.value.to_bytes(4 if is_ipv4 else 16, "big")

    @property
    def compares_code(self) -> bool:
        return bool(self.flags & ICMP_COMPARE_CODE)

    @property
    def is_little_endian(self) -> bool:
        return bool(self.format & INTEGER_LITTLE_ENDIAN)

    @property
    def width_bits(self) -> int:
        """How many bits an integer range compares: 1 to 64."""
        return (self.format & INTEGER_WIDTH_MASK) + 1

    def encode_to(self, out: bytearray) -> None:
        flags = (_NOT if self.negate else 0) | (_OR if self.alternative else 0)
        out.append(flags | self.type)
        if self.raw is not None:
            out.append(len(self.raw))
            out += self.raw
            return
        out.append(_SIZES.get(self.type, 0))
        for name, size in LAYOUTS.get(self.type, ()):
            value: int = getattr(self, name)
            out += value.to_bytes(size, "big")


ACCEPT_ALL: Final = (Rule(RuleType.ACTION_ACCEPT),)


def decode_rule(r: Reader) -> Rule:
    """Read one rule.

    Known types are read at their layout whatever the length field says, but the reader advances by
    that length: both ends of a network must see the same rules, so this follows the protocol even
    where it is odd. A body that goes past the end of the list ends it.
    """
    head = r.uint(1)
    kind = head & _TYPE_MASK
    length = r.uint(1)
    layout = LAYOUTS.get(kind)
    fields: dict[str, int] = {}
    fixed = Reader(r.data, r.offset)
    for name, size in layout or ():
        fields[name] = fixed.uint(size)
    body = r.take(min(length, r.remaining))
    is_usual = layout is not None and length == _SIZES[kind]
    if "address" in fields and fields["address"] > _ADDRESS_MASK:
        fields["address"] &= _ADDRESS_MASK
        is_usual = False
    return Rule(
        type=kind,
        negate=bool(head & _NOT),
        alternative=bool(head & _OR),
        raw=None if is_usual else body,
        **fields,
    )


def decode_rules(data: bytes, limit: int = MAX_RULES) -> tuple[Rule, ...]:
    """Read a list up to its end or its limit; rules beyond the limit are ignored."""
    r = Reader(data)
    rules: list[Rule] = []
    while r.remaining and len(rules) < limit:
        rules.append(decode_rule(r))
    return tuple(rules)


def decode_counted_rules(r: Reader) -> tuple[Rule, ...]:
    """Read the list of a capability, which has its count in front."""
    count = r.uint(2)
    if count > MAX_CAPABILITY_RULES:
        raise DecodeError(f"a capability with {count} rules")
    return tuple(decode_rule(r) for _ in range(count))


def encode_rules(rules: Iterable[Rule]) -> bytes:
    out = bytearray()
    for rule in rules:
        rule.encode_to(out)
    return bytes(out)
