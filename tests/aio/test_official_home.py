"""A home directory of the official service is used as it is, and stays one."""

from __future__ import annotations

import asyncio
import json
import socket
from dataclasses import replace
from pathlib import Path

import pytest

import ztstack
from tests.support.vectors import load
from tests.support.vl2 import BOB, ROOT as ROOT_IDENTITY
from ztstack.aio.moons import load_moons
from ztstack.aio.storage import Storage
from ztstack.base.address import Address
from ztstack.base.codec import Reader
from ztstack.base.endpoint import Endpoint
from ztstack.crypto.identity import Identity
from ztstack.wire.network_config import ConfigChunk
from ztstack.wire.planet import official_planet
from ztstack.wire.replies import Ok
from ztstack.wire.world import EARTH_ID, World

SESSION = load("session_network.json")
NODES = {node["name"]: Identity.parse(node["secret"]) for node in SESSION["nodes"]}
ME, NETWORK = NODES["alice"], SESSION["network"]
MOON = ztstack.make_moon(1_000_000, [(BOB, (Endpoint.parse("127.0.0.1/9"),))], BOB)
# Written by the service and no business of ours.
STRANGE = {
    "authtoken.secret": b"x" * 24,
    "metricstoken.secret": b"y" * 24,
    "zerotier-one.pid": b"1234",
    "metrics.prom": b"zt_packet 1\n",
    ".hidden": b"somebody's own",
    "networks.d/" + NETWORK + ".local.conf": b"allowManaged=1\nallowGlobal=0\n",
    "controller.d/trace": b"",
}


def recorded_config() -> bytes:
    """Return the configuration that the original controller sent to this node, in one chunk."""
    for case in SESSION["cases"]:
        packet = case.get("packet") or {}
        payload = bytes.fromhex(packet.get("payload") or "")
        if packet.get("dest") == str(ME.address) and packet.get("verb_name") == "OK":
            ok = Ok.decode(Reader(payload))
            if ok.in_re_verb == 0x0B:
                return ConfigChunk.decode(Reader(ok.body)).data
    raise AssertionError("the recording has no configuration")


def peer_record(identity: Identity, *endpoints: str) -> bytes:
    """Return a record as the original writes it (vl1 section 9), byte by byte."""
    versions = b"".join(number.to_bytes(2, "big") for number in (12, 1, 14, 1))
    identity_bytes = identity.address.packed + b"\x00" + identity.public_key + b"\x00"
    paths = b""
    for text in endpoints:
        endpoint = Endpoint.parse(text)
        kind = b"\x04" if endpoint.is_ipv4 else b"\x06"
        paths += kind + endpoint.ip + endpoint.port.to_bytes(2, "big")
    return b"\x02" + identity_bytes + versions + len(endpoints).to_bytes(2, "big") + paths


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("0.0.0.0", 0))
        return int(sock.getsockname()[1])


@pytest.fixture
def home(tmp_path: Path) -> Path:
    where = (Endpoint.parse("127.0.0.1/9"),)
    planet = ztstack.make_planet(
        1, [(ROOT_IDENTITY, where)], ROOT_IDENTITY, ztstack.SystemEntropy()
    )
    files = {
        "identity.secret": ME.secret_text().encode(),
        "identity.public": ME.public_text().encode(),
        "planet": planet.serialize(),
        "zerotier-one.port": str(free_port()).encode(),
        f"moons.d/{MOON.id:016x}.moon": MOON.serialize(),
        "moons.d/readme.txt": b"not a moon",
        "moons.d/0000000000000001.moon": MOON.serialize(),
        f"networks.d/{NETWORK}.conf": recorded_config(),
        f"peers.d/{NODES['bob'].address}.peer": peer_record(NODES["bob"], "127.0.0.1/9", "::1/9"),
        "peers.d/0000000000.peer": b"damaged",
        **STRANGE,
    }
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    (tmp_path / "identity.secret").chmod(0o600)
    return tmp_path


