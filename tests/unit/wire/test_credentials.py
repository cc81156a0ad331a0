from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from tests.strategies import (
    capabilities,
    coms,
    network_credentials,
    ownerships,
    revocations,
    tags,
)
from tests.support.codec import (
    Message,
    check_cuts_fail,
    check_fails_in_one_way,
    check_round_trip,
    encoded,
)
from tests.support.vectors import cases, load
from ztstack.base.address import Address
from ztstack.base.codec import Reader
from ztstack.base.errors import DecodeError
from ztstack.base.mac import Mac
from ztstack.base.network_id import NetworkId
from ztstack.crypto.identity import Identity
from ztstack.wire.credentials import (
    UNSIGNED,
    Capability,
    Com,
    Credential,
    CredentialType,
    NetworkCredentials,
    Ownership,
    Qualifier,
    Revocation,
    Tag,
    Thing,
)
from ztstack.wire.rules import decode_rules

KINDS: dict[str, type[Credential]] = {
    "com": Com,
    "tag": Tag,
    "capability": Capability,
    "ownership": Ownership,
    "revocation": Revocation,
}


def of_every_kind(*wanted: str) -> list[Any]:
    return [
        pytest.param(name, *param.values, id=param.id, marks=param.marks)
        for name in KINDS
        for param in cases(f"{name}.json", *(wanted or (name,)))
    ]


def known_identities(name: str) -> dict[Address, Identity]:
    texts = load(f"{name}.json")["known_identities"]
    return {identity.address: identity for identity in map(Identity.parse, texts)}


def fields(credential: Credential) -> dict[str, Any]:
    match credential:
        case Com():
            return {
                "timestamp": credential.timestamp,
                "network_id": str(credential.network_id),
                "issued_to": str(credential.issued_to),
                "signed_by": str(credential.signer),
                "qualifiers": [
                    {"id": q.id, "value": f"{q.value:016x}", "max_delta": f"{q.max_delta:016x}"}
                    for q in credential.qualifiers
                ],
            }
        case Tag():
            return {
                "network_id": str(credential.network),
                "timestamp": credential.timestamp,
                "id": credential.id,
                "value": credential.value,
                "issued_to": str(credential.issued_to),
                "signed_by": str(credential.signer),
            }
        case Capability():
            return {
                "network_id": str(credential.network),
                "timestamp": credential.timestamp,
                "id": credential.id,
                "max_custody_chain_length": credential.max_custody,
                "custody": [
                    {"to": str(c.to), "from": str(c.origin), "signature": c.signature.hex()}
                    for c in credential.custody
                ],
                "issued_to": str(credential.issued_to),
            }
        case Ownership():
            return {
                "network_id": str(credential.network),
                "timestamp": credential.timestamp,
                "flags": f"{credential.flags:016x}",
                "id": credential.id,
                "things": [(thing.type, thing.value.hex()) for thing in credential.things],
                "issued_to": str(credential.issued_to),
                "signed_by": str(credential.signer),
            }
        case Revocation():
            return {
                "id": credential.id,
                "network_id": str(credential.network),
                "credential_id": credential.credential_id,
                "threshold": credential.threshold,
                "flags": f"{credential.flags:016x}",
                "fast_propagate": credential.is_fast,
                "target": str(credential.target),
                "signed_by": str(credential.signer),
                "credential_type": credential.credential_type,
            }


_SIZES = {1: 6, 2: 4, 3: 16}


def check_fields(credential: Credential, expected: dict[str, Any]) -> None:
    for name, value in fields(credential).items():
        if name == "things":
            assert [(kind, data[: 2 * _SIZES.get(kind, 16)]) for kind, data in value] == [
                (t["type"], t["value"][: 2 * _SIZES.get(t["type"], 16)]) for t in expected[name]
            ]
        else:
            assert expected[name] == value, name


