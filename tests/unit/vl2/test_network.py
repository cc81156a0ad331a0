from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, strategies as st

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
    Phonebook,
    World,
    burst_of,
    chunks_of,
    config_for,
)
from ztstack.base.address import Address
from ztstack.base.codec import Writer
from ztstack.base.errors import Drop
from ztstack.base.frame import EtherType, Frame, FrameBatch
from ztstack.base.mac import BROADCAST, Mac, MulticastGroup
from ztstack.base.network_id import NetworkId
from ztstack.base.trace import ListTracer
from ztstack.crypto.identity import Identity
from ztstack.vl2.events import (
    FrameIn,
    NetworkStatus,
    ReplyOk,
    SendFrames,
    SendMessage,
    StatusChanged,
    Verdict,
    WantIdentity,
)
from ztstack.vl2.network import Network
from ztstack.wire.credentials import NetworkCredentials, Revocation
from ztstack.wire.frames import ExtFrame, FrameMessage
from ztstack.wire.multicast import MulticastFrame
from ztstack.wire.network_config import ConfigAck, ConfigChunk, SignIn
from ztstack.wire.replies import Error, Ok
from ztstack.wire.rules import ACCEPT_ALL, Rule, RuleType
from ztstack.wire.verbs import ErrorCode, Verb

IP_BOB = bytes((10, 0, 0, 2))
BOB_GROUP = MulticastGroup.for_address_resolution(IP_BOB)
BOB_MAC = Mac.of_node(BOB.address, NETWORK)
ALICE_MAC = Mac.of_node(ALICE.address, NETWORK)


def arp_request(target: bytes) -> bytes:
    return (
        bytes.fromhex("0001080006040001")
        + ALICE_MAC.packed
        + bytes((10, 0, 0, 1))
        + bytes(6)
        + target
    )


def ask(now: int, host: Host, target: bytes = IP_BOB) -> None:
    batch = FrameBatch(BROADCAST, EtherType.ARP, [(b"", arp_request(target))])
    host.network.send(now, batch)


def encoded(message: Any) -> bytes:  # noqa: ANN401
    w = Writer()
    message.encode(w)
    return w.getvalue()


def joined(**changes: Any) -> tuple[World, Host, Host]:  # noqa: ANN401
    """Return a world where Alice and Bob are members and Bob listens for his address."""
    world = World()
    for identity in (ALICE, BOB):
        world.allowed[identity.address] = config_for(identity, **changes)
    alice, bob = world.join(ALICE), world.join(BOB)
    world.run()
    bob.network.set_groups(world.now, frozenset({BOB_GROUP}))
    alice.network.set_groups(world.now, frozenset())
    world.run()
    return world, alice, bob


def test_join() -> None:
    world = World()
    world.allowed[ALICE.address] = config_for(ALICE)
    alice = world.join(ALICE)
    assert (alice.network.status, alice.network.config) == (NetworkStatus.REQUESTING, None)
    world.run()
    assert alice.statuses == [StatusChanged(NetworkStatus.OK, "")]
    assert alice.configured == [config_for(ALICE)]
    assert alice.network.config == config_for(ALICE)
    assert alice.network.mac == ALICE_MAC
    assert world.verbs(ALICE, CONTROLLER) == [Verb.NETWORK_CONFIG_REQUEST, Verb.MULTICAST_LIKE]
    assert alice.tracer.drops == []


def test_first_contact_on_a_private_network() -> None:
    world, alice, bob = joined()
    assert alice.network.is_up_to_date
    world.log.clear()
    ask(world.now, alice)
    world.run()
    # One turn: gather, then our certificate and the waiting frame to the member that was found.
    assert world.verbs(ALICE, ROOT) == [Verb.MULTICAST_GATHER]
    assert world.verbs(ALICE, CONTROLLER) == [Verb.MULTICAST_GATHER]
    assert world.verbs(ALICE, BOB)[:2] == [Verb.NETWORK_CREDENTIALS, Verb.MULTICAST_FRAME]
    frame = Frame(BROADCAST, ALICE_MAC, EtherType.ARP, arp_request(IP_BOB))
    assert bob.frames == [frame]
    assert bob.tracer.drops == []

    bob.network.send(world.now, FrameBatch(ALICE_MAC, EtherType.ARP, [(b"re", b"ply")]))
    world.run()
    (came,) = alice.bursts
    assert (came.source_mac, came.ethertype) == (BOB_MAC, EtherType.ARP)
    (burst,) = came.bursts
    row = burst.rows[0]
    assert bytes(burst.view[row : row + burst.lengths[0]]) == b"reply"
    assert alice.verdicts[-1] is Verdict.TRUSTED
    assert Verb.ERROR not in [verb for _, _, verb in world.log]


