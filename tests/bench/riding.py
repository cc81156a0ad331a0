"""How soon `zt call` has its first byte where a node runs already, as JSON.

    python -m tests.bench.riding [--runs N]     (Linux, root)

- `version_s`: `zt --version`, whole
- `agent_s`, `foreground_s`: from the start of `zt call --stdio`, whose first byte waits in its
  stdin, to the first byte of the echo; the node is that of `zt agent`, or of a `zt join` that stays
- `python_s`: a Python that does nothing, which is in all of them
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.site import site
from tests.support.zt_process import Zt, environment

PORT = 7001


def median(measure: Callable[[], float], runs: int) -> float:
    measure()
    return round(statistics.median(measure() for _ in range(runs)), 4)


def whole(*words: str) -> float:
    start = time.perf_counter()
    subprocess.run(words, check=True, capture_output=True, env=environment())
    return time.perf_counter() - start


def first_byte(zt: Zt, ip: str) -> float:
    """Return the seconds from the start of a call to its first byte."""
    command = zt.machine.wrap + tuple(zt.argv("call", "--stdio", ip, str(PORT)))
    start = time.perf_counter()
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"x")
        process.stdin.flush()
        assert os.read(process.stdout.fileno(), 1) == b"x"
        elapsed = time.perf_counter() - start
        process.stdin.close()
    return elapsed


def main() -> int:
    parser = argparse.ArgumentParser(description="Calls that ride on a running node.")
    parser.add_argument("--runs", type=int, default=9)
    runs = parser.parse_args().runs
    found = {
        "python_s": median(lambda: whole(sys.executable, "-c", "pass"), runs),
        "version_s": median(lambda: whole(sys.executable, "-m", "ztcli", "--version"), runs),
    }
    with tempfile.TemporaryDirectory() as folder, site(Path(folder)) as world:
        network = world.create_network()
        far = world.node("far", network).start("listen", str(PORT), "--echo", "-k").ready()
        ip = next(str(text) for text in far["addresses"] if ":" not in str(text))
        zt = world.node("near", network)
        joined = zt.start("join")
        joined.ready()
        found["foreground_s"] = median(lambda: first_byte(zt, ip), runs)
        joined.stop()
        zt.text("agent", "start")
        try:
            found["agent_s"] = median(lambda: first_byte(zt, ip), runs)
        finally:
            zt.text("agent", "stop")
        world.stop_nodes()
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
