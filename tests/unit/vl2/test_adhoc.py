from __future__ import annotations

from typing import Any

import pytest

from tests.support.vectors import cases
from ztstack.base.address import Address
from ztstack.base.network_id import NetworkId
from ztstack.vl2.adhoc import adhoc_config, is_adhoc_range_bad, rfc4193, six_plane
from ztstack.wire.rules import ACCEPT_ALL

NODE = Address(0x89E92CEEE5)


@pytest.mark.parametrize("case", cases("mac.json", "assigned_ipv6"))
def test_derived_addresses(case: dict[str, Any]) -> None:
    network, address = NetworkId.parse(case["nwid"]), Address.parse(case["address"])
    assert rfc4193(network, address).hex() == case["rfc4193_bytes"]
    assert six_plane(network, address).hex() == case["sixplane_bytes"]


def test_a_range_of_ports() -> None:
    network = NetworkId.parse("ff00160017000000")
    config = adhoc_config(5_000, network, NODE)
    assert config is not None
    assert config.name == "adhoc-0016-0017"
    assert (config.timestamp, config.revision, config.is_public) == (5, 1, True)
    assert (config.mtu, config.multicast_limit, config.flags) == (2800, 0, 4)
    assert config.addresses == ((six_plane(network, NODE), 40),)
    assert len(config.rules) == 14
    assert config.com is None
    assert not is_adhoc_range_bad(network)


def test_an_empty_range() -> None:
    network = NetworkId.parse("ff00170016000000")
    assert adhoc_config(0, network, NODE) is None
    assert is_adhoc_range_bad(network)


def test_a_hub() -> None:
    network = NetworkId.parse("ff0a123456789a01")
    config = adhoc_config(0, network, NODE)
    assert config is not None
    assert config.name == "adhoc-10.0.0.0"
    assert config.addresses[1] == (bytes((10, 0x2C, 0xEE, 0xE5)), 8)
    assert config.rules == ACCEPT_ALL
    assert config.multicast_limit == 1024


def test_an_id_that_means_nothing() -> None:
    network = NetworkId.parse("ff00000000000002")
    assert adhoc_config(0, network, NODE) is None
    assert not is_adhoc_range_bad(network)
