"""Compiles the rule definition language of the official manual ("Rules Engine") to rules.

    program := (action | tag | cap | macro | include)*
    action  := (drop | break | accept | tee LENGTH NODE | watch LENGTH NODE | redirect NODE)
               ([and | or] [not] MATCH VALUE...)* ;
    tag     := tag NAME (id N | default VALUE | enum VALUE NAME | flag BIT,... NAME)* ;
    cap     := cap NAME (id N | default | action | include)* ;
    macro   := macro NAME[($VARIABLE,...)] (action | include)* ;
    include := include NAME[(VALUE,...)] [;]

White space separates; what follows a # on its line is a comment. Capital letters are as small ones,
and what has a name may be used above the place where it is defined.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from ztstack.base.address import Address
from ztstack.base.errors import InvalidConfig
from ztstack.base.mac import Mac
from ztstack.controller.rules_json import rule_to_json
from ztstack.vl2.rules import (
    CHARACTERISTIC_BROADCAST,
    CHARACTERISTIC_INBOUND,
    CHARACTERISTIC_IP_AUTHENTICATED,
    CHARACTERISTIC_MAC_AUTHENTICATED,
    CHARACTERISTIC_MULTICAST,
)
from ztstack.wire.rules import (
    ICMP_COMPARE_CODE,
    MAX_CAPABILITY_RULES,
    MAX_RULES,
    Rule,
    RuleType,
)

MAX_INCLUDES: Final = 1024
_MAX_DEPTH: Final = 16
_WHOLE_FRAME: Final = 0xFFFF
_RANDOM_ALWAYS: Final = 0xFFFF_FFFF
_WORD: Final = re.compile(r"#[^\n]*|[;(),]|[^\s;(),#]+")
_PUNCTUATION: Final = frozenset(";(),")

# fmt: off
_PROTOCOLS: Final = {
    "icmp": 1, "icmp4": 1, "icmpv4": 1, "igmp": 2, "ipip": 4, "tcp": 6, "egp": 8, "igp": 9,
    "udp": 17, "rdp": 27, "esp": 50, "ah": 51, "icmp6": 58, "icmpv6": 58, "l2tp": 115, "sctp": 132,
    "udplite": 136,
}
_ETHERTYPES: Final = {
    "ipv4": 0x0800, "arp": 0x0806, "wol": 0x0842, "rarp": 0x8035, "ipv6": 0x86DD,
    "atalk": 0x809B, "aarp": 0x80F3, "ipx_a": 0x8137, "ipx_b": 0x8138,
}
# fmt: on
# The TCP flags are bits 0 to 11, from FIN up.
_TCP_FLAGS: Final = "fin syn rst psh ack urg ece cwr ns rs2 rs1 rs0"
_CHARACTERISTICS: Final = {
    name: mask.bit_length() - 1
    for name, mask in (
        ("inbound", CHARACTERISTIC_INBOUND),
        ("multicast", CHARACTERISTIC_MULTICAST),
        ("broadcast", CHARACTERISTIC_BROADCAST),
        ("ipauth", CHARACTERISTIC_IP_AUTHENTICATED),
        ("macauth", CHARACTERISTIC_MAC_AUTHENTICATED),
        *((f"tcp_{name}", 1 << bit) for bit, name in enumerate(_TCP_FLAGS.split())),
    )
}
"""The numbers of their bits."""


class Word(NamedTuple):
    """A word of the text and the line it is on."""

    text: str
    line: int

    @property
    def key(self) -> str:
        """The word as keywords and names are compared."""
        return self.text.lower()

    def problem(self, what: str) -> InvalidConfig:
        return InvalidConfig(f"line {self.line}: {what}")


@dataclass(slots=True)
class TagDefinition:
    """A tag: `names` are those of its values."""

    name: str
    id: int
    default: int | None = None
    names: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class CapabilityDefinition:
    """A capability with its own rules."""

    name: str
    id: int
    rules: list[Rule] = field(default_factory=list)
    default: bool = False


@dataclass(frozen=True, slots=True)
class _Macro:
    variables: tuple[str, ...]
    body: tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class Program:
    """What a text says."""

    source: str
    rules: tuple[Rule, ...]
    tags: tuple[TagDefinition, ...]
    capabilities: tuple[CapabilityDefinition, ...]

    def to_json(self) -> dict[str, object]:
        """Return what the controller's JSON interface is told."""
        return {
            "rules": [rule_to_json(rule) for rule in self.rules],
            "rulesSource": self.source,
            "tags": [{"id": tag.id, "default": tag.default} for tag in self.tags],
            "capabilities": [
                {
                    "id": capability.id,
                    "default": capability.default,
                    "rules": [rule_to_json(rule) for rule in capability.rules],
                }
                for capability in self.capabilities
            ],
        }


