"""Two `zt` nodes on two machines: the direct path, loss on the wire, and kills at bad moments."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.netns import Machine
from tests.support.peers import required
from tests.support.site import Site, site
from tests.support.zt_process import Zt, wait_until

pytestmark = pytest.mark.timeout(180)

LONG = 20_000_000


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with required(), site(tmp_path_factory.mktemp("site")) as made:
        yield made


@pytest.fixture(autouse=True)
def stop_nodes(world: Site) -> Iterator[None]:
    yield
    world.stop_nodes()


@pytest.fixture(scope="module")
def network(world: Site) -> str:
    return world.create_network()


@pytest.fixture(scope="module")
def machines(world: Site) -> tuple[Machine, Machine]:
    return world.lan.machine("left"), world.lan.machine("right")


@pytest.fixture
def nodes(
    world: Site, network: str, machines: tuple[Machine, Machine], request: pytest.FixtureRequest
) -> tuple[Zt, Zt]:
    """Two fresh nodes; the machines stay the same."""
    label = hashlib.sha256(request.node.name.encode()).hexdigest()[:8]
    left, right = machines
    return world.node(f"{label}l", network, left), world.node(f"{label}r", network, right)


@pytest.fixture(scope="module")
def payload(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("payload") / "20MB"
    block = hashlib.shake_256(b"two nodes").digest(1 << 20)
    file.write_bytes((block * (LONG // len(block) + 1))[:LONG])
    return file


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def address_of(ready: dict[str, object]) -> str:
    addresses = ready["addresses"]
    assert isinstance(addresses, list)
    return next(str(text) for text in addresses if ":" not in text)


def transfer(nodes: tuple[Zt, Zt], port: int, payload: Path) -> None:
    """Send the payload from the right node to the left one and compare."""
    left, right = nodes
    listener = left.start("listen", str(port), "--tcp", "--no-stdin")
    ip = address_of(listener.ready())
    caller = right.start("call", ip, str(port), stdin=payload, ready=False)
    assert caller.wait(120.0) == 0, caller.words()
    assert listener.wait(30.0) == 0, listener.words()
    received = listener.stdout.read_bytes()
    assert (len(received), sha256(received)) == (LONG, sha256(payload.read_bytes()))


def test_stream_goes_direct(nodes: tuple[Zt, Zt], payload: Path) -> None:
    """The first packets may go through the root; the bulk must go from one node to the other."""
    left, right = nodes
    rule = ("INPUT", "-p", "udp", "-s", right.machine.address)
    with required():
        left.machine.command("iptables", "-A", *rule)
    try:
        transfer(nodes, 7100, payload)
        _, count = counted(left.machine)
        assert count > LONG * 0.9
    finally:
        left.machine.command("iptables", "-D", *rule)


def counted(machine: Machine) -> tuple[int, int]:
    """Return the packets and bytes that met the one rule of INPUT."""
    listed = machine.run(["iptables", "-L", "INPUT", "-v", "-x", "-n"], seconds=10.0)
    packets, count = listed.stdout.decode().splitlines()[2].split()[:2]
    return int(packets), int(count)


def test_long_stream_is_whole(nodes: tuple[Zt, Zt], payload: Path) -> None:
    transfer(nodes, 7101, payload)


@pytest.mark.parametrize("unit", ["train", "datagram"])
def test_stream_under_loss_is_whole(nodes: tuple[Zt, Zt], payload: Path, unit: str) -> None:
    """About one in a hundred is dropped on the way in, at both ends: trains, or datagrams."""
    every = ("-m", "statistic", "--mode", "nth", "--every", "97", "--packet", "0")
    rule = ("INPUT", "-p", "udp", *every)
    segments = 1 if unit == "datagram" else 65_535
    with required():
        for zt in nodes:
            # A train is one buffer for the kernel unless the interface refuses it.
            limit = ("gso_max_segs", str(segments))
            zt.machine.command("ip", "link", "set", "dev", "eth0", *limit)
            zt.machine.command("iptables", "-A", *rule, "-j", "DROP")
    try:
        transfer(nodes, 7102, payload)
        assert sum(counted(zt.machine)[0] for zt in nodes) > 0
    finally:
        for zt in nodes:
            zt.machine.command("iptables", "-D", *rule, "-j", "DROP")
            zt.machine.command("ip", "link", "set", "dev", "eth0", "gso_max_segs", "65535")


@pytest.mark.parametrize("moment_ms", [20, 100, 250, 500, 900, 1500])
def test_killed_node_starts_again(
    world: Site, network: str, nodes: tuple[Zt, Zt], moment_ms: int
) -> None:
    """Killed while it makes an identity, joins, or serves: the same directory must serve again."""
    machine, right = nodes[0].machine, nodes[1]
    left = world.node(f"killed{moment_ms}", network, machine, fresh=True)
    for _ in range(3):
        victim = left.start("listen", "7103", "--mode", "http")
        time.sleep(moment_ms / 1000)
        victim.kill()
        if victim.ready_file is not None:
            victim.ready_file.unlink(missing_ok=True)
    listener = left.start("listen", "7103", "--mode", "http")
    ip = address_of(listener.ready())
    done = right.run("call", f"http://{ip}:7103/")
    assert (done.returncode, done.stdout) == (0, b"ok\n"), done.stderr.decode()
    listener.stop()


def test_kill_keeps_identity_and_address(nodes: tuple[Zt, Zt]) -> None:
    left, _ = nodes
    first = left.start("listen", "7104", "--mode", "http")
    before = first.ready()
    first.kill()
    second = left.start("listen", "7104", "--mode", "http")
    after = second.ready()
    second.stop()
    assert (after["node"], after["addresses"]) == (before["node"], before["addresses"])


def test_kill_in_the_middle_of_a_stream(nodes: tuple[Zt, Zt], payload: Path) -> None:
    """The other end must not call a cut stream whole, and the pair must work again afterwards."""
    left, right = nodes
    listener = left.start("listen", "7105", "--tcp", "--no-stdin")
    ip = address_of(listener.ready())
    caller = right.start("call", ip, "7105", stdin=payload, ready=False)
    wait_until("bytes arrive", lambda: listener.stdout.stat().st_size > 0, 30.0)
    listener.kill()
    assert listener.ready_file is not None
    listener.ready_file.unlink(missing_ok=True)
    transfer(
        (left, Zt(right.machine, right.state.with_name("second"), right.options)), 7106, payload
    )
    assert caller.wait(60.0) == 56, caller.words()


def test_controller_and_root_survive_a_kill(world: Site, network: str) -> None:
    """Networks and members are there again; a node that joins afterwards gets its address."""
    before = world.controller.text("network", "list")
    world.controller_process.kill()
    world.root_process.kill()
    world.restart_root()
    world.restart_controller()
    assert world.controller.text("network", "list") == before
    late = world.node("late", network)
    assert "10.147.20." in late.text("join", "--once")
