from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given, strategies as st

from tests.strategies import rules
from tests.support.vectors import cases
from ztstack.base.address import Address
from ztstack.base.codec import Reader
from ztstack.base.errors import DecodeError, InvalidConfig
from ztstack.base.mac import Mac
from ztstack.wire.rules import (
    ACCEPT_ALL,
    LAYOUTS,
    Rule,
    RuleType,
    decode_counted_rules,
    decode_rules,
    encode_rules,
)

# What the vectors call a field, and what we call it.
_NAMES = {
    "vlan_id": "value",
    "vlan_pcp": "value",
    "vlan_dei": "value",
    "protocol": "value",
    "ethertype": "value",
    "icmp_type": "value",
    "probability": "value",
    "value": "value",
    "icmp_code": "code",
    "flags": "flags",
    "length": "length",
    "start": "low",
    "end": "high",
    "bits": "bits",
    "idx": "index",
    "format": "format",
    "tag_id": "tag_id",
}


def check_fields(rule: Rule, case: dict[str, Any]) -> None:
    assert rule.type == case["type_code"]
    assert (rule.negate, rule.alternative) == (case["not"], case["or"])
    assert rule.is_known is (case["type"] != "unknown")
    for name, value in case.items():
        if name == "address":
            assert rule.target == Address.parse(value)
        elif name == "mac":
            assert rule.mac == Mac.parse(value)
        elif name == "ip":
            assert rule.ip == ipaddress.ip_address(value).packed
        elif name == "mask":
            assert rule.mask == (int(value, 16) if isinstance(value, str) else value)
        elif name == "little_endian":
            assert rule.is_little_endian is value
        elif name == "bits" and rule.type == RuleType.INTEGER_RANGE:
            assert rule.width_bits == value
        elif name in _NAMES:
            assert getattr(rule, _NAMES[name]) == value, name
        else:
            assert name in ("type", "type_code", "not", "or", "qos_bucket")


def made(case: dict[str, Any]) -> Rule:
    fields: dict[str, Any] = {}
    for name, value in case.items():
        if name == "address":
            fields["address"] = int(value, 16)
        elif name == "mac":
            fields["value"] = Mac.parse(value)
        elif name == "ip":
            fields["value"] = int(ipaddress.ip_address(value))
        elif name == "mask":
            fields["mask"] = int(value, 16) if isinstance(value, str) else value
        elif name in _NAMES and not (name == "bits" and case["type"] == "integer_range"):
            fields[_NAMES[name]] = value
    return Rule(case["type_code"], negate=case["not"], alternative=case["or"], **fields)


@pytest.mark.parametrize("case", cases("rules.json", "serialize"))
def test_serialize(case: dict[str, Any]) -> None:
    wire = bytes.fromhex(case["wire"])
    assert encode_rules(made(rule) for rule in case["rules"]) == wire
    parsed = decode_rules(wire)
    for rule, expected in zip(parsed, case["rules"], strict=True):
        check_fields(rule, expected)
    assert encode_rules(parsed) == wire


@pytest.mark.parametrize("case", cases("rules.json", "parse"))
def test_parse(case: dict[str, Any]) -> None:
    wire = bytes.fromhex(case["wire"])
    if not case["ok"]:
        with pytest.raises(DecodeError):
            decode_rules(wire, case["max_rules"])
        return
    parsed = decode_rules(wire, case["max_rules"])
    for rule, expected in zip(parsed, case["rules"], strict=True):
        check_fields(rule, expected)
    if case["consumed"] <= len(wire):
        assert encode_rules(parsed) == wire[: case["consumed"]]


@given(st.lists(rules(), max_size=10).map(tuple))
def test_decode_after_encode(listed: tuple[Rule, ...]) -> None:
    wire = encode_rules(listed)
    assert decode_rules(wire) == listed
    r = Reader(len(listed).to_bytes(2, "big") + wire)
    assert decode_counted_rules(r) == listed
    assert r.remaining == 0


@given(st.binary(max_size=100))
def test_noise(noise: bytes) -> None:
    try:
        parsed = decode_rules(noise)
    except DecodeError:
        return
    assert encode_rules(decode_rules(encode_rules(parsed))) == encode_rules(parsed)


@pytest.mark.parametrize("kind", sorted(LAYOUTS))
def test_cut_short(kind: int) -> None:
    wire = encode_rules([Rule(kind)])
    for cut in range(1, len(wire)):
        with pytest.raises(DecodeError):
            decode_rules(wire[:cut])


def test_an_address_of_more_than_forty_bits_keeps_its_bytes() -> None:
    wire = bytes.fromhex("020eff00000123456789000000010002")
    (rule,) = decode_rules(wire)
    assert (rule.target, rule.flags, rule.length) == (0x0123456789, 1, 2)
    assert encode_rules([rule]) == wire


def test_values_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InvalidConfig):
        Rule(RuleType.MATCH_ETHERTYPE, value=0x10000)
    with pytest.raises(InvalidConfig):
        Rule(64)


def test_a_capability_has_at_most_64_rules() -> None:
    with pytest.raises(DecodeError):
        decode_counted_rules(Reader(b"\0\x41" + b"\1\0" * 65))


def test_accept_all() -> None:
    assert encode_rules(ACCEPT_ALL) == b"\1\0"
    assert ACCEPT_ALL[0].is_action
    assert Rule(RuleType.MATCH_ICMP, flags=1).compares_code
