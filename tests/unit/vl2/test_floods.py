"""Strangers and members that mean harm: everything they fill is bounded, and they are counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.support.vl2 import (
    ALICE,
    BOB,
    CONTROLLER,
    NETWORK,
    ROOT,
    SECOND,
    START,
    CountingEntropy,
    Host,
    chunks_of,
    config_for,
)
from ztstack.base.address import Address
from ztstack.base.codec import Reader, Writer
from ztstack.base.errors import DecodeError, Drop
from ztstack.base.mac import Mac, MulticastGroup
from ztstack.base.network_id import NetworkId
from ztstack.vl2.config_fetch import ASSEMBLIES, ConfigAssembler
from ztstack.vl2.events import FrameIn, ReplyError, ReplyOk, SendMessage, Verdict
from ztstack.vl2.membership import (
    CAPABILITY_LIMIT,
    MEMBER_LIMIT as OTHERS_LIMIT,
    OWNERSHIP_LIMIT,
    TAG_LIMIT,
    THRESHOLD_LIMIT,
    Acceptance,
    Memberships,
)
from ztstack.vl2.multicast import (
    GROUP_LIMIT,
    GROUPS_OF_MEMBER,
    MEMBER_LIFE_US,
    MEMBER_LIMIT,
    QUEUE_LIMIT,
    SWEEP_US,
    Multicast,
    Outgoing,
)
from ztstack.vl2.network import CREDENTIALS_PER_WINDOW
from ztstack.vl2.network_config import NetworkConfig, Route
from ztstack.vl2.parking import PARKED_PER_NODE
from ztstack.wire.credentials import (
    Capability,
    Com,
    CredentialType,
    NetworkCredentials,
    Ownership,
    Revocation,
    Tag,
)
from ztstack.wire.frames import ExtFrame, FrameMessage
from ztstack.wire.multicast import GatherOk, MulticastFrame, MulticastGather, MulticastLike
from ztstack.wire.network_config import MAX_CHUNKS, MAX_CONFIG_BYTES, ConfigChunk
from ztstack.wire.replies import Ok
from ztstack.wire.rules import ACCEPT_ALL
from ztstack.wire.verbs import Verb

NOW = START // 1000


def encoded(message: object) -> bytes:
    w = Writer()
    message.encode(w)  # type: ignore[attr-defined]  # every message has it
    return w.getvalue()


def groups(first: int, count: int) -> list[MulticastGroup]:
    return [MulticastGroup(Mac(0x01005E000000 | n), 0) for n in range(first, first + count)]


def member(*, public: bool = True) -> Host:
    """Return Bob, who is a member; on a public network everybody else is one too."""
    bob = Host(START, BOB)
    (body,) = chunks_of(config_for(BOB, is_public=public))
    bob.network.receive(START, CONTROLLER.address, Verb.NETWORK_CONFIG, 1, body)
    bob.network.take_output()
    return bob


def likes(host: Host, source: Address, wanted: list[MulticastGroup]) -> None:
    for at in range(0, len(wanted), 500):
        payload = encoded(MulticastLike(tuple((NETWORK, g) for g in wanted[at : at + 500])))
        host.network.receive(START, source, Verb.MULTICAST_LIKE, 1, payload)


def gathered(host: Host, source: Address, group: MulticastGroup, limit: int = 10) -> list[Address]:
    """Ask a node who listens to a group."""
    host.network.take_output()
    payload = encoded(MulticastGather(NETWORK, group, limit, None))
    host.network.receive(START, source, Verb.MULTICAST_GATHER, 5, payload)
    for output in host.network.take_output():
        if isinstance(output, ReplyOk):
            return list(GatherOk.decode(Reader(output.body)).members)
    return []


# Groups.


def test_one_member_cannot_push_out_the_groups_of_others() -> None:
    bob = member()
    (wanted,) = groups(0xFFFF, 1)
    likes(bob, ALICE.address, [wanted])
    likes(bob, ROOT.address, groups(0, 20_000))
    assert bob.tracer.drops == [Drop.RATE_LIMITED] * (20_000 - GROUPS_OF_MEMBER)
    assert gathered(bob, CONTROLLER.address, wanted) == [ALICE.address]
    # What it had before, it may renew.
    bob.tracer.drops.clear()
    likes(bob, ROOT.address, groups(0, GROUPS_OF_MEMBER))
    assert bob.tracer.drops == []


def test_many_members_fill_no_more_than_the_tables() -> None:
    multicast = Multicast(Address(1), CountingEntropy())
    for n in range(2 * GROUP_LIMIT // GROUPS_OF_MEMBER):
        for group in groups(n * GROUPS_OF_MEMBER, GROUPS_OF_MEMBER):
            assert multicast.add(n, group, Address(0x1000 + n)) == []
    assert multicast.group_count == GROUP_LIMIT
    (group,) = groups(0, 1)
    for n in range(MEMBER_LIMIT + 100):
        multicast.add(9, group, Address(0x100000 + n))
    assert len(multicast.members(group)) == MEMBER_LIMIT
    # All that is gone when they are silent, and they may begin anew.
    multicast.handle_timer(MEMBER_LIFE_US + SWEEP_US)
    assert multicast.group_count == 0
    later = MEMBER_LIFE_US + SWEEP_US
    for other in groups(0, GROUPS_OF_MEMBER):
        assert multicast.add(later, other, Address(0x1000)) == []
    assert multicast.add(later, groups(GROUPS_OF_MEMBER, 1)[0], Address(0x1000)) is None


def test_frames_that_wait_for_listeners_are_bounded() -> None:
    multicast = Multicast(Address(1), CountingEntropy())
    (group,) = groups(0, 1)
    for n in range(10 * QUEUE_LIMIT):
        multicast.distribute(START, Outgoing(START, group, None, 0x0800, bytes([n % 256])), 32)
    ready = multicast.add(START, group, Address(2))
    assert ready is not None
    assert len(ready) == QUEUE_LIMIT


def test_a_question_for_many_members_has_a_short_answer() -> None:
    """An answer fits in one packet, however many are asked for, and never costs more than one."""
    bob = member()
    (group,) = groups(0, 1)
    for n in range(4000):
        w = Writer()
        GatherOk(NETWORK, group, 1, (Address(0x100000 + n),)).encode(w)
        ok = Ok(Verb.MULTICAST_GATHER, 1, w.getvalue())
        bob.network.receive_ok(START, CONTROLLER.address, ok)
    payload = encoded(MulticastGather(NETWORK, group, 0xFFFFFFFF, None))
    bob.network.take_output()
    for _ in range(100):
        bob.network.receive(START, ALICE.address, Verb.MULTICAST_GATHER, 5, payload)
    answers = [o for o in bob.network.take_output() if isinstance(o, ReplyOk)]
    assert len(answers) == 100
    assert all(1000 < len(answer.body) < 10_000 for answer in answers)


def test_who_is_no_member_learns_and_changes_nothing() -> None:
    bob = member(public=False)
    (group,) = groups(0, 1)
    frame = MulticastFrame(NETWORK, 9, None, group, 0x0800, b"x")
    for n in range(1000):
        source = Address(0x100000 + n % 10)
        assert gathered(bob, source, group) == []
        likes(bob, source, [group])
        bob.network.receive(START, source, Verb.MULTICAST_FRAME, n, encoded(frame))
    out = bob.network.take_output()
    assert not any(isinstance(o, FrameIn | ReplyOk) for o in out)
    # One complaint a second and node, which is all that they get.
    complaints = [o.source for o in out if isinstance(o, ReplyError)]
    assert max(Counter(complaints).values(), default=0) <= 1
    assert Counter(bob.tracer.drops)[Drop.NOT_MEMBER] == 2000
    assert Counter(bob.tracer.drops)[Drop.QUEUE_FULL] > 1000


def test_frames_of_strangers_wait_in_a_bounded_place() -> None:
    bob = member(public=False)
    payload = encoded(FrameMessage(NETWORK, 0x0800, b"x"))
    for n in range(500):
        bob.network.receive(START, ALICE.address, Verb.FRAME, n, payload)
    counts = Counter(bob.tracer.drops)
    assert counts == {Drop.NOT_MEMBER: 500, Drop.QUEUE_FULL: 500 - PARKED_PER_NODE}
    bob.tracer.drops.clear()
    bob.network.handle_timer(START + 10 * SECOND)
    assert bob.tracer.drops == [Drop.QUEUE_TIMEOUT] * PARKED_PER_NODE


# Certificates.


def credentials(count: int, number: int = 0) -> Iterator[bytes]:
    """Give payloads with a forged tag each."""
    for n in range(count):
        forged = Tag(NETWORK, NOW + n, number, n, ALICE.address).signed_by(ROOT)
        yield encoded(NetworkCredentials(tags=(replace(forged, signer=CONTROLLER.address),)))


def test_a_flood_of_credentials_is_looked_at_a_few_times_a_second() -> None:
    bob = member()
    for payload in credentials(40):
        bob.network.receive(START, ALICE.address, Verb.NETWORK_CREDENTIALS, 1, payload)
    counts = Counter(bob.tracer.drops)
    assert counts[Drop.BAD_SIGNATURE] == CREDENTIALS_PER_WINDOW
    assert counts[Drop.RATE_LIMITED] == 40 - CREDENTIALS_PER_WINDOW
    # Another sender is not held back by it.
    bob.tracer.drops.clear()
    (payload,) = credentials(1)
    bob.network.receive(START, ROOT.address, Verb.NETWORK_CREDENTIALS, 1, payload)
    assert bob.tracer.drops == [Drop.BAD_SIGNATURE]


FOREIGN = NetworkId(ALICE.address << 24 | 1)
IPS = ()


@pytest.mark.parametrize(
    "message",
    [
        NetworkCredentials(coms=(Com.of_member(FOREIGN, NOW, 1, ALICE).signed_by(ALICE),)),
        NetworkCredentials(tags=(Tag(FOREIGN, NOW, 1, 1, ALICE.address).signed_by(ALICE),)),
        NetworkCredentials(
            capabilities=(Capability(FOREIGN, NOW, 1, ACCEPT_ALL).signed_by(ALICE, ALICE.address),)
        ),
        NetworkCredentials(
            ownerships=(Ownership(FOREIGN, NOW, 1, IPS, ALICE.address).signed_by(ALICE),)
        ),
        NetworkCredentials(
            revocations=(Revocation(FOREIGN, 1, 1, 0, NOW, BOB.address, 1).signed_by(ALICE),)
        ),
    ],
)
def test_certificates_of_another_network_are_none_of_our_business(
    message: NetworkCredentials,
) -> None:
    bob = member(public=False)
    bob.network.receive(START, ALICE.address, Verb.NETWORK_CREDENTIALS, 1, encoded(message))
    assert bob.network.take_output() == []
    frame = encoded(FrameMessage(NETWORK, 0x0800, b"x"))
    assert bob.network.receive(START, ALICE.address, Verb.FRAME, 2, frame) is Verdict.IGNORED


@pytest.mark.parametrize(
    "message",
    [
        NetworkCredentials(coms=(Com.of_member(NETWORK, NOW, 1, ALICE).signed_by(ALICE),)),
        NetworkCredentials(
            coms=(
                replace(
                    Com.of_member(NETWORK, NOW, 1, ALICE).signed_by(ALICE),
                    signer=CONTROLLER.address,
                ),
            )
        ),
        NetworkCredentials(tags=(Tag(NETWORK, NOW, 1, 1, ALICE.address).signed_by(ALICE),)),
        NetworkCredentials(
            capabilities=(Capability(NETWORK, NOW, 1, ACCEPT_ALL).signed_by(ALICE, ALICE.address),)
        ),
        NetworkCredentials(
            ownerships=(Ownership(NETWORK, NOW, 1, IPS, ALICE.address).signed_by(ALICE),)
        ),
        NetworkCredentials(
            revocations=(Revocation(NETWORK, 1, 1, 0, NOW, BOB.address, 1).signed_by(ALICE),)
        ),
    ],
)
def test_wrong_signatures_are_counted_and_spread_no_further(message: NetworkCredentials) -> None:
    bob = member(public=False)
    bob.network.receive(START, ALICE.address, Verb.NETWORK_CREDENTIALS, 1, encoded(message))
    assert bob.tracer.drops == [Drop.BAD_SIGNATURE]
    assert bob.network.take_output() == []


def test_what_is_kept_of_one_member_is_bounded() -> None:
    """The controller's own flood; nobody else's certificates are kept at all."""
    memberships = Memberships(NETWORK)
    memberships.configure(START, config_for(BOB))
    made = 600
    for n in range(made):
        for credential in (
            Tag(NETWORK, NOW, n, 1, ALICE.address).signed_by(CONTROLLER),
            Revocation(NETWORK, n, CredentialType.TAG, made + n, NOW, ALICE.address).signed_by(
                CONTROLLER
            ),
        ):
            assert memberships.accept(credential, CONTROLLER) is Acceptance.NEW
        if n < 200:
            for more in (
                Capability(NETWORK, NOW, n, ACCEPT_ALL).signed_by(CONTROLLER, ALICE.address),
                Ownership(NETWORK, NOW, n, IPS, ALICE.address).signed_by(CONTROLLER),
            ):
                assert memberships.accept(more, CONTROLLER) is Acceptance.NEW
    held = memberships.obtain(ALICE.address)
    tables = (held.tags, held.capabilities, held.ownerships, held.thresholds)
    limits = (TAG_LIMIT, CAPABILITY_LIMIT, OWNERSHIP_LIMIT, THRESHOLD_LIMIT)
    assert tuple(len(table) for table in tables) == limits
    assert memberships.addresses() == [ALICE.address]


def test_those_who_ask_for_our_certificate_are_bounded() -> None:
    memberships = Memberships(NETWORK)
    memberships.configure(START, config_for(BOB))
    for n in range(OTHERS_LIMIT + 50):
        assert memberships.take_demanded_push(START, Address(0x100000 + n))
    assert len(memberships) == OTHERS_LIMIT


# Configurations.


def test_more_of_everything_than_there_may_be() -> None:
    """A text that is full of what the protocol allows some of is cut where it says so (3.2)."""
    tag = Tag(NETWORK, NOW, 1, 1, BOB.address).signed_by(CONTROLLER)
    capability = Capability(NETWORK, NOW, 1, ACCEPT_ALL).signed_by(CONTROLLER, BOB.address)
    ownership = Ownership(NETWORK, NOW, 1, IPS, BOB.address).signed_by(CONTROLLER)
    config = config_for(
        BOB,
        tags=(tag,) * 300,
        capabilities=(capability,) * 300,
        ownerships=(ownership,) * 10,
        specialists=tuple(range(1, 600)),
        routes=(Route(bytes((10, 0, 0, 0)), 8),) * 300,
        addresses=((bytes((10, 0, 0, 1)), 8),) * 100,
        rules=ACCEPT_ALL * 2000,
        name="n" * 500,
    )
    read = NetworkConfig.from_dictionary(config.to_dictionary())
    lists = (
        read.tags,
        read.capabilities,
        read.ownerships,
        read.specialists,
        read.routes,
        read.addresses,
        read.rules,
        read.name,
    )
    assert [len(items) for items in lists] == [128, 128, 4, 256, 128, 32, 1024, 127]


def test_chunks_that_nobody_signed_are_counted_and_take_no_place() -> None:
    bob = member()
    held = bob.network.config
    text = config_for(BOB, START + SECOND).to_dictionary()
    for update_id in range(2, 52):
        for chunk in ConfigChunk.split(NETWORK, text, update_id, 400):
            body = encoded(chunk.signed_by(ALICE))
            bob.network.receive(START, ALICE.address, Verb.NETWORK_CONFIG, 1, body)
    assert set(bob.tracer.drops) == {Drop.BAD_SIGNATURE}
    assert bob.network.config == held
    # A true one in the midst of them is taken.
    for body in chunks_of(config_for(BOB, START + SECOND), 7, 400):
        bob.network.receive(START, CONTROLLER.address, Verb.NETWORK_CONFIG, 1, body)
    assert bob.network.config == config_for(BOB, START + SECOND)


def test_updates_that_never_end_hold_three_texts_at_most() -> None:
    """What the controller signed and somebody repeats in part; copies take no room."""
    assembler = ConfigAssembler()
    first = []
    for update_id in range(1, 30):
        chunks = ConfigChunk.split(NETWORK, bytes(1000), update_id, 400)
        chunk = chunks[0].signed_by(CONTROLLER)
        first.append(chunk)
        assert assembler.add(chunk, CONTROLLER) is None
    assert [assembler.is_known(chunk) for chunk in first].count(True) == ASSEMBLIES
    assert assembler.is_known(first[-1])


@pytest.mark.parametrize(
    ("size", "is_taken"), [(MAX_CONFIG_BYTES - 1, True), (MAX_CONFIG_BYTES, False)]
)
def test_a_text_as_long_as_it_may_be_and_one_that_is_longer(size: int, is_taken: bool) -> None:
    try:
        chunk = ConfigChunk(NETWORK, b"x", update_id=1, total=size, offset=0)
        body = encoded(chunk.signed_by(CONTROLLER))
        decoded = ConfigChunk.decode(Reader(body))
    except DecodeError:
        assert not is_taken
    else:
        assert is_taken
        assert ConfigAssembler().add(decoded, CONTROLLER) is None


def test_a_text_in_too_many_pieces() -> None:
    assembler = ConfigAssembler()
    chunks = ConfigChunk.split(NETWORK, bytes(range(250)) * 2, 1, 1)
    for chunk in chunks[:MAX_CHUNKS]:
        assert assembler.add(chunk.signed_by(CONTROLLER), CONTROLLER) is None
    with pytest.raises(DecodeError):
        assembler.add(chunks[MAX_CHUNKS].signed_by(CONTROLLER), CONTROLLER)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"timestamp": NOW - 1}, Drop.STALE),
        ({"timestamp": NOW - 10**9, "revision": 99}, Drop.STALE),
        ({"timestamp": NOW + 1, "issued_to": ALICE.address}, Drop.BAD_CONFIG),
        ({"timestamp": NOW + 1, "network": FOREIGN}, Drop.BAD_CONFIG),
    ],
)
def test_configurations_that_are_not_for_now_or_not_for_us(
    change: dict[str, object], reason: Drop
) -> None:
    bob = member()
    held = bob.network.config
    config: NetworkConfig = replace(config_for(BOB), **change)  # type: ignore[arg-type]  # fields
    for body in chunks_of(config, 9):
        bob.network.receive(START, ALICE.address, Verb.NETWORK_CONFIG, 1, body)
    assert bob.network.config == held
    assert bob.tracer.drops == [reason]


def test_no_frame_of_a_flood_gets_in_by_another_mac() -> None:
    bob = member()
    for n in range(300):
        mac = Mac(0x020000000000 | n)
        payload = encoded(ExtFrame(NETWORK, 0, None, bob.network.mac, mac, 0x0800, b"x"))
        bob.network.receive(START, ALICE.address, Verb.EXT_FRAME, n, payload)
    assert Counter(bob.tracer.drops) == {Drop.BRIDGING: 300}
    out = bob.network.take_output()
    assert not any(isinstance(o, FrameIn) for o in out)
    assert not any(isinstance(o, SendMessage) and o.verb == Verb.EXT_FRAME for o in out)
