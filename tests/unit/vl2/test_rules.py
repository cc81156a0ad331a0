from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from tests.support.vectors import cases
from ztstack.base.address import Address
from ztstack.base.mac import Mac
from ztstack.base.network_id import NetworkId
from ztstack.vl2.filter import Filter
from ztstack.vl2.membership import Membership, Memberships
from ztstack.vl2.network_config import NetworkConfig
from ztstack.vl2.rules import (
    CHARACTERISTIC_INBOUND,
    Decision,
    Evaluation,
    FilterFrame,
    Outcome,
    Tee,
    evaluate,
    is_accept_all,
    is_uniform,
)
from ztstack.wire.credentials import Capability, Ownership, Tag, Thing
from ztstack.wire.rules import ACCEPT_ALL, Rule, RuleType, decode_rules


class FixedEntropy:
    """Half of everything: a random match says yes or no as its probability is at an end."""

    def take(self, length: int) -> bytes:
        return b"\x80" * length


# What the vectors call a field, where we have another name for it.
_NAMES = {
    "not": "negate",
    "or": "alternative",
    "address": "address",
    "mask": "mask",
    "start": "low",
    "end": "high",
    "idx": "index",
    "bits": "bits",
    "icmp_code": "code",
    "tag_id": "tag_id",
    "flags": "flags",
    "length": "length",
    "format": "format",
}
_IGNORED = frozenset(("type", "type_code", "little_endian", "qos_bucket"))


def rule_of(data: dict[str, Any]) -> Rule:
    """Make a rule from the words of the vectors."""
    fields: dict[str, Any] = {}
    for word, value in data.items():
        if word in _IGNORED or (word == "bits" and data["type"] == "integer_range"):
            continue
        name = _NAMES.get(word, "value")
        if word == "mac":
            fields[name] = Mac.parse(value)
        elif word == "ip":
            fields[name] = int(ipaddress.ip_address(value))
        else:
            fields[name] = int(value, 16) if isinstance(value, str) else value
    return Rule(data["type_code"], **fields)


def thing_of(data: dict[str, Any]) -> Thing:
    if "ip" in data:
        return Thing.of_ip(ipaddress.ip_address(data["ip"]).packed)
    return Thing.of_mac(Mac.parse(data["mac"]))


def ownerships_of(network: NetworkId, to: Address, items: list[Any]) -> tuple[Ownership, ...]:
    return tuple(
        Ownership(
            network=network,
            timestamp=item["timestamp"],
            id=item["id"],
            things=tuple(thing_of(thing) for thing in item["things"]),
            issued_to=to,
        )
        for item in items
    )


def config_of(case: dict[str, Any], network: NetworkId, rules: tuple[Rule, ...]) -> NetworkConfig:
    data = case["config"]
    own = Address.parse(data["issued_to"])
    interfaces = [ipaddress.ip_interface(text) for text in data["static_ips"]]
    capabilities: tuple[Capability, ...] = ()
    if case["direction"] == "out":
        capabilities = capabilities_of(network, case.get("capabilities", []))
    return NetworkConfig(
        network=network,
        issued_to=own,
        timestamp=data["timestamp"],
        credential_delta_ms=data["credential_time_max_delta"],
        flags=int(data["flags"], 16),
        addresses=tuple((i.ip.packed, i.network.prefixlen) for i in interfaces),
        tags=tuple(
            Tag(network, data["timestamp"], tag["id"], tag["value"], own) for tag in data["tags"]
        ),
        ownerships=ownerships_of(network, own, data["ownership"]),
        capabilities=capabilities,
        rules=rules,
    )


def capabilities_of(network: NetworkId, items: list[Any]) -> tuple[Capability, ...]:
    return tuple(
        Capability(network, item["timestamp"], item["id"], tuple(map(rule_of, item["rules"])))
        for item in items
    )


