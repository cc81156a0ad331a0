"""A node whose address changes in the middle of a stream, and one that returns on another port."""

from __future__ import annotations

import hashlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.peers import required
from tests.support.site import Site, site
from tests.support.zt_process import environment

pytestmark = pytest.mark.timeout(120)

SIZE = 5_000_000


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with required(), site(tmp_path_factory.mktemp("site")) as made:
        yield made


@pytest.fixture(autouse=True)
def stop_nodes(world: Site) -> Iterator[None]:
    yield
    world.stop_nodes()


def test_a_stream_survives_a_new_address(world: Site, tmp_path: Path) -> None:
    network = world.create_network()
    left, right = world.node("l", network), world.node("r", network)
    listener = right.start("listen", "7200", "--tcp")
    ip = next(text for text in listener.ready()["addresses"] if ":" not in text)
    data = hashlib.shake_256(b"roaming").digest(SIZE)
    given = tmp_path / "given"
    given.write_bytes(data)
    # At 2.5 MB/s the transfer takes two seconds; the address changes after one.
    machine = left.machine
    machine.command(
        *("tc", "qdisc", "add", "dev", "eth0", "root", "tbf"),
        *("rate", "20mbit", "burst", "64kb", "latency", "50ms"),
    )
    with given.open("rb") as stdin:
        caller = subprocess.Popen(
            [*machine.wrap, *left.argv("call", ip, "7200")],
            stdin=stdin,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment(),
        )
    time.sleep(1.5)
    assert caller.poll() is None
    new = "10.66.0.200"
    machine.command("ip", "address", "del", f"{machine.address}/24", "dev", "eth0")
    machine.command("ip", "address", "add", f"{new}/24", "dev", "eth0")
    machine.command("ip", "route", "replace", "default", "dev", "eth0")
    began = time.monotonic()
    _, words = caller.communicate(timeout=30.0)
    assert caller.returncode == 0, words.decode()
    assert listener.wait(10.0) == 0, listener.words()
    assert time.monotonic() - began < 15.0
    received = listener.stdout.read_bytes()
    assert hashlib.sha256(received).digest() == hashlib.sha256(data).digest()


def test_a_node_that_returns_on_another_port_is_found(world: Site) -> None:
    network = world.create_network()
    left, right = world.node("pl", network), world.node("pr", network)
    for number, port in enumerate((21_001, 21_002, 21_003)):
        listener = right.start(
            *("listen", "7201", "--mode", "http", "--bind-udp", f"{right.machine.address}:{port}")
        )
        ip = next(text for text in listener.ready()["addresses"] if ":" not in text)
        began = time.monotonic()
        done = left.run("call", f"http://{ip}:7201/")
        assert (done.returncode, done.stdout) == (0, b"ok\n"), done.stderr.decode()
        # The process itself takes half a second to start.
        assert time.monotonic() - began < 2.5, number
        right.stop_all()
