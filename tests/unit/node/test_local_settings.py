"""What a network gives, and what the owner of a node lets it give (vl2 section 9.2)."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest

from tests.support.nodes import SETTLE_US, NodeWorld, Place
from ztstack.base.network_id import NetworkId
from ztstack.controller.pools import ManagedRoute
from ztstack.node.member import Member
from ztstack.vl2.local_settings import EVERYTHING, LocalSettings


def subnet(text: str) -> tuple[bytes, int]:
    network = ipaddress.ip_network(text)
    return network.network_address.packed, network.prefixlen


@pytest.mark.parametrize(
    ("text", "defaults", "everything"),
    [
        ("10.0.0.0/8", True, True),
        ("172.31.0.0/16", True, True),
        ("100.64.0.0/10", True, True),
        ("203.0.113.7/32", True, True),
        ("fd00::/8", True, True),
        # Used by networks as if they were private.
        ("25.1.2.0/24", True, True),
        ("28.0.0.0/8", True, True),
        ("241.0.0.0/8", True, True),
        ("8.8.8.8/32", False, True),
        ("2000::/3", False, True),
        ("0.0.0.0/0", False, True),
        ("::/0", False, True),
        ("127.0.0.0/8", False, False),
        ("169.254.0.0/16", False, False),
        ("224.0.0.0/4", False, False),
        ("0.0.0.0/1", False, False),
        ("255.0.0.0/8", False, False),
        ("ff00::/8", False, False),
        ("fe80::/64", False, False),
        ("::1/128", False, False),
    ],
)
def test_what_is_taken(text: str, defaults: bool, everything: bool) -> None:
    assert LocalSettings().accepts(*subnet(text)) is defaults
    assert EVERYTHING.accepts(*subnet(text)) is everything
    assert not replace(EVERYTHING, allow_managed=False).accepts(*subnet(text))


@pytest.mark.parametrize(
    ("text", "accepted"),
    [
        ("10.1.0.0/16", True),
        ("10.1.2.3/24", True),
        ("10.0.0.0/15", False),
        ("10.2.0.0/16", False),
        ("fd77::/64", True),
        ("fd78::/64", False),
        ("0.0.0.0/0", False),
    ],
)
def test_only_some_subnets(text: str, accepted: bool) -> None:
    settings = replace(EVERYTHING, only=(subnet("10.1.0.0/16"), subnet("fd77::/32")))
    ip, _, bits = text.partition("/")
    assert settings.accepts(ipaddress.ip_address(ip).packed, int(bits)) is accepted


def test_a_default_route_in_the_list_needs_its_own_word_too() -> None:
    settings = LocalSettings(only=(subnet("0.0.0.0/0"),))
    assert settings.accepts(*subnet("10.0.0.0/8"))
    assert not settings.accepts(*subnet("0.0.0.0/0"))
    assert replace(settings, allow_default=True).accepts(*subnet("0.0.0.0/0"))


GATE = ipaddress.ip_address("10.147.20.254")
DNS = ipaddress.ip_address("10.147.20.9").packed


def route(text: str) -> ManagedRoute:
    return ManagedRoute(ipaddress.ip_network(text), GATE)


def network_with_everything(world: NodeWorld) -> NetworkId:
    """Make a network with a gateway to everywhere, global routes, and DNS."""
    network = world.create()
    record = world.controller.network(network)
    assert record is not None
    routes = (
        *record.routes,
        *(route(text) for text in ("0.0.0.0/0", "8.8.8.0/24", "192.168.7.0/24")),
    )
    world.controller.put_network(
        world.now, replace(record, routes=routes, dns_domain="lab.test", dns_servers=(DNS,))
    )
    return network


def joined(settings: LocalSettings) -> tuple[NodeWorld, NetworkId, Place, Member]:
    world = NodeWorld()
    network = network_with_everything(world)
    place = world.add()
    place.node.join(world.now, network, settings=settings)
    world.run(SETTLE_US)
    return world, network, place, place.node.member(network)


def hops(place: Place, network: NetworkId) -> list[bool]:
    """Tell which addresses there is a way to: a member, private, global, and any other."""
    interface = place.interface(network)
    return [
        interface.has_route(ipaddress.ip_address(ip).packed)
        for ip in ("10.147.20.77", "192.168.7.1", "8.8.8.8", "1.1.1.1")
    ]


@pytest.mark.parametrize(
    ("settings", "ways", "asks"),
    [
        (EVERYTHING, [True, True, True, True], True),
        (LocalSettings(), [True, True, False, False], False),
        (LocalSettings(allow_global=True), [True, True, True, False], False),
        (LocalSettings(allow_default=True), [True, True, True, True], False),
        (LocalSettings(allow_dns=True), [True, True, False, False], True),
        (LocalSettings(only=(subnet("10.147.0.0/16"),)), [True, False, False, False], False),
        (LocalSettings(only=(subnet("10.147.20.0/25"),)), [False] * 4, False),
        (LocalSettings(allow_managed=False), [False] * 4, False),
    ],
)
def test_effect(settings: LocalSettings, ways: list[bool], asks: bool) -> None:
    _, network, place, member = joined(settings)
    assert member.network.config is not None
    assert hops(place, network) == ways
    assert bool(member.addresses) is ways[0]
    assert member.is_refused_by_settings is not ways[0]
    servers = [server.ip for server in member.dns[1]]
    assert (member.dns[0], servers) == (("lab.test", [DNS]) if asks else ("", []))


def test_it_holds_for_what_is_pushed_later_and_for_a_cached_configuration() -> None:
    world, network, place, member = joined(LocalSettings())
    record = world.controller.network(network)
    assert record is not None
    routes = (
        *record.routes,
        *(route(text) for text in ("9.9.9.0/24", "172.16.0.0/12")),
    )
    world.controller.put_network(world.now, replace(record, routes=routes))
    world.run(SETTLE_US)
    interface = place.interface(network)
    assert interface.has_route(bytes((172, 16, 1, 1)))
    assert not interface.has_route(bytes((9, 9, 9, 9)))

    config = member.network.config
    assert config is not None
    again = world.add()
    # The configuration is another node's, so it is issued anew for this one.
    own = replace(config, issued_to=again.node.identity.address).to_dictionary()
    again.node.join(world.now, network, own, LocalSettings(allow_managed=False))
    assert again.node.member(network).network.config is not None
    assert hops(again, network) == [False] * 4