def test_a_frame_that_comes_before_the_certificate_waits_for_it() -> None:
    world, alice, bob = joined()
    world.lost.add(Verb.NETWORK_CREDENTIALS)
    batch = FrameBatch(BOB_MAC, EtherType.IPV4, [(b"", b"one"), (b"", b"two")])
    alice.network.send(world.now, batch)
    world.run()
    assert bob.bursts == []
    assert bob.verdicts[-1] is Verdict.IGNORED
    assert Drop.NOT_MEMBER in bob.tracer.drops
    assert world.verbs(BOB, ALICE).count(Verb.ERROR) == 1

    world.lost.clear()
    world.run(1.1)
    bob.network.receive(
        world.now,
        ALICE.address,
        Verb.FRAME,
        9,
        encoded(FrameMessage(NETWORK, EtherType.IPV4, b"three")),
    )
    world.run()
    assert [frame.payload for frame in bob.frames] == [b"one", b"two", b"three"]
    assert all(frame.source == ALICE_MAC and frame.destination == BOB_MAC for frame in bob.frames)


def test_waiting_frames_do_not_wait_for_ever() -> None:
    world, alice, bob = joined()
    world.lost.add(Verb.NETWORK_CREDENTIALS)
    alice.network.send(world.now, FrameBatch(BOB_MAC, EtherType.IPV4, [(b"", b"one")]))
    world.run(5.1)
    assert Drop.QUEUE_TIMEOUT in bob.tracer.drops
    assert bob.frames == []


def test_public_network_needs_no_certificates() -> None:
    world, alice, bob = joined(is_public=True, com=None)
    world.log.clear()
    alice.network.send(world.now, FrameBatch(BOB_MAC, EtherType.IPV4, [(b"", b"one")]))
    world.run()
    assert Verb.NETWORK_CREDENTIALS not in world.verbs(ALICE, BOB)
    assert len(bob.bursts) == 1


def test_packets_of_a_batch_pass_untouched() -> None:
    world, alice, _ = joined()
    packets: list[tuple[bytes, bytes | memoryview]] = [(b"head", memoryview(b"body"))]
    alice.network.send(world.now, FrameBatch(BOB_MAC, EtherType.IPV6, packets))
    out = alice.network.take_output()
    frames = out[-1]
    assert isinstance(frames, SendFrames)
    assert frames.destination == BOB.address
    assert frames.prefix == b"\x06" + NETWORK.packed + b"\x86\xdd"
    assert frames.packets is packets
    push = out[0]
    assert isinstance(push, SendMessage)
    assert push.verb == Verb.NETWORK_CREDENTIALS

    alice.network.send(world.now, FrameBatch(BOB_MAC, EtherType.IPV6, packets))
    assert alice.network.take_output() == [frames]


def test_nothing_is_sent_before_a_configuration() -> None:
    world = World()
    alice = world.join(ALICE)
    world.run()
    alice.network.send(world.now, FrameBatch(BOB_MAC, EtherType.IPV4, [(b"", b"x")]))
    assert alice.tracer.drops == [Drop.NOT_JOINED]
    assert alice.network.take_output() == []


def test_frames_to_ourselves_come_back() -> None:
    world, alice, _ = joined()
    alice.network.send(world.now, FrameBatch(ALICE_MAC, EtherType.IPV4, [(b"a", b"b")]))
    frame = Frame(ALICE_MAC, ALICE_MAC, EtherType.IPV4, b"ab")
    assert alice.network.take_output() == [FrameIn(frame)]


def test_denied_then_authorised() -> None:
    world = World()
    alice = world.join(ALICE)
    world.run(4)
    assert [change.status for change in alice.statuses] == [NetworkStatus.ACCESS_DENIED]
    world.allowed[ALICE.address] = config_for(ALICE)
    world.run(2.1)
    assert alice.network.status is NetworkStatus.OK
    assert [change.status for change in alice.statuses] == [
        NetworkStatus.ACCESS_DENIED,
        NetworkStatus.OK,
    ]