def unsigned(name: str, case: dict[str, Any]) -> Credential:
    if name == "com":
        return Com(
            tuple(
                Qualifier(q["id"], int(q["value"], 16), int(q["max_delta"], 16))
                for q in case["qualifiers"]
            )
        )
    network = NetworkId.parse(case["network_id"])
    timestamp = case.get("timestamp", 0)
    if name == "tag":
        to = Address.parse(case["issued_to"])
        return Tag(network, timestamp, case["id"], case["value"], to)
    if name == "ownership":
        things = tuple(
            Thing(t["type"], bytes.fromhex(t["value"]).ljust(16, b"\0")) for t in case["things"]
        )
        to = Address.parse(case["issued_to"])
        flags = int(case["flags"], 16)
        return Ownership(network, timestamp, case["id"], things, to, flags=flags)
    if name == "revocation":
        return Revocation(
            network=network,
            id=case["id"],
            credential_type=case["credential_type"],
            credential_id=case["credential_id"],
            threshold=case["threshold"],
            target=Address.parse(case["target"]),
            flags=int(case["flags"], 16),
        )
    rules = Capability.decode(Reader(bytes.fromhex(case["serialized"]))).rules
    return Capability(
        network, timestamp, case["id"], rules, max_custody=case["max_custody_chain_length"]
    )


@pytest.mark.parametrize(("name", "case"), of_every_kind())
def test_issue(name: str, case: dict[str, Any]) -> None:
    draft = unsigned(name, case)
    if isinstance(draft, Capability):
        for link, secret in zip(case["custody"], case["signer_secrets"], strict=True):
            draft = draft.signed_by(Identity.parse(secret), Address.parse(link["to"]))
        signed: Credential = draft
    else:
        signed = draft.signed_by(Identity.parse(case["signer_secret"]))
        assert signed.signature == bytes.fromhex(case["signature"])
    assert signed.signed_message() == bytes.fromhex(case["signed_message"])
    assert encoded(signed) == bytes.fromhex(case["serialized"])
    assert KINDS[name].decode(Reader(bytes.fromhex(case["serialized"]))) == signed
    check_fields(signed, case)


@pytest.mark.parametrize("case", cases("com.json", "com_unsigned"))
def test_com_unsigned(case: dict[str, Any]) -> None:
    com = Com.decode(Reader(bytes.fromhex(case["serialized"])))
    assert com.signature == UNSIGNED
    assert encoded(com) == bytes.fromhex(case["serialized"])
    check_fields(com, case)


def of_known_members() -> list[Any]:
    """Return the certificates of the controller's usual form whose holder the file names."""
    known = known_identities("com")
    return [
        parameter
        for parameter in cases("com.json", "com")
        if Address.parse(parameter.values[0]["issued_to"]) in known
        and [q["id"] for q in parameter.values[0]["qualifiers"]] == list(range(7))
    ]


@pytest.mark.parametrize("case", of_known_members())
def test_com_of_member(case: dict[str, Any]) -> None:
    network, member = NetworkId.parse(case["network_id"]), Address.parse(case["issued_to"])
    identity = known_identities("com")[member]
    delta = int(case["qualifiers"][0]["max_delta"], 16)
    made = Com.of_member(network, case["timestamp"], delta, identity)
    assert made.signed_message() == bytes.fromhex(case["signed_message"])


@pytest.mark.parametrize(("name", "case"), of_every_kind("parse"))
def test_parse(name: str, case: dict[str, Any]) -> None:
    r = Reader(bytes.fromhex(case["input"]))
    if not case["ok"]:
        with pytest.raises(DecodeError):
            KINDS[name].decode(r)
        return
    credential = KINDS[name].decode(r)
    assert r.offset == case["consumed"]
    check_fields(credential, case["fields"])


def verdict(credential: Credential, known: dict[Address, Identity]) -> str:
    """Judge as a member does that asks for identities it does not know."""
    network = credential.network_id if isinstance(credential, Com) else credential.network
    signers = credential.signers if isinstance(credential, Capability) else (credential.signer,)
    if not signers or signers[0] != network.controller:
        return "bad"
    if any(signer not in known for signer in signers):
        return "unknown_signer"
    try:
        if isinstance(credential, Capability):
            credential.verify(*(known[signer] for signer in signers))
        else:
            credential.verify(known[credential.signer])
    except DecodeError:
        return "bad"
    return "ok"