class Bench:
    """The two ends of one frame of the vectors."""

    def __init__(self, case: dict[str, Any], rules: tuple[Rule, ...]) -> None:
        self.network = NetworkId.parse(case["network_id"])
        self.local = Address.parse(case["local_address"])
        inbound = case["direction"] == "in"
        self.frame = FilterFrame(
            inbound=inbound,
            source=Address.parse(case["zt_source"]),
            destination=Address.parse(case["zt_dest"]),
            source_mac=Mac.parse(case["mac_source"]),
            destination_mac=Mac.parse(case["mac_dest"]),
            ethertype=case["ethertype"],
            payload=bytes.fromhex(case["frame"]),
            vlan=case["vlan_id"],
        )
        other = self.frame.source if inbound else self.frame.destination
        self.memberships = Memberships(self.network)
        if case["member"] is not None:
            self._fill(self.memberships.obtain(other), other, case["member"])
        if inbound and case.get("capabilities"):
            member = self.memberships.obtain(other)
            for capability in capabilities_of(self.network, case["capabilities"]):
                member.capabilities.set(capability.id, capability)
        self.filter = Filter(self.local, FixedEntropy())
        self.filter.configure(config_of(case, self.network, rules))

    def _fill(self, member: Membership, address: Address, data: dict[str, Any]) -> None:
        for tag in data["tags"]:
            value = Tag(self.network, tag["timestamp"], tag["id"], tag["value"], address)
            member.tags.set(value.id, value)
        for owned in ownerships_of(self.network, address, data["ownership"]):
            member.ownerships.set(owned.id, owned)

    def decide(self) -> Decision:
        if self.frame.inbound:
            return self.filter.inbound(self.frame, self.memberships)
        return self.filter.outbound(self.frame, self.memberships)


class Ends:
    """Answers that come from a filter's own view, through its public decision only."""

    unknown_matches = False

    def own_tag(self, number: int) -> int | None:
        return None

    def other_tag(self, number: int) -> int | None:
        return None

    def sender_owns_ip(self, ip: bytes, *, inbound: bool) -> bool:
        return False

    def sender_owns_mac(self, mac: Mac, *, inbound: bool) -> bool:
        return False


_RESULTS = {
    "no_match": Outcome.NO_MATCH,
    "drop": Outcome.DROP,
    "redirect": Outcome.REDIRECT,
    "accept": Outcome.ACCEPT,
    "super_accept": Outcome.SUPER_ACCEPT,
}


@pytest.mark.parametrize(
    "case", [*cases("rules.json", "filter"), *cases("rules_random.json", "filter")]
)
def test_decision_of_one_list(case: dict[str, Any]) -> None:
    rules = decode_rules(bytes.fromhex(case["rules_wire"]))
    bench = Bench(case, rules)
    found = bench.filter.evaluate_base(bench.frame, bench.memberships)
    assert found.outcome is _RESULTS[case["result"]]
    assert found.destination == Address.parse(case["dest_after"])
    tee = case["tee"]
    expected = None
    if tee is not None:
        expected = Tee(Address.parse(tee["to"]), tee["length"], tee["watch"])
    assert found.tee == expected


@pytest.mark.parametrize("case", cases("rules_network.json", "network_filter"))
def test_decision_of_a_network(case: dict[str, Any]) -> None:
    bench = Bench(case, tuple(map(rule_of, case["rules"])))
    decision = bench.decide()
    sent = [
        (
            tee.target,
            (0x1C if tee.watch else 8) if bench.frame.inbound else 0x16 if tee.watch else 2,
        )
        for tee in decision.tees
        if not case["no_tee"]
    ]
    outcome = decision.outcome
    if outcome is Outcome.REDIRECT:
        sent.append((decision.redirect, 0x0A if bench.frame.inbound else 4))
        outcome = Outcome.DROP
    if not bench.frame.inbound and outcome is Outcome.SUPER_ACCEPT:
        outcome = Outcome.ACCEPT
    assert outcome is _RESULTS[case["result"]]
    assert sent == [(Address.parse(e["to"]), e["flags"]) for e in case["emitted"]]


FRAME = FilterFrame(
    inbound=False,
    source=Address(1),
    destination=Address(2),
    source_mac=Mac(1),
    destination_mac=Mac(2),
    ethertype=0x0800,
    payload=b"x" * 40,
)


def test_accept_all_needs_no_look() -> None:
    assert is_accept_all(ACCEPT_ALL)
    assert not is_accept_all(())
    assert not is_accept_all((Rule(RuleType.ACTION_DROP), *ACCEPT_ALL))
    assert is_uniform(ACCEPT_ALL)
    assert not is_uniform((Rule(RuleType.MATCH_IP_PROTOCOL, value=6), *ACCEPT_ALL))


def test_an_empty_list_passes_nothing() -> None:
    found = evaluate((), FRAME, Address(1), Ends(), FixedEntropy())
    assert found == Evaluation(Outcome.NO_MATCH, Address(2))


@pytest.mark.parametrize("inbound", [False, True])
def test_direction_is_a_characteristic(inbound: bool) -> None:
    rules = (Rule(RuleType.MATCH_CHARACTERISTICS, mask=CHARACTERISTIC_INBOUND), *ACCEPT_ALL)
    frame = FRAME._replace(inbound=inbound)
    found = evaluate(rules, frame, Address(3), Ends(), FixedEntropy())
    assert found.outcome is (Outcome.ACCEPT if inbound else Outcome.NO_MATCH)
