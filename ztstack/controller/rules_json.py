"""Rules as the controller's files and tools write them: JSON objects (vl2 sections 5.2 and 7.7)."""

from __future__ import annotations

import ipaddress
import string
from collections.abc import Callable
from typing import Final

from ztstack.base.address import Address
from ztstack.base.errors import InvalidConfig
from ztstack.base.mac import Mac
from ztstack.controller import fields
from ztstack.controller.fields import Json
from ztstack.wire.rules import ICMP_COMPARE_CODE, INTEGER_LITTLE_ENDIAN, LAYOUTS, Rule, RuleType

Fields = dict[str, int]
JsonFields = dict[str, object]

_WIDTHS: Final = range(1, 65)
_HEX_DIGITS: Final = 16


def _hex(data: Json, key: str) -> int:
    """Return a number that is written as one, or in hexadecimal digits."""
    if isinstance(data.get(key), int | float):
        return fields.whole(data, key, 0)
    text = fields.text(data, key)
    if not 0 < len(text) <= _HEX_DIGITS or not frozenset(string.hexdigits).issuperset(text):
        raise InvalidConfig(f"{key}: {_HEX_DIGITS} hexadecimal digits are needed")
    return int(text, 16)


def _needed(data: Json, key: str) -> int:
    """Return a number that must be there; the rule itself knows how large it may be."""
    if key not in data:
        raise InvalidConfig(f"{key}: a whole number is needed")
    return fields.whole(data, key, 0)


# Reading: JSON to the fields of a Rule.


def _read_forward(data: Json) -> Fields:
    return {
        "address": int(Address.parse(fields.text(data, "address"))),
        "flags": fields.whole(data, "flags", 0),
        "length": fields.whole(data, "length", 0),
    }


def _read_node(data: Json) -> Fields:
    return {"address": int(Address.parse(fields.text(data, "zt")))}


def _read_mac(data: Json) -> Fields:
    return {"value": int(Mac.parse(fields.text(data, "mac")))}


def _read_ip(version: int) -> Callable[[Json], Fields]:
    def read(data: Json) -> Fields:
        text = fields.text(data, "ip")
        try:
            interface = ipaddress.ip_interface(text)
        except ValueError:
            raise InvalidConfig(f"ip: {text!r} is not ADDRESS/BITS") from None
        if interface.version != version or "%" in text:
            raise InvalidConfig(f"ip: {text!r} is not an IPv{version} network")
        return {"value": int(interface.ip), "bits": interface.network.prefixlen}

    return read


def _read_range(data: Json) -> Fields:
    low = _needed(data, "start")
    return {"low": low, "high": fields.whole(data, "end", low)}


def _read_tos(data: Json) -> Fields:
    return {"mask": fields.whole(data, "mask", 0xFF), **_read_range(data)}


def _read_icmp(data: Json) -> Fields:
    fields = {"value": _needed(data, "icmpType")}
    if data.get("icmpCode") is not None:
        fields |= {"code": _needed(data, "icmpCode"), "flags": ICMP_COMPARE_CODE}
    return fields


def _read_tag(data: Json) -> Fields:
    return {"tag_id": _needed(data, "id"), "value": _needed(data, "value")}


def _read_integer(data: Json) -> Fields:
    width = fields.whole(data, "bits", 64)
    if width not in _WIDTHS:
        raise InvalidConfig(f"bits: a number from 1 to 64 is needed, not {width}")
    little = INTEGER_LITTLE_ENDIAN if fields.flag(data, "little", default=False) else 0
    return {
        "low": _hex(data, "start"),
        "high": _hex(data, "end"),
        "index": fields.whole(data, "idx", 0),
        "format": width - 1 | little,
    }


def _read_value(key: str) -> Callable[[Json], Fields]:
    return lambda data: {"value": _needed(data, key)}


# Writing: a Rule to JSON.


def _write_forward(rule: Rule) -> JsonFields:
    fields: JsonFields = {"address": str(rule.target), "flags": rule.flags}
    if rule.type != RuleType.ACTION_REDIRECT:
        fields["length"] = rule.length
    return fields


def _write_ip(rule: Rule) -> JsonFields:
    return {"ip": f"{ipaddress.ip_address(rule.ip)}/{rule.bits}"}


def _write_range(rule: Rule) -> JsonFields:
    return {"start": rule.low, "end": rule.high}


def _write_tag(rule: Rule) -> JsonFields:
    return {"id": rule.tag_id, "value": rule.value}


def _write_integer(rule: Rule) -> JsonFields:
    return {
        "start": f"{rule.low:016x}",
        "end": f"{rule.high:016x}",
        "idx": rule.index,
        "little": rule.is_little_endian,
        "bits": rule.width_bits,
    }


def _write_value(key: str) -> Callable[[Rule], JsonFields]:
    return lambda rule: {key: rule.value}


def _read_nothing(data: Json) -> Fields:
    del data
    return {}


def _write_nothing(rule: Rule) -> JsonFields:
    del rule
    return {}


