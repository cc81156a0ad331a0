"""What a network with many rules costs for each frame, as JSON.

    python -m tests.bench.rules [--rules N] [--frames N]

The last rule accepts; all before it match ports that nobody uses. `kept_us` is a frame of one of a
hundred flows that were seen before, `first_us` the first frame of a flow.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

from tests.support.switches import SeededEntropy
from ztstack.base.address import Address
from ztstack.base.mac import Mac
from ztstack.base.network_id import NetworkId
from ztstack.vl2.filter import Filter
from ztstack.vl2.membership import Memberships
from ztstack.vl2.network_config import NetworkConfig
from ztstack.vl2.rules import FilterFrame
from ztstack.wire.rules import Rule, RuleType

LOCAL, OTHER = Address(0x1111111111), Address(0x2222222222)
FLOWS = 100


def many_rules(count: int) -> tuple[Rule, ...]:
    found: list[Rule] = []
    while len(found) < count:
        port = 10_000 + len(found)
        found.append(Rule(RuleType.MATCH_IP_DEST_PORT_RANGE, low=port, high=port))
        found.append(Rule(RuleType.ACTION_DROP))
    return (*found, Rule(RuleType.ACTION_ACCEPT))


def frame(port: int, size: int = 1400) -> FilterFrame:
    head = bytes.fromhex("4500057800004000400600000a0000010a000002")
    upper = port.to_bytes(2, "big") + (80).to_bytes(2, "big") + bytes(8) + b"\x50\x10"
    return FilterFrame(
        False,
        LOCAL,
        OTHER,
        Mac(0x020000000001),
        Mac(0x020000000002),
        0x0800,
        head + upper + bytes(size),
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rules", type=int, default=256)
    parser.add_argument("--frames", type=int, default=200_000)
    options = parser.parse_args()
    network = NetworkId(int(OTHER) << 24 | 1)
    config = NetworkConfig(
        network=network, timestamp=1, issued_to=LOCAL, rules=many_rules(options.rules)
    )
    rules = Filter(LOCAL, SeededEntropy(1))
    rules.configure(config)
    memberships = Memberships(network)
    frames = [frame(2000 + number) for number in range(FLOWS)]
    began = time.perf_counter()
    for one in frames:
        assert rules.outbound(one, memberships).accepts
    first = time.perf_counter() - began
    began = time.perf_counter()
    for number in range(options.frames):
        rules.outbound(frames[number % FLOWS], memberships)
    kept = time.perf_counter() - began
    result = {
        "rules": len(config.rules),
        "first_us": round(first / FLOWS * 1e6, 1),
        "kept_us": round(kept / options.frames * 1e6, 2),
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
