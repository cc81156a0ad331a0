from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.support.switches import START_US, SeededEntropy, known_identities
from tests.support.vectors import cases
from ztstack.base.codec import Reader
from ztstack.base.errors import Drop, InvalidConfig
from ztstack.base.network_id import NetworkId
from ztstack.base.timers import SECOND
from ztstack.base.trace import ListTracer
from ztstack.controller.controller import (
    MAX_STRANGERS,
    ONLINE_US,
    REQUEST_SPACING_US,
    Controller,
    Output,
    SendConfig,
    SendError,
    SendRevocation,
)
from ztstack.controller.model import MemberRecord, NetworkRecord
from ztstack.controller.store import MemoryStore
from ztstack.crypto.identity import Identity
from ztstack.vl2.network_config import NetworkConfig
from ztstack.wire.credentials import UNSIGNED, Capability, NetworkCredentials, Tag
from ztstack.wire.dictionary import Dictionary
from ztstack.wire.network_config import ConfigRequest, default_metadata
from ztstack.wire.verbs import ErrorCode

IDENTITIES = known_identities()
ME, A, B = IDENTITIES[0], IDENTITIES[1].public, IDENTITIES[2].public


def controller(store: MemoryStore | None = None, me: Identity = ME) -> Controller:
    return Controller(START_US, me, store or MemoryStore(), SeededEntropy(1), ListTracer())


def ask(
    machine: Controller, network: NetworkId, who: Identity, now: int = START_US, packet: int = 7
) -> Output | None:
    machine.receive_request(now, who, packet, ConfigRequest(network, default_metadata()), None)
    outputs = machine.take_output()
    assert len(outputs) <= 1
    return outputs[0] if outputs else None


def config_of(answer: Output | None, me: Identity = ME) -> NetworkConfig:
    assert isinstance(answer, SendConfig)
    for chunk in answer.chunks:
        chunk.verify(me)
    return NetworkConfig.from_dictionary(b"".join(chunk.data for chunk in answer.chunks))


def undated(credential: Tag | Capability, signer: Identity) -> Tag | Capability:
    """Verify a credential, and return what two of different times have in common."""
    credential.verify(signer)
    if isinstance(credential, Tag):
        return replace(credential, timestamp=0, signature=UNSIGNED)
    links = tuple(link._replace(signature=UNSIGNED) for link in credential.custody)
    return replace(credential, timestamp=0, custody=links)


@pytest.mark.parametrize("case", cases("controller.json", "request"))
def test_answers_of_the_original(case: dict[str, Any]) -> None:
    me, who = Identity.parse(case["controller"]), Identity.parse(case["requester"])
    store = MemoryStore()
    network = NetworkId.parse(case["network_id"])
    if case["network"] is not None:
        store.save_network(NetworkRecord.from_json(case["network"]))
        for member in case["members"]:
            store.save_member(network, MemberRecord.from_json(member))
    machine = controller(store, me)
    metadata = Dictionary.parse(bytes.fromhex(case["metadata"]))
    machine.receive_request(START_US, who, 9, ConfigRequest(network, metadata), None)
    (answer,) = machine.take_output()
    if case["reply"] == "ERROR":
        assert isinstance(answer, SendError)
        names = {
            "access_denied": ErrorCode.NETWORK_ACCESS_DENIED,
            "object_not_found": ErrorCode.OBJ_NOT_FOUND,
        }
        assert (answer.code, answer.body) == (names[case["error"]], network.packed)
        assert (answer.destination, answer.in_re_packet_id) == (who.address, 9)
        return
    ours = config_of(answer, me)
    theirs = NetworkConfig.from_dictionary(bytes.fromhex(case["dictionary"]))
    assert ours.com is not None
    assert theirs.com is not None
    assert [(q.id, q.max_delta) for q in ours.com.qualifiers] == [
        (q.id, q.max_delta) for q in theirs.com.qualifiers
    ]
    assert ours.com.qualifiers[1:] == theirs.com.qualifiers[1:]
    assert [o.things for o in ours.ownerships] == [o.things for o in theirs.ownerships]
    assert [undated(tag, me) for tag in ours.tags] == [undated(tag, me) for tag in theirs.tags]
    given, wanted = ours.capabilities, theirs.capabilities
    assert [undated(item, me) for item in given] == [undated(item, me) for item in wanted]
    same = replace(
        ours,
        tags=theirs.tags,
        capabilities=theirs.capabilities,
        timestamp=theirs.timestamp,
        revision=theirs.revision,
        com=theirs.com,
        ownerships=theirs.ownerships,
    )
    assert same == theirs


def test_a_public_network() -> None:
    machine = controller()
    record = machine.create_network(START_US, name="lab", private=False, pools=["10.1.2.0/24"])
    assert record.id.controller == ME.address
    answer = ask(machine, record.id, A)
    assert isinstance(answer, SendConfig)
    assert (answer.destination, answer.in_re_packet_id) == (A.address, 7)
    config = config_of(answer)
    assert config.is_public
    assert (config.name, config.issued_to, config.network) == ("lab", A.address, record.id)
    six, four = config.addresses
    assert (len(six[0]), six[1]) == (16, 88)
    assert (four[0][:3], four[1]) == (bytes((10, 1, 2)), 24)
    assert config.com is not None
    config.com.verify(ME)
    config.ownerships[0].verify(ME)
    assert config.ownerships[0].owns_ip(four[0])
    (member,) = machine.members(record.id)
    assert member.authorized
    assert member.version_text() == "1.14.1"
    assert machine.is_known_member(record.id, A.address)


