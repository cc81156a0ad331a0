from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from ztstack.base.errors import InvalidConfig
from ztstack.controller.api import NETWORK_KEYS
from ztstack.controller.model import NetworkRecord
from ztstack.controller.rules_text import MAX_INCLUDES, parse_program
from ztstack.wire.rules import RuleType

MANUAL = """
# Whitelist only IPv4 (/ARP) and IPv6 traffic and allow only ZeroTier-assigned IP addresses
drop                      # drop cannot be overridden by capabilities
  not ethertype ipv4      # frame is not ipv4
  and not ethertype arp   # AND is not ARP
  and not ethertype ipv6  # AND is not ipv6
  or not chr ipauth       # OR IP addresses are not authenticated
;
accept
  dport 22 or dport 80 or dport 443
  and ipprotocol tcp
;
tag department
  id 1000
  enum 100 sales
  enum 200 engineering
  default 0
;
accept
  dport 139 or dport 445
  and ipprotocol tcp
  and tdiff department 0
;
break
  chr tcp_syn
  and not chr tcp_ack
;
cap superuser
  id 2000
  accept;
;
accept;
"""


def compile_rules(text: str) -> dict[str, Any]:
    return parse_program(text).to_json()


def ethertype(number: int) -> dict[str, object]:
    return {"type": "MATCH_ETHERTYPE", "etherType": number, "not": True, "or": False}


def port(number: int, *, alternative: bool = False) -> dict[str, object]:
    kind = "MATCH_IP_DEST_PORT_RANGE"
    return {"type": kind, "start": number, "end": number, "not": False, "or": alternative}


def characteristic(mask: int, *, negate: bool = False, alternative: bool = False) -> dict[str, Any]:
    kind = "MATCH_CHARACTERISTICS"
    return {"type": kind, "mask": f"{mask:016x}", "not": negate, "or": alternative}


TCP = {"type": "MATCH_IP_PROTOCOL", "ipProtocol": 6, "not": False, "or": False}


def compiled(text: str) -> list[dict[str, Any]]:
    rules: Any = compile_rules(text)["rules"]
    return list(rules)


def one(text: str) -> dict[str, Any]:
    """Return the only match of an action, without what every match has."""
    match, action = compiled(f"accept {text};")
    assert action == {"type": "ACTION_ACCEPT"}
    assert (match.pop("not"), match.pop("or")) == (False, False)
    return match


