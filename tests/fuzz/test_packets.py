"""A minute of mutated packets, and the recordings as they are; see tests/fuzz/packets.py."""

from __future__ import annotations

import time

import pytest

from tests.support.fuzz_corpus import recorded, recorded_datagrams
from tests.support.fuzzing import STEP_PACKETS, Findings, Fuzzer, fuzz_decoders
from ztstack.base.errors import Drop
from ztstack.wire.verbs import Verb

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SECONDS = 30.0
LEAST_PACKETS = 10_000
"""What the slowest machine must come to in that time."""


def attacked(fuzzer: Fuzzer, seconds: float) -> Findings:
    end = time.monotonic() + seconds
    return fuzzer.run(10_000_000, lambda: time.monotonic() > end)


@pytest.mark.parametrize("hostile_roots", [False, True], ids=["members", "roots too"])
def test_half_a_minute(hostile_roots: bool) -> None:
    fuzzer = Fuzzer(20_000 + hostile_roots, hostile_roots=hostile_roots)
    findings = attacked(fuzzer, SECONDS)
    assert findings.failures == []
    assert findings.packets > LEAST_PACKETS
    # The packets were worth something: they reached the handlers behind the cipher.
    for verb in (Verb.HELLO, Verb.OK, Verb.WHOIS, Verb.FRAME, Verb.EXT_FRAME, Verb.ECHO):
        assert findings.forged[verb] > 50
    for reason in (Drop.MALFORMED, Drop.BAD_MAC, Drop.BAD_CHECKSUM, Drop.UNEXPECTED_REPLY):
        assert findings.drops[reason] > 10
    if not hostile_roots:
        assert fuzzer.still_serves()


def test_the_same_seed_sends_the_same() -> None:
    first, second = (Fuzzer(7, hostile_roots=True) for _ in range(2))
    for fuzzer in (first, second):
        fuzzer.run(20 * STEP_PACKETS)
    assert first.findings.forged == second.findings.forged
    assert first.findings.drops == second.findings.drops
    assert first.world.network.digest.digest() == second.world.network.digest.digest()


def test_decoders_alone() -> None:
    findings = fuzz_decoders(1, 40_000)
    assert findings.failures == []
    assert findings.packets == 40_000


def test_the_corpus_has_every_verb_that_was_recorded() -> None:
    verbs = {message.verb for message in recorded()}
    assert verbs >= {
        Verb.HELLO,
        Verb.ERROR,
        Verb.OK,
        Verb.WHOIS,
        Verb.RENDEZVOUS,
        Verb.FRAME,
        Verb.EXT_FRAME,
        Verb.ECHO,
        Verb.MULTICAST_LIKE,
        Verb.NETWORK_CREDENTIALS,
        Verb.NETWORK_CONFIG_REQUEST,
        Verb.NETWORK_CONFIG,
        Verb.MULTICAST_GATHER,
        Verb.MULTICAST_FRAME,
        Verb.PUSH_DIRECT_PATHS,
    }
    assert len(recorded_datagrams()) > 500
