"""UDP multicast between real processes, each on a machine of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.peers import required
from tests.support.site import Site, site
from tests.support.zt_process import Zt

pytestmark = pytest.mark.timeout(120)

PORT = "7300"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with required(), site(tmp_path_factory.mktemp("site")) as made:
        yield made


@pytest.fixture(scope="module")
def nodes(world: Site) -> tuple[Zt, Zt, Zt]:
    network = world.create_network()
    first, second, third = (world.node(label, network) for label in ("one", "two", "three"))
    return first, second, third


def test_everybody_in_the_groups_hears(nodes: tuple[Zt, Zt, Zt]) -> None:
    *listening, sender = nodes
    groups = ("239.1.2.3", "ff05::1:3")
    joins = [word for group in groups for word in ("--group", group)]
    listeners = [
        zt.start("udp-listen", PORT, *joins, "--reply", "here", "--count", "2") for zt in listening
    ]
    for listener in listeners:
        listener.ready()
    for to, data in ((f"{groups[0]}:{PORT}", "four"), (f"[{groups[1]}]:{PORT}", "six")):
        done = sender.run("udp-send", "--to", to, "--data", data, "--wait", "10s", "--count", "2")
        assert done.returncode == 0, done.stderr.decode()
        assert done.stdout == b"here\nhere\n"
    for listener in listeners:
        assert listener.wait(10.0) == 0, listener.words()
        assert Path(listener.stdout).read_bytes() == b"four\nsix\n"
