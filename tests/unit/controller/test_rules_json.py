from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given

from tests.strategies import rules as any_rules
from tests.support.vectors import cases
from ztstack.base.errors import InvalidConfig
from ztstack.controller.rules_json import rule_from_json, rule_to_json
from ztstack.wire.rules import Rule, RuleType, decode_rules, encode_rules


@pytest.mark.parametrize("case", cases("controller.json", "rule_json"))
def test_rule(case: dict[str, Any]) -> None:
    """The original writes a type that it does not read again, INTEGER_RANGE; this node reads it."""
    rule = rule_from_json(case["json"])
    assert encode_rules([rule]).hex() == case["wire"]
    assert rule_to_json(rule) == case["json"]
    assert decode_rules(bytes.fromhex(case["wire"])) == (rule,)


@given(any_rules().filter(lambda rule: rule.is_known))
def test_json_and_back(rule: Rule) -> None:
    # A prefix longer than its address is legal on the wire, and no network.
    width = 32 if rule.type in (RuleType.MATCH_IPV4_SOURCE, RuleType.MATCH_IPV4_DEST) else 128
    assume(rule.bits <= width)
    again = rule_from_json(rule_to_json(rule))
    assert again.type == rule.type
    if not rule.is_action:
        assert (again.negate, again.alternative) == (rule.negate, rule.alternative)
    assert rule_to_json(again) == rule_to_json(rule)


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"type": "NONSENSE"},
        {"type": "MATCH_ETHERTYPE"},
        {"type": "MATCH_ETHERTYPE", "etherType": "0x800"},
        {"type": "MATCH_ETHERTYPE", "etherType": 70_000},
        {"type": "MATCH_IPV4_SOURCE", "ip": "fd00::/8"},
        {"type": "MATCH_IPV4_SOURCE", "ip": "10.0.0.0/33"},
        {"type": "MATCH_MAC_SOURCE", "mac": "12"},
        {"type": "ACTION_TEE", "address": "12"},
        {"type": "MATCH_CHARACTERISTICS", "mask": "xyz"},
        {"type": "INTEGER_RANGE", "start": "0", "end": "1", "bits": 65},
    ],
)
def test_what_is_wrong_is_said(data: dict[str, Any]) -> None:
    with pytest.raises(InvalidConfig):
        rule_from_json(data)


def test_port_without_an_end() -> None:
    rule = rule_from_json({"type": "MATCH_IP_DEST_PORT_RANGE", "start": 22})
    assert (rule.type, rule.low, rule.high) == (RuleType.MATCH_IP_DEST_PORT_RANGE, 22, 22)
