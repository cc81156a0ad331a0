"""The official library as the peer: our root and controller, its node here, `zt` there."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import libzt
from tests.support.libzt_node import LibztNode, bytes_of, libzt_node
from tests.support.peers import required
from tests.support.site import Site, site
from tests.support.zt_process import Zt

pytestmark = pytest.mark.timeout(180)

MEGABYTE = 1_000_000
LONG = 20 * MEGABYTE


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True, slots=True)
class Pair:
    """A libzt node that has joined, and `zt` in the same public network."""

    site: Site
    network: str
    libzt: LibztNode
    address: str
    zt: Zt


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with required(), site(tmp_path_factory.mktemp("site")) as made:
        yield made


@pytest.fixture(autouse=True)
def stop_nodes(world: Site) -> Iterator[None]:
    yield
    world.stop_nodes()


def joined(world: Site, version: str) -> Iterator[Pair]:
    label = f"z{version.replace('.', '')}"
    with required():
        libzt.library(version)  # a download must not count as time for joining
    network = world.create_network()
    machine = world.lan.machine(label)
    home = world.folder / label
    with libzt_node(version, machine, home, world.planet, network) as node:
        yield Pair(world, network, node, node.address(), world.node(f"n{label}", network))


@pytest.fixture(scope="module")
def new(world: Site) -> Iterator[Pair]:
    yield from joined(world, "1.8.4")


@pytest.fixture(scope="module")
def old(world: Site) -> Iterator[Pair]:
    yield from joined(world, "1.4.2")


def send_to_zt(pair: Pair, port: int, count: int, folder: Path) -> None:
    """The library connects to `zt listen` and sends; both send, both read to the end."""
    answer = bytes_of(port + 1, count)
    given = folder / "answer"
    given.write_bytes(answer)
    listener = pair.zt.start("listen", str(port), "--tcp", stdin=given)
    ready = listener.ready()
    ip = next(text for text in ready["addresses"] if ":" not in text)
    tag = pair.libzt.begin("tcp-connect", ip=ip, port=port, send=count, seed=port)
    result = pair.libzt.result(tag)
    assert listener.wait(30.0) == 0, listener.words()
    received = listener.stdout.read_bytes()
    assert (len(received), sha256(received)) == (count, result["sent_sha256"])
    assert (result["received"], result["received_sha256"]) == (count, sha256(answer))


def call_from_zt(pair: Pair, port: int, count: int) -> None:
    """`zt call` connects to the library and sends; both send, both read to the end."""
    data = bytes_of(port + 1, count)
    tag = pair.libzt.serve("tcp-serve", port=port, send=count, seed=port)
    done = pair.zt.run("call", pair.address, str(port), data=data, seconds=120.0)
    assert done.returncode == 0, done.stderr.decode()
    result = pair.libzt.result(tag)
    assert (result["received"], result["received_sha256"]) == (count, sha256(data))
    assert (len(done.stdout), sha256(done.stdout)) == (count, result["sent_sha256"])


def test_joins_and_gets_an_address(new: Pair) -> None:
    assert new.address.startswith("10.147.20.")
    node = new.libzt.expect("node", 0.0)["id"]
    members = new.site.controller.text("network", "members", new.network)
    assert node in members
    assert new.address in members


def test_library_connects_to_zt_listen(new: Pair, tmp_path: Path) -> None:
    send_to_zt(new, 7001, LONG, tmp_path)


def test_zt_call_connects_to_library(new: Pair) -> None:
    call_from_zt(new, 7002, LONG)


def test_library_asks_zt_by_udp(new: Pair) -> None:
    listener = new.zt.start("udp-listen", "7003", "--count", "1")
    ip = next(text for text in listener.ready()["addresses"] if ":" not in text)
    tag = new.libzt.begin("udp-send", ip=ip, port=7003, text="ping")
    assert new.libzt.result(tag)["text"] == "pong"
    assert listener.wait(10.0) == 0
    assert listener.stdout.read_bytes() == b"ping\n"


def test_zt_asks_library_by_udp(new: Pair) -> None:
    tag = new.libzt.serve("udp-serve", port=7004, count=1)
    to = f"{new.address}:7004"
    done = new.zt.run("udp-send", "--to", to, "--data", "hello", "--wait", "20s")
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.rstrip(b"\n") == b"re:hello"
    assert new.libzt.result(tag)["texts"] == ["hello"]


def test_old_library_joins_and_exchanges_tcp(old: Pair, tmp_path: Path) -> None:
    """The core of libzt 1.4.2 is ZeroTier 1.4.6: before AES-GMAC-SIV, so this is suite 1."""
    members = old.site.controller.text("network", "members", old.network)
    assert f"{old.libzt.expect('node', 0.0)['id']}\tyes\t1.4.6\t{old.address}" in members
    send_to_zt(old, 7011, 2 * MEGABYTE, tmp_path)
    call_from_zt(old, 7012, 2 * MEGABYTE)


def test_private_network_denies_until_authorised(world: Site) -> None:
    network = world.create_network(public=False)
    server = world.node("server", network)
    client = world.node("client", network)
    world.controller.text("network", "authorize", network, server.node_id())
    listener = server.start("listen", "7020", "--mode", "http")
    ip = next(text for text in listener.ready()["addresses"] if ":" not in text)

    began = time.monotonic()
    denied = client.run("call", f"http://{ip}:7020/")
    seconds = time.monotonic() - began
    assert denied.returncode == 82, denied.stderr.decode()
    assert client.node_id() in denied.stderr.decode()
    assert denied.stdout == b""
    assert seconds < 5.0

    world.controller.text("network", "authorize", network, client.node_id())
    allowed = client.run("call", f"http://{ip}:7020/")
    assert (allowed.returncode, allowed.stdout) == (0, b"ok\n"), allowed.stderr.decode()


def test_library_is_denied_and_then_authorised_while_it_waits(world: Site) -> None:
    with required():
        libzt.library("1.8.4")
    network = world.create_network(public=False)
    machine = world.lan.machine("zpriv")
    with libzt_node("1.8.4", machine, world.folder / "zpriv", world.planet, network) as node:
        name = node.expect("node", 30.0)["id"]
        node.expect("online", 60.0)
        waiting = time.monotonic() + 30.0
        while name not in world.controller.text("network", "members", network):
            assert time.monotonic() < waiting, "the controller never heard of the node"
        world.controller.text("network", "authorize", network, name)
        assert node.address(60.0).startswith("10.147.20.")
