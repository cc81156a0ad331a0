"""What `zt expose` and `zt proxy` cost one TCP stream between two machines (namespaces), as JSON.

    python -m tests.bench.forwarding [--megabytes N] [--runs N]     (Linux, root)

Three ways in one run, each from `zt call` or a plain client to a sink that is not ours: the stream
itself (`zt listen` writes into a pipe), `zt expose` before the sink, and `zt proxy` on the caller's
machine with `zt listen` behind it. The time is from the first byte at the end to the last.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from tests.bench.stream import (
    LIMIT_SECONDS,
    Transfer,
    checked,
    drain,
    receiving,
    transfer,
    write_payload,
)
from tests.support.site import Site, site
from tests.support.zt_process import ProcessFailure, Zt, environment

SINK: Final = """
import socket, sys, time
buffer = bytearray(1 << 20)
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as server:
    print("ready", flush=True)
    connection, _ = server.accept()
    got, first = 0, 0.0
    while size := connection.recv_into(buffer):
        got += size
        last = time.perf_counter()
        first = first or last
    connection.close()
    print(got, last - first, flush=True)
"""
CLIENT: Final = """
import os, socket, sys
proxy, target, name = sys.argv[1:]
with socket.create_connection(("127.0.0.1", int(proxy))) as connection:
    connection.sendall(f"CONNECT {target} HTTP/1.1\\r\\nHost: {target}\\r\\n\\r\\n".encode())
    head = b""
    while not head.endswith(b"\\r\\n\\r\\n"):
        head += connection.recv(1) or sys.exit("no answer of the proxy")
    if b" 200 " not in head:
        sys.exit(head.decode())
    with open(name, "rb") as file:
        connection.sendfile(file)
    connection.shutdown(socket.SHUT_WR)
    while connection.recv(65536):
        pass
"""


def through_expose(left: Zt, right: Zt, port: int, payload: Path) -> Transfer:
    """Send a file through `zt call` to a sink behind `zt expose`."""
    sink = left.machine.popen([sys.executable, "-c", SINK, str(port)], env=environment())
    assert sink.stdout is not None
    sink.stdout.readline()
    service = left.start("expose", f"{port}:127.0.0.1:{port}")
    try:
        urls = [urlsplit(url) for url in service.ready()["exposes"][0]["urls"]]
        ip = next(url.hostname for url in urls if url.hostname and ":" not in url.hostname)
        caller = right.start("call", ip, str(port), stdin=payload, ready=False)
        if caller.wait(LIMIT_SECONDS) != 0:
            raise ProcessFailure(caller.words())
        count, seconds = sink.communicate(timeout=LIMIT_SECONDS)[0].split()
        return checked(Transfer(int(count), float(seconds)), payload)
    finally:
        sink.kill()
        sink.wait()
        service.stop()


def through_proxy(left: Zt, right: Zt, port: int, payload: Path) -> Transfer:
    """Send a file through `zt proxy` to `zt listen`, which writes into a pipe."""
    proxy = right.start("proxy", "--listen", f"127.0.0.1:{port}")
    try:
        proxy.ready()
        with receiving(left, port) as (ip, listener):
            assert listener.stdout is not None
            words = (sys.executable, "-c", CLIENT, str(port), f"{ip}:{port}", str(payload))
            client = right.machine.popen(words, stdout=subprocess.DEVNULL, env=environment())
            result = drain(listener.stdout.fileno())
            if client.wait(LIMIT_SECONDS) != 0:
                assert client.stderr is not None
                raise ProcessFailure(client.stderr.read().decode())
        return checked(result, payload)
    finally:
        proxy.stop()


def measure(world: Site, megabytes: int, runs: int) -> dict[str, object]:
    network = world.create_network()
    left, right = world.node("left", network), world.node("right", network)
    small, large = world.folder / "small", world.folder / "large"
    write_payload(small, 1_000_000)
    write_payload(large, megabytes * 1_000_000)
    transfer(left, right, 7000, small)  # they know each other from here on
    ways = {"stream": transfer, "expose": through_expose, "proxy": through_proxy}
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for run in range(runs):
        for number, (name, way) in enumerate(ways.items()):
            rates[name].append(way(left, right, 7001 + 10 * run + number, large).rate)
    medians = {name: statistics.median(found) for name, found in rates.items()}
    return {
        "benchmark": "forwarding",
        "megabytes": megabytes,
        **{f"{name}_mb_s": round(rate, 1) for name, rate in medians.items()},
        "runs_mb_s": {name: [round(one, 1) for one in found] for name, found in rates.items()},
        "expose_ratio": round(medians["expose"] / medians["stream"], 3),
        "proxy_ratio": round(medians["proxy"] / medians["stream"], 3),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="One stream through zt expose and zt proxy.")
    parser.add_argument("--megabytes", type=int, default=300)
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
