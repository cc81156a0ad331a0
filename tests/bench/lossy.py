"""A row for a bad link: our stream beside the kernel's CUBIC over the same emulated uplink."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

from tests.bench.ends import Course, Row, middle
from tests.bench.stream import transfer, write_payload
from tests.bench.streams import pair
from tests.support.link_emulator import Way, emulated_uplink
from tests.support.netns import Machine
from tests.support.zt_process import ProcessFailure, wait_until

MEGABYTES: Final = 4
WAY: Final = Way(loss=0.02, delay_ms=20.0, jitter_ms=10.0)
"""Each way: together a round trip of 40 ms, give or take 20; frames overtake each other."""
_PEER: Final = Path(__file__).parents[1] / "support" / "kernel_peer.py"
_SECONDS: Final = 200.0


def lossy_stream(course: Course) -> Row:
    """The sender is behind the link; runs of both kinds take turns, with fresh chances each."""
    world = course.world
    _, left, right = pair(course, "e")
    payload, small = world.folder / "payload", world.folder / "tiny"
    write_payload(payload, MEGABYTES * 1_000_000)
    write_payload(small, 10_000)
    transfer(left, right, 7000, small)
    ours, kernels = [], []
    for run in range(course.runs):
        with emulated_uplink(world.lan, right.machine, WAY, seed=run):
            kernels.append(kernel_rate(right.machine, left.machine, 7100 + run, world.folder))
        with emulated_uplink(world.lan, right.machine, WAY, seed=run):
            ours.append(transfer(left, right, 7001 + run, payload).rate)
    ratio = middle(ours) / middle(kernels)
    details: dict[str, object] = {
        "kernel_mb_s": middle(kernels, 3),
        "kernel_runs": [round(one, 3) for one in kernels],
        "ratio_to_kernel": round(ratio, 3),
    }
    note = f"{ratio:.2f} of the kernel's CUBIC ({middle(kernels):.2f})"
    name = "2 % loss, 40 ms +- 20, reordering"
    return Row(name, "MB/s", ours, "ratio >= 1.0", note, details)


def kernel_rate(
    sender: Machine, receiver: Machine, port: int, folder: Path, megabytes: float = MEGABYTES
) -> float:
    """Send by the kernels of two machines over what lies between them."""
    ready = folder / f"ready-{port}"
    server = receiver.popen([sys.executable, str(_PEER), "serve", str(port), "0", str(ready)])
    try:
        wait_until("the kernel listens", ready.exists, 20.0)
        count = str(round(megabytes * 1e6))
        argv = [sys.executable, str(_PEER), "connect", receiver.address, str(port), count]
        argv += ["--congestion", "cubic"]
        sent = sender.run(argv, seconds=_SECONDS)
        told, errors = server.communicate(timeout=_SECONDS)
    finally:
        server.kill()
        server.communicate()
    if sent.returncode or server.returncode:
        raise ProcessFailure(f"{sent.stderr.decode()} {errors.decode()}")
    result = json.loads(told)
    return float(result["received"]) / 1e6 / float(result["seconds"])
