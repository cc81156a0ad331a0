"""What several paths cost: the choice for each packet, and one path with --multipath; as JSON.

    python -m tests.bench.bonding [--seconds N] [--runs N] [--choice]

`choice_us` is the time to choose for one packet, by policy and by how many packets come at once.
`ratio` is the throughput between two `zt` with --multipath and one path, against without. They
take turns, and the median of each one's quicker half counts: what slows down the others is not
ours. Needs root.
"""

from __future__ import annotations

import argparse
import json
import statistics
import struct
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.support.site import Site, site
from tests.support.switches import START_US, known_identities
from ztstack.base.endpoint import Endpoint
from ztstack.bonding.bond import Bond
from ztstack.bonding.settings import BondPolicy, PolicySettings
from ztstack.vl1.path import Path as DirectPath, PathKey
from ztstack.vl1.peer import Peer

PACKETS: Final = 60_000
RUNS: Final = 5
"""The least of so many is what it costs; others use the machine too."""
BURSTS: Final = (1, 8, 64)
FLOWS: Final = 16
PORT: Final = 5201


class Nowhere:
    """Knows no interfaces."""

    def interface_to(self, socket: int, remote: Endpoint) -> str:
        return f"eth{remote.ip[2]}" if socket == 0 else ""


def packet(flow: int) -> tuple[bytes, bytes]:
    """Return a TCP segment of a flow as the IP stack gives it: header and body."""
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 2800, 0, 0x4000, 64, 6, 0, b"\n\0\0\1", b"\n\0\0\2")
    return ip + struct.pack(">HHIIBBHHH", 1000 + flow, 80, 0, 0, 0x50, 16, 0, 0, 0), bytes(2760)


def bond_of(policy: BondPolicy) -> Bond:
    me, other = known_identities()[:2]
    peer = Peer(START_US, me, other.public)
    for number in (1, 2):
        key = PathKey(0, Endpoint(bytes((10, 0, number, 1)), 9993))
        peer.learn(START_US, DirectPath(key))
    bond = Bond(START_US, peer, PolicySettings(policy), Nowhere(), warmup=True)
    bond.sync(START_US)
    for lane in bond.lanes:
        lane.next_probe(START_US, active=True)
        lane.answered(START_US + 10_000, START_US)
    bond.review()
    return bond


def choice_us(policy: BondPolicy, burst: int) -> float:
    """Return the microseconds for one packet of bursts of one flow after the other."""
    bond = bond_of(policy)
    bursts = [[packet(flow)] * burst for flow in range(FLOWS)]
    now = START_US + 20_000
    count = PACKETS // burst
    began = time.perf_counter()
    for number in range(count):
        bond.shares(now + number * 50 * burst, bursts[number % FLOWS])
    return (time.perf_counter() - began) / (count * burst) * 1e6


def rate(world: Site, network: str, *options: str, seconds: float) -> float:
    """Return bytes per second between two nodes with these options."""
    left, right = world.nodes["left"], world.nodes["right"]
    serving = right.start(*options, "bench", "serve", str(PORT))
    ready = serving.ready()
    ip = next(text for text in ready["addresses"] if ":" not in text)
    told = left.text(
        *options, "--json", "bench", ip, str(PORT), "--time", f"{seconds:g}s", "-n", network
    )
    serving.stop()
    return float(json.loads(told)["bytes_per_second"])


def throughput(seconds: float, runs: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder, site(Path(folder)) as world:
        network = world.create_network()
        for label in ("left", "right"):
            world.node(label, network)
        rates: dict[str, list[float]] = {"": [], "--multipath": []}
        for run in range(runs):
            # Who goes second now goes first the next time.
            for option in sorted(rates, reverse=run % 2 > 0):
                options = (option,) if option else ()
                rates[option].append(rate(world, network, *options, seconds=seconds))
    off, on = (quicker_half(found) for found in rates.values())
    return {
        "without_mb": round(off / 1e6, 1),
        "with_mb": round(on / 1e6, 1),
        "ratio": round(on / off, 3),
        "all_mb": {
            option or "off": [round(one / 1e6, 1) for one in found]
            for option, found in rates.items()
        },
    }


def quicker_half(rates: list[float]) -> float:
    """Return the median of the better half of some rates."""
    return statistics.median(sorted(rates)[len(rates) // 2 :])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--choice", action="store_true", help="without the throughput")
    options = parser.parse_args()
    result: dict[str, object] = {
        "choice_us": {
            policy.value: {
                str(burst): round(min(choice_us(policy, burst) for _ in range(RUNS)), 2)
                for burst in BURSTS
            }
            for policy in BondPolicy
        }
    }
    if not options.choice:
        result["one_path"] = throughput(options.seconds, options.runs)
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
