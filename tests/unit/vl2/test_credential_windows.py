"""When certificates count and when not: one below, at, and one above each edge (vl2 4.2 to 4.9)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.switches import known_identities
from tests.support.vl2 import (
    ALICE,
    BOB,
    CONTROLLER,
    NETWORK,
    ROOT,
    SECOND,
    START,
    Host,
    World,
    chunks_of,
    config_for,
)
from ztstack.base.codec import Writer
from ztstack.base.errors import Drop
from ztstack.base.frame import FrameBatch
from ztstack.base.mac import Mac
from ztstack.vl2.events import FrameIn, SendMessage, Verdict, WantIdentity
from ztstack.vl2.membership import Acceptance, Membership, Memberships
from ztstack.wire.credentials import (
    Capability,
    Com,
    Credential,
    CredentialType,
    NetworkCredentials,
    Ownership,
    Revocation,
    Tag,
    Thing,
    ThingType,
)
from ztstack.wire.frames import FrameMessage
from ztstack.wire.rules import ACCEPT_ALL
from ztstack.wire.verbs import Verb

NOW = START // 1000
DELTA = 1_800_000
IP = bytes((10, 0, 0, 2))
TAG, CAPABILITY, OWNERSHIP = (
    CredentialType.TAG,
    CredentialType.CAPABILITY,
    CredentialType.OWNERSHIP,
)


def com(timestamp: int, delta: int = DELTA) -> Com:
    return Com.of_member(NETWORK, timestamp, delta, BOB).signed_by(CONTROLLER)


def revocation(kind: int, threshold: int, number: int = 0) -> Revocation:
    return Revocation(NETWORK, 1, kind, number, threshold, BOB.address).signed_by(CONTROLLER)


def gate(ours: Com) -> Memberships:
    memberships = Memberships(NETWORK)
    memberships.configure(START, config_for(ALICE, com=ours))
    return memberships


def our_com(timestamp: int = NOW, delta: int = DELTA) -> Com:
    return Com.of_member(NETWORK, timestamp, delta, ALICE).signed_by(CONTROLLER)


@pytest.mark.parametrize("delta", [300_000, DELTA, 7_200_000])
@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize(("beyond", "is_allowed"), [(-1, True), (0, True), (1, False)])
def test_certificates_of_membership(delta: int, sign: int, beyond: int, is_allowed: bool) -> None:
    """The window is ours; theirs does not count, however wide it is."""
    memberships = gate(our_com(delta=delta))
    theirs = com(NOW + sign * (delta + beyond), delta=1 << 40)
    assert memberships.accept(theirs, CONTROLLER) is Acceptance.NEW
    assert memberships.is_allowed(BOB.address, BOB) is is_allowed
    # Not for somebody with another key, and not for one who is not known.
    assert not memberships.is_allowed(BOB.address, ALICE)
    assert not memberships.is_allowed(BOB.address, None)


@pytest.mark.parametrize(
    ("change", "is_allowed"),
    [(-DELTA - 1, False), (-DELTA, True), (DELTA, True), (DELTA + 1, False)],
)
def test_our_own_renewal_moves_the_window(change: int, is_allowed: bool) -> None:
    memberships = gate(our_com())
    memberships.accept(com(NOW), CONTROLLER)
    assert memberships.is_allowed(BOB.address, BOB)
    memberships.configure(START, config_for(ALICE, com=our_com(NOW + change)))
    assert memberships.is_allowed(BOB.address, BOB) is is_allowed


@pytest.mark.parametrize(
    ("later", "result"), [(-1, Acceptance.REJECTED), (0, Acceptance.REJECTED), (1, Acceptance.NEW)]
)
def test_a_revoked_certificate_and_the_next_one(later: int, result: Acceptance) -> None:
    memberships = gate(our_com())
    memberships.accept(com(NOW - 1000), CONTROLLER)
    assert memberships.accept(revocation(1, NOW), CONTROLLER) is Acceptance.NEW
    assert not memberships.is_allowed(BOB.address, BOB)
    assert memberships.accept(com(NOW + later), CONTROLLER) is result
    assert memberships.is_allowed(BOB.address, BOB) is (result is Acceptance.NEW)


@pytest.mark.parametrize(("threshold", "is_allowed"), [(-1, True), (0, False), (1, False)])
def test_a_held_certificate_is_revoked(threshold: int, is_allowed: bool) -> None:
    memberships = gate(our_com())
    memberships.accept(com(NOW), CONTROLLER)
    memberships.accept(revocation(1, NOW + threshold), CONTROLLER)
    assert memberships.is_allowed(BOB.address, BOB) is is_allowed


@pytest.mark.parametrize(
    ("later", "result"),
    [(-1, Acceptance.REJECTED), (0, Acceptance.REDUNDANT), (1, Acceptance.NEW)],
)
def test_an_older_certificate_does_not_replace_a_newer_one(later: int, result: Acceptance) -> None:
    memberships = gate(our_com())
    memberships.accept(com(NOW), CONTROLLER)
    assert memberships.accept(com(NOW + later), CONTROLLER) is result


def tag(timestamp: int, value: int = 7) -> Tag:
    return Tag(NETWORK, timestamp, 3, value, BOB.address).signed_by(CONTROLLER)


def capability(timestamp: int) -> Capability:
    return Capability(NETWORK, timestamp, 3, ACCEPT_ALL).signed_by(CONTROLLER, BOB.address)


def ownership(timestamp: int) -> Ownership:
    things = (Thing(ThingType.IPV4, IP),)
    return Ownership(NETWORK, timestamp, 3, things, BOB.address).signed_by(CONTROLLER)


def has_tag(member: Membership) -> bool:
    return member.valid_tag(3, NOW, DELTA) is not None


def has_capability(member: Membership) -> bool:
    return bool(member.valid_capabilities(NOW, DELTA))


def owns(member: Membership) -> bool:
    return member.owns_ip(IP, NOW, DELTA)


KINDS = pytest.mark.parametrize(
    ("kind", "make", "holds"),
    [
        (TAG, tag, has_tag),
        (CAPABILITY, capability, has_capability),
        (OWNERSHIP, ownership, owns),
    ],
    ids=["tag", "capability", "ownership"],
)
Make = Callable[[int], Credential]
Holds = Callable[[Membership], bool]


@KINDS
@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize(("beyond", "is_valid"), [(-1, True), (0, True), (1, False)])
def test_other_certificates_count_near_our_configuration(
    kind: int, make: Make, holds: Holds, sign: int, beyond: int, is_valid: bool
) -> None:
    memberships = gate(our_com())
    credential = make(NOW + sign * (DELTA + beyond))
    assert memberships.accept(credential, CONTROLLER) is Acceptance.NEW
    assert holds(memberships.obtain(BOB.address)) is is_valid


@KINDS
@pytest.mark.parametrize(("threshold", "is_valid"), [(-1, True), (0, False), (1, False)])
def test_other_certificates_are_revoked(
    kind: int, make: Make, holds: Holds, threshold: int, is_valid: bool
) -> None:
    memberships = gate(our_com())
    memberships.accept(make(NOW), CONTROLLER)
    # Another number, and another kind, is another certificate.
    memberships.accept(revocation(kind, NOW + 5, number=4), CONTROLLER)
    memberships.accept(revocation(kind % 3 + 2, NOW + 5, number=3), CONTROLLER)
    assert holds(memberships.obtain(BOB.address))
    memberships.accept(revocation(kind, NOW + threshold, number=3), CONTROLLER)
    assert holds(memberships.obtain(BOB.address)) is is_valid
    again = memberships.accept(make(NOW + 1), CONTROLLER)
    assert again is (Acceptance.REJECTED if threshold == 1 else Acceptance.NEW)


@KINDS
def test_only_the_controller_certifies(kind: int, make: Make, holds: Holds) -> None:
    memberships = gate(our_com())
    assert memberships.accept(make(NOW), ALICE) is Acceptance.REJECTED
    assert memberships.addresses() == []


def test_the_order_of_tags() -> None:
    memberships = gate(our_com())
    for later, value, result, held in (
        (0, 7, Acceptance.NEW, 7),
        (-1, 8, Acceptance.REJECTED, 7),
        (0, 7, Acceptance.REDUNDANT, 7),
        (0, 9, Acceptance.NEW, 9),
        (1, 10, Acceptance.NEW, 10),
    ):
        assert memberships.accept(tag(NOW + later, value), CONTROLLER) is result
        assert memberships.obtain(BOB.address).valid_tag(3, NOW, DELTA) == held


def test_a_capability_that_was_handed_on() -> None:
    """Each holder signed it; one who is not known yet is looked for, and it waits so long."""
    carol = known_identities()[0]
    bob = Host(START, BOB)
    (body,) = chunks_of(config_for(BOB, is_public=True, rules=()))
    bob.network.receive(START, CONTROLLER.address, Verb.NETWORK_CONFIG, 1, body)
    bob.network.take_output()
    made = Capability(NETWORK, NOW, 3, ACCEPT_ALL, max_custody=2)
    handed_on = made.signed_by(CONTROLLER, carol.address).signed_by(carol, ALICE.address)
    frame, w = Writer(), Writer()
    FrameMessage(NETWORK, 0x0800, b"x").encode(frame)
    NetworkCredentials(capabilities=(handed_on,)).encode(w)

    def gets_in() -> bool:
        bob.network.receive(START, ALICE.address, Verb.FRAME, 2, frame.getvalue())
        return any(isinstance(output, FrameIn) for output in bob.network.take_output())

    # The network's own rules let nothing in.
    assert not gets_in()
    bob.network.receive(START, ALICE.address, Verb.NETWORK_CREDENTIALS, 1, w.getvalue())
    assert WantIdentity(carol.address) in bob.network.take_output()
    assert not gets_in()
    bob.phonebook.known[carol.address] = carol
    bob.network.identity_learned(START, carol.address)
    assert gets_in()
    # One that was signed by somebody who never had it is worth nothing.
    stolen = made.signed_by(CONTROLLER, carol.address).signed_by(BOB, ALICE.address)
    memberships = gate(our_com())
    assert memberships.accept(stolen, CONTROLLER, [carol]) is Acceptance.REJECTED
    assert memberships.accept(handed_on, CONTROLLER, []) is Acceptance.REJECTED
    assert memberships.accept(handed_on, CONTROLLER, [carol]) is Acceptance.NEW


# What members tell each other, and when.


def pair(now: int = START) -> tuple[World, Host, Host]:
    world = World(now)
    for identity in (ALICE, BOB):
        world.allowed[identity.address] = config_for(identity, now)
    hosts = world.join(ALICE), world.join(BOB)
    world.run()
    return world, *hosts


TO_BOB = FrameBatch(Mac.of_node(BOB.address, NETWORK), 0x0800, [(b"he", b"llo")])


def pushes(host: Host, now: int) -> int:
    """Send a frame; return how many credentials went before it."""
    host.network.send(now, TO_BOB)
    verbs = [o.verb for o in host.network.take_output() if isinstance(o, SendMessage)]
    return verbs.count(Verb.NETWORK_CREDENTIALS)


@pytest.mark.parametrize(("beyond_us", "count"), [(-1, 0), (0, 0), (1, 1)])
def test_an_idle_member_is_told_again(beyond_us: int, count: int) -> None:
    _, alice, _ = pair()
    assert pushes(alice, START) == 1
    assert pushes(alice, START + 1) == 0
    assert pushes(alice, START + 500 * SECOND + beyond_us) == count


def test_a_frame_of_one_who_has_proved_nothing_goes_nowhere() -> None:
    world, _, bob = pair()
    frame = Writer()
    FrameMessage(NETWORK, 0x0800, b"x").encode(frame)
    for identity in (ALICE, ROOT, CONTROLLER):
        verdict = bob.network.receive(world.now, identity.address, Verb.FRAME, 1, frame.getvalue())
        assert verdict is Verdict.IGNORED
    assert bob.tracer.drops == [Drop.NOT_MEMBER] * 3
    assert bob.frames == []
    w = Writer()
    NetworkCredentials(coms=(our_com(),)).encode(w)
    bob.network.receive(world.now, ALICE.address, Verb.NETWORK_CREDENTIALS, 2, w.getvalue())
    world.run()
    # What waited for it, and nobody else's.
    assert [frame.payload for frame in bob.frames] == [b"x"]
    (public,) = chunks_of(config_for(BOB, START + 1, is_public=True, com=None), 9)
    bob.network.receive(world.now, CONTROLLER.address, Verb.NETWORK_CONFIG, 3, public)
    world.run()
    assert len(bob.frames) == 3
