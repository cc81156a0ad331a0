from __future__ import annotations

import ipaddress

import pytest

from tests.support.switches import START_US, SeededEntropy, known_identities
from ztstack.base.address import Address
from ztstack.base.network_id import NetworkId
from ztstack.base.trace import ListTracer
from ztstack.controller import ipam
from ztstack.controller.controller import Controller, SendConfig
from ztstack.controller.model import MemberRecord, NetworkRecord
from ztstack.controller.store import MemoryStore
from ztstack.vl2.network_config import FLAG_NDP_EMULATION, NetworkConfig
from ztstack.wire.network_config import ConfigRequest, default_metadata

ME, A, B = known_identities()[:3]
NETWORK = NetworkId(ME.address << 24 | 1)


def record(**values: object) -> NetworkRecord:
    return NetworkRecord.from_json({"id": str(NETWORK), "private": False, **values})


def pool(start: str, end: str) -> dict[str, str]:
    return {"ipRangeStart": start, "ipRangeEnd": end}


def config(network: NetworkRecord, *members: MemberRecord) -> list[str]:
    """Ask a controller with these records; return the addresses in the configuration."""
    store = MemoryStore()
    store.save_network(network)
    for member in members:
        store.save_member(network.id, member)
    machine = Controller(START_US, ME, store, SeededEntropy(1), ListTracer())
    request = ConfigRequest(network.id, default_metadata())
    machine.receive_request(START_US, A.public, 1, request, None)
    (answer,) = machine.take_output()
    assert isinstance(answer, SendConfig)
    made = NetworkConfig.from_dictionary(b"".join(chunk.data for chunk in answer.chunks))
    assert bool(made.flags & FLAG_NDP_EMULATION) == (network.rfc4193 or network.sixplane)
    assert all(made.ownerships[0].owns_ip(ip) for ip, _ in made.addresses)
    stored = machine.member(network.id, A.address)
    assert stored is not None
    derived = {item.ip for item in ipam.derived(network, stored)}
    assert {ip for ip, _ in made.addresses} - derived <= set(stored.ips)
    return [f"{ipaddress.ip_address(ip)}/{bits}" for ip, bits in made.addresses]


def test_the_examples_of_the_specification() -> None:
    four = record(
        ipAssignmentPools=[pool("10.147.20.1", "10.147.20.200")],
        routes=[{"target": "10.147.20.0/24"}],
    )
    given = ipam.assign_ipv4(four, Address.parse("402dfacec7"), ())
    assert given == (bytes((10, 147, 20, 96)), 24)
    six = record(
        ipAssignmentPools=[pool("fd77::", "fd77::ffff:ffff:ffff:ffff")],
        routes=[{"target": "fd77::/64"}],
    )
    node = Address.parse("2b5f71cbe1")
    found = ipam.assign_ipv6(six, node, (), SeededEntropy(1))
    assert found is not None
    assert (str(ipaddress.ip_address(found.ip)), found.bits) == ("fd77::2b:5f71:cbe1", 64)


def test_ipv6_elsewhere_in_the_pool_is_by_chance_and_free() -> None:
    narrow = record(
        ipAssignmentPools=[pool("fd77::10", "fd77::12")],
        routes=[{"target": "fd77::/64"}, {"target": "fd77::/120"}],
    )
    taken: set[bytes] = set()
    for _ in range(3):
        found = ipam.assign_ipv6(narrow, A.address, taken, SeededEntropy(len(taken)))
        if found is None:
            break  # With three addresses chance may miss the last one in three trials.
        assert found.bits == 120  # the last route that covers it
        assert found.ip not in taken
        taken.add(found.ip)
    assert len(taken) >= 2
    wide = record(
        ipAssignmentPools=[pool("fd77::", "fd77::ffff:ffff:ffff:ffff")],
        routes=[{"target": "fd77::/64"}],
    )
    own = ipaddress.ip_address("fd77::") + A.address
    other = ipam.assign_ipv6(wide, A.address, {own.packed}, SeededEntropy(7))
    assert other is not None
    assert other.ip != own.packed
    assert ipaddress.ip_address(other.ip) in ipaddress.ip_network("fd77::/64")