def test_addresses_are_unique_and_stay() -> None:
    store = MemoryStore()
    machine = controller(store)
    network = machine.create_network(
        START_US, private=False, pools=["10.1.2.5-10.1.2.8"], rfc4193=False
    ).id
    given = [config_of(ask(machine, network, who)).addresses for who in IDENTITIES[1:4]]
    assert sorted(ip for ((ip, _),) in given) == [bytes((10, 1, 2, n)) for n in (5, 6, 7)]
    again = controller(store)
    assert config_of(ask(again, network, IDENTITIES[1])).addresses == given[0]
    # The pool is used up; the member joins without an address.
    assert config_of(ask(again, network, IDENTITIES[5])).addresses == ()


def test_a_private_network() -> None:
    machine = controller()
    network = machine.create_network(START_US, private=True, pools=["10.1.2.0/24"]).id
    refused = ask(machine, network, A)
    assert refused == SendError(A.address, 7, ErrorCode.NETWORK_ACCESS_DENIED, network.packed)
    assert [m.authorized for m in machine.members(network)] == [False]
    machine.authorize(START_US + SECOND, network, A.address)
    # It asked a moment ago, so it need not ask again.
    (pushed,) = machine.take_output()
    assert isinstance(pushed, SendConfig)
    assert pushed.in_re_packet_id is None
    assert not config_of(pushed).is_public
    machine.authorize(START_US + SECOND, network, B.address)
    assert machine.take_output() == []
    assert isinstance(ask(machine, network, B, START_US + 2 * SECOND), SendConfig)


def test_deauthorisation_is_told_to_all_who_are_online() -> None:
    machine = controller()
    network = machine.create_network(START_US, private=True).id
    for who in (A, B, IDENTITIES[3].public):
        machine.authorize(START_US, network, who.address)
    ask(machine, network, IDENTITIES[3].public, START_US)
    now = START_US + ONLINE_US
    ask(machine, network, A, now)
    ask(machine, network, B, now)
    machine.deauthorize(now + SECOND, network, A.address)
    outputs = machine.take_output()
    assert [o.destination for o in outputs] == [A.address, B.address]
    for output in outputs:
        assert isinstance(output, SendRevocation)
        (revocation,) = NetworkCredentials.decode(Reader(output.payload)).revocations
        revocation.verify(ME)
        assert (revocation.target, revocation.threshold) == (A.address, (now + SECOND) // 1000)
    denied = ask(machine, network, A, now + 2 * SECOND)
    assert isinstance(denied, SendError)


def test_requests_are_rate_limited() -> None:
    machine = controller()
    network = machine.create_network(START_US, private=False).id
    assert ask(machine, network, A) is not None
    assert ask(machine, network, A, START_US + REQUEST_SPACING_US - 1) is None
    assert ask(machine, network, A, START_US + REQUEST_SPACING_US) is not None


def test_another_controllers_network_is_not_answered() -> None:
    tracer = ListTracer()
    machine = Controller(START_US, ME, MemoryStore(), SeededEntropy(1), tracer)
    assert ask(machine, NetworkId(A.address << 24 | 1), B) is None
    assert tracer.drops == [Drop.NOT_CONTROLLER]


def test_strangers_are_bounded() -> None:
    machine = controller()
    network = machine.create_network(START_US, private=True).id
    for n in range(MAX_STRANGERS + 50):
        address = type(A.address)(n + 1)
        ask(machine, network, Identity(address, bytes(64)), START_US + n)
    assert len(machine.members(network)) == MAX_STRANGERS


def test_a_large_configuration_comes_in_chunks() -> None:
    machine = controller()
    pools = [f"10.{n}.0.1-10.{n}.0.2" for n in range(32)]
    network = machine.create_network(START_US, private=False, pools=pools).id
    answer = ask(machine, network, A)
    assert isinstance(answer, SendConfig)
    assert config_of(answer).routes[31].bits == 24
    assert {chunk.total for chunk in answer.chunks} == {sum(len(c.data) for c in answer.chunks)}


@pytest.mark.parametrize(
    "pool", ["10.0.0.0", "10.0.0.0/31", "10.0.0.9-10.0.0.1", "fd00::/64", "x", "10.0.0.1-"]
)
def test_a_bad_pool(pool: str) -> None:
    with pytest.raises(InvalidConfig, match="pool"):
        controller().create_network(START_US, pools=[pool])


def test_bad_networks() -> None:
    machine = controller()
    with pytest.raises(InvalidConfig, match="overlap"):
        machine.create_network(START_US, pools=["10.0.0.0/24", "10.0.0.5-10.0.0.9"])
    with pytest.raises(InvalidConfig, match="MTU"):
        machine.create_network(START_US, mtu=100)
    with pytest.raises(InvalidConfig, match="no network"):
        machine.members(NetworkId(1))
    public = machine.create_network(START_US, private=False).id
    ask(machine, public, A)
    with pytest.raises(InvalidConfig, match="public"):
        machine.deauthorize(START_US, public, A.address)