def test_the_example_of_the_manual() -> None:
    made = compile_rules(MANUAL)
    assert made["rules"] == [
        ethertype(0x0800),
        ethertype(0x0806),
        ethertype(0x86DD),
        characteristic(1 << 60, negate=True, alternative=True),
        {"type": "ACTION_DROP"},
        port(22),
        port(80, alternative=True),
        port(443, alternative=True),
        TCP,
        {"type": "ACTION_ACCEPT"},
        port(139),
        port(445, alternative=True),
        TCP,
        {"type": "MATCH_TAGS_DIFFERENCE", "id": 1000, "value": 0, "not": False, "or": False},
        {"type": "ACTION_ACCEPT"},
        characteristic(0x02),
        characteristic(0x10, negate=True),
        {"type": "ACTION_BREAK"},
        {"type": "ACTION_ACCEPT"},
    ]
    assert made["tags"] == [{"id": 1000, "default": 0}]
    assert made["capabilities"] == [
        {"id": 2000, "default": False, "rules": [{"type": "ACTION_ACCEPT"}]}
    ]
    assert made["rulesSource"] == MANUAL
    assert made.keys() <= set(NETWORK_KEYS)
    record = NetworkRecord.from_json({"id": "0123456789abcdef", **made})
    assert record.to_json()["rules"] == made["rules"]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("ztsrc deadbeef11", {"type": "MATCH_SOURCE_ZEROTIER_ADDRESS", "zt": "deadbeef11"}),
        ("ztdest deadbeef11", {"type": "MATCH_DEST_ZEROTIER_ADDRESS", "zt": "deadbeef11"}),
        ("macsrc 01:02:03:04:05:06", {"type": "MATCH_MAC_SOURCE", "mac": "01:02:03:04:05:06"}),
        ("macdest 01:02:03:04:05:06", {"type": "MATCH_MAC_DEST", "mac": "01:02:03:04:05:06"}),
        ("ipsrc 10.1.2.3/8", {"type": "MATCH_IPV4_SOURCE", "ip": "10.0.0.0/8"}),
        ("ipdest 10.1.2.3", {"type": "MATCH_IPV4_DEST", "ip": "10.1.2.3/32"}),
        ("ipsrc fd77::1/64", {"type": "MATCH_IPV6_SOURCE", "ip": "fd77::/64"}),
        ("ipdest ::1/128", {"type": "MATCH_IPV6_DEST", "ip": "::1/128"}),
        ("iptos 0xfc 1-2", {"type": "MATCH_IP_TOS", "mask": 252, "start": 1, "end": 2}),
        ("ipprotocol udplite", {"type": "MATCH_IP_PROTOCOL", "ipProtocol": 136}),
        ("ipprotocol ICMPv6", {"type": "MATCH_IP_PROTOCOL", "ipProtocol": 58}),
        ("vlan 5", {"type": "MATCH_VLAN_ID", "vlanId": 5}),
        ("vlanpcp 7", {"type": "MATCH_VLAN_PCP", "vlanPcp": 7}),
        ("vlandei 1", {"type": "MATCH_VLAN_DEI", "vlanDei": 1}),
        ("ipprotocol 47", {"type": "MATCH_IP_PROTOCOL", "ipProtocol": 47}),
        ("ethertype wol", {"type": "MATCH_ETHERTYPE", "etherType": 0x0842}),
        ("ethertype 0x88cc", {"type": "MATCH_ETHERTYPE", "etherType": 0x88CC}),
        ("icmp 8 -1", {"type": "MATCH_ICMP", "icmpType": 8, "icmpCode": None}),
        ("icmp 3 4", {"type": "MATCH_ICMP", "icmpType": 3, "icmpCode": 4}),
        ("sport 53", {"type": "MATCH_IP_SOURCE_PORT_RANGE", "start": 53, "end": 53}),
        ("dport 1-65535", {"type": "MATCH_IP_DEST_PORT_RANGE", "start": 1, "end": 65535}),
        ("chr tcp_rs0", {"type": "MATCH_CHARACTERISTICS", "mask": "0000000000000800"}),
        ("chr inbound", {"type": "MATCH_CHARACTERISTICS", "mask": "8000000000000000"}),
        ("chr 63", {"type": "MATCH_CHARACTERISTICS", "mask": "8000000000000000"}),
        ("chr tcp_syn,tcp_ack, 62", {"type": "MATCH_CHARACTERISTICS", "mask": "4000000000000012"}),
        ("framesize 0-1500", {"type": "MATCH_FRAME_SIZE_RANGE", "start": 0, "end": 1500}),
        ("random 0.5", {"type": "MATCH_RANDOM", "probability": 0x7FFFFFFF}),
        ("random 1.0", {"type": "MATCH_RANDOM", "probability": 0xFFFFFFFF}),
        ("tand 5 6", {"type": "MATCH_TAGS_BITWISE_AND", "id": 5, "value": 6}),
        ("tor 5 0x10", {"type": "MATCH_TAGS_BITWISE_OR", "id": 5, "value": 16}),
        ("txor 5 6", {"type": "MATCH_TAGS_BITWISE_XOR", "id": 5, "value": 6}),
        ("teq 5 6", {"type": "MATCH_TAGS_EQUAL", "id": 5, "value": 6}),
        ("tseq 5 6", {"type": "MATCH_TAG_SENDER", "id": 5, "value": 6}),
        ("treq 5 4294967295", {"type": "MATCH_TAG_RECEIVER", "id": 5, "value": 0xFFFFFFFF}),
    ],
)
def test_every_match(text: str, match: dict[str, object]) -> None:
    assert one(text) == match


def test_actions_that_send_elsewhere() -> None:
    assert compiled("tee -1 deadbeef11; watch 128 deadbeef11; redirect deadbeef22;") == [
        {"type": "ACTION_TEE", "address": "deadbeef11", "flags": 0, "length": 0xFFFF},
        {"type": "ACTION_WATCH", "address": "deadbeef11", "flags": 0, "length": 128},
        {"type": "ACTION_REDIRECT", "address": "deadbeef22", "flags": 0},
    ]


def test_values_of_tags_have_names() -> None:
    made = parse_program(
        "tag classified id 2 enum 0 no enum 1 secret default no;"
        "tag groups id 1 flag 0 staging flag 31 last;"
        "tag bare id 3;"
        "break tseq classified secret and tand groups last;"
    )
    assert [(tag.name, tag.id, tag.default) for tag in made.tags] == [
        ("classified", 2, 0),
        ("groups", 1, None),
        ("bare", 3, None),
    ]
    assert [(rule.tag_id, rule.value) for rule in made.rules[:2]] == [(2, 1), (1, 1 << 31)]


def test_flags_of_several_bits() -> None:
    made = parse_program("tag t id 1 flag 0 low flag 3,low,5 some; break tand t some;")
    assert made.rules[0].value == 0b101001


def test_small_and_capital_letters_are_the_same_and_definitions_may_follow() -> None:
    made = parse_program(
        """
        DROP Not EtherType IPv4 OR TSEQ Department SALES;
        Include Web
        Cap Admin Id 3 Default Include WEB ;
        Tag DEPARTMENT ID 100 Enum 7 Sales Default sales;
        macro web Accept DPORT 80 ; ;
        """
    )
    kinds = [RuleType(rule.type).name for rule in made.rules]
    assert kinds[:3] == ["MATCH_ETHERTYPE", "MATCH_TAG_SENDER", "ACTION_DROP"]
    assert kinds[3:] == ["MATCH_IP_DEST_PORT_RANGE", "ACTION_ACCEPT"]
    assert (made.rules[0].negate, made.rules[1].alternative) == (True, True)
    assert (made.rules[1].tag_id, made.rules[1].value) == (100, 7)
    (admin,) = made.capabilities
    assert (admin.id, admin.default, len(admin.rules)) == (3, True, 2)
    assert (made.tags[0].id, made.tags[0].default) == (100, 7)


