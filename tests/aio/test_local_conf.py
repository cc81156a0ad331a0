from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import ifaddr
import pytest
from hypothesis import given, strategies as st

import ztstack
from tests.support.vl2 import ALICE, ROOT as ROOT_IDENTITY
from ztstack.aio.local_addresses import local_addresses
from ztstack.aio.local_conf import LocalConf, parse_local_conf, read_local_conf
from ztstack.aio.service import Service
from ztstack.base.address import Address
from ztstack.base.endpoint import Endpoint
from ztstack.base.errors import InvalidConfig
from ztstack.bonding.settings import BondPolicy, BondSettings, Multipath, PolicySettings
from ztstack.vl1.policy import PhysicalNetwork

PEER = Address.parse("a1b2c3d4e5")
EXAMPLE = {
    "physical": {
        "10.0.0.0/24": {"blacklist": True},
        "10.10.10.0/24": {"trustedPathId": 101010024, "mtu": 9000},
        "fd00::/8": {"mtu": 1},
        "192.168.1.7/16": {"mtu": 0},
    },
    "virtual": {
        "a1b2c3d4e5": {
            "try": ["10.10.20.1/9993", "fd00::1/21234"],
            "blacklist": ["10.20.0.0/16"],
        },
        "0102030405": {},
    },
    "settings": {
        "primaryPort": 0,
        "portMappingEnabled": True,
        "softwareUpdate": "disable",
        "interfacePrefixBlacklist": ["docker"],
        "allowManagementFrom": ["127.0.0.1"],
    },
    "somethingElse": [1, 2],
}


def parsed(value: object) -> LocalConf:
    return parse_local_conf(json.dumps(value).encode())


def test_an_official_file() -> None:
    found = parsed(EXAMPLE)
    assert found.physical.networks == (
        PhysicalNetwork(bytes((10, 0, 0, 0)), 24, blacklisted=True),
        PhysicalNetwork(bytes((10, 10, 10, 0)), 24, trusted_path_id=101010024, mtu=9000),
        PhysicalNetwork(bytes((192, 168, 0, 0)), 16),
        PhysicalNetwork(bytes((0xFD, *bytes(15))), 8, mtu=1400),
    )
    assert found.physical.refused == {PEER: ((bytes((10, 20, 0, 0)), 16),)}
    assert found.physical.hints == {
        PEER: (Endpoint.parse("10.10.20.1/9993"), Endpoint.parse("fd00::1/21234"))
    }
    assert (found.ports, found.bind, found.endpoints()) == ((), (), ())


@pytest.mark.parametrize("text", [b"", b" \n", b"{}", b'{"settings": {}}'])
def test_nothing_is_configured(text: bytes) -> None:
    assert parse_local_conf(text) == LocalConf()


@pytest.mark.parametrize(
    ("settings", "ports"),
    [
        ({}, ()),
        ({"primaryPort": 0}, ()),
        ({"primaryPort": 1234}, (1234,)),
        ({"primaryPort": 1234, "secondaryPort": 5678}, (1234, 5678)),
        ({"primaryPort": 1234, "secondaryPort": 1234}, (1234,)),
        ({"primaryPort": 1234, "secondaryPort": 5678, "allowSecondaryPort": False}, (1234,)),
        ({"secondaryPort": 5678}, (9993, 5678)),
    ],
)
def test_ports(settings: dict[str, Any], ports: tuple[int, ...]) -> None:
    assert parsed({"settings": settings}).ports == ports


def test_addresses_to_bind() -> None:
    ips = ["192.168.0.4", "fd00::4"]
    found = parsed({"settings": {"bind": ips, "primaryPort": 7, "secondaryPort": 8}})
    assert [str(endpoint) for endpoint in found.endpoints()] == [
        "192.168.0.4/7",
        "fd00::4/7",
        "192.168.0.4/8",
        "fd00::4/8",
    ]
    found = parsed({"settings": {"bind": ips[:1]}})
    assert [str(endpoint) for endpoint in found.endpoints()] == ["192.168.0.4/9993"]
    anywhere = parsed({"settings": {"primaryPort": 7}}).endpoints()
    assert str(anywhere[0]) == "0.0.0.0/7"
    assert [str(endpoint) for endpoint in anywhere[1:]] in ([], ["::/7"])