@pytest.mark.parametrize(
    ("code", "body", "status", "detail"),
    [
        (ErrorCode.OBJ_NOT_FOUND, NETWORK.packed, NetworkStatus.NOT_FOUND, ""),
        (ErrorCode.UNSUPPORTED_OPERATION, NETWORK.packed, NetworkStatus.NOT_FOUND, ""),
        (ErrorCode.NETWORK_ACCESS_DENIED, NETWORK.packed, NetworkStatus.ACCESS_DENIED, ""),
        (
            ErrorCode.NETWORK_AUTHENTICATION_REQUIRED,
            encoded(SignIn(NETWORK, url="https://x")),
            NetworkStatus.AUTHENTICATION_REQUIRED,
            "https://x",
        ),
    ],
)
def test_refusals(code: int, body: bytes, status: NetworkStatus, detail: str) -> None:
    alice = Host(START, ALICE)
    alice.network.take_output()
    error = Error(Verb.NETWORK_CONFIG_REQUEST, 1, code, body)
    alice.network.receive_error(START, BOB.address, error)
    assert alice.network.take_output() == []
    assert alice.tracer.drops == [Drop.NOT_CONTROLLER]
    alice.network.receive_error(START, CONTROLLER.address, error)
    assert alice.network.take_output() == [StatusChanged(status, detail)]
    assert alice.network.status is status


def test_cached_configuration_is_used_at_once() -> None:
    cached = config_for(ALICE).to_dictionary()
    tracer = ListTracer()
    network = Network(
        START, NETWORK, ALICE, Phonebook(CONTROLLER), CountingEntropy(), tracer, cached
    )
    assert network.status is NetworkStatus.OK
    assert not network.is_up_to_date
    assert network.config == config_for(ALICE)
    request = network.take_output()[-1]
    assert isinstance(request, SendMessage)
    assert request.verb == Verb.NETWORK_CONFIG_REQUEST


@pytest.mark.parametrize("cached", [b"", b"v=1", config_for(BOB).to_dictionary()])
def test_a_useless_cache(cached: bytes) -> None:
    network = Network(
        START, NETWORK, ALICE, Phonebook(CONTROLLER), CountingEntropy(), ListTracer(), cached
    )
    assert network.status is NetworkStatus.REQUESTING


def test_chunks_wait_for_the_identity_of_the_controller() -> None:
    alice = Host(START, ALICE, ROOT)
    assert WantIdentity(CONTROLLER.address) in alice.network.take_output()
    for body in chunks_of(config_for(ALICE), size=300):
        ok = Ok(Verb.NETWORK_CONFIG_REQUEST, 1, body)
        alice.network.receive_ok(START, CONTROLLER.address, ok)
    assert alice.network.config is None
    alice.phonebook.known[CONTROLLER.address] = CONTROLLER
    alice.network.identity_learned(START, CONTROLLER.address)
    assert alice.network.config == config_for(ALICE)


def test_a_pushed_configuration_is_acknowledged() -> None:
    alice = Host(START, ALICE)
    alice.network.take_output()
    (body,) = chunks_of(config_for(ALICE), update_id=5)
    verdict = alice.network.receive(START, BOB.address, Verb.NETWORK_CONFIG, 77, body)
    assert verdict is Verdict.TAKEN
    expected = ReplyOk(BOB.address, 77, Verb.ECHO, encoded(ConfigAck(NETWORK, 5)))
    assert expected in alice.network.take_output()
    assert alice.network.status is NetworkStatus.OK
    # A copy of it changes nothing.
    alice.network.receive(START, BOB.address, Verb.NETWORK_CONFIG, 78, body)
    assert alice.network.take_output() == []


def test_an_old_configuration_does_not_come_back() -> None:
    alice = Host(START, ALICE)
    new, old = config_for(ALICE, START + SECOND), config_for(ALICE, START)
    for update_id, config in enumerate((new, old), 1):
        (body,) = chunks_of(config, update_id)
        alice.network.receive(START, BOB.address, Verb.NETWORK_CONFIG, 1, body)
    assert alice.network.config == new
    assert alice.tracer.drops == [Drop.STALE]


def test_a_configuration_of_another_node() -> None:
    alice = Host(START, ALICE)
    (body,) = chunks_of(config_for(BOB))
    alice.network.receive(START, CONTROLLER.address, Verb.NETWORK_CONFIG, 1, body)
    assert alice.network.config is None
    assert alice.tracer.drops == [Drop.BAD_CONFIG]


