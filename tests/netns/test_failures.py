"""What `zt call` says when something on the way is missing: one sentence and one code each."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.support.peers import required
from tests.support.site import Site, site
from tests.support.zt_process import Zt

pytestmark = pytest.mark.timeout(120)

QUICK = ("--join-timeout", "6s", "--connect-timeout", "6s")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with required(), site(tmp_path_factory.mktemp("site")) as made:
        yield made


@pytest.fixture(scope="module")
def network(world: Site) -> str:
    return world.create_network()


@pytest.fixture(scope="module")
def zt(world: Site, network: str) -> Zt:
    return world.node("caller", network)


def check(done: subprocess.CompletedProcess[bytes], code: int, *words: str) -> None:
    """The code, nothing on stdout, and a message of ours that has the words."""
    text = done.stderr.decode()
    assert (done.returncode, done.stdout) == (code, b""), text
    assert text.startswith("zt: "), text
    assert "Traceback" not in text
    for word in words:
        assert word in text


def test_refused_port(world: Site, network: str, zt: Zt) -> None:
    server = world.node("server", network)
    listener = server.start("listen", "7200", "--mode", "http")
    ip = next(text for text in listener.ready()["addresses"] if ":" not in text)
    check(zt.run(*QUICK, "call", ip, "7201"), 7, ip, "refused")
    listener.stop()


def test_nobody_has_the_address(zt: Zt) -> None:
    # They are asked for as long as stock nodes may take to listen.
    check(zt.run("--connect-timeout", "10s", "call", "10.147.20.254", "7202"), 7, "10.147.20.254")


def test_network_that_the_controller_does_not_know(world: Site, network: str) -> None:
    unknown = f"{network[:10]}{int(network[10:], 16) ^ 1:06x}"
    stranger = world.node("stranger", unknown)
    check(stranger.run(*QUICK, "call", "10.147.20.1", "80"), 81, unknown)


def test_controller_is_silent(world: Site, network: str) -> None:
    world.controller_process.kill()
    late = world.node("late", network)
    try:
        check(late.run(*QUICK, "call", "10.147.20.1", "80"), 81, network[:10])
    finally:
        world.restart_controller()


def test_root_is_silent(world: Site, network: str) -> None:
    world.root_process.kill()
    later = world.node("later", network)
    try:
        check(later.run(*QUICK, "call", "10.147.20.1", "80"), 80)
    finally:
        world.restart_root()