def parse_program(text: str) -> Program:
    """Read a whole text; InvalidConfig names the line that is wrong."""
    compiler, words = _Compiler(), _words(text)
    compiler.define(_Reader(words))
    compiler.run(_Reader(words))
    return Program(
        text,
        tuple(compiler.rules),
        tuple(compiler.tags.values()),
        tuple(compiler.capabilities.values()),
    )


def _words(text: str) -> list[Word]:
    return [
        Word(match[0], number)
        for number, line in enumerate(text.splitlines(), 1)
        for match in _WORD.finditer(line)
        if not match[0].startswith("#")
    ]


class _Reader:
    """Goes through words."""

    def __init__(self, words: Sequence[Word]) -> None:
        self._words = words
        self._at = 0

    def peek(self) -> str | None:
        return self._words[self._at].text if self._at < len(self._words) else None

    def next_or_none(self) -> Word | None:
        if self._at == len(self._words):
            return None
        self._at += 1
        return self._words[self._at - 1]

    def next(self, what: str) -> Word:
        """Return the next word, which must be there and be more than a sign."""
        word = self.next_or_none()
        if word is None:
            last = self._words[-1].line if self._words else 1
            raise InvalidConfig(f"line {last}: the text ends where {what} should be")
        if word.text in _PUNCTUATION:
            raise word.problem(f"{word.text!r} stands where {what} should be")
        return word

    def take(self, sign: str) -> bool:
        """Go past a word if it is the next one."""
        if self.peek() != sign:
            return False
        self._at += 1
        return True

    def joined(self, what: str) -> list[Word]:
        """Read words with commas between them."""
        found = [self.next(what)]
        while self.take(","):
            found.append(self.next(what))
        return found

    def until_end(self, what: str) -> Word | None:
        """Return the next word of a block, None at its semicolon."""
        return None if self.take(";") else self.next(f"{what} or its ;")

    def arguments(self) -> list[Word]:
        """Read `(WORD, ...)`, or nothing."""
        found: list[Word] = []
        if self.take("("):
            while not self.take(")"):
                found.append(self.next("an argument"))
                if not self.take(",") and self.peek() != ")":
                    raise found[-1].problem("after an argument comes , or )")
        return found


# Values.


def _number(word: Word, most: int, names: Mapping[str, int] | None = None) -> int:
    named = (names or {}).get(word.text.lower())
    if named is not None:
        return named
    text = word.text.lower()
    digits, base = (text[2:], 16) if text.startswith("0x") else (text, 10)
    try:
        if not digits.isalnum() or not digits.isascii():
            raise ValueError
        value = int(digits, base)
    except ValueError:
        known = f" or one of {', '.join(names)}" if names else ""
        raise word.problem(f"a number{known} should be here, not {word.text!r}") from None
    if value > most:
        raise word.problem(f"{word.text} is more than {most}")
    return value


def _node(word: Word) -> int:
    try:
        return int(Address.parse(word.text))
    except InvalidConfig as error:
        raise word.problem(str(error)) from None


def _range(word: Word, most: int) -> tuple[int, int]:
    first, dash, last = word.text.partition("-")
    if not first:
        raise word.problem(f"{word.text} is no number and no range")
    low = _number(word._replace(text=first), most)
    high = _number(word._replace(text=last), most) if dash else low
    if high < low:
        raise word.problem(f"the range {word.text} ends before it begins")
    return low, high


# Matches: how many words follow, and what they mean.


def _ip(source: RuleType) -> Callable[[_Compiler, Sequence[Word]], Rule]:
    """Return a reader for both families; the type of IPv6 is two above that of IPv4."""

    def read(_: _Compiler, words: Sequence[Word]) -> Rule:
        text = words[0].text
        try:
            if "%" in text:
                raise ValueError
            interface = ipaddress.ip_interface(text)
        except ValueError:
            raise words[0].problem(f"{text!r} is not ADDRESS/BITS") from None
        kind = source if interface.version == 4 else RuleType(source + 2)
        # The host bits go: with them an IPv6 rule would match nothing (vl2 5.4).
        network = interface.network
        return Rule(kind, value=int(network.network_address), bits=network.prefixlen)

    return read