def contents(home: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(home)): path.read_bytes() for path in home.rglob("*") if path.is_file()
    }


def test_everything_in_it_is_used(home: Path) -> None:
    async def main() -> None:
        node = ztstack.Node(ztstack.NodeConfig(state=home))
        await node.start()
        try:
            assert node.address == ME.address
            port = (home / "zerotier-one.port").read_text()
            assert f"0.0.0.0/{port}" in node.status().local
            assert node.moons() == [MOON]
            switch = node.service.node.switch
            assert switch.is_upstream(BOB.address)
            assert switch.identity_of(NODES["bob"].address) == NODES["bob"].public
            # Before any root has answered.
            await node.join(NETWORK, 1.0)
            assert "10.144.1.2" in node.addresses()
        finally:
            await node.stop()

    asyncio.run(main())


def test_it_stays_an_official_one(home: Path) -> None:
    before = contents(home)

    async def main() -> None:
        async with ztstack.Node(ztstack.NodeConfig(state=home), network=NETWORK):
            pass

    asyncio.run(main())
    after = contents(home)
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) <= {"lock", "identity.checked", "machine.fp"}


def test_peer_records_are_written_as_the_original_does(home: Path) -> None:
    record = (home / "peers.d" / f"{NODES['bob'].address}.peer").read_bytes()

    async def main() -> dict[Address, bytes]:
        async with ztstack.Node(ztstack.NodeConfig(state=home)) as node:
            return node.service.node.switch.peer_records()

    assert asyncio.run(main()) == {NODES["bob"].address: record}


def test_its_moons_can_be_left(home: Path) -> None:
    async def main() -> None:
        async with ztstack.Node(ztstack.NodeConfig(state=home)) as node:
            assert node.deorbit(MOON.id)
            assert not node.deorbit(MOON.id)
            assert node.moons() == []
            assert not node.service.node.switch.is_upstream(BOB.address)

    asyncio.run(main())
    assert load_moons(Storage(home)) == []


@pytest.mark.parametrize("is_official", [True, False])
def test_the_official_planet_is_renewed_and_no_other(home: Path, is_official: bool) -> None:
    """The built-in planet replaces a file only by the rules of an update (vl1 section 5.3)."""
    where = (Endpoint.parse("127.0.0.1/9"),)
    mine = ztstack.make_planet(
        1_000_000, [(ROOT_IDENTITY, where)], ROOT_IDENTITY, ztstack.SystemEntropy()
    )
    mine = replace(mine, id=EARTH_ID)
    if is_official:
        mine = replace(mine, signer_key=official_planet().signer_key)
    (home / "planet").write_bytes(mine.serialize())

    async def main() -> World:
        bind = (Endpoint.parse("127.0.0.1/0"),)
        node = ztstack.Node(ztstack.NodeConfig(state=home, bind=bind, relay=None))
        await node.start()
        try:
            return node.service.node.switch.world
        finally:
            await node.stop()

    assert asyncio.run(main()) == (official_planet() if is_official else mine)


def test_a_blacklisted_network_is_no_path(home: Path) -> None:
    """`local.conf` reaches the node: it hears a root on loopback, and takes no path there."""

    async def main(state: Path) -> list[str]:
        storage = Storage(state.parent / "lab")
        storage.open()
        storage.save_identity(ROOT_IDENTITY)
        storage.close()
        lab = ztstack.Lab(state.parent / "lab")
        details = await lab.start()
        try:
            config = ztstack.NodeConfig(
                state=state, identity=ME, planet=details.planet.read_bytes()
            )
            async with ztstack.Node(config) as node:
                await node.online()
                await asyncio.sleep(0.1)
                return [peer.link for peer in node.status().peers]
        finally:
            await lab.stop()

    state = home / "state"
    state.mkdir()
    assert asyncio.run(main(state)) == ["direct"]
    refused = {"physical": {"127.0.0.0/8": {"blacklist": True}}}
    (state / "local.conf").write_text(json.dumps(refused))
    assert asyncio.run(main(state)) == ["relay"]
