from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.support.switches import START_US, SeededEntropy, known_identities
from tests.support.vectors import cases
from ztstack.base.codec import Reader
from ztstack.base.errors import Drop, InvalidConfig, StorageError
from ztstack.base.network_id import NetworkId
from ztstack.base.timers import SECOND
from ztstack.base.trace import ListTracer
from ztstack.controller.controller import (
    NEWCOMER_US,
    NEWCOMERS_AT_ONCE,
    PUSH_SPACING_US,
    PUSHES_AT_ONCE,
    REQUEST_SPACING_US,
    REVOCATIONS_AT_ONCE,
    Controller,
    Output,
    SendConfig,
    SendError,
    SendRevocation,
)
from ztstack.controller.model import MemberRecord, NetworkRecord
from ztstack.controller.roster import MAX_REVOKED, MAX_STRANGERS, ONLINE_US
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


class FullStore(MemoryStore):
    """A store on a disk that fills up."""

    is_full = False

    def save_network(self, network: NetworkRecord) -> None:
        self._check()
        super().save_network(network)

    def save_member(self, network: NetworkId, member: MemberRecord) -> None:
        self._check()
        super().save_member(network, member)

    def _check(self) -> None:
        if self.is_full:
            raise StorageError("no space left")


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
        ask(machine, network, Identity(address, bytes(64)), START_US + n * NEWCOMER_US)
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
    "pool", ["10.0.0.0", "10.0.0.0/31", "10.0.0.9-10.0.0.1", "fd00::/127", "x", "10.0.0.1-"]
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


def token_request(network: NetworkId, text: bytes) -> ConfigRequest:
    metadata = default_metadata()
    metadata.add("a", text)
    return ConfigRequest(network, metadata)


