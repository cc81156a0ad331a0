from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from tests.support.vectors import cases
from ztstack.base.address import Address
from ztstack.base.mac import Mac, MulticastGroup
from ztstack.base.network_id import NetworkId
from ztstack.controller.ipam import rfc4193, sixplane


@pytest.mark.parametrize("case", cases("mac.json", "mac"))
def test_mac_of_node(case: dict[str, Any]) -> None:
    network = NetworkId.parse(case["nwid"])
    mac = Mac.of_node(Address.parse(case["address"]), network)
    assert str(mac) == case["mac"]
    assert str(mac.node(network)) == case["back_to_address"]
    assert Mac.parse(case["mac"]) == mac


@pytest.mark.parametrize("case", cases("mac.json", "mac_to_address"))
def test_node_of_mac(case: dict[str, Any]) -> None:
    network = NetworkId.parse(case["nwid"])
    assert str(Mac.parse(case["mac"]).node(network)) == case["address"]


@pytest.mark.parametrize("case", cases("mac.json", "mac_properties"))
def test_properties(case: dict[str, Any]) -> None:
    mac = Mac.parse(case["mac"])
    assert mac.is_multicast is case["multicast"]
    assert mac.is_broadcast is case["broadcast"]
    assert mac.is_locally_administered is case["locally_administered"]


@pytest.mark.parametrize("case", cases("mac.json", "address_resolution_group"))
def test_group_of_an_address(case: dict[str, Any]) -> None:
    group = MulticastGroup.for_address_resolution(ipaddress.ip_address(case["ip"]).packed)
    assert (str(group.mac), group.adi) == (case["mac"], case["adi"])


@pytest.mark.parametrize("case", cases("mac.json", "assigned_ipv6"))
def test_addresses_that_a_controller_assigns(case: dict[str, Any]) -> None:
    network, address = NetworkId.parse(case["nwid"]), Address.parse(case["address"])
    assert rfc4193(network, address).hex() == case["rfc4193_bytes"]
    assert sixplane(network, address).hex() == case["sixplane_bytes"]
