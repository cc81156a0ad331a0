from __future__ import annotations

import pytest

from ztstack.base.address import Address
from ztstack.base.mac import Mac
from ztstack.base.network_id import NetworkId


@pytest.mark.parametrize(
    ("network", "address", "mac"),
    [
        ("d3fdcefcf95a1a26", "402dfacec7", "26:5a:77:03:32:09"),
        ("8056c2e21c000001", "0123456789", "02:01:23:59:85:4b"),
        ("8056c2e21cabcd52", "0123456789", "32:cc:88:59:85:4b"),
        ("8056c2e21cabcdff", "89e92ceee5", "fe:44:42:30:0c:27"),
        ("ff00160016000000", "89e92ceee5", "02:89:e9:3a:ee:f3"),
    ],
)
def test_mac_of_a_node_and_back(network: str, address: str, mac: str) -> None:
    derived = Mac.of_node(Address.parse(address), NetworkId.parse(network))
    assert str(derived) == mac
    assert derived.node(NetworkId.parse(network)) == Address.parse(address)
    assert derived.is_derived(NetworkId.parse(network))
