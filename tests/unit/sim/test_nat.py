"""Translating routers: what goes out under which port, and who may answer."""

from __future__ import annotations

import pytest

from ztstack.base.endpoint import Endpoint
from ztstack.base.timers import SECOND
from ztstack.sim.nat import LIFETIME_US, MAPPINGS_LIMIT, Nat, NatKind

OUTSIDE = bytes((90, 0, 0, 1))
INSIDE = Endpoint.parse("192.168.0.2/9993")
FRIEND = Endpoint.parse("80.0.0.1/9993")
FRIEND_ELSEWHERE = Endpoint.parse("80.0.0.1/1234")
STRANGER = Endpoint.parse("80.0.0.2/9993")


def allowed(kind: NatKind, remote: Endpoint) -> bool:
    router = Nat(kind, OUTSIDE, 1)
    port = router.outbound(0, INSIDE, FRIEND).port
    return router.inbound(1, remote, port) == INSIDE


@pytest.mark.parametrize(
    ("kind", "elsewhere", "stranger"),
    [
        (NatKind.FULL_CONE, True, True),
        (NatKind.RESTRICTED, True, False),
        (NatKind.PORT_RESTRICTED, False, False),
        (NatKind.SYMMETRIC, False, False),
    ],
)
def test_who_may_answer(kind: NatKind, elsewhere: bool, stranger: bool) -> None:
    assert allowed(kind, FRIEND)
    assert allowed(kind, FRIEND_ELSEWHERE) is elsewhere
    assert allowed(kind, STRANGER) is stranger


@pytest.mark.parametrize("kind", list(NatKind))
def test_whether_all_see_the_same_port(kind: NatKind) -> None:
    router = Nat(kind, OUTSIDE, 1)
    first, second = router.outbound(0, INSIDE, FRIEND), router.outbound(0, INSIDE, STRANGER)
    assert first.ip == OUTSIDE
    assert (first == second) is (kind is not NatKind.SYMMETRIC)
    assert (first.port == INSIDE.port) is (kind is not NatKind.SYMMETRIC)
    assert router.outbound(1, INSIDE, FRIEND) == first


def test_two_inside_have_two_ports() -> None:
    router = Nat(NatKind.RESTRICTED, OUTSIDE, 1)
    other = Endpoint.parse("192.168.0.3/9993")
    ports = {router.outbound(0, host, FRIEND).port for host in (INSIDE, other)}
    assert len(ports) == 2
    assert {router.inbound(1, FRIEND, port) for port in ports} == {INSIDE, other}


def test_silence_closes_a_mapping() -> None:
    router = Nat(NatKind.FULL_CONE, OUTSIDE, 1)
    port = router.outbound(0, INSIDE, FRIEND).port
    assert router.inbound(LIFETIME_US - 1, FRIEND, port) == INSIDE
    assert router.inbound(LIFETIME_US, FRIEND, port) is None


def test_a_contact_is_forgotten_alone() -> None:
    router = Nat(NatKind.RESTRICTED, OUTSIDE, 1)
    port = router.outbound(0, INSIDE, FRIEND).port
    router.outbound(LIFETIME_US - SECOND, INSIDE, STRANGER)
    assert router.inbound(LIFETIME_US, FRIEND, port) is None
    assert router.inbound(LIFETIME_US, STRANGER, port) == INSIDE


def test_a_reboot_forgets() -> None:
    router = Nat(NatKind.FULL_CONE, OUTSIDE, 1)
    port = router.outbound(0, INSIDE, FRIEND).port
    router.reboot(bytes((91, 0, 0, 1)))
    assert router.inbound(1, FRIEND, port) is None
    assert router.outbound(2, INSIDE, FRIEND).ip == bytes((91, 0, 0, 1))


def test_the_table_is_bounded() -> None:
    router = Nat(NatKind.SYMMETRIC, OUTSIDE, 1)
    for number in range(MAPPINGS_LIMIT + 500):
        router.outbound(number, INSIDE, Endpoint(number.to_bytes(4, "big"), 1))
    assert len(router) == MAPPINGS_LIMIT