def test_a_forged_configuration() -> None:
    alice = Host(START, ALICE)
    (chunk,) = ConfigChunk.split(NETWORK, config_for(ALICE).to_dictionary(), 1)
    body = encoded(replace(chunk.signed_by(BOB), update_id=1))
    alice.network.receive(START, CONTROLLER.address, Verb.NETWORK_CONFIG, 1, body)
    assert alice.network.config is None
    assert alice.tracer.drops == [Drop.BAD_SIGNATURE]


@pytest.mark.parametrize("source", [CONTROLLER, BOB])
def test_the_unsigned_form_counts_from_the_controller_only(source: Identity) -> None:
    alice = Host(START, ALICE)
    body = encoded(ConfigChunk(NETWORK, config_for(ALICE).to_dictionary()))
    alice.network.receive_ok(START, source.address, Ok(Verb.NETWORK_CONFIG_REQUEST, 1, body))
    assert (alice.network.config is not None) is (source is CONTROLLER)


def test_a_fast_configuration_is_passed_on() -> None:
    world, alice, bob = joined()
    ask(world.now, alice)
    world.run()
    alice.network.take_output()
    config = config_for(CONTROLLER)
    (chunk,) = ConfigChunk.split(NETWORK, config.to_dictionary(), 9)
    body = encoded(replace(chunk, flags=1).signed_by(CONTROLLER))
    alice.network.receive(world.now, CONTROLLER.address, Verb.NETWORK_CONFIG, 1, body)
    out = alice.network.take_output()
    assert SendMessage(BOB.address, Verb.NETWORK_CONFIG, body, compress=True) in out
    assert bob.address == BOB.address


@pytest.mark.parametrize(
    ("source", "destination", "passes"),
    [
        (ALICE_MAC, BOB_MAC, True),
        (ALICE_MAC, BROADCAST, True),
        (ALICE_MAC, Mac(0x021122334455), False),
        (Mac(0x021122334455), BOB_MAC, False),
        (BOB_MAC, BOB_MAC, False),
        (Mac(0), BOB_MAC, False),
    ],
)
def test_nobody_bridges_unasked(source: Mac, destination: Mac, passes: bool) -> None:
    world, _, bob = joined(is_public=True, com=None)
    message = ExtFrame(NETWORK, 0x10, None, destination, source, 0x0800, b"payload")
    verdict = bob.network.receive(world.now, ALICE.address, Verb.EXT_FRAME, 5, encoded(message))
    assert verdict is Verdict.TRUSTED
    out = bob.network.take_output()
    frames = [output.frame for output in out if isinstance(output, FrameIn)]
    expected = [Frame(destination, source, 0x0800, b"payload")] if passes else []
    assert frames == expected
    acknowledged = ReplyOk(ALICE.address, 5, Verb.EXT_FRAME, NETWORK.packed) in out
    assert acknowledged is passes


def test_an_active_bridge_speaks_for_others() -> None:
    foreign = Mac(0x021122334455)
    word = ALICE.address | 0x0000020000000000
    world, _, bob = joined(is_public=True, com=None, specialists=(word,))
    message = ExtFrame(NETWORK, 0, None, BOB_MAC, foreign, 0x0800, b"payload")
    bob.network.receive(world.now, ALICE.address, Verb.EXT_FRAME, 5, encoded(message))
    assert FrameIn(Frame(BOB_MAC, foreign, 0x0800, b"payload")) in bob.network.take_output()

    bob.network.send(world.now, FrameBatch(foreign, 0x0800, [(b"", b"answer")]))
    answer = ExtFrame(NETWORK, 0, None, foreign, BOB_MAC, 0x0800, b"answer")
    assert bob.network.take_output() == [
        SendMessage(ALICE.address, Verb.EXT_FRAME, encoded(answer), compress=False)
    ]


def test_foreign_unicast_without_bridges() -> None:
    world, alice, _ = joined()
    alice.network.send(world.now, FrameBatch(Mac(0x021122334455), 0x0800, [(b"", b"x")]))
    assert alice.network.take_output() == []
    assert alice.tracer.drops == [Drop.BRIDGING]


def test_certificate_inside_a_frame() -> None:
    world, _, bob = joined()
    com = config_for(ALICE).com
    message = ExtFrame(NETWORK, 0, com, BOB_MAC, ALICE_MAC, 0x0800, b"payload")
    verdict = bob.network.receive(world.now, ALICE.address, Verb.EXT_FRAME, 5, encoded(message))
    assert verdict is Verdict.TRUSTED


