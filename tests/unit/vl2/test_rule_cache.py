"""Rules remembered by what they look at say what rules gone through say."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from tests.support.switches import SeededEntropy
from ztstack.base.address import Address
from ztstack.base.mac import Mac
from ztstack.base.network_id import NetworkId
from ztstack.vl2.filter import Filter
from ztstack.vl2.membership import Memberships
from ztstack.vl2.network_config import NetworkConfig
from ztstack.vl2.rule_cache import ENTRIES_LIMIT, RANDOM_LIMIT, SHORT_LIST, RuleCache
from ztstack.vl2.rules import FilterFrame, Outcome, evaluate
from ztstack.wire.credentials import Capability
from ztstack.wire.rules import LAYOUTS, Rule, RuleType

LOCAL = Address(0x1111111111)
NETWORK = NetworkId.parse("8056c2e21c000001")
OTHERS = [Address(0x2222222222), Address(0x3333333333)]
MACS = [Mac(0x0200000000 + n) for n in range(3)] + [Mac(0xFFFFFFFFFFFF), Mac(0x3333FF000001)]
IPS4 = [bytes((10, 0, 0, n)) for n in range(3)]
IPS6 = [bytes.fromhex("fd00") + bytes(13) + bytes((n,)) for n in range(3)]
PROTOCOLS = (1, 6, 17, 58, 0, 43, 2)


class Certified:
    """Credentials that are made up, but always the same."""

    unknown_matches = True

    def __init__(self, other: int | None) -> None:
        self._other = other

    def own_tag(self, number: int) -> int | None:
        return number if number < 2 else None

    def other_tag(self, number: int) -> int | None:
        return self._other

    def sender_owns_ip(self, ip: bytes, *, inbound: bool) -> bool:
        return ip[-1] == 1

    def sender_owns_mac(self, mac: Mac, *, inbound: bool) -> bool:
        return mac == MACS[1]


def packet(chance: random.Random) -> tuple[int, bytes]:
    """Return a packet of few kinds, so that many look alike to the rules, and its ethertype."""
    protocol = chance.choice(PROTOCOLS)
    ports = bytes((0, chance.choice((0, 80, 99)), 0, chance.choice((0, 80, 99))))
    upper = ports + chance.randbytes(8) + bytes((0x50, chance.choice((0x02, 0x10, 0x12))))
    if protocol in (1, 58):
        upper = bytes((chance.choice((8, 135, 136, 128)), chance.randrange(2))) + chance.randbytes(
            30
        )
    upper = (upper + chance.randbytes(chance.choice((0, 4, 60, 200))))[
        : chance.choice((3, 5, 13, 999))
    ]
    match chance.randrange(4):
        case 0:
            head = bytes((chance.choice((0x45, 0x46, 0x4F)), chance.choice((0, 0xB8))))
            head += chance.randbytes(7) + bytes((protocol,)) + chance.randbytes(2)
            return 0x0800, head + chance.choice(IPS4) + chance.choice(IPS4) + upper
        case 1:
            head = bytes((0x60, chance.choice((0, 0x80)))) + chance.randbytes(4)
            head += bytes((protocol, 64))
            return 0x86DD, head + chance.choice(IPS6) + chance.choice(IPS6) + upper
        case 2:
            return 0x0806, chance.randbytes(14) + chance.choice(IPS4) + chance.randbytes(10)
        case _:
            return chance.choice((0x0800, 0x86DD, 0x9999)), chance.randbytes(chance.randrange(50))


def frame(chance: random.Random) -> FilterFrame:
    ethertype, payload = packet(chance)
    return FilterFrame(
        chance.random() < 0.5,
        chance.choice(OTHERS),
        chance.choice(OTHERS),
        chance.choice(MACS[:3]),
        chance.choice(MACS),
        ethertype,
        payload,
    )


VALUES = {
    "address": [int(address) for address in (*OTHERS, LOCAL)],
    "mask": [0xFF, 0x12, 0x02, 1 << 63, 1 << 60, 1 << 59, 1 << 61, 1 << 62 | 0x10],
    "bits": [0, 8, 32, 64, 128],
}


def rule(chance: random.Random, number: int) -> Rule:
    fields: dict[str, Any] = {}
    for name, size in LAYOUTS[number]:
        if name == "value" and number in (RuleType.MATCH_IPV4_SOURCE, RuleType.MATCH_IPV4_DEST):
            value = int.from_bytes(chance.choice(IPS4), "big")
        elif name == "value" and number in (RuleType.MATCH_IPV6_SOURCE, RuleType.MATCH_IPV6_DEST):
            value = int.from_bytes(chance.choice(IPS6), "big")
        elif name == "value" and number in (RuleType.MATCH_MAC_SOURCE, RuleType.MATCH_MAC_DEST):
            value = int(chance.choice(MACS))
        elif number == RuleType.MATCH_RANDOM:
            value = chance.choice((0, 0xFFFFFFFF, 1 << 31))
        elif name == "value":
            value = chance.choice((0, 1, 6, 8, 17, 58, 0x0800, 0x86DD, 0x0806))
        else:
            value = chance.choice(VALUES.get(name, [0, 1, 5, 40, 80, 120, 0xFFFF]))
        fields[name] = value % (1 << 8 * size)
    is_match = number >= 16
    plain = Rule(
        number,
        negate=is_match and chance.random() < 0.3,
        alternative=is_match and chance.random() < 0.3,
    )
    return replace(plain, **fields)


def rules(chance: random.Random, count: int) -> list[Rule]:
    matches = [number for number in LAYOUTS if number >= 16]
    actions = [number for number in LAYOUTS if number < 16]
    return [
        rule(chance, chance.choice(matches if chance.random() < 0.75 else actions))
        for _ in range(count)
    ]


class Chance:
    """Says the same of every rule of one frame."""

    def __init__(self, byte: int) -> None:
        self._byte = byte

    def take(self, length: int) -> bytes:
        return bytes((self._byte,)) * length


@pytest.mark.parametrize("seed", range(80))
def test_the_same_as_going_through_the_list(seed: int) -> None:
    chance = random.Random(seed)
    some = rules(chance, chance.choice((SHORT_LIST, 8, 20)))
    cache = RuleCache(some)
    certified = Certified(chance.choice((None, 0, 1)))
    for _ in range(400):
        one, entropy = frame(chance), Chance(chance.choice((0, 255)))
        found = cache.evaluate(one, LOCAL, certified, entropy, 1)
        assert found == evaluate(some, one, LOCAL, certified, entropy), one
    assert 0 < len(cache) < 400


def test_changed_credentials_are_noticed() -> None:
    tag = Rule(RuleType.MATCH_TAGS_EQUAL, tag_id=1, value=1)
    accept = Rule(RuleType.ACTION_ACCEPT)
    some = [tag, accept, *[Rule(RuleType.ACTION_DROP)] * SHORT_LIST]
    cache, entropy = RuleCache(some), SeededEntropy(1)
    one = frame(random.Random(1))._replace(inbound=True)
    first = cache.evaluate(one, LOCAL, Certified(1), entropy, 1)
    assert cache.evaluate(one, LOCAL, Certified(0), entropy, 1) == first
    assert cache.evaluate(one, LOCAL, Certified(0), entropy, 2) != first


def flow(number: int, size: int = 100) -> FilterFrame:
    """Return a frame of one of many flows to one port."""
    head = bytes.fromhex("4500000000000000400600000a0000010a000002")
    upper = number.to_bytes(2, "big") + (80).to_bytes(2, "big") + bytes(8) + b"\x50\x10"
    payload = head + upper + bytes(size)
    return FilterFrame(False, OTHERS[0], OTHERS[1], MACS[0], MACS[1], 0x0800, payload)


def test_flows_that_the_rules_do_not_tell_apart_are_one() -> None:
    accept = Rule(RuleType.ACTION_ACCEPT)
    some = [Rule(RuleType.MATCH_IP_DEST_PORT_RANGE, low=20, high=90), *[accept] * SHORT_LIST]
    cache = RuleCache(some)
    for number in range(1000, 2000):
        cache.evaluate(flow(number), LOCAL, Certified(1), SeededEntropy(1), 1)
    assert len(cache) == 1


def test_a_copy_is_of_the_frame_at_hand() -> None:
    tee = Rule(RuleType.ACTION_TEE, address=int(LOCAL) + 1, length=150)
    cache = RuleCache([tee, *[Rule(RuleType.ACTION_ACCEPT)] * SHORT_LIST])
    lengths = []
    for size in (50, 300):
        found = cache.evaluate(flow(1, size), LOCAL, Certified(1), SeededEntropy(1), 1)
        assert found.tee is not None
        lengths.append(found.tee.length)
    assert (lengths, len(cache)) == ([50 + 34, 150], 1)


def test_chance_is_asked_for_each_frame_and_each_rule() -> None:
    half = Rule(RuleType.MATCH_RANDOM, value=1 << 31)
    some = [half, half, Rule(RuleType.ACTION_DROP), *[Rule(RuleType.ACTION_ACCEPT)] * SHORT_LIST]
    cache, entropy = RuleCache(some), SeededEntropy(1)
    dropped = sum(
        cache.evaluate(flow(1), LOCAL, Certified(1), entropy, 1).outcome is Outcome.DROP
        for _ in range(1000)
    )
    assert 200 < dropped < 300
    assert len(cache) == 4


def test_much_chance_is_not_remembered() -> None:
    half = Rule(RuleType.MATCH_RANDOM, value=1 << 31)
    cache = RuleCache([*[half] * (RANDOM_LIMIT + 1), Rule(RuleType.ACTION_DROP)])
    cache.evaluate(flow(1), LOCAL, Certified(1), SeededEntropy(1), 1)
    assert len(cache) == 0


def test_the_memory_is_bounded() -> None:
    chance = random.Random(1)
    cache = RuleCache(rules(chance, 10))
    for number in range(ENTRIES_LIMIT + 500):
        one = frame(chance)._replace(source_mac=Mac(number))
        cache.evaluate(one, LOCAL, Certified(1), SeededEntropy(1), 1)
    assert 0 < len(cache) <= ENTRIES_LIMIT


def sure(capability: Capability) -> tuple[Filter, Memberships]:
    """Return the rules of a network that leaves all to capabilities, and a member that has one."""
    memberships = Memberships(NETWORK)
    memberships.obtain(OTHERS[0]).capabilities.set(capability.id, capability)
    return filter_of(Chance(0)), memberships


def filter_of(entropy: Chance) -> Filter:
    found = Filter(LOCAL, entropy)
    rules = (Rule(RuleType.ACTION_BREAK),)
    found.configure(NetworkConfig(network=NETWORK, timestamp=1, issued_to=LOCAL, rules=rules))
    return found


def test_capabilities_say_the_same_again() -> None:
    outcomes: Counter[Outcome] = Counter()
    for seed in range(20):
        chance = random.Random(f"capability {seed}")
        some = (*rules(chance, chance.choice((8, 20))), Rule(RuleType.ACTION_ACCEPT))
        kept, memberships = sure(Capability(NETWORK, 1, 1, some))
        for _ in range(200):
            one = frame(chance)._replace(inbound=True, source=OTHERS[0])
            found = kept.inbound(one, memberships)
            assert found == filter_of(Chance(0)).inbound(one, memberships), one
            outcomes[found.outcome] += 1
    assert min(outcomes[Outcome.DROP], outcomes[Outcome.ACCEPT]) > 200


def test_a_capability_that_is_replaced_is_read_anew() -> None:
    accept = [Rule(RuleType.ACTION_ACCEPT)] * SHORT_LIST
    kept, memberships = sure(Capability(NETWORK, 1, 1, tuple(accept)))
    one = flow(1)._replace(inbound=True, source=OTHERS[0])
    assert kept.inbound(one, memberships).accepts
    drop = (Rule(RuleType.ACTION_DROP), *accept)
    memberships.obtain(OTHERS[0]).capabilities.set(1, Capability(NETWORK, 2, 1, drop))
    assert not kept.inbound(one, memberships).accepts