RELAY, OTHER = Endpoint.parse("204.80.128.1/443"), Endpoint.parse("10.0.0.1/443")


@pytest.mark.parametrize(
    ("settings", "auto"),
    [
        ({}, (RELAY, False)),
        ({"allowTcpFallbackRelay": False}, (None, False)),
        ({"forceTcpRelay": True}, (RELAY, True)),
        ({"tcpFallbackRelay": "10.0.0.1/443"}, (OTHER, False)),
        ({"tcpFallbackRelay": "10.0.0.1/443", "forceTcpRelay": True}, (OTHER, True)),
    ],
)
def test_the_relay(settings: dict[str, Any], auto: tuple[Endpoint | None, bool]) -> None:
    found = parsed({"settings": settings})
    assert found.relay_choice(RELAY, RELAY, forced=False) == auto
    # What the caller says counts more.
    mine = Endpoint.parse("10.0.0.2/443")
    assert found.relay_choice(mine, RELAY, forced=True) == (mine, True)
    assert found.relay_choice(None, RELAY, forced=False) == (None, False)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("\xff", "not JSON"),
        ("[]", "the file is to be an object"),
        ('{"physical": []}', "physical is to be an object"),
        ('{"physical": {"10.0.0.0/8": 1}}', "physical 10.0.0.0/8 is to be an object"),
        ('{"physical": {"10.0.0.0/33": {}}}', "IP/BITS"),
        ('{"physical": {"somewhere": {}}}', "IP/BITS"),
        ('{"physical": {"10.0.0.0/8": {"mtu": "big"}}}', "mtu"),
        ('{"physical": {"10.0.0.0/8": {"trustedPathId": -1}}}', "trustedPathId"),
        ('{"physical": {"10.0.0.0/8": {"trustedPathId": 18446744073709551616}}}', "64 bits"),
        ('{"physical": {"10.0.0.0/8": {"blacklist": 1}}}', "blacklist"),
        ('{"virtual": {"nobody": {"try": ["1.2.3.4/5"]}}}', "nobody"),
        ('{"virtual": {"a1b2c3d4e5": {"try": "1.2.3.4/5"}}}', "try"),
        ('{"virtual": {"a1b2c3d4e5": {"try": ["1.2.3.4/0"]}}}', "port"),
        ('{"virtual": {"a1b2c3d4e5": {"try": [7]}}}', "try"),
        ('{"virtual": {"a1b2c3d4e5": {"blacklist": ["x"]}}}', "IP/BITS"),
        ('{"settings": {"primaryPort": 65536}}', "65535"),
        ('{"settings": {"primaryPort": true}}', "primaryPort"),
        ('{"settings": {"bind": ["x"]}}', "IP address"),
        ('{"settings": {"tcpFallbackRelay": 7}}', "tcpFallbackRelay"),
        ('{"settings": {"tcpFallbackRelay": "1.2.3.4"}}', "IP/PORT"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "local.conf").write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidConfig, match=words) as raised:
        read_local_conf(tmp_path)
    assert "local.conf" in str(raised.value)


@given(st.binary(max_size=80))
def test_noise_is_refused_in_one_way(noise: bytes) -> None:
    try:
        parse_local_conf(noise)
    except InvalidConfig:
        return


def test_without_a_file(tmp_path: Path) -> None:
    assert read_local_conf(tmp_path) == read_local_conf(None) == LocalConf()
    assert read_local_conf(tmp_path / "missing") == LocalConf()


# Interfaces that are not to be used.


def adapter(name: str, *addresses: tuple[str, int]) -> ifaddr.Adapter:
    return ifaddr.Adapter(name, name, [ifaddr.IP(ip, bits, name) for ip, bits in addresses])