def _write_icmp(rule: Rule) -> JsonFields:
    return {"icmpType": rule.value, "icmpCode": rule.code if rule.compares_code else None}


Form = tuple[Callable[[Json], Fields], Callable[[Rule], JsonFields]]
_NO_FIELDS: Final[Form] = (_read_nothing, _write_nothing)
_FORWARD: Final[Form] = (_read_forward, _write_forward)
_NODE: Final[Form] = (_read_node, lambda rule: {"zt": str(rule.target)})
_MAC: Final[Form] = (_read_mac, lambda rule: {"mac": str(rule.mac)})
_IPV4: Final[Form] = (_read_ip(4), _write_ip)
_IPV6: Final[Form] = (_read_ip(6), _write_ip)
_RANGE: Final[Form] = (_read_range, _write_range)
_TAG: Final[Form] = (_read_tag, _write_tag)

_FORMS: Final[dict[int, Form]] = {
    RuleType.ACTION_DROP: _NO_FIELDS,
    RuleType.ACTION_ACCEPT: _NO_FIELDS,
    RuleType.ACTION_BREAK: _NO_FIELDS,
    RuleType.ACTION_PRIORITY: _NO_FIELDS,
    RuleType.ACTION_TEE: _FORWARD,
    RuleType.ACTION_WATCH: _FORWARD,
    RuleType.ACTION_REDIRECT: _FORWARD,
    RuleType.MATCH_SOURCE_ZEROTIER_ADDRESS: _NODE,
    RuleType.MATCH_DEST_ZEROTIER_ADDRESS: _NODE,
    RuleType.MATCH_VLAN_ID: (_read_value("vlanId"), _write_value("vlanId")),
    RuleType.MATCH_VLAN_PCP: (_read_value("vlanPcp"), _write_value("vlanPcp")),
    RuleType.MATCH_VLAN_DEI: (_read_value("vlanDei"), _write_value("vlanDei")),
    RuleType.MATCH_MAC_SOURCE: _MAC,
    RuleType.MATCH_MAC_DEST: _MAC,
    RuleType.MATCH_IPV4_SOURCE: _IPV4,
    RuleType.MATCH_IPV4_DEST: _IPV4,
    RuleType.MATCH_IPV6_SOURCE: _IPV6,
    RuleType.MATCH_IPV6_DEST: _IPV6,
    RuleType.MATCH_IP_TOS: (_read_tos, lambda rule: {"mask": rule.mask, **_write_range(rule)}),
    RuleType.MATCH_IP_PROTOCOL: (_read_value("ipProtocol"), _write_value("ipProtocol")),
    RuleType.MATCH_ETHERTYPE: (_read_value("etherType"), _write_value("etherType")),
    RuleType.MATCH_ICMP: (_read_icmp, _write_icmp),
    RuleType.MATCH_IP_SOURCE_PORT_RANGE: _RANGE,
    RuleType.MATCH_IP_DEST_PORT_RANGE: _RANGE,
    RuleType.MATCH_FRAME_SIZE_RANGE: _RANGE,
    RuleType.MATCH_CHARACTERISTICS: (
        lambda data: {"mask": _hex(data, "mask")},
        lambda rule: {"mask": f"{rule.mask:016x}"},
    ),
    RuleType.MATCH_RANDOM: (_read_value("probability"), _write_value("probability")),
    RuleType.MATCH_TAGS_DIFFERENCE: _TAG,
    RuleType.MATCH_TAGS_BITWISE_AND: _TAG,
    RuleType.MATCH_TAGS_BITWISE_OR: _TAG,
    RuleType.MATCH_TAGS_BITWISE_XOR: _TAG,
    RuleType.MATCH_TAGS_EQUAL: _TAG,
    RuleType.MATCH_TAG_SENDER: _TAG,
    RuleType.MATCH_TAG_RECEIVER: _TAG,
    RuleType.INTEGER_RANGE: (_read_integer, _write_integer),
}
assert _FORMS.keys() == LAYOUTS.keys()


def rule_from_json(data: Json) -> Rule:
    """Read one rule; InvalidConfig says what is wrong with it."""
    name = fields.text(data, "type")
    try:
        kind = RuleType[name]
    except KeyError:
        raise InvalidConfig(f"type: there is no rule {name!r}") from None
    read, _ = _FORMS[kind]
    match = kind >= RuleType.MATCH_SOURCE_ZEROTIER_ADDRESS
    negate, alternative = (match and fields.flag(data, key, default=False) for key in ("not", "or"))
    return Rule(type=kind, negate=negate, alternative=alternative, raw=None, **read(data))


def rule_to_json(rule: Rule) -> dict[str, object]:
    """Return the object that `rule_from_json` reads; the rule is of a known type."""
    kind = RuleType(rule.type)
    _, write = _FORMS[kind]
    data: dict[str, object] = {"type": kind.name, **write(rule)}
    if not rule.is_action:
        data |= {"not": rule.negate, "or": rule.alternative}
    return data
