"""Frames to a group by way of a node that the network names for it (vl2 section 6.5, step 1)."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from tests.support.switches import known_identities
from tests.support.vl2 import ALICE, BOB, NETWORK, ROOT, SECOND, Host, World, config_for
from ztstack.base.address import Address
from ztstack.base.codec import Reader
from ztstack.base.frame import FrameBatch
from ztstack.base.mac import Mac, MulticastGroup
from ztstack.vl2.events import SendMessage
from ztstack.vl2.network_config import ROLE_ANCHOR, ROLE_BRIDGE, ROLE_REPLICATOR
from ztstack.wire.multicast import MulticastFrame
from ztstack.wire.verbs import Verb

CAROL, DAVE = known_identities()[:2]
GROUP = MulticastGroup(Mac(0x01005E000001))
ALICE_MAC = Mac.of_node(ALICE.address, NETWORK)
FRAME = FrameBatch(GROUP.mac, 0x0800, [(b"he", b"llo")])
BOTH = ROLE_REPLICATOR | ROLE_BRIDGE


def world(*specialists: int) -> tuple[World, Host, Host, Host]:
    """Return Alice, Bob who listens, and Carol, who is whatever the network says."""
    made = World()
    everybody = (ALICE, BOB, CAROL)
    for identity in everybody:
        made.allowed[identity.address] = config_for(identity, specialists=specialists)
    hosts = [made.join(identity) for identity in everybody]
    for host in hosts:
        host.phonebook.known.update({identity.address: identity for identity in everybody})
    made.run()
    hosts[1].network.set_groups(made.now, frozenset({GROUP}))
    hosts[0].network.set_groups(made.now, frozenset())
    made.run()
    made.log.clear()
    return made, hosts[0], hosts[1], hosts[2]


def sent(host: Host, now: int) -> list[tuple[Address, MulticastFrame]]:
    """Send a frame to the group; return the copies of it that left, and to whom."""
    host.network.send(now, FRAME)
    return [
        (output.destination, MulticastFrame.decode(Reader(output.payload)))
        for output in host.network.take_output()
        if isinstance(output, SendMessage) and output.verb == Verb.MULTICAST_FRAME
    ]


def test_one_copy_goes_to_the_replicator_which_sends_it_on() -> None:
    made, alice, bob, carol = world(BOTH | CAROL.address)
    alice.phonebook.latencies[CAROL.address] = 20
    alice.network.send(made.now, FRAME)
    made.run(1)
    assert made.verbs(ALICE, CAROL)[:2] == [Verb.NETWORK_CREDENTIALS, Verb.MULTICAST_FRAME]
    # Alice asked nobody who listens: that is the replicator's business.
    assert made.verbs(ALICE, ROOT) == []
    assert made.verbs(ALICE, BOB) == []
    assert Verb.MULTICAST_FRAME in made.verbs(CAROL, BOB)
    (frame,) = bob.frames
    assert (frame.source, frame.destination, frame.payload) == (ALICE_MAC, GROUP.mac, b"hello")
    assert [frame.payload for frame in carol.frames] == [b"hello"]
    assert alice.frames == []


def test_what_is_on_the_wire() -> None:
    made, alice, _, _ = world(ROLE_REPLICATOR | CAROL.address)
    alice.phonebook.latencies[CAROL.address] = 20
    expected = MulticastFrame(NETWORK, 0, ALICE_MAC, GROUP, 0x0800, b"hello", flags_replicate=True)
    assert sent(alice, made.now) == [(CAROL.address, expected)]


@pytest.mark.parametrize(
    ("latencies", "chosen"),
    [
        ({CAROL.address: 20, DAVE.address: 30}, CAROL),
        ({CAROL.address: 30, DAVE.address: 20}, DAVE),
        ({DAVE.address: 500}, DAVE),
        ({CAROL.address: 0}, CAROL),
    ],
)
def test_the_nearest_of_those_that_live(latencies: dict[Address, int], chosen: object) -> None:
    made, alice, _, _ = world(ROLE_REPLICATOR | CAROL.address, ROLE_REPLICATOR | DAVE.address)
    alice.phonebook.latencies.update(latencies)
    ((destination, _),) = sent(alice, made.now)
    assert destination == (CAROL if chosen is CAROL else DAVE).address


@pytest.mark.parametrize(
    ("specialists", "living"),
    [
        # None is alive.
        ((ROLE_REPLICATOR | CAROL.address,), ()),
        # Others keep track of groups, and do not replicate.
        ((ROLE_ANCHOR | CAROL.address,), (CAROL.address,)),
        ((ROLE_BRIDGE | CAROL.address,), (CAROL.address,)),
        # A replicator, and an active bridge, distribute themselves.
        ((ROLE_REPLICATOR | ALICE.address, ROLE_REPLICATOR | CAROL.address), (CAROL.address,)),
        ((ROLE_BRIDGE | ALICE.address, ROLE_REPLICATOR | CAROL.address), (CAROL.address,)),
    ],
)
def test_else_everybody_distributes_itself(
    specialists: tuple[int, ...], living: Collection[Address]
) -> None:
    made, alice, bob, _ = world(*specialists)
    alice.phonebook.latencies.update(dict.fromkeys(living, 10))
    alice.network.send(made.now, FRAME)
    made.run(1)
    assert Verb.MULTICAST_GATHER in made.verbs(ALICE, ROOT)
    assert Verb.MULTICAST_FRAME in made.verbs(ALICE, BOB)
    assert [frame.payload for frame in bob.frames] == [b"hello"]


def test_a_replicator_is_told_of_groups_and_asked_for_members() -> None:
    made, alice, _, _ = world(ROLE_REPLICATOR | CAROL.address)
    made.run(70)
    assert Verb.MULTICAST_LIKE in made.verbs(BOB, CAROL)
    alice.network.send(made.now, FRAME)
    made.run(1)
    assert Verb.MULTICAST_GATHER in made.verbs(ALICE, CAROL)


def test_a_replicator_does_not_send_back_what_it_was_sent() -> None:
    made, alice, _, carol = world(BOTH | CAROL.address)
    alice.phonebook.latencies[CAROL.address] = 20
    alice.network.set_groups(made.now, frozenset({GROUP}))
    made.run(2)
    made.now += SECOND
    alice.network.send(made.now, FRAME)
    made.run(1)
    assert [frame.payload for frame in carol.frames] == [b"hello"]
    assert Verb.MULTICAST_FRAME not in made.verbs(CAROL, ALICE)
    assert alice.frames == []
