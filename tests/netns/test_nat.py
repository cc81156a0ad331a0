"""Nodes behind routers that translate addresses: directly where that can be, else by the root."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.peers import required
from tests.support.site import ROOT_PORT, Site, site
from tests.support.zt_process import Running, Zt

pytestmark = pytest.mark.timeout(180)

SIZE = 5_000_000


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with required(), site(tmp_path_factory.mktemp("site")) as made:
        yield made


@pytest.fixture(autouse=True)
def stop_nodes(world: Site) -> Iterator[None]:
    yield
    world.stop_nodes()


def pair(world: Site, label: str, *, symmetric: bool) -> tuple[Zt, Zt]:
    network = world.create_network()
    left, right = (
        world.node(
            f"{label}{side}", network, world.lan.behind_nat(f"{label}{side}", symmetric=symmetric)
        )
        for side in "lr"
    )
    return left, right


def serve(node: Zt, port: int) -> tuple[Running, str]:
    listener = node.start("listen", str(port), "--tcp", "--echo", "-k")
    ip = next(text for text in listener.ready()["addresses"] if ":" not in text)
    return listener, ip


def path_of(words: bytes) -> str:
    """Return how `zt call -v` says that it is connected."""
    line = next(line for line in words.decode().splitlines() if line.startswith("connected to"))
    return line.rpartition("(")[2].rstrip(")")


def call(node: Zt, ip: str, port: int, data: bytes) -> subprocess.CompletedProcess[bytes]:
    done = node.run("call", ip, str(port), "-v", data=data, seconds=120.0)
    assert done.returncode == 0, done.stderr.decode()
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(data).digest()
    return done


def relayed_bytes(world: Site) -> int:
    """Return what the hub, on which the root runs, has sent."""
    return world.hub.sent_bytes()


def test_two_routers_that_keep_ports_are_crossed(world: Site) -> None:
    left, right = pair(world, "c", symmetric=False)
    data = hashlib.shake_256(b"cone").digest(SIZE)
    _, ip = serve(right, 7100)
    call(left, ip, 7100, b"hello")
    before = relayed_bytes(world)
    done = call(left, ip, 7100, data)
    assert path_of(done.stderr) == "direct"
    # Twice the data went through the routers, and next to nothing through the root.
    assert relayed_bytes(world) - before < SIZE // 10


def test_two_symmetric_routers_leave_the_relay(world: Site) -> None:
    left, right = pair(world, "s", symmetric=True)
    data = hashlib.shake_256(b"symmetric").digest(SIZE // 5)
    _, ip = serve(right, 7101)
    before = relayed_bytes(world)
    call(left, ip, 7101, data)
    assert relayed_bytes(world) - before > SIZE // 5


@pytest.fixture(scope="module")
def moon(world: Site) -> Iterator[Path]:
    """A second root on a machine of its own: two observers tell routers apart."""
    machine = world.lan.machine("second")
    second = Zt(machine, world.folder / "second" / "state", ("--planet", str(world.planet)))
    second.state.mkdir(parents=True, mode=0o700)
    second.text("identity", "new")
    file = world.folder / "second.moon"
    where = f"{second.state}@{machine.address}:{ROOT_PORT}"
    second.text("moon", "make", "--root", where, "--sign-with", str(second.state), "-o", str(file))
    second.text("moon", "orbit", str(file))
    running = second.start("root", "run", "--bind-udp", f"{machine.address}:{ROOT_PORT}")
    running.ready()
    yield file
    second.stop_all()


@pytest.mark.parametrize(
    ("symmetric", "nat", "mappings", "code"),
    [(False, "endpoint-independent", 1, 0), (True, "endpoint-dependent", 2, 86)],
    ids=["cone", "symmetric"],
)
def test_the_commands_say_what_a_router_does(
    world: Site, moon: Path, symmetric: bool, nat: str, mappings: int, code: int
) -> None:
    left, right = pair(world, "ds" if symmetric else "dc", symmetric=symmetric)
    left.text("moon", "orbit", str(moon))
    found = json.loads(left.text("--json", "netcheck"))
    assert (found["udp"], found["nat"]) == (True, nat)
    assert len(found["roots"]) == 2
    router = next(m for m in world.lan.machines if m.name == f"{left.machine.name}r")
    hosts = [external.partition("/")[0] for external in found["external"]]
    assert hosts == [router.address] * mappings

    listener = right.start("listen", "7102", "--tcp")
    node = listener.ready()["node"]
    done = left.run("--json", "ping", node, "--until-direct", "-c", "4", "-i", "500ms")
    assert done.returncode == code, done.stderr.decode()
    links = [json.loads(line).get("link") for line in done.stdout.splitlines()]
    assert links[-1] == ("relay" if symmetric else "direct")