def test_interfaces_that_are_not_to_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    adapters = [
        adapter("eth0", ("192.168.1.2", 24)),
        adapter("wlan0", ("192.168.1.3", 24), ("100.64.9.1", 16)),
        adapter("docker0", ("172.17.0.1", 16)),
        adapter("zt0", ("10.147.20.1", 24)),
    ]
    monkeypatch.setattr(ifaddr, "get_adapters", lambda: adapters)
    found = parsed({"settings": {"interfacePrefixBlacklist": ["docker", "wlan"]}})
    assert found.unused_interfaces == ("docker", "wlan")
    told = local_addresses(loopback=False, unused=found.unused_interfaces)
    assert told == [bytes((192, 168, 1, 2))]
    assert len(local_addresses(loopback=False)) == 4
    physical = found.physical_now()
    # The network of two interfaces is still reached by the other one.
    for ip, is_refused in (
        ("172.17.3.3", True),
        ("100.64.200.1", True),
        ("192.168.1.9", False),
        ("8.8.8.8", False),
    ):
        remote = Endpoint.parse(f"{ip}/9993")
        assert physical.refuses(PEER, remote) is is_refused
        assert not found.physical.refuses(PEER, remote)
        assert physical.rule(remote) is None


def test_nothing_is_asked_if_every_interface_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ifaddr, "get_adapters", None)
    found = parsed({"settings": {"interfacePrefixBlacklist": []}})
    assert found.physical_now() is found.physical


def test_bonds_are_told_too() -> None:
    found = parsed({"settings": {"interfacePrefixBlacklist": ["docker"]}})
    assert found.bond_settings(None) is None
    made = found.bond_settings(Multipath(BondPolicy.BALANCE_RR))
    assert made == BondSettings(
        PolicySettings(BondPolicy.BALANCE_RR), unused_interfaces=("docker",)
    )
    found = parsed(
        {"settings": {"interfacePrefixBlacklist": ["tun"], "defaultBondingPolicy": "none"}}
    )
    assert found.bond_settings(None) == BondSettings(unused_interfaces=("tun",))


# A node that has one.


def lab_planet() -> bytes:
    where = Endpoint.parse("127.0.0.1/9")
    world = ztstack.make_planet(
        1, [(ROOT_IDENTITY, (where,))], ROOT_IDENTITY, ztstack.SystemEntropy()
    )
    return world.serialize()


def test_a_node_refuses_to_start_before_it_opens_anything(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / "local.conf").write_text("{ bad")
    config = ztstack.NodeConfig(state=state, identity=ALICE, planet=lab_planet())
    with pytest.raises(InvalidConfig, match="not JSON"):
        asyncio.run(ztstack.Node(config).start())
    assert [path.name for path in state.iterdir()] == ["local.conf"]


def test_a_node_binds_what_the_file_says(tmp_path: Path) -> None:
    port = free_port()
    settings = {"bind": ["127.0.0.1"], "primaryPort": port}
    (tmp_path / "local.conf").write_text(json.dumps({"settings": settings}))
    config = ztstack.NodeConfig(state=tmp_path, identity=ALICE, planet=lab_planet())

    async def local(config: ztstack.NodeConfig) -> tuple[str, ...]:
        async with ztstack.Node(config) as node:
            return node.status().local

    assert asyncio.run(local(config)) == (f"127.0.0.1/{port}",)


def test_a_node_keeps_off_an_interface(tmp_path: Path) -> None:
    """On the loopback interface of a lab all addresses may be told, unless it is not to be used."""

    async def reachable(settings: dict[str, Any]) -> bool:
        state = tmp_path / str(len(settings))
        state.mkdir()
        (state / "local.conf").write_text(json.dumps({"settings": settings}))
        config = ztstack.NodeConfig(state=state, identity=ALICE, planet=lab_planet(), lab=True)
        service = Service(config)
        await service.start()
        try:
            return any(endpoint.host == "127.0.0.1" for _, endpoint in service._reachable_at)
        finally:
            await service.stop()

    assert asyncio.run(reachable({}))
    assert not asyncio.run(reachable({"interfacePrefixBlacklist": ["lo"]}))


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