def _icmp(_: _Compiler, words: Sequence[Word]) -> Rule:
    kind = _number(words[0], 0xFF)
    if words[1].text == "-1":
        return Rule(RuleType.MATCH_ICMP, value=kind)
    code = _number(words[1], 0xFF)
    return Rule(RuleType.MATCH_ICMP, value=kind, code=code, flags=ICMP_COMPARE_CODE)


def _probability(_: _Compiler, words: Sequence[Word]) -> Rule:
    text = words[0].text
    if not re.fullmatch(r"[01](\.\d{1,20})?|\.\d{1,20}", text) or float(text) > 1:
        raise words[0].problem(f"a probability from 0.0 to 1.0 should be here, not {text!r}")
    return Rule(RuleType.MATCH_RANDOM, value=int(float(text) * _RANDOM_ALWAYS))


def _mac(kind: RuleType) -> Callable[[_Compiler, Sequence[Word]], Rule]:
    def read(_: _Compiler, words: Sequence[Word]) -> Rule:
        try:
            return Rule(kind, value=int(Mac.parse(words[0].text)))
        except InvalidConfig as error:
            raise words[0].problem(str(error)) from None

    return read


def _tag(kind: RuleType) -> Callable[[_Compiler, Sequence[Word]], Rule]:
    def read(compiler: _Compiler, words: Sequence[Word]) -> Rule:
        tag = compiler.tags.get(words[0].key)
        number = tag.id if tag is not None else _number(words[0], 0xFFFF_FFFF)
        value = _number(words[1], 0xFFFF_FFFF, tag.names if tag is not None else None)
        return Rule(kind, tag_id=number, value=value)

    return read


def _ranged(kind: RuleType) -> Callable[[_Compiler, Sequence[Word]], Rule]:
    def read(_: _Compiler, words: Sequence[Word]) -> Rule:
        low, high = _range(words[0], 0xFFFF)
        return Rule(kind, low=low, high=high)

    return read


def _zt(kind: RuleType) -> Callable[[_Compiler, Sequence[Word]], Rule]:
    return lambda _, words: Rule(kind, address=_node(words[0]))


def _valued(
    kind: RuleType, most: int, names: Mapping[str, int]
) -> Callable[[_Compiler, Sequence[Word]], Rule]:
    return lambda _, words: Rule(kind, value=_number(words[0], most, names))


def _tos(_: _Compiler, words: Sequence[Word]) -> Rule:
    mask = _number(words[0], 0xFF)
    low, high = _range(words[1], 0xFF)
    return Rule(RuleType.MATCH_IP_TOS, mask=mask, low=low, high=high)


def _chr(_: _Compiler, words: Sequence[Word]) -> Rule:
    mask = 0
    for word in words:
        mask |= 1 << _number(word, 63, _CHARACTERISTICS)
    return Rule(RuleType.MATCH_CHARACTERISTICS, mask=mask)


class _Match(NamedTuple):
    """How many words follow, and what they mean; without a number they are a list with commas."""

    values: int | None
    read: Callable[[_Compiler, Sequence[Word]], Rule]


