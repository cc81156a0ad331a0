"""Our TCP against the kernel's, behind a TAP device: both directions at once, also with loss.

ZT_KERNEL_MEGABYTES=200 sends so much each way in place of 20.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.netns import Machine, lan
from tests.support.peers import required
from tests.support.tap_host import LIMIT_S, SLOWEST, start

ROOT = Path(__file__).parents[2]
PEER = ROOT / "tests" / "support" / "kernel_peer.py"
SIZE = int(float(os.environ.get("ZT_KERNEL_MEGABYTES", "20")) * 1e6)
LOSSY = 3_000_000
SECONDS = LIMIT_S + SIZE / SLOWEST

pytestmark = pytest.mark.timeout(SECONDS + 60.0)


@pytest.fixture
def machine() -> Iterator[Machine]:
    with required(), lan() as network:
        yield network.machine("tap")


def result_of(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, err.decode()
    result: dict[str, Any] = json.loads(out)
    return result


def lose(machine: Machine, probability: str) -> None:
    for chain, option in (("INPUT", "-i"), ("OUTPUT", "-o")):
        machine.command(
            *("iptables", "-A", chain, option, "tap0", "-p", "tcp", "-m", "statistic"),
            *("--mode", "random", "--probability", probability, "-j", "DROP"),
        )


def check(ours: dict[str, Any], kernels: dict[str, Any], size: int) -> None:
    assert (ours.get("received"), kernels["received"]) == (size, size), ours
    assert ours["received_sha256"] == kernels["sent_sha256"]
    assert kernels["received_sha256"] == ours["sent_sha256"]


@pytest.mark.parametrize("host", ["10.99.0.2", "fd99::2"])
def test_the_kernel_connects(machine: Machine, host: str) -> None:
    ours = start(machine, "serve", "7000", str(SIZE))
    peer = machine.run(
        [sys.executable, str(PEER), "connect", host, "7000", str(SIZE)], seconds=SECONDS
    )
    assert peer.returncode == 0, peer.stderr.decode()
    check(result_of(ours), json.loads(peer.stdout), SIZE)


@pytest.mark.parametrize("family", ["4", "6"])
def test_we_connect_to_the_kernel(machine: Machine, family: str, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    ours = start(machine, "connect", "7001", str(SIZE), "--family", family, "--ready", str(ready))
    peer = machine.run(
        [sys.executable, str(PEER), "serve", "7001", str(SIZE), str(ready)], seconds=SECONDS
    )
    assert peer.returncode == 0, peer.stderr.decode()
    check(result_of(ours), json.loads(peer.stdout), SIZE)


def test_one_percent_of_loss_both_ways(machine: Machine) -> None:
    ours = start(machine, "serve", "7002", str(LOSSY))
    lose(machine, "0.01")
    peer = machine.run(
        [sys.executable, str(PEER), "connect", "10.99.0.2", "7002", str(LOSSY)], seconds=SECONDS
    )
    assert peer.returncode == 0, peer.stderr.decode()
    check(result_of(ours), json.loads(peer.stdout), LOSSY)
    dropped = machine.run(["iptables", "-nvxL"], seconds=10.0).stdout.decode()
    assert sum(int(line.split()[0]) for line in dropped.splitlines() if "DROP" in line) > 5


def test_the_kernel_is_refused(machine: Machine) -> None:
    ours = start(machine, "serve", "7003", "0")
    try:
        peer = machine.run(
            [sys.executable, str(PEER), "connect", "10.99.0.2", "7004", "1"], seconds=20.0
        )
        assert b"ConnectionRefusedError" in peer.stderr
    finally:
        ours.kill()
        ours.communicate()


def test_a_closed_udp_port_is_reported_to_the_kernel(machine: Machine) -> None:
    ours = start(machine, "serve", "7005", "0")
    try:
        code = (
            "import socket\n"
            "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
            "s.connect(('10.99.0.2', 9)); s.settimeout(5)\n"
            "s.send(b'x')\n"
            "try:\n    s.recv(10)\nexcept ConnectionRefusedError:\n    print('unreachable')\n"
        )
        peer = machine.run([sys.executable, "-c", code], seconds=20.0)
        assert peer.stdout == b"unreachable\n", peer.stderr.decode()
    finally:
        ours.kill()
        ours.communicate()