def test_multicast_from_a_foreign_mac() -> None:
    world, _, bob = joined(is_public=True, com=None)
    group = MulticastGroup(BROADCAST)
    message = MulticastFrame(NETWORK, 0, Mac(0x021122334455), group, 0x0800, b"payload")
    bob.network.receive(world.now, ALICE.address, Verb.MULTICAST_FRAME, 5, encoded(message))
    assert bob.frames == []
    assert bob.tracer.drops == [Drop.BRIDGING]


def test_multicast_answers_with_what_it_gathered() -> None:
    world, alice, bob = joined()
    other = MulticastGroup.for_address_resolution(bytes((10, 0, 0, 9)))
    bob.network.set_groups(world.now, frozenset({BOB_GROUP, other}))
    world.run()
    ask(world.now, alice)
    world.run()
    assert world.verbs(BOB, ALICE).count(Verb.OK) == 1


def test_broadcast_only_where_allowed() -> None:
    world, alice, _ = joined(flags=0)
    alice.network.send(world.now, FrameBatch(BROADCAST, EtherType.IPV4, [(b"", b"x" * 30)]))
    assert alice.tracer.drops == [Drop.MULTICAST_DISABLED]
    ask(world.now, alice)
    assert alice.network.take_output()


def test_revocation_closes_the_door() -> None:
    world, alice, bob = joined()
    ask(world.now, alice)
    world.run()
    revocation = Revocation(
        network=NETWORK,
        id=1,
        credential_type=1,
        credential_id=0,
        threshold=world.now // 1000,
        target=ALICE.address,
        flags=1,
    ).signed_by(CONTROLLER)
    payload = encoded(NetworkCredentials(revocations=(revocation,)))
    verb = Verb.NETWORK_CREDENTIALS
    bob.network.receive(world.now, CONTROLLER.address, verb, 1, payload)
    # It is urgent, so the target hears of it as well.
    assert bob.network.take_output() == [SendMessage(ALICE.address, verb, payload, compress=False)]
    frame = encoded(FrameMessage(NETWORK, 0x0800, b"x"))
    verdict = bob.network.receive(world.now, ALICE.address, Verb.FRAME, 2, frame)
    assert verdict is Verdict.IGNORED
    assert bob.tracer.drops == [Drop.NOT_MEMBER]


def test_who_is_refused_by_a_member_asks_the_controller() -> None:
    world, alice, bob = joined()
    world.run(1)
    ask(world.now, alice)
    world.run(10)
    revocation = Revocation(
        network=NETWORK,
        id=1,
        credential_type=1,
        credential_id=0,
        threshold=world.now // 1000,
        target=ALICE.address,
    ).signed_by(CONTROLLER)
    payload = encoded(NetworkCredentials(revocations=(revocation,)))
    bob.network.receive(world.now, CONTROLLER.address, Verb.NETWORK_CREDENTIALS, 1, payload)
    del world.allowed[ALICE.address]
    world.verbs(ALICE, CONTROLLER)
    batch = FrameBatch(BOB_MAC, EtherType.IPV4, [(b"", b"x")])
    alice.network.send(world.now, batch)
    world.run(1)
    assert Verb.NETWORK_CONFIG_REQUEST in world.verbs(ALICE, CONTROLLER)
    denied = StatusChanged(NetworkStatus.ACCESS_DENIED, "")
    assert alice.statuses[-1] == denied
    # As soon as it is in again, so it is with its new certificate.
    world.allowed[ALICE.address] = config_for(ALICE, world.now + SECOND)
    world.run(5)
    assert alice.statuses[-1] == StatusChanged(NetworkStatus.OK, "")
    before = len(bob.bursts) + len(bob.frames)
    alice.network.send(world.now, batch)
    world.run()
    assert len(bob.bursts) + len(bob.frames) > before


def test_a_stranger_that_refuses_us_hurries_nobody() -> None:
    world, alice, _ = joined()
    world.run(10)
    world.log.clear()
    body = NETWORK.packed
    for _ in range(3):
        error = Error(Verb.FRAME, 1, ErrorCode.NEED_MEMBERSHIP_CERTIFICATE, body)
        alice.network.receive_error(world.now, ROOT.address, error)
        world.run(3)
    assert Verb.NETWORK_CONFIG_REQUEST not in world.verbs(ALICE, CONTROLLER)


