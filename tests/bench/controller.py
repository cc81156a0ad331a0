"""What a controller with 10,000 members on one network answers, how fast, and in how much memory.

    python -m tests.bench.controller [--members 10000]

Each figure is of the controller alone, its records in files: a request in, signed chunks out.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.support.switches import START_US, known_identities
from ztstack.aio.controller_store import FileStore
from ztstack.aio.entropy import SystemEntropy
from ztstack.base.address import Address
from ztstack.base.network_id import NetworkId
from ztstack.base.timers import SECOND
from ztstack.base.trace import CountingTracer
from ztstack.controller.controller import NEWCOMER_US, Controller, SendConfig
from ztstack.crypto.identity import Identity
from ztstack.wire.network_config import ConfigRequest, default_metadata

MEMBERS = 10_000
REFRESHES = 3_000
POOL = "10.64.0.0/16"
TARGET_P99_MS = 20.0


def rss_mib() -> float:
    """Return the memory of this process as the system counts it."""
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * 4096 / (1 << 20)


def summary(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {
        "count": len(ordered),
        "p50_ms": round(ordered[len(ordered) // 2] * 1000, 3),
        "p99_ms": round(ordered[len(ordered) * 99 // 100] * 1000, 3),
        "max_ms": round(ordered[-1] * 1000, 3),
    }


class Bench:
    """A controller, its members and a clock that the bench moves."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder = folder
        chance = random.Random(1)
        self.members = [
            Identity(Address(number), chance.randbytes(64))
            for number in chance.sample(range(1 << 32, 0xFF << 32), count)
        ]
        self.now = START_US
        self.controller = self.start()
        self.network = NetworkId(0)

    def start(self) -> Controller:
        me = known_identities()[0]
        return Controller(self.now, me, FileStore(self.folder), SystemEntropy(), CountingTracer())

    def answer(self, who: Identity) -> float:
        """Let a member ask; return how many seconds the answer took."""
        request = ConfigRequest(self.network, default_metadata())
        began = time.perf_counter()
        self.controller.receive_request(self.now, who, 1, request, None)
        outputs = self.controller.take_output()
        spent = time.perf_counter() - began
        assert [o.destination for o in outputs if isinstance(o, SendConfig)] == [who.address]
        return spent

    def join(self) -> list[float]:
        """Every member asks for the first time: it is recorded and gets an address."""
        self.network = self.controller.create_network(
            self.now, name="bench", private=False, pools=[POOL]
        ).id
        spent = []
        for who in self.members:
            self.now += NEWCOMER_US
            spent.append(self.answer(who))
        return spent

    def refresh(self) -> list[float]:
        """Members ask again, as they do each minute."""
        self.now += 60 * SECOND
        chosen = random.Random(2).sample(self.members, min(REFRESHES, len(self.members)))
        return [self.answer(who) for who in chosen]

    def push(self) -> dict[str, object]:
        """Change the network; ask for the members' sake while it is pushed to all of them."""
        self.now += 60 * SECOND
        for who in self.members:
            self.answer(who)
        self.now += SECOND
        record = self.controller.network(self.network)
        assert record is not None
        slices, waits, pushed = [], [], 0
        asking = iter(self.members)
        began, first = time.perf_counter(), self.now

        def timed(work: Callable[[], object]) -> None:
            nonlocal pushed
            start = time.perf_counter()
            work()
            slices.append(time.perf_counter() - start)
            pushed += len(self.controller.take_output())

        changed = replace(record, mtu=1400)
        timed(lambda: self.controller.put_network(self.now, changed))
        while (at := self.controller.next_timer()) is not None:
            # The clock goes on while we work, and is never before the timer.
            self.now = max(at, first + int((time.perf_counter() - began) * SECOND))
            timed(lambda: self.controller.handle_timer(self.now))
            waits.append(slices[-1] + self.answer(next(asking)))
            pushed += 1
        return {
            "pushed": pushed,
            "work_s": round(sum(slices), 3),
            "clock_s": round((self.now - first) / SECOND, 3),
            "slice": summary(slices),
            "answer_in_between": summary(waits),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", type=int, default=MEMBERS)
    count = parser.parse_args().members
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), count)
        gc.collect()
        before = rss_mib()
        joins = bench.join()
        gc.collect()
        after = rss_mib()
        result: dict[str, object] = {
            "members": count,
            "join": summary(joins),
            "refresh": summary(bench.refresh()),
            "push": bench.push(),
            "memory_mib": round(after, 1),
            "memory_per_member_kib": round((after - before) * 1024 / count, 2),
            "target_p99_ms": TARGET_P99_MS,
        }
        began = time.perf_counter()
        again = bench.start()
        result["load_s"] = round(time.perf_counter() - began, 3)
        assert len(again.members(bench.network)) == count
    json.dump(result, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
