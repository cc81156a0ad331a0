from __future__ import annotations

from typing import Any

import pytest

from tests.support.switches import known_identities
from ztstack.base.address import Address
from ztstack.base.errors import InvalidConfig
from ztstack.base.network_id import NetworkId
from ztstack.controller.model import MemberRecord, NetworkRecord
from ztstack.controller.pools import ManagedRoute, Pool, parse_pool, route_for_pool

NETWORK = NetworkRecord(
    id=NetworkId.parse("8056c2e21c000001"),
    name="home",
    private=False,
    pools=(parse_pool("10.1.2.0/24"),),
    routes=(route_for_pool("10.1.2.0/24"),),
    rfc4193=True,
)
MEMBER = MemberRecord(
    address=known_identities()[1].address,
    identity=known_identities()[1].public,
    authorized=True,
    ips=(bytes((10, 1, 2, 3)),),
    version=(1, 14, 1, 12),
)


def test_records_come_back_from_their_json() -> None:
    assert NetworkRecord.from_json(NETWORK.to_json()) == NETWORK
    assert MemberRecord.from_json(MEMBER.to_json(NETWORK.id)) == MEMBER
    named = MemberRecord(address=Address(5))
    assert MemberRecord.from_json(named.to_json(NETWORK.id)) == named


def test_texts() -> None:
    assert NETWORK.pool_texts() == [("10.1.2.1", "10.1.2.254")]
    assert NETWORK.route_texts() == ["10.1.2.0/24"]
    assert (MEMBER.ip_texts(), MEMBER.version_text()) == (["10.1.2.3"], "1.14.1")


def test_a_change_counts() -> None:
    assert MEMBER.changed(authorized=True) is MEMBER
    assert MEMBER.changed(authorized=False).revision == MEMBER.revision + 1


@pytest.mark.parametrize(
    ("text", "first", "last", "route"),
    [
        ("10.1.2.0/24", "10.1.2.1", "10.1.2.254", "10.1.2.0/24"),
        ("10.1.2.10-10.1.2.20", "10.1.2.10", "10.1.2.20", "10.1.2.0/24"),
        ("10.1.0.1-10.1.9.1", "10.1.0.1", "10.1.9.1", "10.1.0.0/20"),
    ],
)
def test_pools(text: str, first: str, last: str, route: str) -> None:
    pool = parse_pool(text)
    assert isinstance(pool, Pool)
    record = NetworkRecord(id=NETWORK.id, pools=(pool,))
    assert record.pool_texts() == [(first, last)]
    assert isinstance(route_for_pool(text), ManagedRoute)
    assert str(route_for_pool(text).network) == route


@pytest.mark.parametrize(
    "damage",
    [
        {"id": 5},
        {"id": "xyz"},
        {"private": "yes"},
        {"mtu": True},
        {"ipAssignmentPools": [1]},
        {"routes": [{"target": "nowhere"}]},
        {"routes": [{"target": "10.0.0.0/8", "via": "fd00::1"}]},
        {"v6AssignMode": [1]},
        {"dns": 5},
        {"authTokens": {"t": "soon"}},
        {"multicastLimit": -1},
        {"tags": [{"id": 1 << 32}]},
        {"name": "\ud800"},
        {"name": "x" * 128},
        {"ipAssignmentPools": [{"ipRangeStart": "10.0.0.1", "ipRangeEnd": "fd00::1"}]},
        {"ipAssignmentPools": [{"ipRangeStart": "fe80::1%a", "ipRangeEnd": "fe80::2%a"}]},
        {"routes": [{"target": "fe80::%a/64"}]},
        {"rules": [{"type": "MATCH_ETHERTYPE", "etherType": 1 << 16}]},
    ],
)
def test_damaged_records(damage: dict[str, Any]) -> None:
    with pytest.raises(InvalidConfig):
        NetworkRecord.from_json({**NETWORK.to_json(), **damage})


@pytest.mark.parametrize(
    "damage", [{"identity": "x"}, {"ipAssignments": ["x"]}, {"ipAssignments": "x"}, {"vMajor": "1"}]
)
def test_damaged_members(damage: dict[str, Any]) -> None:
    with pytest.raises(InvalidConfig):
        MemberRecord.from_json({**MEMBER.to_json(NETWORK.id), **damage})