_MATCHES: Final = {
    "ztsrc": _Match(1, _zt(RuleType.MATCH_SOURCE_ZEROTIER_ADDRESS)),
    "ztdest": _Match(1, _zt(RuleType.MATCH_DEST_ZEROTIER_ADDRESS)),
    "vlan": _Match(1, _valued(RuleType.MATCH_VLAN_ID, 0xFFFF, {})),
    "vlanpcp": _Match(1, _valued(RuleType.MATCH_VLAN_PCP, 0xFF, {})),
    "vlandei": _Match(1, _valued(RuleType.MATCH_VLAN_DEI, 0xFF, {})),
    "macsrc": _Match(1, _mac(RuleType.MATCH_MAC_SOURCE)),
    "macdest": _Match(1, _mac(RuleType.MATCH_MAC_DEST)),
    "ipsrc": _Match(1, _ip(RuleType.MATCH_IPV4_SOURCE)),
    "ipdest": _Match(1, _ip(RuleType.MATCH_IPV4_DEST)),
    "iptos": _Match(2, _tos),
    "ipprotocol": _Match(1, _valued(RuleType.MATCH_IP_PROTOCOL, 0xFF, _PROTOCOLS)),
    "ethertype": _Match(1, _valued(RuleType.MATCH_ETHERTYPE, 0xFFFF, _ETHERTYPES)),
    "icmp": _Match(2, _icmp),
    "sport": _Match(1, _ranged(RuleType.MATCH_IP_SOURCE_PORT_RANGE)),
    "dport": _Match(1, _ranged(RuleType.MATCH_IP_DEST_PORT_RANGE)),
    "chr": _Match(None, _chr),
    "framesize": _Match(1, _ranged(RuleType.MATCH_FRAME_SIZE_RANGE)),
    "random": _Match(1, _probability),
    "tdiff": _Match(2, _tag(RuleType.MATCH_TAGS_DIFFERENCE)),
    "tand": _Match(2, _tag(RuleType.MATCH_TAGS_BITWISE_AND)),
    "tor": _Match(2, _tag(RuleType.MATCH_TAGS_BITWISE_OR)),
    "txor": _Match(2, _tag(RuleType.MATCH_TAGS_BITWISE_XOR)),
    "teq": _Match(2, _tag(RuleType.MATCH_TAGS_EQUAL)),
    "tseq": _Match(2, _tag(RuleType.MATCH_TAG_SENDER)),
    "treq": _Match(2, _tag(RuleType.MATCH_TAG_RECEIVER)),
}
_ACTIONS: Final = {
    "drop": (RuleType.ACTION_DROP, ()),
    "break": (RuleType.ACTION_BREAK, ()),
    "accept": (RuleType.ACTION_ACCEPT, ()),
    "tee": (RuleType.ACTION_TEE, ("length", "address")),
    "watch": (RuleType.ACTION_WATCH, ("length", "address")),
    "redirect": (RuleType.ACTION_REDIRECT, ("address",)),
}


# Blocks.


def _read_tag(reader: _Reader, tags: dict[str, TagDefinition]) -> None:
    name = reader.next("the name of a tag")
    if name.key in tags:
        raise name.problem(f"the tag {name.text} is there already")
    number: int | None = None
    default: Word | None = None
    names: dict[str, int] = {}
    while (word := reader.until_end("a part of the tag")) is not None:
        match word.key:
            case "id":
                number = _number(reader.next("an id"), 0xFFFF_FFFF)
            case "default":
                default = reader.next("a value")
            case "enum":
                value = _number(reader.next("a value"), 0xFFFF_FFFF)
                names[reader.next("a name").key] = value
            case "flag":
                mask = 0
                for bit in reader.joined("a bit"):
                    mask |= names.get(bit.key) or 1 << _number(bit, 31)
                names[reader.next("a name").key] = mask
            case _:
                raise word.problem(f"a tag has no {word.text!r}")
    _check_id(name, number, [tag.id for tag in tags.values()])
    assert number is not None
    initial = None if default is None else _number(default, 0xFFFF_FFFF, names)
    tags[name.key] = TagDefinition(name.text, number, initial, names)


def _check_id(name: Word, number: int | None, others: Sequence[int]) -> None:
    if number is None:
        raise name.problem(f"{name.text} has no id")
    if number in others:
        raise name.problem(f"the id {number} of {name.text} is another's already")


def _block(reader: _Reader) -> list[Word] | None:
    """Return the words of a block with actions in it; None if it has no end."""
    body: list[Word] = []
    inside = False  # Of an action, whose semicolon is its own.
    while (word := reader.next_or_none()) is not None:
        if word.text == ";" and not inside:
            return body
        if word.key in _ACTIONS:
            inside = True
        elif word.text == ";":
            inside = False
        body.append(word)
    return None


def _skip_action(reader: _Reader) -> None:
    while (word := reader.next_or_none()) is not None and word.text != ";":
        pass


