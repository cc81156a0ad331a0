"""Rows with the official implementations at one end or both: libzt, and the daemon with the kernel.

libzt comes from the package index (`tests/support/libzt.py`); the daemon is `zerotier-one` on PATH,
and where there is none the rows say so.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.bench.ends import Course, Row, middle
from tests.bench.stream import drain, receiving
from tests.bench.streams import payloads
from tests.support.libzt_node import LibztNode, libzt_node
from tests.support.netns import Machine
from tests.support.zt_process import ProcessFailure, Zt, wait_until

DAEMON: Final = "zerotier-one"
TWO_DAEMONS: Final = "official daemon to official daemon"
VERSION: Final = "1.8.4"
LIBZT_MEGABYTES: Final = 200
SECONDS: Final = 300.0
_PEER: Final = Path(__file__).parents[1] / "support" / "kernel_peer.py"
_SERVE: Final = """
import socket, sys
with socket.create_server(("0.0.0.0", int(sys.argv[1]))) as server:
    print(flush=True)
    sock, _ = server.accept()
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while data := sock.recv(16):
        sock.send(data)
"""
_REACH: Final = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], 9), 5)
except ConnectionRefusedError:
    sys.exit(0)
sys.exit(1)
"""
_ASK: Final = """
import json, socket, sys, time
sock = socket.create_connection((sys.argv[1], int(sys.argv[2])))
sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
times = []
for _ in range(int(sys.argv[3])):
    began = time.perf_counter()
    sock.send(b"?")
    sock.recv(1)
    times.append(time.perf_counter() - began)
times.sort()
print(json.dumps([times[len(times) // 2] * 1e6, times[len(times) * 99 // 100] * 1e6]))
"""


def libzt_streams(course: Course) -> list[Row]:
    """Our node and a libzt node, each way, and two libzt nodes."""
    world = course.world
    network = world.create_network()
    count = min(course.megabytes, LIBZT_MEGABYTES) * 1_000_000
    zt = world.node("f", network)
    nodes = []
    with _libzt(course, "fa", network) as first, _libzt(course, "fb", network) as second:
        nodes = [first, second]
        to, back, between = [], [], []
        for run in range(course.runs):
            port = 7000 + 3 * run
            to.append(_to_libzt(course, zt, first, port, count))
            back.append(_from_libzt(zt, first, port + 1, count))
            between.append(_libzt_alone(nodes, port + 2, count))
    alone = middle(between)
    rows = [Row("libzt to libzt (lwIP, both official)", "MB/s", between)]
    for name, runs in (("zt to libzt", to), ("libzt to zt", back)):
        ratio = middle(runs) / alone
        details: dict[str, object] = {"ratio_to_libzt": round(ratio, 3)}
        rows.append(
            Row(name, "MB/s", runs, "", f"{ratio:.2f} of libzt to libzt", details),
        )
    return rows


@contextmanager
def _libzt(course: Course, label: str, network: str) -> Iterator[LibztNode]:
    world = course.world
    machine, home = world.lan.machine(label), world.folder / label
    with libzt_node(VERSION, machine, home, world.planet, network) as node:
        node.address()
        yield node


def _to_libzt(course: Course, zt: Zt, node: LibztNode, port: int, count: int) -> float:
    tag = node.serve("tcp-serve", port=port, send=0)
    _, large = payloads(course)
    given = large.with_name("libzt-payload")
    if not given.exists():
        with large.open("rb") as source, given.open("wb") as target:
            target.write(source.read(count))
    caller = zt.start("call", node.address(), str(port), stdin=given, ready=False)
    if caller.wait(SECONDS) != 0:
        raise ProcessFailure(caller.words())
    result = node.result(tag, SECONDS)
    return float(result["received"]) / 1e6 / float(result["seconds"])


def _from_libzt(zt: Zt, node: LibztNode, port: int, count: int) -> float:
    with receiving(zt, port) as (ip, listener):
        assert listener.stdout is not None
        tag = node.begin("tcp-connect", ip=ip, port=port, send=count, seed=port)
        taken = drain(listener.stdout.fileno())
        node.result(tag, SECONDS)
    return taken.rate


def _libzt_alone(nodes: list[LibztNode], port: int, count: int) -> float:
    first, second = nodes
    tag = first.serve("tcp-serve", port=port, send=0)
    sent = second.begin("tcp-connect", ip=first.address(), port=port, send=count, seed=port)
    result = first.result(tag, SECONDS)
    second.result(sent, SECONDS)
    return float(result["received"]) / 1e6 / float(result["seconds"])