def test_ipv6_needs_a_route_on_the_link() -> None:
    for routes in ([], [{"target": "fd77::/64", "via": "fd77::1"}], [{"target": "fd78::/64"}]):
        network = record(ipAssignmentPools=[pool("fd77::", "fd77::ffff:0:0:0")], routes=routes)
        assert ipam.assign_ipv6(network, A.address, (), SeededEntropy(1)) is None


def test_ipv4_takes_the_first_route_even_by_a_gateway() -> None:
    network = record(
        ipAssignmentPools=[pool("10.5.0.7", "10.5.0.7")],
        routes=[{"target": "10.0.0.0/8", "via": "10.5.0.1"}, {"target": "10.5.0.0/24"}],
    )
    assert ipam.assign_ipv4(network, A.address, ()) == (bytes((10, 5, 0, 7)), 8)
    default = record(
        ipAssignmentPools=[pool("10.5.0.7", "10.5.0.7")], routes=[{"target": "0.0.0.0/0"}]
    )
    assert ipam.assign_ipv4(default, A.address, ()) is None


def test_all_modes_in_the_official_order() -> None:
    network = record(
        v6AssignMode={"rfc4193": True, "6plane": True, "zt": True},
        v4AssignMode={"zt": True},
        ipAssignmentPools=[
            pool("10.5.0.7", "10.5.0.7"),
            pool("fd77::", "fd77::ffff:ffff:ffff:ffff"),
        ],
        routes=[{"target": "10.5.0.0/24"}, {"target": "fd77::/64"}],
    )
    six = ipaddress.ip_address("fd77::") + A.address
    assert config(network) == [
        f"{ipaddress.ip_address(ipam.rfc4193(NETWORK, A.address))}/88",
        f"{ipaddress.ip_address(ipam.sixplane(NETWORK, A.address))}/40",
        f"{six}/64",
        "10.5.0.7/24",
    ]


def test_what_is_given_by_hand_counts_where_a_route_covers_it() -> None:
    network = record(
        v4AssignMode={"zt": True},
        ipAssignmentPools=[pool("10.5.0.7", "10.5.0.7")],
        routes=[{"target": "10.5.0.0/16"}, {"target": "10.5.0.0/24", "via": "10.5.0.1"}],
    )
    by_hand = MemberRecord(A.address, ips=(bytes((10, 5, 0, 50)), bytes((192, 168, 0, 1))))
    assert config(network, by_hand) == ["10.5.0.50/24"]
    elsewhere = MemberRecord(A.address, ips=(bytes((192, 168, 0, 1)),))
    assert config(network, elsewhere) == ["10.5.0.7/16"]


def test_nothing_by_itself_for_a_member_that_wants_nothing() -> None:
    network = record(
        v6AssignMode={"rfc4193": True, "6plane": True, "zt": True},
        v4AssignMode={"zt": True},
        ipAssignmentPools=[pool("10.5.0.7", "10.5.0.9"), pool("fd77::", "fd77::ffff:0:0:0")],
        routes=[{"target": "10.5.0.0/24"}, {"target": "fd77::/64"}],
    )
    member = MemberRecord(A.address, no_auto_assign=True, ips=(bytes((10, 5, 0, 50)),))
    assert config(network, member) == ["10.5.0.50/24"]


@pytest.mark.parametrize("family", [4, 6])
def test_what_another_member_has_is_not_given(family: int) -> None:
    ip = "10.5.0.7" if family == 4 else "fd77::7"
    network = record(
        v4AssignMode={"zt": True},
        v6AssignMode={"zt": True},
        ipAssignmentPools=[pool(ip, ip)],
        routes=[{"target": "10.5.0.0/24"}, {"target": "fd77::/64"}],
    )
    assert config(network) == [f"{ip}/24" if family == 4 else f"{ip}/64"]
    other = MemberRecord(B.address, ips=(ipaddress.ip_address(ip).packed,))
    assert config(network, other) == []