@pytest.mark.parametrize(("name", "case"), of_every_kind("verify"))
def test_verify(name: str, case: dict[str, Any]) -> None:
    credential = KINDS[name].decode(Reader(bytes.fromhex(case["serialized"])))
    assert verdict(credential, known_identities(name)) == case["result"]


@pytest.mark.parametrize("case", cases("com.json", "agrees"))
def test_com_agrees(case: dict[str, Any]) -> None:
    ours, theirs = (Com.decode(Reader(bytes.fromhex(case[side]))) for side in ("ours", "theirs"))
    assert ours.agrees_with(theirs, Identity.parse(case["their_identity"])) is case["agrees"]


@pytest.mark.parametrize("case", cases("ownership.json", "owns"))
def test_owns(case: dict[str, Any]) -> None:
    ownership = Ownership.decode(Reader(bytes.fromhex(case["serialized"])))
    if "mac" in case:
        assert ownership.owns_mac(Mac.parse(case["mac"])) is case["owns"]
    else:
        ip = ipaddress.ip_address(case["ip"]).packed
        assert ownership.owns_ip(ip) is case["owns"]


def test_verify_wants_the_controller() -> None:
    case = load("tag.json")["cases"][0]
    tag = Tag.decode(Reader(bytes.fromhex(case["serialized"])))
    controller = Identity.parse(case["signer_secret"])
    tag.verify(controller)
    others = [i for a, i in known_identities("tag").items() if a != controller.address]
    with pytest.raises(DecodeError):
        tag.verify(others[0])
    elsewhere = Tag(NetworkId(1 << 24), 1, 2, 3, Address(4)).signed_by(controller)
    with pytest.raises(DecodeError):
        elsewhere.verify(controller)


def test_ownership_of_seventeen_things_is_refused() -> None:
    ownership = Ownership(NetworkId(1), 2, 3, (Thing.of_ip(b"\1\2\3\4"),) * 17, Address(5))
    with pytest.raises(DecodeError):
        Ownership.decode(Reader(encoded(ownership)))


@pytest.mark.parametrize("name", KINDS)
def test_cut_short(name: str) -> None:
    case = max(cases(f"{name}.json", name), key=lambda p: len(p.values[0]["serialized"]))
    data = bytes.fromhex(case.values[0]["serialized"])
    check_cuts_fail(KINDS[name], data)


@settings(max_examples=20)
@given(st.one_of(coms(), tags, capabilities(), ownerships, revocations))
def test_decode_after_encode(credential: Credential) -> None:
    check_round_trip(credential)


@pytest.mark.parametrize("kind", [*KINDS.values(), NetworkCredentials])
@given(st.binary(max_size=300))
@settings(max_examples=20)
def test_noise(kind: type[Message], noise: bytes) -> None:
    check_fails_in_one_way(kind, noise)


@settings(max_examples=20)
@given(network_credentials)
def test_network_credentials(message: NetworkCredentials) -> None:
    check_round_trip(message)


def test_network_credentials_may_end_at_a_count() -> None:
    com, tag = (
        KINDS[name].decode(Reader(bytes.fromhex(load(f"{name}.json")["cases"][0]["serialized"])))
        for name in ("com", "tag")
    )
    assert isinstance(com, Com)
    assert isinstance(tag, Tag)
    data = encoded(NetworkCredentials(coms=(com,), tags=(tag,)))
    end = len(data)
    counts = {0, len(encoded(com)), len(encoded(com)) + 1, len(encoded(com)) + 3}
    check_cuts_fail(NetworkCredentials, data, legal=frozenset(counts | {end - 4, end - 2}))
    without = NetworkCredentials.decode(Reader(data[: len(encoded(com)) + 1]))
    assert without == NetworkCredentials(coms=(com,))


def test_type_numbers() -> None:
    assert [int(t) for t in CredentialType] == [1, 2, 3, 4, 6]


def test_rules_of_a_capability_come_back_even_if_unknown() -> None:
    rules = decode_rules(bytes.fromhex("3a03aabbcc01036162630100"))
    capability = Capability(NetworkId(1), 2, 3, rules)
    assert Capability.decode(Reader(encoded(capability))) == capability