def test_credentials_wait_for_the_controller() -> None:
    """A node that was restarted has a configuration, and has not met anybody yet."""
    phonebook = Phonebook(ALICE)
    cached = config_for(BOB).to_dictionary()
    network = Network(START, NETWORK, BOB, phonebook, CountingEntropy(), ListTracer(), cached)
    frame = encoded(FrameMessage(NETWORK, 0x0800, b"x"))
    com = config_for(ALICE).com
    assert com is not None
    payload = encoded(NetworkCredentials(coms=(com,)))
    network.receive(START, ALICE.address, Verb.NETWORK_CREDENTIALS, 1, payload)
    network.receive(START, ALICE.address, Verb.FRAME, 2, frame)
    out = network.take_output()
    assert WantIdentity(CONTROLLER.address) in out
    assert not any(isinstance(output, FrameIn) for output in out)
    phonebook.known[CONTROLLER.address] = CONTROLLER
    network.identity_learned(START, CONTROLLER.address)
    (delivered,) = (o.frame for o in network.take_output() if isinstance(o, FrameIn))
    assert delivered.payload == b"x"


def test_the_identity_of_the_controller_is_kept_when_others_forget_it() -> None:
    world, alice, bob = joined()
    del bob.phonebook.known[CONTROLLER.address]
    ask(world.now, alice)
    world.run()
    assert len(bob.frames) == 1
    assert bob.tracer.drops == []


RULES = (
    Rule(RuleType.MATCH_ETHERTYPE, negate=True, value=0x0800),
    Rule(RuleType.ACTION_DROP),
    *ACCEPT_ALL,
)
SIZE_RULES = (
    Rule(RuleType.MATCH_FRAME_SIZE_RANGE, low=3, high=3),
    Rule(RuleType.ACTION_DROP),
    *ACCEPT_ALL,
)


@pytest.mark.parametrize("ethertype", [0x0800, 0x86DD])
def test_rules_that_look_at_flows_only(ethertype: int) -> None:
    world, alice, bob = joined(is_public=True, com=None, rules=RULES)
    batch = FrameBatch(BOB_MAC, ethertype, [(b"a", b"1"), (b"b", b"22")])
    alice.network.send(world.now, batch)
    out = [output for output in alice.network.take_output() if isinstance(output, SendFrames)]
    burst = burst_of([b"a1", b"b22"])
    bob.network.receive_bursts(world.now, ALICE.address, ethertype, [burst])
    if ethertype == 0x0800:
        assert out[0].packets is batch.packets
        assert burst.lengths == [2, 3]
    else:
        assert out == []
        assert alice.tracer.drops == [Drop.RULES]
        assert burst.lengths == []


def test_rules_that_look_at_each_packet() -> None:
    world, alice, bob = joined(is_public=True, com=None, rules=SIZE_RULES)
    batch = FrameBatch(BOB_MAC, 0x0800, [(b"a", b"1"), (b"b", b"22"), (b"c", b"333")])
    alice.network.send(world.now, batch)
    (frames,) = (o for o in alice.network.take_output() if isinstance(o, SendFrames))
    assert frames.packets == [(b"a", b"1"), (b"c", b"333")]
    burst = burst_of([b"a1", b"b22", b"c333", b""])
    rows = list(burst.rows)
    bob.network.receive_bursts(world.now, ALICE.address, 0x0800, [burst])
    assert burst.lengths == [2, 4]
    assert burst.rows == [rows[0], rows[2]]


def test_copies_for_an_observer() -> None:
    watcher = Address(0x3333333333)
    rules = (Rule(RuleType.ACTION_TEE, address=watcher, length=4), *ACCEPT_ALL)
    world, alice, _ = joined(is_public=True, com=None, rules=rules)
    alice.network.send(world.now, FrameBatch(BOB_MAC, 0x0800, [(b"abc", b"defg")]))
    copy, frames = alice.network.take_output()
    message = ExtFrame(NETWORK, 0x02, None, BOB_MAC, ALICE_MAC, 0x0800, b"abcd")
    assert copy == SendMessage(watcher, Verb.EXT_FRAME, encoded(message), compress=True)
    assert isinstance(frames, SendFrames)