class _Compiler:
    """Turns blocks into rules."""

    def __init__(self) -> None:
        self.tags: dict[str, TagDefinition] = {}
        self.rules: list[Rule] = []
        self.capabilities: dict[str, CapabilityDefinition] = {}
        self._macros: dict[str, _Macro] = {}
        self._includes = 0

    def define(self, reader: _Reader) -> None:
        """Note the tags and macros of a whole text."""
        while (word := reader.next_or_none()) is not None:
            match word.key:
                case "tag":
                    _read_tag(reader, self.tags)
                case "macro":
                    self._macro(reader, self._macros)
                case "cap":
                    _block(reader)
                case key if key in _ACTIONS:
                    _skip_action(reader)
                case _:
                    pass

    def run(self, reader: _Reader) -> None:
        """Compile a whole text whose tags and macros are known."""
        while (word := reader.next_or_none()) is not None:
            match word.key:
                case "tag":
                    _read_tag(reader, {})
                case "macro":
                    self._macro(reader, {})
                case "cap":
                    self._cap(reader)
                case "include":
                    self._include(reader, self.rules, MAX_RULES, 0)
                case _:
                    self._action(word, reader, self.rules, MAX_RULES)

    def _cap(self, reader: _Reader) -> None:
        name = reader.next("the name of a capability")
        if name.key in self.capabilities:
            raise name.problem(f"the capability {name.text} is there already")
        rules: list[Rule] = []
        number: int | None = None
        default = False
        while (word := reader.until_end("a part of the capability")) is not None:
            match word.key:
                case "id":
                    number = _number(reader.next("an id"), 0xFFFF_FFFF)
                case "default":
                    default = True
                case "include":
                    self._include(reader, rules, MAX_CAPABILITY_RULES, 0)
                case _:
                    self._action(word, reader, rules, MAX_CAPABILITY_RULES)
        _check_id(name, number, [item.id for item in self.capabilities.values()])
        assert number is not None
        self.capabilities[name.key] = CapabilityDefinition(name.text, number, rules, default)

    @staticmethod
    def _macro(reader: _Reader, macros: dict[str, _Macro]) -> None:
        name = reader.next("the name of a macro")
        if name.key in macros:
            raise name.problem(f"the macro {name.text} is there already")
        variables = reader.arguments()
        for variable in variables:
            if not variable.text.startswith("$"):
                raise variable.problem(f"a variable begins with $, not as {variable.text!r}")
        body = _block(reader)
        if body is None:
            raise name.problem(f"the macro {name.text} has no end")
        macros[name.key] = _Macro(tuple(word.text for word in variables), tuple(body))

    def _include(self, reader: _Reader, rules: list[Rule], limit: int, depth: int) -> None:
        name = reader.next("the name of a macro")
        values = reader.arguments()
        macro = self._macros.get(name.key)
        if macro is None:
            raise name.problem(f"there is no macro {name.text}")
        if len(values) != len(macro.variables):
            raise name.problem(f"{name.text} takes {len(macro.variables)} values")
        self._includes += 1
        if depth >= _MAX_DEPTH or self._includes > MAX_INCLUDES:
            raise name.problem(f"{name.text} is included too often")
        given = dict(zip(macro.variables, values, strict=True))
        body = _Reader([given.get(word.text, word) for word in macro.body])
        while (word := body.next_or_none()) is not None:
            if word.key == "include":
                self._include(body, rules, limit, depth + 1)
                body.take(";")
            else:
                self._action(word, body, rules, limit)

    def _action(self, word: Word, reader: _Reader, rules: list[Rule], limit: int) -> None:
        if word.text == ";":
            return  # The end of an include, or nothing.
        known = _ACTIONS.get(word.key)
        if known is None:
            raise word.problem(f"there is no action {word.text!r}")
        kind, parts = known
        address = length = 0
        for part in parts:
            given = reader.next(f"the {part} of {word.text}")
            if part == "address":
                address = _node(given)
            else:
                whole = given.text == "-1"
                length = _WHOLE_FRAME if whole else _number(given, _WHOLE_FRAME)
        while (match := reader.until_end("a match")) is not None:
            rules.append(self._match(match, reader))
        rules.append(Rule(kind, address=address, length=length))
        if len(rules) > limit:
            raise word.problem(f"there are more than {limit} rules")

    def _match(self, word: Word, reader: _Reader) -> Rule:
        alternative = negate = False
        while word.key in ("and", "or", "not"):
            alternative |= word.key == "or"
            negate |= word.key == "not"
            word = reader.next("a match")
        known = _MATCHES.get(word.key)
        if known is None:
            raise word.problem(f"there is no match {word.text!r}")
        what = f"a value of {word.text}"
        if known.values is None:
            values = reader.joined(what)
        else:
            values = [reader.next(what) for _ in range(known.values)]
        return replace(known.read(self, values), negate=negate, alternative=alternative)
