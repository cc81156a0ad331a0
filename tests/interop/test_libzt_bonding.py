"""The official library as a peer of our bonds: whatever the policy, nothing is lost."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

import pytest

from tests.support import libzt
from tests.support.bond_hosts import Bonded, Program, bonded
from tests.support.libzt_node import LibztNode, bytes_of, libzt_node
from tests.support.peers import required
from tests.support.zt_process import wait_until

pytestmark = pytest.mark.timeout(90)

VERSION: Final = "1.8.4"
PORT: Final = 21_001
SIZE: Final = 4_000_000
DATAGRAMS: Final = 150
POLICIES: Final = (
    "off",
    "active-backup",
    "broadcast",
    "balance-rr",
    "balance-xor",
    "balance-aware",
)


@dataclass(frozen=True, slots=True)
class World:
    """Two hosts with two cables: ours on the left, the library on the right."""

    bonded: Bonded
    official: LibztNode
    address: str


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("bonded")
    with required(), bonded(folder) as made, ExitStack() as stack:
        libzt.library(VERSION)
        node = stack.enter_context(
            libzt_node(VERSION, made.right, folder / "z", made.site.planet, made.network, PORT)
        )
        yield World(made, node, node.address())


@pytest.mark.parametrize("policy", POLICIES)
def test_nothing_is_lost(world: World, policy: str) -> None:
    zt, official, hub = world.bonded.node("left", world.bonded.left), world.official, world.bonded
    port = 7600 + 10 * POLICIES.index(policy)
    with ExitStack() as stack:
        stack.callback(hub.site.stop_nodes)
        source = Program(hub.left, "source")
        stack.callback(source.stop)
        where = (f"0:{world.address}:{port}", f"0:{world.address}:{port + 1}/udp")
        running = zt.start("--mp-bond", policy, "forward", *where)
        ready = running.ready()
        tcp, udp = (one["port"] for one in ready["forwards"])

        # The library answers each copy that a broadcast makes.
        official.serve("udp-serve", port=port + 1, count=10 * DATAGRAMS)
        before = [cable.sent() for cable in hub.cables]

        def is_direct() -> bool:
            source.do("datagrams", port=udp, count=5, rate=50, first=90_000)
            return bool(official.paths(ready["node"])) and any(
                cable.sent() > b for cable, b in zip(hub.cables, before, strict=True)
            )

        wait_until("a direct path", is_direct, 20.0)
        relayed = hub.site.hub.sent_bytes()
        told = source.do("datagrams", port=udp, count=DATAGRAMS, rate=100, replies=DATAGRAMS)
        expected = [f"re:{number:08d}" for number in range(DATAGRAMS)]
        replies = [text[:11] for text in told["replies"] if text[:11] < "re:00090000"]
        assert sorted(set(replies)) == expected
        assert policy == "broadcast" or len(replies) == DATAGRAMS

        serving = official.serve("tcp-serve", port=port, send=SIZE, seed=port + 1)
        taken = source.do("exchange", port=tcp, bytes=SIZE, seed=port)
        assert (taken["received"], taken["sha256"]) == (SIZE, digest(port + 1))
        assert official.result(serving)["received_sha256"] == digest(port)
        assert hub.site.hub.sent_bytes() - relayed < SIZE // 20
        assert official.paths(ready["node"])
        assert running.process.poll() is None


def digest(seed: int) -> str:
    return hashlib.sha256(bytes_of(seed, SIZE)).hexdigest()
