"""The routing table against a search through all routes."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given, strategies as st

from ztstack.ip.routes import Route, Routes


def ip(text: str) -> bytes:
    return ipaddress.ip_address(text).packed


TABLE = Routes(
    (
        Route(ip("10.1.0.0"), 16, None),
        Route(ip("10.1.2.0"), 24, ip("10.1.0.9")),
        Route(ip("0.0.0.0"), 0, ip("10.1.0.1")),
        Route(ip("192.168.0.0"), 16, ip("172.16.0.1")),
        Route(ip("172.16.0.0"), 12, ip("10.1.0.2")),
        Route(ip("fd00::"), 64, None),
        Route(ip("fd00:1::"), 32, ip("fd00::7")),
    )
)


@pytest.mark.parametrize(
    ("destination", "hop"),
    [
        ("10.1.9.9", "10.1.9.9"),
        ("10.1.2.3", "10.1.0.9"),
        ("8.8.8.8", "10.1.0.1"),
        ("192.168.1.1", None),  # its gateway is not on-link
        ("172.16.5.5", "10.1.0.2"),
        ("fd00::1", "fd00::1"),
        ("fd00:1::5", "fd00::7"),
        ("fd02::1", None),
    ],
)
def test_next_hop(destination: str, hop: str | None) -> None:
    assert TABLE.next_hop(ip(destination)) == (None if hop is None else ip(hop))


def test_the_first_of_two_with_one_prefix_wins() -> None:
    table = Routes((Route(ip("10.0.0.1"), 8, None), Route(ip("10.0.0.0"), 8, ip("10.0.0.1"))))
    assert table.next_hop(ip("10.2.3.4")) == ip("10.2.3.4")


def test_nonsense_is_left_out() -> None:
    table = Routes((Route(ip("10.0.0.0"), 33, None), Route(b"abc", 8, None)))
    assert table.lookup(ip("10.0.0.0")) is None
    assert table.lookup(b"abc") is None


def _slow(routes: list[Route], wanted: bytes) -> Route | None:
    found = None
    for route in routes:
        if len(route.target) != len(wanted):
            continue
        network = ipaddress.ip_network((route.target, route.bits), strict=False)
        inside = ipaddress.ip_address(wanted) in network
        if inside and (found is None or route.bits > found.bits):
            found = route
    return found


# Few distinct bits, so that prefixes meet.
few4 = st.lists(st.sampled_from((0, 1, 128, 255)), min_size=4, max_size=4).map(bytes)
few6 = st.lists(st.sampled_from((0, 255)), min_size=16, max_size=16).map(bytes)
some_routes = st.lists(
    st.builds(Route, few4, st.integers(0, 32), st.none())
    | st.builds(Route, few6, st.integers(0, 128), st.none()),
    max_size=12,
)


@given(some_routes, few4 | few6)
def test_as_a_search_through_all(routes: list[Route], wanted: bytes) -> None:
    assert Routes(routes).lookup(wanted) == _slow(routes, wanted)
