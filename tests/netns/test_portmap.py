"""A node that finds a router by multicast, maps its port there, and gives it back."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.netns import Lan, lan
from tests.support.peers import required
from tests.support.states import keep_identity
from tests.support.vl2 import ALICE, BOB
from tests.support.zt_process import ROOT, Zt, environment, wait_until

pytestmark = pytest.mark.timeout(60)

_ROUTER = """
import asyncio, json, sys
from tests.support.upnp_router import UpnpRouter, answer_searches

async def main(ip):
    router = UpnpRouter(ip)
    await router.start()
    await answer_searches(router)
    print("ready", flush=True)
    while not router.mappings:
        await asyncio.sleep(0.05)
    print(json.dumps(router.mappings), flush=True)
    while router.mappings:
        await asyncio.sleep(0.05)
    print("empty", flush=True)

asyncio.run(main(sys.argv[1]))
"""


@contextmanager
def router(network: Lan) -> Iterator[subprocess.Popen[bytes]]:
    """Run a router that says what is mapped, and that nothing is any more."""
    machine = network.machine("router")
    argv = [*machine.wrap, sys.executable, "-c", _ROUTER, machine.address]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=ROOT, env=environment())
    try:
        assert said(process) == b"ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def said(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    return process.stdout.readline()


def test_port_of_a_router(tmp_path: Path) -> None:
    with required(), lan() as network, router(network) as process:
        planet = tmp_path / "planet"
        options = ("--planet", str(planet))
        root = Zt(network.machine("root"), tmp_path / "root", options)
        node = Zt(network.machine("node"), tmp_path / "state", options)
        keep_identity(root.state, ALICE)
        keep_identity(node.state, BOB)
        where = f"{root.state}@{root.machine.address}:9993"
        root.text(
            "planet", "make", "--root", where, "--sign-with", str(root.state), "-o", str(planet)
        )
        running = root.start("root", "run")
        running.ready()
        watching = node.start(
            *("--port-mapping", "--bind-udp", "0.0.0.0:9993", "--json", "status", "--watch"),
            ready=False,
        )
        try:
            assert json.loads(said(process)) == {"9993": [node.machine.address, 9993, 600]}

            def is_shown() -> bool:
                lines = watching.stdout.read_text().rpartition("\n")[0].splitlines()
                return any("203.0.113.9/9993" in json.loads(line)["local"] for line in lines)

            wait_until("the external address", is_shown, 20.0)
        finally:
            watching.stop()
            root.stop_all()
        assert said(process) == b"empty\n"
