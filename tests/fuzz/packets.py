"""Fuzz whole nodes: `python -m tests.fuzz.packets --count 10000000`.

Prints the seed, the rate, and what was found; the exit code is 1 if anything was.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time

from tests.support.fuzzing import Findings, Fuzzer, fuzz_decoders

WORLD_PACKETS = 500_000
"""After so many the world is made anew: an attack that goes on for days finds less."""


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=None, help="stop after so long")
    options = parser.parse_args()
    end = None if options.seconds is None else time.monotonic() + options.seconds
    say(f"seed {options.seed}")
    total, seed, left = Findings(), options.seed, options.count
    start_rss = rss_mb()
    while left > 0 and (end is None or time.monotonic() < end):
        fuzzer = Fuzzer(seed, hostile_roots=bool(seed % 2))
        found = fuzzer.run(
            min(left, WORLD_PACKETS), lambda: end is not None and time.monotonic() > end
        )
        if not fuzzer.hostile_roots and not fuzzer.still_serves():
            found.failures.append(f"seed {seed}: the victim serves nobody any more")
        found.failures += fuzz_decoders(seed, found.packets // 10).failures
        report(seed, found)
        left -= found.packets
        seed += 1
        total.packets += found.packets
        total.seconds += found.seconds
        total.failures += found.failures
        if found.failures:
            break
    say(
        f"{total.packets} packets, {total.rate:.0f} a second, {len(total.failures)} failures,"
        f" memory {start_rss:.0f} to {rss_mb():.0f} MB"
    )
    return 1 if total.failures else 0


def say(words: str) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


def report(seed: int, found: Findings) -> None:
    verbs = " ".join(f"{verb}:{count}" for verb, count in sorted(found.forged.items()))
    drops = ", ".join(f"{reason.value} {count}" for reason, count in found.drops.most_common())
    say(f"world {seed}: {found.packets} packets, {found.rate:.0f} a second, held {found.held[-1]}")
    say(f"  forged by verb {verbs}\n  dropped: {drops}")
    for failure in found.failures[:5]:
        say(f"  FAILED {failure}")


def rss_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main())
