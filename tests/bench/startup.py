"""How soon `zt` is of use, and what it weighs, as JSON.

    python -m tests.bench.startup [--runs N] [--identities N]     (Linux, root)

- `call_cold_s`, `call_cached_s`: from the start of the process to the first byte of an HTTP answer;
  cold has an identity in its state directory and nothing else, cached what a call before left there
- `help_s`: `zt --help`, whole
- `listen_rss_mb`: resident memory of a `zt listen` that has waited for five seconds
- `identity_s`: `zt identity new`, whole
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.support.site import Site, site
from tests.support.zt_process import ProcessFailure, Running, Zt, environment

IDLE_SECONDS: Final = 5.0
LIMIT_SECONDS: Final = 60.0


def first_byte(zt: Zt, url: str) -> float:
    """Return the time from the start of `zt call` to the first byte on its stdout."""
    errors = zt.state.with_name("call.err")
    with errors.open("wb") as stderr:
        began = time.perf_counter()
        process = zt.machine.popen(zt.argv("call", url), stderr=stderr, env=environment())
    assert process.stdout is not None
    try:
        data = process.stdout.read(1)
        seconds = time.perf_counter() - began
        if not data or process.wait(LIMIT_SECONDS) != 0:
            raise ProcessFailure(f"zt call: {errors.read_text()}")
        return seconds
    finally:
        process.stdout.close()
        if process.poll() is None:
            process.kill()
            process.wait()


def calls(world: Site, network: str, url: str, runs: int) -> tuple[list[float], list[float]]:
    """Return the times of cold and of cached calls."""
    machine = world.lan.machine("client")
    source = world.node("identity", network, machine, fresh=True)
    source.state.mkdir(parents=True, mode=0o700)
    source.text("identity", "new")
    cold, cached = [], []
    for run in range(runs):
        fresh = world.node(f"client{run}", network, machine, fresh=True)
        fresh.state.mkdir(parents=True, mode=0o700)
        for name in ("identity.secret", "identity.public"):
            shutil.copy2(source.state / name, fresh.state / name)
        cold.append(first_byte(fresh, url))
        cached.append(first_byte(fresh, url))
    return cold, cached


def whole(command: list[str]) -> float:
    """Return the time of a command from its start to its end."""
    began = time.perf_counter()
    done = subprocess.run(
        command, capture_output=True, env=environment(), timeout=LIMIT_SECONDS, check=False
    )
    if done.returncode:
        raise ProcessFailure(f"{' '.join(command)}: {done.stderr.decode(errors='replace')}")
    return time.perf_counter() - began


def identities(folder: Path, count: int) -> list[float]:
    base = [sys.executable, "-m", "ztcli"]
    return [
        whole([*base, "--state", str(folder / f"identity{number}"), "identity", "new"])
        for number in range(count)
    ]


def resident_mb(running: Running) -> float:
    """Return the resident memory of a process; `ip netns exec` has become it."""
    status = Path(f"/proc/{running.process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024 / 1e6


def summary(values: list[float]) -> dict[str, object]:
    return {
        "median": round(statistics.median(values), 3),
        "least": round(min(values), 3),
        "most": round(max(values), 3),
        "runs": len(values),
    }


def measure(world: Site, runs: int, identity_runs: int) -> dict[str, object]:
    network = world.create_network()
    server = world.node("server", network)
    listener = server.start("listen", "8080", "--mode", "http")
    ready = listener.ready()
    ip = next(text for text in ready["addresses"] if ":" not in text)
    time.sleep(IDLE_SECONDS)
    resident = resident_mb(listener)
    cold, cached = calls(world, network, f"http://{ip}:8080/", runs)
    helps = [whole([sys.executable, "-m", "ztcli", "--help"]) for _ in range(2 * runs)]
    return {
        "benchmark": "startup",
        "call_cold_s": summary(cold),
        "call_cached_s": summary(cached),
        "help_s": summary(helps),
        "listen_rss_mb": round(resident, 1),
        "identity_s": summary(identities(world.folder, identity_runs)),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="How soon zt is of use, and what it weighs.")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--identities", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, site(Path(folder)) as world:
        try:
            result = measure(world, options.runs, options.identities)
        except (ProcessFailure, subprocess.TimeoutExpired) as error:
            sys.stderr.write(f"{error}\n")
            return 1
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