def test_macros() -> None:
    text = """
    macro allowtcp($port, $proto)
      accept
        ipprotocol $proto
        and dport $port
      ;
    ;
    macro web
      include allowtcp(80, tcp)
      include allowtcp(443,tcp);
    ;
    include web
    include allowtcp(53-54,udp);
    cap dns id 7 include allowtcp(53, 17) drop; ;
    drop;
    """
    program = parse_program(text)
    ports = [(r.low, r.high) for r in program.rules if r.low]
    assert ports == [(80, 80), (443, 443), (53, 54)]
    assert len(program.rules) == 3 * 3 + 1
    assert len(program.capabilities[0].rules) == 3 + 1


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("\n\npermit;", 3, "permit"),
        ("accept", 1, "ends"),
        ("accept\n dport", 2, "ends"),
        ("accept dport;", 1, "value of dport"),
        ("accept dport 80 443;", 1, "443"),
        ("accept dport 90-80;", 1, "90-80"),
        ("accept dport 65536;", 1, "65536"),
        ("accept dport 0x;", 1, "0x"),
        ("accept dport 1_0;", 1, "1_0"),
        ("accept dport -5;", 1, "-5"),
        ("accept ipprotocol nothing;", 1, "udplite"),
        ("accept ipsrc fe80::1%eth0/64;", 1, "fe80"),
        ("accept ipsrc 10.0.0.0/33;", 1, "10.0.0.0/33"),
        ("accept macsrc 1;", 1, "MAC"),
        ("accept ztsrc 1;", 1, "node"),
        ("accept random 1.5;", 1, "1.5"),
        ("accept and;", 1, "match"),
        ("accept tseq department 1;", 1, "department"),
        ("tee 65536 deadbeef11;", 1, "65536"),
        ("tee deadbeef11;", 1, "deadbeef11"),
        ("tag a;", 1, "no id"),
        ("tag a id 1;\ntag a id 2;", 2, "already"),
        ("tag a id 1;\ntag b id 1;", 2, "already"),
        ("tag a id 1 default blue;", 1, "blue"),
        ("tag a id 1 flag 32 x;", 1, "32"),
        ("tag a id 1 color red;", 1, "color"),
        ("tag a id 1;\nTag A id 2;", 2, "already"),
        ("accept chr 64;", 1, "64"),
        ("accept chr tcp_syn,;", 1, "value of chr"),
        ("cap a accept; ;", 1, "no id"),
        ("cap a id 1;\ncap a id 2;", 2, "already"),
        ("cap a id 1;\ncap b id 1;", 2, "already"),
        ("cap a id 1" + " accept;" * 65 + ";", 1, "64"),
        ("accept;" * 1025, 1, "1024"),
        ("macro a accept;", 1, "no end"),
        ("macro a(x) accept; ;", 1, "$"),
        ("macro a($x $y) accept; ;", 1, ","),
        ("macro a accept; ;\nmacro a accept; ;", 2, "already"),
        ("include a", 1, "no macro"),
        ("macro a($x) accept dport $x; ;\ninclude a", 2, "takes 1"),
        ("macro a include a ; ;\ninclude a", 1, "too often"),
        ("macro a accept dport $y; ;\ninclude a", 1, "$y"),
    ],
)
def test_the_line_that_is_wrong_is_named(text: str, line: int, words: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        compile_rules(text)
    assert str(caught.value).startswith(f"line {line}: ")
    assert words in str(caught.value)


def test_macros_that_grow_without_end_are_stopped() -> None:
    doubling = "macro m0 ;\n" + "".join(
        f"macro m{n} include m{n - 1} include m{n - 1} ;\n" for n in range(1, 15)
    )
    with pytest.raises(InvalidConfig, match="too often"):
        compile_rules(doubling + "include m14")
    assert MAX_INCLUDES < 2**14


WORDS = st.sampled_from(
    [
        *("accept", "drop", "tee", "tag", "cap", "macro", "include", "id", "and", "or", "not"),
        *(";", ";", "(", ")", ",", "dport", "tseq", "chr", "1", "22-80", "a", "$a", "#", "\n"),
        *("ethertype", "ipv4", "deadbeef11", "ipsrc", "10.0.0.0/8", "enum", "default", "Drop"),
    ]
)


@given(st.lists(WORDS, max_size=40).map(" ".join) | st.text(max_size=80))
def test_any_text_compiles_or_is_refused(text: str) -> None:
    try:
        made = compile_rules(text)
    except InvalidConfig:
        return
    NetworkRecord.from_json({"id": "0123456789abcdef", **json.loads(json.dumps(made))})
