"""Nodes on machines whose UDP is blocked, and a TCP relay on another machine."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.netns import Machine
from tests.support.peers import required
from tests.support.site import Site, site
from tests.support.zt_process import Zt, environment

pytestmark = pytest.mark.timeout(120)

RELAY_PORT = 443
SIZE = 2_000_000

_ONLINE = """
import asyncio, sys, time
import ztstack

async def main(planet, relay):
    node = ztstack.Node(
        ztstack.NodeConfig(planet=open(planet, "rb").read(), relay=ztstack.Endpoint.parse(relay))
    )
    await node.start()
    start = time.monotonic()
    await node.online(10.0)
    print(time.monotonic() - start)
    await node.stop()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with required(), site(tmp_path_factory.mktemp("site")) as made:
        yield made


@pytest.fixture(scope="module")
def network(world: Site) -> str:
    return world.create_network()


@pytest.fixture(scope="module")
def relay(world: Site) -> Iterator[Machine]:
    """A machine that runs a relay."""
    machine = world.lan.machine("relay")
    zt = Zt(machine, world.folder / "relay" / "state")
    running = zt.start("relay", "run", "--listen", f"{machine.address}:{RELAY_PORT}")
    try:
        running.ready()
        yield machine
    finally:
        running.stop()


def blocked(world: Site, label: str) -> Machine:
    """Return a machine on which no UDP goes in or out."""
    machine = world.lan.machine(label)
    with required():
        for chain in ("INPUT", "OUTPUT"):
            machine.command("iptables", "-A", chain, "-p", "udp", "-j", "DROP")
    return machine


@pytest.fixture(scope="module")
def inside(world: Site, network: str, relay: Machine) -> Zt:
    zt = world.node("inside", network, blocked(world, "inside"))
    zt.options += ("--relay", f"tcp://{relay.address}:{RELAY_PORT}")
    return zt


@pytest.fixture(autouse=True)
def stop_nodes(world: Site) -> Iterator[None]:
    yield
    world.stop_nodes()


def address_of(ready: dict[str, object]) -> str:
    addresses = ready["addresses"]
    assert isinstance(addresses, list)
    return next(str(text) for text in addresses if ":" not in text)


def refused(machine: Machine) -> int:
    """Return how many datagrams the rule of OUTPUT has met."""
    listed = machine.run(["iptables", "-L", "OUTPUT", "-v", "-x", "-n"], seconds=10.0)
    return int(listed.stdout.decode().splitlines()[2].split()[0])


def test_call_from_behind_the_firewall(world: Site, network: str, inside: Zt) -> None:
    outside = world.node("outside", network)
    listener = outside.start("listen", "7001", "--mode", "http")
    ip = address_of(listener.ready())
    done = inside.run("call", f"http://{ip}:7001/", seconds=30.0)
    assert (done.returncode, done.stdout) == (0, b"ok\n"), done.stderr.decode()
    # Instead of UDP, not beside it.
    assert refused(inside.machine) == 0


def test_stream_between_two_firewalls(
    world: Site, network: str, inside: Zt, relay: Machine, tmp_path: Path
) -> None:
    second = world.node("second", network, blocked(world, "second"))
    second.options += ("--relay", f"tcp://{relay.address}:{RELAY_PORT}")
    listener = second.start("listen", "7002", "--tcp", "--no-stdin")
    ip = address_of(listener.ready())
    payload = bytes(i * 7 & 255 for i in range(SIZE))
    done = inside.run("call", ip, "7002", data=payload, seconds=60.0)
    assert done.returncode == 0, done.stderr.decode()
    assert listener.wait(30.0) == 0, listener.words()
    assert listener.stdout.read_bytes() == payload


def test_failure_names_the_relay(world: Site, inside: Zt) -> None:
    nobody = f"tcp://{world.hub.address}:9"
    # The same identity, but no network that could be used as it was last time.
    state = inside.state.with_name("forgetful")
    state.mkdir(mode=0o700)
    for name in ("identity.public", "identity.secret"):
        shutil.copy(inside.state / name, state / name)
    wrong = Zt(inside.machine, state, (*inside.options[:-1], nobody))
    done = wrong.run("join", "--once", seconds=40.0)
    assert done.returncode == 80, done.stderr.decode()
    assert b"UDP not used; TCP relay 10.66.0.1/9 connection refused" in done.stderr


def test_silence_of_udp_is_noticed(world: Site, inside: Zt, relay: Machine) -> None:
    """A relay that is named and not forced is used after some seconds."""
    done = inside.machine.run(
        [sys.executable, "-c", _ONLINE, str(world.planet), f"{relay.address}/{RELAY_PORT}"],
        seconds=60.0,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr.decode()
    assert 3.0 <= float(done.stdout) < 6.0


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
def test_only_a_proxy_leads_out(
    world: Site, network: str, relay: Machine, scheme: str, tmp_path: Path
) -> None:
    """A machine that may talk to a proxy, by TCP, and to nobody else."""
    gate = world.node(f"gate-{scheme}", network)
    users = tmp_path / "users"
    users.write_text("worker:let me out\n")
    users.chmod(0o600)
    listen = f"{gate.machine.address}:3128"
    words = ("--listen", listen, "--auth-file", str(users), "--direct", "--allow-ports", "443")
    gate.start("proxy", *words).ready()
    listener = world.node(f"beyond-{scheme}", network).start("listen", "7003", "--mode", "http")
    ip = address_of(listener.ready())
    caged = world.lan.machine(f"caged-{scheme}")
    with required():
        only = ("-p", "tcp", "-d", gate.machine.address, "--dport", "3128", "-j", "ACCEPT")
        caged.command("iptables", "-A", "OUTPUT", *only)
        caged.command("iptables", "-A", "OUTPUT", "-j", "DROP")
    zt = world.node(f"caged-{scheme}", network, caged)
    config = tmp_path / "config.toml"
    config.write_text(f'upstream_proxy = "{scheme}://worker:let%20me%20out@{listen}"\n')
    zt.options += ("--config", str(config), "--relay", f"tcp://{relay.address}:{RELAY_PORT}")
    done = zt.run("call", f"http://{ip}:7003/", seconds=30.0)
    assert (done.returncode, done.stdout) == (0, b"ok\n"), done.stderr.decode()


def test_a_proxy_that_refuses(world: Site, network: str, relay: Machine, tmp_path: Path) -> None:
    gate = world.node("stern", network)
    gate.start("proxy").ready()
    config = tmp_path / "config.toml"
    config.write_text('upstream_proxy = "http://127.0.0.1:1080"\n')
    zt = world.node("turned-away", network, gate.machine)
    zt.options += ("--config", str(config), "--relay", f"tcp://{relay.address}:{RELAY_PORT}")
    done = zt.run("--join-timeout", "3s", "join", "--once", seconds=30.0)
    told = done.stderr.decode()
    assert done.returncode == 80, told
    assert "is not reached through http://127.0.0.1:1080" in told
