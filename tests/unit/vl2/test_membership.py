from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from tests.support.vectors import cases, load
from ztstack.base.address import Address
from ztstack.base.codec import Reader
from ztstack.base.network_id import NetworkId
from ztstack.crypto.identity import Identity
from ztstack.vl2.membership import PUSH_IDLE_US, Acceptance, Memberships, push_payloads
from ztstack.vl2.network_config import NetworkConfig
from ztstack.wire.credentials import (
    Capability,
    Com,
    Credential,
    NetworkCredentials,
    Ownership,
    Revocation,
    Tag,
)

KINDS: dict[str, type[Credential]] = {
    "com": Com,
    "tag": Tag,
    "capability": Capability,
    "ownership": Ownership,
    "revocation": Revocation,
}
RESULTS = {
    "accepted_new": Acceptance.NEW,
    "accepted_redundant": Acceptance.REDUNDANT,
    "rejected": Acceptance.REJECTED,
}
SECOND = 1_000_000


def known_identities(file: str) -> dict[Address, Identity]:
    identities = [Identity.parse(text) for text in load(file)["known_identities"]]
    return {identity.address: identity for identity in identities}


@pytest.mark.parametrize("case", cases("revocation.json", "membership_sequence"))
def test_sequence(case: dict[str, Any]) -> None:
    our_com = Com.decode(Reader(bytes.fromhex(case["our_com"])))
    network = our_com.network_id
    member = Identity.parse(case["member_identity"])
    controller = known_identities("revocation.json")[network.controller]
    delta = case["credential_time_max_delta"]
    timestamp = case["our_config_timestamp"]
    memberships = Memberships(network)
    memberships.configure(
        0,
        NetworkConfig(
            network=network,
            issued_to=our_com.issued_to,
            timestamp=timestamp,
            credential_delta_ms=delta,
            com=our_com,
        ),
    )
    ip = ipaddress.ip_address(case["watched_ip"]).packed
    for step in case["steps"]:
        if step["add"] is not None:
            kind = KINDS[step["add"]]
            credential = kind.decode(Reader(bytes.fromhex(step["serialized"])))
            result = memberships.accept(credential, controller)
            assert result is RESULTS[step["result"]], step
        allowed = memberships.is_allowed(member.address, member)
        assert allowed is step["allowed_on_network"], step
        held = memberships.obtain(member.address)
        for number, value in step["tags"].items():
            assert held.valid_tag(int(number), timestamp, delta) == value
        assert held.owns_ip(ip, timestamp, delta) is step["owns_ip"]
        valid = [c.id for c in held.valid_capabilities(timestamp, delta)]
        assert valid == sorted(step["valid_capability_ids"])


NETWORK = NetworkId(0x110648FB44000001)
OWN, PEER = Address(0x1111111111), Address(0x2222222222)


def config(*, public: bool = False, com: bool = True, tags: int = 0) -> NetworkConfig:
    return NetworkConfig(
        network=NETWORK,
        issued_to=OWN,
        is_public=public,
        com=Com(()) if com else None,
        tags=tuple(Tag(NETWORK, 0, number, number, OWN) for number in range(tags)),
    )


def test_gate_without_configuration() -> None:
    memberships = Memberships(NETWORK)
    assert not memberships.is_allowed(PEER, None)
    memberships.configure(0, config(public=True))
    assert memberships.is_allowed(PEER, None)
    memberships.configure(0, config())
    assert not memberships.is_allowed(PEER, None)


def test_push_before_frames() -> None:
    memberships = Memberships(NETWORK)
    assert memberships.take_push(0, PEER) == []

    memberships.configure(10 * SECOND, config())
    (payload,) = memberships.take_push(11 * SECOND, PEER)
    assert NetworkCredentials.decode(Reader(payload)).coms == (Com(()),)
    assert memberships.take_push(11 * SECOND, PEER) == []
    assert memberships.take_push(11 * SECOND + PUSH_IDLE_US, PEER) == []
    assert memberships.take_push(12 * SECOND + PUSH_IDLE_US, PEER) == [payload]


def test_a_new_configuration_is_pushed_but_not_within_a_second() -> None:
    memberships = Memberships(NETWORK)
    memberships.configure(0, config())
    assert memberships.take_push(0, PEER)
    memberships.configure(SECOND // 2, config())
    assert memberships.take_push(SECOND // 2, PEER) == []
    assert memberships.take_push(SECOND + 1, PEER)
    assert memberships.take_push(3 * SECOND, PEER) == []


def test_push_on_demand() -> None:
    memberships = Memberships(NETWORK)
    assert memberships.take_demanded_push(0, PEER) == []
    memberships.configure(0, config(com=False, tags=1))
    assert memberships.take_demanded_push(0, PEER) == []
    memberships.configure(0, config())
    assert memberships.take_demanded_push(0, PEER)
    assert memberships.take_demanded_push(SECOND, PEER) == []
    assert memberships.take_demanded_push(SECOND + 1, PEER)


def test_large_pushes_are_cut() -> None:
    payloads = push_payloads(config(tags=128))
    assert len(payloads) == 2
    parts = [NetworkCredentials.decode(Reader(payload)) for payload in payloads]
    assert [len(part.coms) for part in parts] == [1, 0]
    assert sum(len(part.tags) for part in parts) == 128
    assert all(len(payload) <= 9996 for payload in payloads)


def test_nothing_to_push() -> None:
    assert push_payloads(config(com=False)) == []


def test_strangers_make_no_entries() -> None:
    network = NetworkId.parse("110648fb44ab9d20")
    controller = known_identities("revocation.json")[network.controller]
    memberships = Memberships(network)
    forged = Tag(network, 0, 1, 2, PEER, signer=controller.address)
    assert memberships.accept(forged, controller) is Acceptance.REJECTED
    assert memberships.accept(Tag(NETWORK, 0, 1, 2, PEER), controller) is Acceptance.REJECTED
    assert memberships.addresses() == []


def test_likes_once_a_minute() -> None:
    memberships = Memberships(NETWORK)
    assert memberships.is_like_due(0, PEER)
    assert not memberships.is_like_due(59 * SECOND, PEER)
    assert memberships.is_like_due(60 * SECOND, PEER)
