"""What a network with many rules costs for each frame, as JSON; the target is 10 us.

    python -m tests.bench.rules [--rules N] [--frames N]

The last rule accepts, after N others that no frame matches. `ports` are rules against ports,
`mixed` are sets of every kind of match, with copies and chance, on IPv6 with an extension header.
`capability` is the first of these in a capability of ours, after a rule that knows nothing.
`first_us` is a frame of a flow that was never seen before, `kept_us` one of a hundred flows that
were; `compile_us` is spent once for each configuration, `whole_list_us` on the very first frame.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace

from tests.support.switches import SeededEntropy
from ztstack.base.address import Address
from ztstack.base.mac import Mac
from ztstack.base.network_id import NetworkId
from ztstack.vl2.filter import Filter
from ztstack.vl2.membership import Memberships
from ztstack.vl2.network_config import NetworkConfig
from ztstack.vl2.rules import FilterFrame
from ztstack.wire.credentials import Capability
from ztstack.wire.rules import ACCEPT_ALL, MAX_CAPABILITY_RULES, Rule, RuleType

LOCAL, OTHER = Address(0x1111111111), Address(0x2222222222)
NETWORK = NetworkId(int(OTHER) << 24 | 1)
FLOWS = 100
TARGET_US = 10.0
_DROP = Rule(RuleType.ACTION_DROP)


def against_ports(count: int) -> tuple[Rule, ...]:
    found: list[Rule] = []
    while len(found) < count:
        port = 10_000 + len(found)
        found.append(Rule(RuleType.MATCH_IP_DEST_PORT_RANGE, low=port, high=port))
        found.append(_DROP)
    return (*found[:count], *ACCEPT_ALL)


def of_every_kind(count: int) -> tuple[Rule, ...]:
    """Return sets of two matches; of the sets of chance only one, as more are rare."""
    first = Rule(RuleType.MATCH_ETHERTYPE, value=0x86DD)
    matches = itertools.cycle(
        (
            Rule(RuleType.MATCH_IP_DEST_PORT_RANGE, low=10_000, high=10_000),
            Rule(RuleType.MATCH_IP_SOURCE_PORT_RANGE, low=100, high=100),
            Rule(RuleType.MATCH_IP_PROTOCOL, value=17),
            Rule(RuleType.MATCH_ICMP, value=8),
            Rule(RuleType.MATCH_IP_TOS, mask=0xFF, low=7, high=7),
            Rule(RuleType.MATCH_IPV6_SOURCE, value=0xFD << 120, bits=8),
            Rule(RuleType.MATCH_MAC_SOURCE, value=7),
            Rule(RuleType.MATCH_SOURCE_ZEROTIER_ADDRESS, address=7),
            Rule(RuleType.MATCH_CHARACTERISTICS, mask=0x02),
            Rule(RuleType.MATCH_FRAME_SIZE_RANGE, low=9000, high=9999),
            Rule(RuleType.INTEGER_RANGE, low=7, high=9, index=40, format=15),
            Rule(RuleType.MATCH_TAG_SENDER, tag_id=7, value=7),
        )
    )
    tee = Rule(RuleType.ACTION_TEE, address=7)
    found = [first, Rule(RuleType.MATCH_RANDOM, value=0), _DROP]
    for number, match in enumerate(matches):
        if len(found) + 3 > count:
            break
        # Numbers differ, so that the lists are as varied as those of people.
        varied = replace(match, value=match.value + number // 12) if match.value else match
        found += [first, varied, tee if number % 4 == 0 else _DROP]
    return (*found, *ACCEPT_ALL)


def ipv4_frame(port: int, size: int = 1400) -> FilterFrame:
    head = bytes.fromhex("4500057800004000400600000a0000010a000002")
    return _frame(0x0800, head, port, size)


def ipv6_frame(port: int, size: int = 1400) -> FilterFrame:
    head = bytes.fromhex("60000000 0590 3c40") + b"\xfc" + bytes(14) + b"\x01" + bytes(16)
    options = bytes.fromhex("06 00 0104 00000000")
    return _frame(0x86DD, head + options, port, size)


def _frame(ethertype: int, head: bytes, port: int, size: int) -> FilterFrame:
    upper = port.to_bytes(2, "big") + (80).to_bytes(2, "big") + bytes(8) + b"\x50\x10"
    payload = head + upper + bytes(size)
    macs = Mac(0x020000000001), Mac(0x020000000002)
    return FilterFrame(False, LOCAL, OTHER, *macs, ethertype, payload)


def measured(
    rules: tuple[Rule, ...],
    make: Callable[[int], FilterFrame],
    count: int,
    capabilities: tuple[Capability, ...] = (),
) -> dict[str, float]:
    config = NetworkConfig(
        network=NETWORK, timestamp=1, issued_to=LOCAL, rules=rules, capabilities=capabilities
    )
    memberships = Memberships(NETWORK)
    began = time.perf_counter()
    machine = Filter(LOCAL, SeededEntropy(1))
    machine.configure(config)
    compiled = time.perf_counter() - began
    frames = [make(2000 + number) for number in range(FLOWS)]
    began = time.perf_counter()
    assert machine.outbound(frames[0], memberships).accepts
    whole = time.perf_counter() - began
    began = time.perf_counter()
    for one in frames[1:]:
        assert machine.outbound(one, memberships).accepts
    first = time.perf_counter() - began
    began = time.perf_counter()
    for number in range(count):
        machine.outbound(frames[number % FLOWS], memberships)
    kept = time.perf_counter() - began
    return {
        "rules": len(rules) + sum(len(one.rules) for one in capabilities),
        "compile_us": round(compiled * 1e6, 1),
        "whole_list_us": round(whole * 1e6, 1),
        "first_us": round(first / (FLOWS - 1) * 1e6, 2),
        "kept_us": round(kept / count * 1e6, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rules", type=int, default=256)
    parser.add_argument("--frames", type=int, default=200_000)
    options = parser.parse_args()
    capability = Capability(NETWORK, 1, 1, against_ports(MAX_CAPABILITY_RULES - 2))
    unsure = (Rule(RuleType.ACTION_BREAK),)
    result = {
        "ports": measured(against_ports(options.rules), ipv4_frame, options.frames),
        "mixed": measured(of_every_kind(options.rules), ipv6_frame, options.frames),
        "capability": measured(unsure, ipv4_frame, options.frames, (capability,)),
        "target_us": TARGET_US,
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
