"""Much more than memory through one `zt call`, and how large both processes grow, as JSON.

    python -m tests.bench.endless [--gigabytes N]     (Linux, root)

The peak of the resident memory of `zt call` and `zt listen` is taken after a tenth of the bytes and
near the end.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.stream import LIMIT_SECONDS, PIPE_BYTES, receiving
from tests.support.site import Site, site
from tests.support.zt_process import ProcessFailure, environment


def peak_kb(pid: int) -> int:
    """Return the peak of a process's resident memory in KiB (proc(5), VmHWM)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def python_below(pid: int) -> int:
    """Return the process itself, or the Python that it became or started last."""
    while children := Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        pid = int(children[-1])
    return pid


def measure(world: Site, total: int) -> dict[str, object]:
    network = world.create_network()
    left, right = world.node("left", network), world.node("right", network)
    peaks: list[tuple[int, int]] = []
    with receiving(left, 7000) as (ip, listener):
        assert listener.stdout is not None
        source = subprocess.Popen(["head", "-c", str(total), "/dev/zero"], stdout=subprocess.PIPE)
        caller = right.machine.popen(
            right.argv("call", ip, "7000"), stdin=source.stdout, env=environment()
        )
        ends = python_below(caller.pid), python_below(listener.pid)
        received, began = 0, 0.0
        marks = [total // 10, total - total // 100]
        with Path(os.devnull).open("wb") as nowhere:
            while size := os.splice(listener.stdout.fileno(), nowhere.fileno(), PIPE_BYTES):
                began = began or time.perf_counter()
                received += size
                if marks and received >= marks[0]:
                    marks.pop(0)
                    peaks.append((peak_kb(ends[0]), peak_kb(ends[1])))
        seconds = time.perf_counter() - began
        code = caller.wait(LIMIT_SECONDS)
        source.wait()
    if code != 0 or received != total:
        raise ProcessFailure(f"zt call ended with {code}; {received} of {total} bytes arrived")
    (first_call, first_listen), (last_call, last_listen) = peaks
    return {
        "benchmark": "endless",
        "bytes": total,
        "mb_s": round(total / 1e6 / seconds, 1),
        "call_peak_mib": [round(first_call / 1024, 1), round(last_call / 1024, 1)],
        "listen_peak_mib": [round(first_listen / 1024, 1), round(last_listen / 1024, 1)],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Memory during one long stream.")
    parser.add_argument("--gigabytes", type=float, default=10.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, site(Path(folder)) as world:
        try:
            result = measure(world, int(options.gigabytes * 1e9))
        except (ProcessFailure, subprocess.TimeoutExpired) as error:
            sys.stderr.write(f"{error}\n")
            return 1
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
