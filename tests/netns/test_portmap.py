"""A node that finds a router by multicast, maps its port there, and gives it back."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.netns import lan
from tests.support.peers import required
from tests.support.zt_process import ROOT, environment

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

_NODE = """
import asyncio, ztstack
from tests.support.vl2 import BOB

async def main():
    bind = (ztstack.Endpoint.parse("0.0.0.0/9993"),)
    node = ztstack.Node(
        ztstack.NodeConfig(identity=BOB, bind=bind, port_mapping=True, relay=None)
    )
    await node.start()
    async with asyncio.timeout(20):
        while "203.0.113.9/9993" not in node.status().local:
            await asyncio.sleep(0.05)
    await node.stop()

asyncio.run(main())
"""


def test_port_of_a_router() -> None:
    with required(), lan() as network:
        router, machine = network.machine("router"), network.machine("node")
        argv = [*router.wrap, sys.executable, "-c", _ROUTER, router.address]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=ROOT, env=environment())
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            done = machine.run([sys.executable, "-c", _NODE], seconds=40.0, env=environment())
            assert done.returncode == 0, done.stderr.decode()
            mapped = json.loads(process.stdout.readline())
            assert mapped == {"9993": [machine.address, 9993, 600]}
            assert process.stdout.readline() == b"empty\n"
        finally:
            process.kill()
            process.communicate()
