"""One TCP stream between two `zt` processes on two machines (namespaces), as JSON.

    python -m tests.bench.stream [--megabytes N] [--runs N]     (Linux, root)

`zt call` reads a file, `zt listen` writes into a pipe; the time is from the first byte that leaves
the pipe to the last, and the pipe is emptied by `splice`, which copies nothing. The ceiling is
measured in the same run, before and after, because the machine may be busy with something else.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from tests.bench import ceiling
from tests.bench.ends import children_cpu_s
from tests.support.site import Site, site
from tests.support.zt_process import ProcessFailure, Zt, environment

PIPE_BYTES: Final = 1 << 20
BLOCK_BYTES: Final = 8 << 20
LIMIT_SECONDS: Final = 300.0


@dataclass(frozen=True, slots=True)
class Transfer:
    """What arrived, how long it took from the first byte to the last, and what both ends used."""

    received: int
    seconds: float
    sender_cpu_s: float = 0.0
    receiver_cpu_s: float = 0.0

    @property
    def rate(self) -> float:
        return self.received / 1e6 / self.seconds


def drain(descriptor: int) -> Transfer:
    """Empty a pipe to its end."""
    received = 0
    first = last = 0.0
    with Path(os.devnull).open("wb") as nowhere:
        while True:
            size = os.splice(descriptor, nowhere.fileno(), PIPE_BYTES)
            if size == 0:
                return Transfer(received, last - first)
            last = time.perf_counter()
            first = first or last
            received += size


@contextmanager
def receiving(zt: Zt, port: int) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run `zt listen`, which writes into a pipe; gives its IPv4 address and the process."""
    ready = zt.state.with_name(f"ready-{port}")
    command = zt.argv("listen", str(port), "--tcp", "--no-stdin", "--ready-file", str(ready))
    errors = zt.state.with_name(f"listen-{port}.err")
    with errors.open("wb") as stderr:
        listener = zt.machine.popen(command, stderr=stderr, env=environment())
    try:
        deadline = time.monotonic() + 60.0
        while not ready.exists():
            if listener.poll() is not None or time.monotonic() > deadline:
                raise ProcessFailure(f"zt listen is not ready: {errors.read_text()}")
            time.sleep(0.01)
        addresses = json.loads(ready.read_text())["addresses"]
        assert listener.stdout is not None
        fcntl.fcntl(listener.stdout, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        yield next(text for text in addresses if ":" not in text), listener
        if listener.wait(LIMIT_SECONDS) != 0:
            raise ProcessFailure(errors.read_text())
    finally:
        if listener.poll() is None:
            listener.kill()
            listener.wait()
        if listener.stdout is not None:
            listener.stdout.close()


def transfer(left: Zt, right: Zt, port: int, payload: Path) -> Transfer:
    """Send a file through `zt call` to a new `zt listen`."""
    began = children_cpu_s()
    with receiving(left, port) as (ip, listener):
        assert listener.stdout is not None
        caller = right.start("call", ip, str(port), stdin=payload, ready=False)
        result = drain(listener.stdout.fileno())
        if caller.wait(LIMIT_SECONDS) != 0:
            raise ProcessFailure(caller.words())
        between = children_cpu_s()
    sender, receiver = between - began, children_cpu_s() - between
    return checked(replace(result, sender_cpu_s=sender, receiver_cpu_s=receiver), payload)


def checked(result: Transfer, payload: Path) -> Transfer:
    """Return the result; ProcessFailure if not everything arrived."""
    if result.received != payload.stat().st_size:
        raise ProcessFailure(f"{result.received} of {payload.stat().st_size} bytes arrived")
    return result


def write_payload(file: Path, count: int) -> None:
    """Write bytes that do not compress."""
    block = os.urandom(BLOCK_BYTES)
    with file.open("wb") as stream:
        for at in range(0, count, BLOCK_BYTES):
            stream.write(block[: count - at])


def measure(world: Site, megabytes: int, runs: int) -> dict[str, object]:
    network = world.create_network()
    left, right = world.node("left", network), world.node("right", network)
    small, large = world.folder / "small", world.folder / "large"
    write_payload(small, 1_000_000)
    write_payload(large, megabytes * 1_000_000)
    transfer(left, right, 7000, small)  # both have identities, and know each other
    before = ceiling.measure()["ceiling_mb_s"]
    rates = [transfer(left, right, 7001 + run, large).rate for run in range(runs)]
    after = ceiling.measure()["ceiling_mb_s"]
    top, rate = (before + after) / 2, statistics.median(rates)
    return {
        "benchmark": "stream",
        "megabytes": megabytes,
        "stream_mb_s": round(rate, 1),
        "runs_mb_s": [round(one, 1) for one in rates],
        "ceiling_mb_s": [before, after],
        "ratio": round(rate / top, 3),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="One TCP stream between two zt processes.")
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, site(Path(folder)) as world:
        try:
            result = measure(world, options.megabytes, options.runs)
        except (ProcessFailure, subprocess.TimeoutExpired) as error:
            sys.stderr.write(f"{error}\n")
            return 1
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