def test_renewed_certificates_are_pushed() -> None:
    world, alice, bob = joined()
    ask(world.now, alice)
    world.run(30)
    world.allowed[ALICE.address] = config_for(ALICE, START + 60 * SECOND)
    world.run(31)
    assert alice.network.config == config_for(ALICE, START + 60 * SECOND)
    world.log.clear()
    alice.network.send(world.now, FrameBatch(BOB_MAC, 0x0800, [(b"", b"x")]))
    world.run()
    assert world.verbs(ALICE, BOB) == [Verb.NETWORK_CREDENTIALS, Verb.FRAME]
    assert len(bob.bursts) == 1


def test_likes_are_repeated() -> None:
    world, _, bob = joined()
    world.log.clear()
    world.run(200)
    likes = [verb for verb in world.verbs(BOB, ROOT) if verb == Verb.MULTICAST_LIKE]
    assert 4 <= len(likes) <= 6
    assert bob.tracer.drops == []


def test_adhoc_network() -> None:
    network_id = NetworkId.parse("ff00160016000000")
    tracer = ListTracer()
    network = Network(START, network_id, ALICE, Phonebook(), CountingEntropy(), tracer)
    assert network.status is NetworkStatus.OK
    config = network.config
    assert config is not None
    assert config.name == "adhoc-0016-0016"
    assert not any(isinstance(output, SendMessage) for output in network.take_output())

    # The MAC of a neighbour follows from its address, so that the question is answered here.
    own = config.addresses[0][0]
    target = own[:5] + BOB.address.packed + own[10:]
    question = bytes(6) + b"\x3a\xff" + own + target + b"\x87" + bytes(7) + target + bytes(8)
    group = Mac(0x3333FF000000 | int.from_bytes(target[13:], "big"))
    network.send(START, FrameBatch(group, EtherType.IPV6, [(b"", question)]))
    (answer,) = network.take_output()
    assert isinstance(answer, FrameIn)
    assert answer.frame.source == Mac.of_node(BOB.address, network_id)
    assert answer.frame.destination == network.mac
    assert answer.frame.payload[8:24] == target
    words = answer.frame.payload[8:40] + bytes((0, 0, 0, 32, 0, 0, 0, 58))
    assert int.from_bytes(words + answer.frame.payload[40:], "big") % 0xFFFF == 0


def test_adhoc_network_without_a_range() -> None:
    network_id = NetworkId.parse("ff00170016000000")
    network = Network(START, network_id, ALICE, Phonebook(), CountingEntropy(), ListTracer())
    assert network.status is NetworkStatus.NOT_FOUND


def test_leave() -> None:
    world, alice, _ = joined()
    alice.network.leave()
    assert alice.network.next_timer() is None
    alice.network.handle_timer(world.now + 1000 * SECOND)
    frame = encoded(FrameMessage(NETWORK, 0x0800, b"x"))
    verdict = alice.network.receive(world.now, BOB.address, Verb.FRAME, 2, frame)
    assert verdict is Verdict.IGNORED
    assert alice.network.take_output() == []


@pytest.mark.parametrize(
    "verb",
    [
        Verb.EXT_FRAME,
        Verb.MULTICAST_FRAME,
        Verb.MULTICAST_GATHER,
        Verb.MULTICAST_LIKE,
        Verb.NETWORK_CREDENTIALS,
        Verb.NETWORK_CONFIG,
    ],
)
def test_malformed_messages(verb: int) -> None:
    world, _, bob = joined()
    for size in range(1, 40):
        bob.network.receive(world.now, ALICE.address, verb, 1, NETWORK.packed + b"\x01" * size)
    world.run()
    assert bob.frames == []
    assert Drop.MALFORMED in bob.tracer.drops


@given(
    st.sampled_from(list(Verb)),
    st.integers(0, 255),
    st.binary(max_size=80),
    st.sampled_from([ALICE, CONTROLLER, ROOT]),
)
def test_noise_never_raises(verb: int, code: int, noise: bytes, source: Identity) -> None:
    bob = Host(START, BOB)
    (body,) = chunks_of(config_for(BOB, is_public=True))
    bob.network.receive(START, CONTROLLER.address, Verb.NETWORK_CONFIG, 1, body)
    payload = NETWORK.packed + noise
    for data in (payload, noise):
        bob.network.receive(START, source.address, verb, 1, data)
        bob.network.receive_ok(START, source.address, Ok(verb, 1, data))
        bob.network.receive_error(START, source.address, Error(verb, 1, code, data))
    bob.network.handle_timer(START + 10 * SECOND)
    assert bob.network.config is not None