@pytest.mark.parametrize(
    ("until_ms", "text", "allowed"),
    [
        (0, b"token:secret", True),
        (START_US // 1000 + 1, b"token:secret", True),
        (START_US // 1000, b"token:secret", False),
        (0, b"token:", False),
        (0, b"token:other", False),
        (0, b"secret", False),
        (0, b"token:\xff", False),
    ],
)
def test_a_token_lets_in_as_long_as_it_lasts(until_ms: int, text: bytes, allowed: bool) -> None:
    machine = controller()
    record = machine.create_network(START_US)
    machine.put_network(START_US, replace(record, auth_tokens=(("secret", until_ms),)))
    machine.receive_request(START_US, A, 7, token_request(record.id, text), None)
    (answer,) = machine.take_output()
    assert isinstance(answer, SendConfig if allowed else SendError)
    member = machine.member(record.id, A.address)
    assert member is not None
    assert member.credential == (("token", "secret") if allowed else None)


def test_a_change_of_a_large_network_is_pushed_in_parts() -> None:
    machine = controller()
    record = machine.create_network(START_US, private=False, rfc4193=False)
    for who in IDENTITIES[1:]:
        ask(machine, record.id, who.public)
    machine.put_network(START_US, replace(record, mtu=1400))
    count = len(IDENTITIES) - 1
    assert count > 2 * 3
    pushed, now = [o.destination for o in machine.take_output()], START_US
    assert len(pushed) == min(count, PUSHES_AT_ONCE)
    machine.put_network(START_US, replace(record, mtu=1500))
    while (at := machine.next_timer()) is not None:
        assert now < at <= now + PUSH_SPACING_US
        machine.handle_timer(at - 1)
        assert machine.take_output() == []
        now = at
        machine.handle_timer(now)
        outputs = machine.take_output()
        assert len(outputs) <= PUSHES_AT_ONCE
        for output in outputs:
            assert config_of(output).mtu == 1500
        pushed += [o.destination for o in outputs]
    assert {who.address for who in IDENTITIES[1:]} == set(pushed[-count:])


def test_two_members_with_the_same_address_by_hand() -> None:
    machine = controller()
    record = machine.create_network(
        START_US, private=False, pools=["10.1.2.5-10.1.2.5"], rfc4193=False
    )
    same = (bytes((10, 1, 2, 5)),)
    for who in (A, B):
        machine.put_member(START_US, record.id, MemberRecord(who.address, ips=same))
    machine.delete_member(START_US, record.id, B.address)
    assert config_of(ask(machine, record.id, IDENTITIES[3].public)).addresses == ()
    machine.delete_member(START_US, record.id, A.address)
    later = START_US + SECOND
    assert config_of(ask(machine, record.id, IDENTITIES[3].public, later)).addresses == (
        (same[0], 24),
    )


def test_everybody_hears_of_a_new_bridge() -> None:
    machine = controller()
    network = machine.create_network(START_US, private=False).id
    ask(machine, network, A)
    machine.put_member(START_US, network, MemberRecord(B.address, bridge=True))
    (pushed,) = machine.take_output()
    assert pushed.destination == A.address
    assert [item & 0xFFFFFFFFFF for item in config_of(pushed).specialists] == [B.address]


def test_what_cannot_be_stored_is_not_promised() -> None:
    store, tracer = FullStore(), ListTracer()
    machine = Controller(START_US, ME, store, SeededEntropy(1), tracer)
    network = machine.create_network(START_US, private=False, pools=["10.1.2.0/24"]).id
    assert isinstance(ask(machine, network, A), SendConfig)
    store.is_full = True
    assert ask(machine, network, B) is None
    assert tracer.drops == [Drop.NOT_STORED]
    assert [m.address for m in machine.members(network)] == [A.address]
    # Whom the store knows is served as before.
    assert isinstance(ask(machine, network, A, START_US + SECOND), SendConfig)
    with pytest.raises(StorageError):
        machine.put_network(START_US, replace(machine.networks()[0], name="new"))
    assert machine.networks()[0].name == ""


def test_a_deleted_network_is_over_for_those_online() -> None:
    machine = controller()
    network = machine.create_network(START_US, private=False).id
    ask(machine, network, A)
    ask(machine, network, B)
    machine.delete_network(START_US, network)
    outputs = machine.take_output()
    assert [o.destination for o in outputs] == [A.address, B.address]
    for output in outputs:
        assert isinstance(output, SendRevocation)
        (revocation,) = NetworkCredentials.decode(Reader(output.payload)).revocations
        assert revocation.target == output.destination
    assert isinstance(ask(machine, network, A, START_US + SECOND), SendError)


def test_a_flood_of_strangers_leaves_time_for_members() -> None:
    machine = controller()
    network = machine.create_network(START_US, private=True).id
    machine.authorize(START_US, network, A.address)
    flood = [Identity(type(A.address)(n + 1), bytes(64)) for n in range(NEWCOMERS_AT_ONCE + 9)]
    answers = [ask(machine, network, who) for who in flood]
    assert [answer is None for answer in answers].count(True) == 9
    assert isinstance(ask(machine, network, A), SendConfig)
    # A moment later there is time for one more.
    later = START_US + NEWCOMER_US
    assert ask(machine, network, flood[-1], later + SECOND) is not None
    assert ask(machine, network, flood[-2], later + SECOND) is not None


def test_a_stranger_that_was_too_early_may_ask_again() -> None:
    machine = controller()
    network = machine.create_network(START_US, private=True).id
    for n in range(NEWCOMERS_AT_ONCE):
        ask(machine, network, Identity(type(A.address)(n + 1), bytes(64)))
    assert ask(machine, network, A) is None
    assert isinstance(ask(machine, network, A, START_US + REQUEST_SPACING_US), SendError)


def revoked(outputs: list[Output]) -> list[tuple[str, list[str]]]:
    """Return to whom revocations go, and whom they revoke."""
    found = []
    for output in outputs:
        if isinstance(output, SendRevocation):
            message = NetworkCredentials.decode(Reader(output.payload))
            for revocation in message.revocations:
                revocation.verify(ME)
            names = [str(revocation.target) for revocation in message.revocations]
            found.append((str(output.destination), names))
    return found


def refresh(
    machine: Controller, network: NetworkId, who: Identity, now: int, held: int = 1
) -> list[Output]:
    """Ask with a configuration of the time `held`; the answer comes after the revocations."""
    request = ConfigRequest(network, default_metadata(), revision=held, timestamp=held)
    machine.receive_request(now, who, 7, request, None)
    outputs = machine.take_output()
    assert isinstance(outputs[-1], SendConfig)
    return outputs


def test_who_missed_a_revocation_is_told_at_its_next_request() -> None:
    store = MemoryStore()
    machine = controller(store)
    network = machine.create_network(START_US, private=True).id
    for who in (A, B):
        machine.authorize(START_US, network, who.address)
    assert revoked(refresh(machine, network, B, START_US)) == []
    machine.deauthorize(START_US + SECOND, network, A.address)
    assert revoked(machine.take_output()) == [(str(B.address), [str(A.address)])]
    # That packet may have been lost, so it comes again.
    minute = 60 * SECOND
    for count in (1, 2):
        told = refresh(machine, network, B, START_US + count * minute)
        assert revoked(told) == [(str(B.address), [str(A.address)])]
    assert revoked(refresh(machine, network, B, START_US + 3 * minute)) == []
    # A controller that was away does not know who heard of it.
    again = controller(store)
    late = refresh(again, network, B, START_US + 4 * minute)
    assert revoked(late) == [(str(B.address), [str(A.address)])]
    assert revoked(refresh(again, network, B, START_US + 8 * minute)) == []
    # Nor does a member that was started again.
    late = refresh(again, network, B, START_US + 9 * minute, held=0)
    assert revoked(late) == [(str(B.address), [str(A.address)])]
    again.authorize(START_US + 10 * minute, network, A.address)
    again = controller(store)
    assert revoked(refresh(again, network, B, START_US + 11 * minute)) == []


def test_who_is_let_in_is_told_who_is_out() -> None:
    machine = controller()
    network = machine.create_network(START_US, private=True).id
    machine.authorize(START_US, network, A.address)
    machine.deauthorize(START_US, network, A.address)
    for minute in range(5):
        refused = ask(machine, network, B, START_US + minute * 60 * SECOND)
        assert isinstance(refused, SendError)
    machine.authorize(START_US + 241 * SECOND, network, B.address)
    outputs = machine.take_output()
    assert revoked(outputs) == [(str(B.address), [str(A.address)])]
    assert isinstance(outputs[-1], SendConfig)


def test_a_controller_that_was_away_speaks_to_those_it_has_not_heard() -> None:
    store = MemoryStore()
    machine = controller(store)
    network = machine.create_network(START_US, private=True).id
    for who in (A, B):
        machine.authorize(START_US, network, who.address)
        ask(machine, network, who)
    # This one was named, but nobody knows its key.
    machine.authorize(START_US, network, IDENTITIES[3].address)
    machine = controller(store)
    machine.deauthorize(START_US + SECOND, network, A.address)
    names = [str(A.address)]
    told = revoked(machine.take_output())
    assert told == [(str(A.address), names), (str(B.address), names)]
    machine.put_network(START_US + SECOND * 2, replace(machine.networks()[0], mtu=1400))
    *_, pushed = machine.take_output()
    assert pushed.destination == B.address
    assert config_of(pushed).mtu == 1400
    # By now it would have asked.
    machine.put_network(START_US + ONLINE_US, replace(machine.networks()[0], mtu=1500))
    assert machine.take_output() == []


def test_revocations_are_over_when_certificates_are() -> None:
    store = MemoryStore()
    machine = controller(store)
    record = machine.create_network(START_US, private=True)
    for who in (A, B):
        machine.authorize(START_US, record.id, who.address)
    machine.deauthorize(START_US, record.id, A.address)
    window = record.credential_window_ms * 1000
    before, after = START_US + window - SECOND, START_US + window
    assert revoked(refresh(machine, record.id, B, before)) != []
    fresh = Controller(after, ME, store, SeededEntropy(1), ListTracer())
    assert revoked(refresh(fresh, record.id, B, after)) == []


def test_of_many_who_were_put_out_some_are_told_at_once() -> None:
    machine = controller()
    network = machine.create_network(START_US, private=True).id
    machine.authorize(START_US, network, B.address)
    addresses = [type(A.address)(n + 1) for n in range(MAX_REVOKED + 5)]
    for n, address in enumerate(addresses):
        machine.authorize(START_US + n * 1000, network, address)
        machine.deauthorize(START_US + n * 1000, network, address)
    told = revoked(refresh(machine, network, B, START_US + SECOND))
    assert max(len(names) for _, names in told) == REVOCATIONS_AT_ONCE
    assert [name for _, names in told for name in names] == [
        str(address) for address in addresses[-MAX_REVOKED:]
    ]