@dataclass(frozen=True, slots=True)
class Daemon:
    """An official daemon on a machine, whose kernel has the managed address."""

    machine: Machine
    address: str

    def serve(self, port: int, folder: Path) -> subprocess.Popen[bytes]:
        """Let the kernel take one stream."""
        ready = folder / f"daemon-{port}"
        server = self.machine.popen(
            [sys.executable, str(_PEER), "serve", str(port), "0", str(ready)]
        )
        wait_until("the kernel listens", ready.exists, 20.0)
        return server

    def send(self, ip: str, port: int, count: int) -> None:
        argv = [sys.executable, str(_PEER), "connect", ip, str(port), str(count)]
        done = self.machine.run([*argv, "--congestion", "cubic"], seconds=SECONDS)
        if done.returncode:
            raise ProcessFailure(done.stderr.decode())


def daemon_streams(course: Course) -> list[Row]:
    """Two daemons with the kernel's TCP, and one of them with us, each way; then one byte."""
    if shutil.which(DAEMON) is None:
        note = f"no {DAEMON} on PATH: not measured"
        return [Row("official daemon", "", [], note=note, is_optional=True)]
    world = course.world
    network = world.create_network()
    zt = world.node("g", network)
    count = course.megabytes * 1_000_000
    _, large = payloads(course)
    between, to, back = [], [], []
    with _daemon(course, "ga", network) as first, _daemon(course, "gb", network) as second:
        reach = [sys.executable, "-c", _REACH, first.address]
        wait_until(
            "the daemons reach each other",
            lambda: second.machine.run(reach, seconds=20.0).returncode == 0,
            60.0,
        )
        for run in range(course.runs):
            port = 7000 + 3 * run
            server = first.serve(port, world.folder)
            second.send(first.address, port, count)
            between.append(_rate(server))
            server = first.serve(port + 1, world.folder)
            caller = zt.start("call", first.address, str(port + 1), stdin=large, ready=False)
            to.append(_rate(server))
            if caller.wait(SECONDS) != 0:
                raise ProcessFailure(caller.words())
            with receiving(zt, port + 2) as (ip, listener):
                assert listener.stdout is not None
                sender = _begin_send(first, ip, port + 2, count)
                back.append(drain(listener.stdout.fileno()).rate)
                sender.communicate(timeout=SECONDS)
        medians, tails = _exchanges(course, first, second)
    rows = [Row(TWO_DAEMONS, "MB/s", between)]
    for name, runs in (("zt to official daemon", to), ("official daemon to zt", back)):
        ratio = middle(runs) / middle(between)
        details: dict[str, object] = {"ratio_to_daemons": round(ratio, 3)}
        note = f"{ratio:.2f} of two daemons"
        rows.append(Row(name, "MB/s", runs, "ratio >= 0.9", note, details))
    tail: dict[str, object] = {"p99_us": middle(tails)}
    note = f"p99 {middle(tails, 0):.0f} us"
    rows.append(Row("1-byte exchange, two daemons, p50", "us", medians, "", note, tail))
    return rows


def _rate(server: subprocess.Popen[bytes]) -> float:
    told, errors = server.communicate(timeout=SECONDS)
    if server.returncode:
        raise ProcessFailure(errors.decode())
    result = json.loads(told)
    return float(result["received"]) / 1e6 / float(result["seconds"])


def _begin_send(daemon: Daemon, ip: str, port: int, count: int) -> subprocess.Popen[bytes]:
    argv = [sys.executable, str(_PEER), "connect", ip, str(port), str(count)]
    return daemon.machine.popen([*argv, "--congestion", "cubic"])


def _exchanges(course: Course, first: Daemon, second: Daemon) -> tuple[list[float], list[float]]:
    medians, tails = [], []
    for run in range(course.runs):
        port = str(7800 + run)
        server = first.machine.popen([sys.executable, "-c", _SERVE, port])
        assert server.stdout is not None
        server.stdout.readline()
        argv = [sys.executable, "-c", _ASK, first.address, port, "5000"]
        median, tail = json.loads(second.machine.run(argv, seconds=60.0).stdout)
        server.communicate(timeout=20.0)
        medians.append(median)
        tails.append(tail)
    return medians, tails


@contextmanager
def _daemon(course: Course, label: str, network: str) -> Iterator[Daemon]:
    """Run a daemon with our planet that joins, and wait for its address."""
    world = course.world
    machine, home = world.lan.machine(label), world.folder / label
    (home / "networks.d").mkdir(parents=True)
    (home / "networks.d" / f"{network}.conf").touch()
    (home / "planet").write_bytes(world.planet.read_bytes())
    process = machine.popen(
        [DAEMON, "-U", "-p9993", str(home)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until("the daemon has an address", lambda: bool(_managed(machine)), 90.0)
        yield Daemon(machine, _managed(machine))
    finally:
        process.kill()
        process.wait()


def _managed(machine: Machine) -> str:
    """Return the address that the controller gave, or nothing yet."""
    told = machine.run(["ip", "-j", "-4", "address"], seconds=10.0).stdout
    links: list[dict[str, Any]] = json.loads(told or b"[]")
    for link in links:
        if str(link.get("ifname", "")).startswith("zt"):
            for one in link["addr_info"]:
                return str(one["local"])
    return ""
