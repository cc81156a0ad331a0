"""Two ends on a link that loses, repeats and reorders, under whatever their users do.

The invariant: what was read is the beginning of what was written, and both connections end; with
everything read unless somebody left.
"""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.support.tcp_pair import SACK_PERMITTED, WINDOW_SCALE, Pair
from ztstack.base.timers import MILLISECOND, SECOND
from ztstack.ip.tcp.connection import Connection
from ztstack.ip.tcp.receive_buffer import LIMIT
from ztstack.ip.tcp.state import State

pytestmark = pytest.mark.timeout(120)

STAMPS = 8
BLOCK = random.Random(7).randbytes(1 << 16)
ENDS = st.integers(0, 1)


class End:
    """One side's connection, and how far it wrote and read."""

    def __init__(self, connection: Connection, salt: int) -> None:
        self.connection = connection
        self.salt = salt
        self.written = 0
        self.read = bytearray()
        self.is_shut = False
        self.has_left = False
        # How much may have waited when less was allowed from then on.
        self.kept = 0

    @property
    def is_over(self) -> bool:
        return self.connection.state in (State.CLOSED, State.TIME_WAIT)

    def stream(self, start: int, size: int) -> bytes:
        """Return the bytes that this end writes from `start` on."""
        at = (start + self.salt) % len(BLOCK)
        return (BLOCK[at:] + BLOCK * (size // len(BLOCK) + 1))[:size]


class TwoEnds(RuleBasedStateMachine):
    """What two users and a link may do."""

    def __init__(self) -> None:
        super().__init__()
        self.pair = Pair()
        self.ends: list[End] = []

    @initialize(
        seed=st.integers(0, 1000),
        bursts=st.booleans(),
        stripped=st.sets(st.sampled_from([STAMPS, SACK_PERMITTED, WINDOW_SCALE])),
        mtu=st.sampled_from([576, 1280, 1500, 2800, 8980]),
        delay_us=st.sampled_from([100, 5000, 60_000]),
    )
    def begin(self, seed: int, bursts: bool, stripped: set[int], mtu: int, delay_us: int) -> None:
        self.pair = Pair(seed=seed, bursts=bursts, stripped=frozenset(stripped), delay_us=delay_us)
        self.pair.b.host.set_mtu(self.pair.now, mtu)
        a, b = self.pair.open()
        self.ends = [End(a, 0), End(b, 1000)]

    @rule(
        loss=st.sampled_from([0.0, 0.02, 0.2, 0.5]),
        duplication=st.sampled_from([0.0, 0.2]),
        jitter_us=st.sampled_from([0, 3000, 50_000]),
    )
    def change_the_link(self, loss: float, duplication: float, jitter_us: int) -> None:
        self.pair.loss, self.pair.duplication = loss, duplication
        self.pair.jitter_us = jitter_us

    @rule(which=ENDS, size=st.sampled_from([1, 100, 3000, 50_000, 2_000_000]))
    def write(self, which: int, size: int) -> None:
        end = self.ends[which]
        if not end.is_shut and not end.is_over:
            count = end.connection.write(self.pair.now, end.stream(end.written, size))
            end.written += count

    @rule(which=ENDS, limit=st.sampled_from([1, 1000, 100_000, 1 << 23]))
    def read(self, which: int, limit: int) -> None:
        for view in self.ends[which].connection.read(self.pair.now, limit):
            self.ends[which].read += view

    @rule(which=ENDS, limit=st.sampled_from([1, 5000, 100_000, LIMIT]), sends=st.booleans())
    def bound_a_buffer(self, which: int, limit: int, sends: bool) -> None:
        end = self.ends[which]
        if sends:
            end.connection.buffer.bound(limit)
        else:
            end.kept = max(end.kept, end.connection.received.limit)
            end.connection.received.bound(limit)

    @precondition(lambda self: not all(end.is_shut for end in self.ends))
    @rule(which=ENDS)
    def shut_down(self, which: int) -> None:
        self.ends[which].connection.shutdown(self.pair.now)
        self.ends[which].is_shut = True

    @rule(which=ENDS, enabled=st.booleans())
    def set_nodelay(self, which: int, enabled: bool) -> None:
        self.ends[which].connection.set_nodelay(self.pair.now, enabled)

    @rule(duration_us=st.sampled_from([0, 1 * MILLISECOND, 100 * MILLISECOND, 3 * SECOND]))
    def wait(self, duration_us: int) -> None:
        self.pair.run(duration_us)

    @rule(which=ENDS, mtu=st.integers(600, 2800))
    def change_the_mtu(self, which: int, mtu: int) -> None:
        (self.pair.a, self.pair.b)[which].host.set_mtu(self.pair.now, mtu)

    @rule(which=ENDS, mtu=st.integers(600, 2800))
    def tell_that_packets_are_too_big(self, which: int, mtu: int) -> None:
        c = self.ends[which].connection
        host = (self.pair.a, self.pair.b)[which].host
        number = c.wire_sequence(c.send_unacknowledged)
        host.receive_too_big(self.pair.now, c.local, c.remote, number, mtu)

    @invariant()
    def what_was_read_is_the_beginning_of_what_was_written(self) -> None:
        for end, other in zip(self.ends, reversed(self.ends), strict=True):
            size = len(end.read)
            assert size <= other.written
            tail = min(size, 4096)
            assert end.read[size - tail :] == other.stream(size - tail, tail)

    @invariant()
    def what_is_kept_is_bounded(self) -> None:
        for end in self.ends:
            c = end.connection
            assert c.received.size <= max(c.received.limit, end.kept)
            assert 0 <= c.pipe <= c.in_flight

    def end(self) -> None:
        """On a link that is good again, read to both ends of the stream."""
        pair = self.pair
        pair.loss = pair.duplication = 0.0
        pair.jitter_us = 0
        for end in self.ends:
            end.connection.received.bound(LIMIT)
            end.connection.shutdown(pair.now)
            if any(other.has_left for other in self.ends):
                # A reset may have been lost, and all that repeat it.
                end.connection.set_keepalive(pair.now, 10 * SECOND)
        for _ in range(2000):
            for end in self.ends:
                for view in end.connection.read(pair.now, 1 << 23):
                    end.read += view
            if all(end.is_over or self.is_done(end.connection) for end in self.ends):
                break
            pair.run(200 * MILLISECOND)

    @staticmethod
    def is_done(connection: Connection) -> bool:
        return connection.at_eof and connection.fin_acknowledged

    def teardown(self) -> None:
        if not self.ends:
            return
        self.end()
        self.what_was_read_is_the_beginning_of_what_was_written()
        if not any(end.has_left for end in self.ends):
            assert [end.connection.error for end in self.ends] == [None, None]
            for end, other in zip(self.ends, reversed(self.ends), strict=True):
                assert end.read == other.stream(0, other.written)
        self.pair.run(100 * SECOND)
        assert {end.connection.state for end in self.ends} == {State.CLOSED}
        assert (self.pair.a.host.next_timer(), self.pair.b.host.next_timer()) == (None, None)


class OneLeaves(TwoEnds):
    """The same, where a user may go away at any time."""

    @rule(which=ENDS, breaks_off=st.booleans())
    def leave(self, which: int, breaks_off: bool) -> None:
        """Close both directions, or break the connection off."""
        end = self.ends[which]
        end.has_left = end.is_shut = True
        if breaks_off:
            end.connection.abort(self.pair.now)
        else:
            end.connection.close(self.pair.now)


TwoEnds.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
OneLeaves.TestCase.settings = settings(TwoEnds.TestCase.settings, max_examples=40)
TestTwoEnds = TwoEnds.TestCase
TestOneLeaves = OneLeaves.TestCase
