"""A node with several paths: the sockets that it opens, and what it tells of its bonds."""

from __future__ import annotations

import asyncio
import json
import socket
from dataclasses import replace
from pathlib import Path

import pytest

import ztstack
from tests.support.loopback import two_nodes
from tests.support.vl2 import ALICE
from ztstack.aio.routes import Routes
from ztstack.aio.udp import UdpSockets
from ztstack.base.endpoint import Endpoint
from ztstack.base.errors import InvalidConfig, PortInUse, StorageError

LOOPBACK = bytes((127, 0, 0, 1))


def local_of(config: ztstack.NodeConfig) -> list[str]:
    async def run() -> list[str]:
        node = ztstack.Node(config)
        await node.start()
        try:
            return list(node.status().local)
        finally:
            await node.stop()

    return asyncio.run(run())


def wanting(**wishes: object) -> ztstack.NodeConfig:
    multipath = ztstack.Multipath(**wishes)  # type: ignore[arg-type]
    return ztstack.NodeConfig(identity=ALICE, multipath=multipath, relay=None)


def test_each_port_on_each_address() -> None:
    found = local_of(wanting(ports=(0, 0, 0), bind=(LOOPBACK,)))
    assert len(set(found)) == 3
    assert all(text.startswith("127.0.0.1/") for text in found)


def test_ports_without_addresses_are_of_all() -> None:
    found = local_of(wanting(ports=(0, 0)))
    assert len({text.rpartition("/")[2] for text in found}) == 2
    assert {text.rpartition("/")[0] for text in found} <= {"0.0.0.0", "::"}


def test_a_port_in_use_is_an_error() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("0.0.0.0", 0))
        with pytest.raises(PortInUse):
            local_of(wanting(ports=(taken.getsockname()[1],)))


def test_an_address_that_is_not_ours_is_an_error() -> None:
    with pytest.raises(InvalidConfig, match=r"192\.0\.2\.1"):
        local_of(wanting(bind=(bytes((192, 0, 2, 1)),)))


def test_the_way_to_loopback_is_its_interface() -> None:
    async def run() -> tuple[str, str]:
        udp = UdpSockets(asyncio.get_running_loop(), None)  # type: ignore[arg-type] # none comes
        udp.open(Endpoint(LOOPBACK, 0))
        routes, remote = Routes(udp), Endpoint(LOOPBACK, 9)
        try:
            return routes.interface_to(0, remote), routes.interface_to(7, remote)
        finally:
            udp.close()

    bound, routed = asyncio.run(run())
    assert bound == routed != ""


def test_a_running_node_tells_its_bonds(tmp_path: Path) -> None:
    async def run() -> None:
        async with two_nodes(tmp_path) as (alice, bob):
            config = replace(
                alice.config,
                state=tmp_path / "state",
                identity=None,
                multipath=ztstack.Multipath(ztstack.BondPolicy.ACTIVE_BACKUP),
            )
            await alice.stop()
            await asyncio.to_thread(keep_identity, tmp_path / "state")
            assert await ztstack.running_bonds(tmp_path / "state") is None
            async with ztstack.Node(config) as node:
                mode = (tmp_path / "state" / "bonds.sock").stat().st_mode
                assert mode & 0o777 == 0o600
                while not (bonds := bonds_with(node, bob)):
                    await node.echo(bob.address)
                    await asyncio.sleep(0.05)
                told = await ztstack.running_bonds(tmp_path / "state")
                assert told is not None
                assert json.dumps(told)
                peers = {bond["peer"] for bond in told}
                assert {str(bond.peer) for bond in bonds} <= peers
                assert {bond["policy"] for bond in told} == {"active-backup"}
            assert await ztstack.running_bonds(tmp_path / "state") is None

    async def limited() -> None:
        async with asyncio.timeout(30):
            await run()

    asyncio.run(limited())


def bonds_with(node: ztstack.Node, other: ztstack.Node) -> list[ztstack.BondReport]:
    return [bond for bond in node.status().bonds if bond.peer == other.address]


def keep_identity(state: Path) -> None:
    state.mkdir(mode=0o700)
    file = state / "identity.secret"
    file.touch(0o600)
    file.write_text(ALICE.secret_text())


def test_a_node_that_answers_otherwise(tmp_path: Path) -> None:
    async def run() -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readline()
            writer.write(b'{"status": 400}\n')
            writer.close()

        server = await asyncio.start_unix_server(answer, tmp_path / "bonds.sock")
        try:
            with pytest.raises(StorageError, match="did not tell"):
                await ztstack.running_bonds(tmp_path)
        finally:
            server.close()

    asyncio.run(run())
