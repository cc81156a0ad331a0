"""Groups, broadcasts and source addresses of an interface."""

from __future__ import annotations

import ipaddress

import pytest

from ztstack.base.mac import BROADCAST, Mac, MulticastGroup
from ztstack.ip.addresses import (
    ANY4,
    Addresses,
    is_multicast,
    multicast_mac,
    overlaps,
    solicited_node,
)


def ip(text: str) -> bytes:
    return ipaddress.ip_address(text).packed


OWN = Addresses(
    [
        (ip("10.147.20.96"), 24),
        (ip("172.16.0.1"), 31),
        (ip("fd00::12:3456"), 64),
        (ip("fc11:2233:44aa:bbcc:ddee::1"), 40),
    ]
)


def test_groups() -> None:
    assert OWN.groups == {
        MulticastGroup(BROADCAST, 0x0A931460),
        MulticastGroup(BROADCAST, 0xAC100001),
        MulticastGroup(Mac.parse("33:33:ff:12:34:56")),
        MulticastGroup(Mac.parse("33:33:ff:00:00:01")),
        MulticastGroup(Mac.parse("33:33:00:00:00:01")),
        MulticastGroup(Mac.parse("01:00:5e:00:00:01")),
    }
    assert Addresses([]).groups == frozenset()
    assert len(Addresses([(ip("10.0.0.1"), 8)]).groups) == 2


@pytest.mark.parametrize(
    ("text", "local", "joined"),
    [
        ("10.147.20.96", True, False),
        ("10.147.20.97", False, False),
        ("10.147.20.255", False, True),
        ("255.255.255.255", False, True),
        ("172.16.0.1", True, False),
        ("172.16.0.0", False, False),
        ("224.0.0.1", False, True),
        ("224.0.0.2", False, False),
        ("ff02::1", False, True),
        ("ff02::1:ff12:3456", False, True),
        ("ff02::1:ff12:3457", False, False),
    ],
)
def test_what_is_for_us(text: str, local: bool, joined: bool) -> None:
    assert OWN.is_local(ip(text)) is local
    assert OWN.is_joined(ip(text)) is joined


def test_maps_to_ethernet() -> None:
    assert multicast_mac(ip("239.129.2.3")) == Mac.parse("01:00:5e:01:02:03")
    assert multicast_mac(solicited_node(ip("fd00::12:3456"))) == Mac.parse("33:33:ff:12:34:56")
    assert OWN.group_mac(ip("10.147.20.255")) == BROADCAST
    assert OWN.group_mac(ip("10.147.20.7")) is None
    assert is_multicast(ip("224.0.0.1"))
    assert not is_multicast(ip("10.0.0.1"))


@pytest.mark.parametrize(
    ("to", "source"),
    [
        ("10.147.20.7", "10.147.20.96"),
        ("172.16.0.0", "172.16.0.1"),
        ("8.8.8.8", "10.147.20.96"),
        ("fd00::9", "fd00::12:3456"),
        ("fc11:2233:4455::1", "fc11:2233:44aa:bbcc:ddee::1"),
        ("172.16.0.1", "172.16.0.1"),
    ],
)
def test_source(to: str, source: str) -> None:
    assert OWN.source_for(ip(to)) == ip(source)


def test_no_source_of_the_family() -> None:
    assert Addresses([(ip("10.0.0.1"), 8)]).source_for(ip("fd00::1")) is None
    assert not Addresses([(ip("10.0.0.1"), 8)]).has_family(16)


def test_impossible_prefixes_are_left_out() -> None:
    assert Addresses([(ip("10.0.0.1"), 33), (b"abc", 1)]).items == []


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (None, None, True),
        (None, ip("10.0.0.1"), True),
        (None, ip("fd00::1"), True),
        (None, ANY4, True),
        (ANY4, ANY4, True),
        (ANY4, ip("10.0.0.1"), True),
        (ANY4, ip("fd00::1"), False),
        (ip("10.0.0.1"), ip("10.0.0.1"), True),
        (ip("10.0.0.1"), ip("10.0.0.2"), False),
        (ip("fd00::1"), ip("10.0.0.1"), False),
    ],
)
def test_what_two_sockets_would_both_get(
    one: bytes | None, other: bytes | None, both: bool
) -> None:
    assert overlaps(one, other) is both
    assert overlaps(other, one) is both
