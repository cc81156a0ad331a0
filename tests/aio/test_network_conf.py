"""`networks.d/<nwid>.local.conf`: its values, its mistakes, and what they do to a node."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path

import pytest

import ztstack
from tests.support.vl2 import ALICE, NETWORK, ROOT, config_for
from ztstack.aio.network_conf import network_conf_file, parse_network_conf, read_network_conf
from ztstack.aio.storage import Storage
from ztstack.base.endpoint import Endpoint
from ztstack.base.errors import InvalidConfig, NameNotResolved, StorageError
from ztstack.vl2.local_settings import EVERYTHING, LocalSettings
from ztstack.vl2.network_config import Route

OFFICIAL = b"allowManaged=1\nallowGlobal=0\nallowDefault=0\nallowDNS=0\n"


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        (b"", LocalSettings()),
        (OFFICIAL, LocalSettings()),
        (b"allowManaged=0", LocalSettings(allow_managed=False)),
        (b"allowManaged=\n", LocalSettings(allow_managed=False)),
        (b"allowGlobal=1\r\n", LocalSettings(allow_global=True)),
        (b"allowDNS=0\r\nallowDefault=true", LocalSettings(allow_default=True)),
        (b"allowDNS=t", LocalSettings(allow_dns=True)),
        (b"allowDNS=0\nallowDNS=1\n", LocalSettings()),
        (
            b"allowManaged=10.0.0.0/8, fd00::1/8\n",
            LocalSettings(only=((bytes((10, 0, 0, 0)), 8), (b"\xfd" + bytes(15), 8))),
        ),
    ],
)
def test_values(text: bytes, settings: LocalSettings) -> None:
    assert parse_network_conf(text) == settings


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"allowEverything=1", "allowEverything"),
        (b"allowmanaged=1", "allowmanaged"),
        (b"allowGlobal=yes", "allowGlobal is 0 or 1, not 'yes'"),
        (b"allowManaged=2", "allowManaged is 0 or 1"),
        (b"allowManaged=10.0.0.0/33", "allowManaged is 0, 1 or a list"),
        (b"allowManaged=10.0.0.0/8,,fd00::/8", "allowManaged is 0, 1 or a list"),
        (b"allowDNS=\xff", "allowDNS"),
        (b"allowDNS=1\n" * 1000, "longer than 4096 bytes"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: bytes, words: str) -> None:
    path = network_conf_file(tmp_path, NETWORK)
    path.parent.mkdir()
    path.write_bytes(text)
    with pytest.raises(InvalidConfig) as raised:
        read_network_conf(tmp_path, NETWORK)
    assert str(path) in str(raised.value)
    assert words in str(raised.value)


def test_without_a_file_everything_is_taken(tmp_path: Path) -> None:
    assert read_network_conf(None, NETWORK) == EVERYTHING
    assert read_network_conf(tmp_path, NETWORK) == EVERYTHING
    network_conf_file(tmp_path, NETWORK).mkdir(parents=True)
    with pytest.raises(StorageError):
        read_network_conf(tmp_path, NETWORK)


def test_the_file_is_no_network(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    storage.open()
    network_conf_file(tmp_path, NETWORK).write_bytes(OFFICIAL)
    assert storage.networks() == []
    storage.close()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A state directory with a cached configuration and roots that are silent."""
    planet = ztstack.make_planet(
        1, [(ROOT, (Endpoint.parse("127.0.0.1/9"),))], ROOT, ztstack.SystemEntropy()
    )
    storage = Storage(tmp_path)
    storage.open()
    storage.save_identity(ALICE)
    storage.save_planet(planet.serialize())
    config = config_for(
        ALICE,
        addresses=((bytes((10, 1, 2, 3)), 24), (bytes((8, 9, 10, 11)), 24)),
        routes=(Route(bytes(4), 0, bytes((10, 1, 2, 1))),),
        dns_domain="lab.test",
        dns_servers=(Endpoint(bytes((10, 1, 2, 9)), 0),),
    )
    storage.save_network(NETWORK, config.to_dictionary())
    storage.close()
    return tmp_path


async def looked_at(home: Path) -> tuple[dict[str, object], str]:
    """Return the report on the network, and what is said about a name."""
    async with ztstack.Node(ztstack.NodeConfig(state=home), network=str(NETWORK)) as node:
        (report,) = node.status().networks
        # Nobody answers, so all is as it was kept.
        assert not await node.refreshed(timeout=0.05)
        try:
            await node.ping("host.lab.test", timeout=0.05)
        except NameNotResolved as error:
            return asdict(report), str(error)
        except (ztstack.ZtError, TimeoutError) as error:
            return asdict(report), type(error).__name__
    raise AssertionError("somebody answered")


def test_a_node_does_as_it_is_told(home: Path) -> None:
    report, words = asyncio.run(looked_at(home))
    assert report["addresses"] == ("10.1.2.3/24", "8.9.10.11/24")
    assert report["routes"] == ("0.0.0.0/0 via 10.1.2.1",)
    assert (report["dns_domain"], report["dns_servers"]) == ("lab.test", ("10.1.2.9",))
    assert report["allow_dns"] is True
    assert "names a DNS server" not in words

    network_conf_file(home, NETWORK).write_bytes(OFFICIAL)
    report, words = asyncio.run(looked_at(home))
    assert report["addresses"] == ("10.1.2.3/24",)
    assert report["routes"] == ()
    # What the network pushed can be seen, and is not used.
    assert report["dns_servers"] == ("10.1.2.9",)
    assert (report["allow_managed"], report["allow_dns"]) == (True, False)
    assert "no joined network names a DNS server" in words


def test_a_network_that_may_nothing_is_refused_with_the_file_named(home: Path) -> None:
    path = network_conf_file(home, NETWORK)
    for text, words in ((b"allowManaged=0", path.name), (b"nonsense=1", "nonsense")):
        path.write_bytes(text)
        with pytest.raises(InvalidConfig, match=words):
            asyncio.run(looked_at(home))
