"""Segment in, segment out: what RFC 9293 section 3.10 asks for in each state, by the clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import pytest

from tests.support.switches import SeededEntropy
from tests.support.tcp_pair import IP_A, IP_B, MTU, START_US
from ztstack.base.endpoint import Endpoint
from ztstack.base.errors import Closed, ConnectRefused, ConnectReset
from ztstack.base.timers import MILLISECOND, SECOND
from ztstack.base.trace import ListTracer
from ztstack.ip.packets.tcp import Flags, TcpSegment
from ztstack.ip.tcp.connection import Connection
from ztstack.ip.tcp.control_block import TIME_WAIT_US
from ztstack.ip.tcp.host import TcpHost
from ztstack.ip.tcp.state import State

OURS, THEIRS = 0, 5000
"""Offsets: our numbers count from our SYN, those of the peer from its own, which is 5000."""
PORT, PEER_PORT = 80, 4000
WINDOW: Final = 1000
FLAGS: Final = {"S": 2, "A": 16, "F": 1, "R": 4, "P": 8, "U": 32}


class Script:
    """One host, and a peer that a test speaks for; numbers are relative to both SYNs."""

    def __init__(self) -> None:
        self.now = START_US
        self.host = TcpHost(SeededEntropy(3), ListTracer(), lambda ip: ip == IP_B)
        self.host.set_mtu(self.now, MTU)
        self.base = 0
        self.connection: Connection | None = None
        self.listener = self.host.listen(self.now, None, PORT, 4)

    @property
    def c(self) -> Connection:
        assert self.connection is not None
        return self.connection

    def connect(self) -> None:
        local, remote = Endpoint(IP_B, PORT), Endpoint(IP_A, PEER_PORT)
        self.connection = self.host.connect(self.now, local, remote, MTU)

    def put(self, flags: str, seq: int = 1, ack: int | None = None, data: bytes = b"") -> list[str]:
        """Give a segment of the peer to the host; return what it sends at once."""
        segment = TcpSegment(
            source_port=PEER_PORT,
            destination_port=PORT,
            sequence=THEIRS + seq & 0xFFFFFFFF,
            acknowledgement=0 if ack is None else self.base + ack & 0xFFFFFFFF,
            flags=sum(FLAGS[flag] for flag in flags),
            window=WINDOW,
            payload=data,
            mss=1000 if "S" in flags else None,
        )
        self.host.receive(self.now, IP_A, IP_B, memoryview(segment.encode(IP_A, IP_B) + data))
        return self.out()

    def out(self) -> list[str]:
        """Return what the host sends: flags, sequence, acknowledgement and length of each."""
        self.host.flush(self.now)
        said: list[str] = []
        while runs := self.host.take_packets(self.now, 22):
            for run in runs:
                for header, body in run.packets:
                    segment = TcpSegment.decode(memoryview(header + bytes(body))[20:])
                    if segment.flags & Flags.SYN:
                        self.base = segment.sequence
                    said.append(self.words(segment))
        if self.connection is None:
            self.connection = self.listener.accept()
        return said

    def words(self, segment: TcpSegment) -> str:
        flags = "".join(name for name, bit in FLAGS.items() if segment.flags & bit and name != "P")
        seq = segment.sequence - self.base & 0xFFFFFFFF
        words = f"{flags} {segment.sequence if self.base == 0 else seq}"
        if segment.flags & Flags.ACK:
            words += f" {segment.acknowledgement - THEIRS & 0xFFFFFFFF}"
        return words + (f" +{len(segment.payload)}" if segment.payload else "")

    def wait(self, duration_us: int) -> list[str]:
        """Let time pass; return what is sent meanwhile."""
        said, end = list[str](), self.now + duration_us
        while True:
            due = self.host.next_timer()
            if due is None or due > end:
                self.now = end
                return said
            self.now = max(self.now, due)
            self.host.handle_timer(self.now)
            said += self.out()


def syn_sent(s: Script) -> None:
    s.listener.close(s.now)
    s.connect()
    assert s.out() == ["S 0"]


def syn_received(s: Script) -> None:
    assert s.put("S", 0) == ["SA 0 1"]
    (s.connection,) = s.host.connections()


def established(s: Script) -> None:
    assert s.put("S", 0) == ["SA 0 1"]
    assert s.put("A", 1, 1) == []
    assert s.c.state is State.ESTABLISHED


def fin_wait_1(s: Script) -> None:
    established(s)
    s.c.shutdown(s.now)
    assert s.out() == ["AF 1 1"]


def fin_wait_2(s: Script) -> None:
    fin_wait_1(s)
    assert s.put("A", 1, 2) == []


def close_wait(s: Script) -> None:
    established(s)
    assert s.put("AF", 1, 1) == ["A 1 2"]


def closing(s: Script) -> None:
    fin_wait_1(s)
    assert s.put("AF", 1, 1) == ["A 2 2"]


def last_ack(s: Script) -> None:
    close_wait(s)
    s.c.shutdown(s.now)
    assert s.out() == ["AF 1 2"]


def time_wait(s: Script) -> None:
    fin_wait_2(s)
    assert s.put("AF", 1, 2) == ["A 2 2"]


def closed(s: Script) -> None:
    established(s)
    s.put("R", 1)
    # What is answered from here on has nothing to do with our numbers.
    s.base = 0


SETUPS: Final[dict[State, Callable[[Script], None]]] = {
    State.SYN_SENT: syn_sent,
    State.SYN_RECEIVED: syn_received,
    State.ESTABLISHED: established,
    State.FIN_WAIT_1: fin_wait_1,
    State.FIN_WAIT_2: fin_wait_2,
    State.CLOSE_WAIT: close_wait,
    State.CLOSING: closing,
    State.LAST_ACK: last_ack,
    State.TIME_WAIT: time_wait,
    State.CLOSED: closed,
}
S = State
SYNCHRONIZED: Final = tuple(SETUPS)[2:9]
AFTER_FIN: Final = (S.CLOSE_WAIT, S.CLOSING, S.LAST_ACK, S.TIME_WAIT)


def in_state(state: State) -> Script:
    script = Script()
    SETUPS[state](script)
    assert script.c.state is state
    return script


def ours(state: State) -> int:
    """What the peer may acknowledge: everything that we sent."""
    return 1 if state in (S.SYN_RECEIVED, S.ESTABLISHED, S.CLOSE_WAIT) else 2


def theirs(state: State) -> int:
    """What the peer sends next."""
    return 2 if state in AFTER_FIN else 1


@dataclass(frozen=True, slots=True)
class Case:
    """A segment, what is answered to it, and the state and error afterwards."""

    state: State
    flags: str
    seq: int
    ack: int | None
    data: int
    answer: list[str]
    after: State
    error: type[Exception] | None = None
    section: str = ""

    def __str__(self) -> str:
        return f"{self.state.name}-{self.flags or 'none'}-{self.seq}-{self.ack}-{self.data}"


def cases() -> list[Case]:
    found = [
        # CLOSED: everything is answered by a reset but a reset (3.10.7.1).
        Case(S.CLOSED, "", 7, None, 0, ["AR 0 7"], S.CLOSED, ConnectReset, "3.10.7.1"),
        Case(S.CLOSED, "A", 7, 9, 0, ["R 9"], S.CLOSED, ConnectReset, "3.10.7.1"),
        Case(S.CLOSED, "A", 7, 9, 5, ["R 9"], S.CLOSED, ConnectReset, "3.10.7.1"),
        Case(S.CLOSED, "F", 7, None, 5, ["AR 0 13"], S.CLOSED, ConnectReset, "3.10.7.1"),
        Case(S.CLOSED, "R", 7, None, 0, [], S.CLOSED, ConnectReset, "3.10.7.1"),
        Case(S.CLOSED, "RA", 7, 9, 0, [], S.CLOSED, ConnectReset, "3.10.7.1"),
        # SYN-SENT (3.10.7.3).
        Case(S.SYN_SENT, "A", 0, 0, 0, ["R 0"], S.SYN_SENT, None, "first"),
        Case(S.SYN_SENT, "A", 0, 2, 0, ["R 2"], S.SYN_SENT, None, "first"),
        Case(S.SYN_SENT, "SA", 0, 2, 0, ["R 2"], S.SYN_SENT, None, "first"),
        Case(S.SYN_SENT, "RA", 0, 2, 0, [], S.SYN_SENT, None, "first"),
        Case(S.SYN_SENT, "RA", 0, 1, 0, [], S.CLOSED, ConnectRefused, "second"),
        Case(S.SYN_SENT, "R", 0, None, 0, [], S.SYN_SENT, None, "second"),
        Case(S.SYN_SENT, "SRA", 0, 1, 0, [], S.CLOSED, ConnectRefused, "second"),
        Case(S.SYN_SENT, "SA", 0, 1, 0, ["A 1 1"], S.ESTABLISHED, None, "fourth"),
        Case(S.SYN_SENT, "S", 0, None, 0, ["SA 0 1"], S.SYN_RECEIVED, None, "fourth"),
        Case(S.SYN_SENT, "", 0, None, 0, [], S.SYN_SENT, None, "fifth"),
        Case(S.SYN_SENT, "A", 0, 1, 0, [], S.SYN_SENT, None, "fifth"),
        Case(S.SYN_SENT, "FA", 0, 1, 0, [], S.SYN_SENT, None, "fifth"),
        # SYN-RECEIVED.
        Case(S.SYN_RECEIVED, "A", 1, 1, 0, [], S.ESTABLISHED, None, "fifth"),
        Case(S.SYN_RECEIVED, "A", 1, 1, 5, ["A 1 6"], S.ESTABLISHED, None, "seventh"),
        Case(S.SYN_RECEIVED, "FA", 1, 1, 5, ["A 1 7"], S.CLOSE_WAIT, None, "eighth"),
        Case(S.SYN_RECEIVED, "A", 1, 2, 0, ["R 2"], S.SYN_RECEIVED, None, "fifth"),
        Case(S.SYN_RECEIVED, "A", 1, 0, 0, ["R 0"], S.SYN_RECEIVED, None, "fifth"),
        Case(S.SYN_RECEIVED, "R", 1, None, 0, [], S.CLOSED, ConnectRefused, "second"),
        Case(S.SYN_RECEIVED, "S", 0, None, 0, ["SA 0 1"], S.SYN_RECEIVED, None, "fourth"),
        Case(S.SYN_RECEIVED, "", 1, None, 5, [], S.SYN_RECEIVED, None, "fifth"),
        # Data where it is taken (seventh).
        Case(S.ESTABLISHED, "A", 1, 1, 5, ["A 1 6"], S.ESTABLISHED, None, "seventh"),
        Case(S.ESTABLISHED, "PA", 1, 1, 5, ["A 1 6"], S.ESTABLISHED, None, "seventh"),
        Case(S.ESTABLISHED, "UA", 1, 1, 5, ["A 1 6"], S.ESTABLISHED, None, "sixth"),
        Case(S.FIN_WAIT_1, "A", 1, 1, 5, ["A 2 6"], S.FIN_WAIT_1, None, "seventh"),
        Case(S.FIN_WAIT_1, "A", 1, 2, 5, ["A 2 6"], S.FIN_WAIT_2, None, "seventh"),
        Case(S.FIN_WAIT_2, "A", 1, 2, 5, ["A 2 6"], S.FIN_WAIT_2, None, "seventh"),
        # Acknowledgement of our FIN (fifth).
        Case(S.FIN_WAIT_1, "A", 1, 2, 0, [], S.FIN_WAIT_2, None, "fifth"),
        Case(S.CLOSING, "A", 2, 2, 0, [], S.TIME_WAIT, None, "fifth"),
        Case(S.LAST_ACK, "A", 2, 2, 0, [], S.CLOSED, None, "fifth"),
        # The peer's FIN (eighth).
        Case(S.ESTABLISHED, "FA", 1, 1, 0, ["A 1 2"], S.CLOSE_WAIT, None, "eighth"),
        Case(S.ESTABLISHED, "FA", 1, 1, 9, ["A 1 11"], S.CLOSE_WAIT, None, "eighth"),
        Case(S.FIN_WAIT_1, "FA", 1, 1, 0, ["A 2 2"], S.CLOSING, None, "eighth"),
        Case(S.FIN_WAIT_1, "FA", 1, 2, 0, ["A 2 2"], S.TIME_WAIT, None, "eighth"),
        Case(S.FIN_WAIT_2, "FA", 1, 2, 0, ["A 2 2"], S.TIME_WAIT, None, "eighth"),
        Case(S.CLOSE_WAIT, "FA", 1, 1, 0, ["A 1 2"], S.CLOSE_WAIT, None, "eighth"),
        Case(S.CLOSING, "FA", 1, 1, 0, ["A 2 2"], S.CLOSING, None, "eighth"),
        Case(S.LAST_ACK, "FA", 1, 1, 0, ["A 2 2"], S.LAST_ACK, None, "eighth"),
        Case(S.TIME_WAIT, "FA", 1, 2, 0, ["A 2 2"], S.TIME_WAIT, None, "eighth"),
    ]
    for state in SYNCHRONIZED:
        una, seq = ours(state), theirs(state)
        # What our next segment says: the number behind all that we sent, and what we expect.
        here = [f"A {una} {seq}"]
        found += (
            # Out of the window (first): told where we are; a reset is not answered.
            Case(state, "A", seq - 1000, una, 10, here, state, None, "first"),
            Case(state, "A", seq + 70_000, una, 10, here, state, None, "first"),
            Case(state, "A", seq + 70_000, una, 0, here, state, None, "first"),
            Case(state, "R", seq - 1, None, 0, [], state, None, "first"),
            Case(state, "R", seq + 70_000, None, 0, [], state, None, "first"),
            # A reset in the window, and one exactly right (second; RFC 5961 section 3.2).
            Case(state, "R", seq + 1, None, 0, here, state, None, "second"),
            # A SYN in the window is challenged (fourth; RFC 5961 section 4.2).
            Case(state, "S", seq, None, 0, here, state, None, "fourth"),
            Case(state, "SA", seq, una, 0, here, state, None, "fourth"),
            # Without ACK it is dropped; of what was not sent, or long ago, challenged (fifth).
            Case(state, "", seq, None, 5, [], state, None, "fifth"),
            Case(state, "F", seq, None, 0, [], state, None, "fifth"),
            Case(state, "A", seq, una + 1, 0, here, state, None, "fifth"),
            Case(state, "A", seq, una - 5000, 0, here, state, None, "fifth"),
        )
        ends = {
            S.CLOSING: (S.CLOSED, None),
            S.LAST_ACK: (S.CLOSED, None),
            S.TIME_WAIT: (S.CLOSED, None),
        }
        after, error = ends.get(state, (S.CLOSED, ConnectReset))
        found.append(Case(state, "R", seq, None, 0, [], after, error, "second"))
        found.append(Case(state, "RA", seq, una, 0, [], after, error, "second"))
    return found


@pytest.mark.parametrize("case", cases(), ids=str)
def test_a_segment_arrives(case: Case) -> None:
    script = in_state(case.state)
    if case.state is S.CLOSED:
        script.listener.close(script.now)
    answer = script.put(case.flags, case.seq, case.ack, bytes(case.data))
    assert answer == case.answer
    assert script.c.state is case.after
    assert type(script.c.error) is (case.error or type(None))


# Calls of the user (3.10.1 to 3.10.6).


@pytest.mark.parametrize(
    ("state", "answer", "after"),
    [
        (S.SYN_SENT, [], S.CLOSED),
        (S.SYN_RECEIVED, [], S.SYN_RECEIVED),
        (S.ESTABLISHED, ["AF 1 1"], S.FIN_WAIT_1),
        (S.FIN_WAIT_1, [], S.FIN_WAIT_1),
        (S.FIN_WAIT_2, [], S.FIN_WAIT_2),
        (S.CLOSE_WAIT, ["AF 1 2"], S.LAST_ACK),
        (S.CLOSING, [], S.CLOSING),
        (S.LAST_ACK, [], S.LAST_ACK),
        (S.TIME_WAIT, [], S.TIME_WAIT),
        (S.CLOSED, [], S.CLOSED),
    ],
)
def test_close(state: State, answer: list[str], after: State) -> None:
    script = in_state(state)
    for _ in range(2):
        script.c.close(script.now)
        assert script.out() == answer
        assert script.c.state is after
        answer = []


def test_close_while_opening_sends_fin_when_open() -> None:
    script = in_state(S.SYN_RECEIVED)
    script.c.close(script.now)
    assert script.put("A", 1, 1) == ["AF 1 1"]
    assert script.c.state is S.FIN_WAIT_1


@pytest.mark.parametrize(
    ("state", "answer"),
    [
        (S.SYN_SENT, []),
        (S.SYN_RECEIVED, ["AR 1 1"]),
        (S.ESTABLISHED, ["AR 1 1"]),
        (S.FIN_WAIT_1, ["AR 2 1"]),
        (S.FIN_WAIT_2, ["AR 2 1"]),
        (S.CLOSE_WAIT, ["AR 1 2"]),
        (S.CLOSING, []),
        (S.LAST_ACK, []),
        (S.TIME_WAIT, []),
        (S.CLOSED, []),
    ],
)
def test_abort(state: State, answer: list[str]) -> None:
    script = in_state(state)
    script.c.abort(script.now)
    assert script.out() == answer
    assert script.c.state is S.CLOSED


@pytest.mark.parametrize("state", [S.ESTABLISHED, S.CLOSE_WAIT])
def test_send(state: State) -> None:
    script = in_state(state)
    assert script.c.write(script.now, b"hello") == 5
    assert script.out() == [f"A 1 {theirs(state)} +5"]
    assert script.put("A", theirs(state), 6) == []
    assert script.c.in_flight == 0


@pytest.mark.parametrize("state", [S.SYN_SENT, S.SYN_RECEIVED])
def test_send_while_opening_waits(state: State) -> None:
    script = in_state(state)
    script.c.write(script.now, b"hello")
    assert script.out() == []
    if state is S.SYN_SENT:
        assert script.put("SA", 0, 1) == ["A 1 1 +5"]
    else:
        assert script.put("A", 1, 1) == ["A 1 1 +5"]


@pytest.mark.parametrize("state", [S.FIN_WAIT_1, S.FIN_WAIT_2, S.CLOSING, S.LAST_ACK, S.TIME_WAIT])
def test_send_after_the_end(state: State) -> None:
    script = in_state(state)
    with pytest.raises(Closed):
        script.c.write(script.now, b"hello")
    assert script.out() == []


def test_send_after_a_reset() -> None:
    script = in_state(S.CLOSED)
    with pytest.raises(ConnectReset):
        script.c.write(script.now, b"hello")


@pytest.mark.parametrize("state", SYNCHRONIZED)
def test_receive(state: State) -> None:
    """What came before the FIN can be read after it; then comes the end."""
    script = in_state(state)
    assert script.c.at_eof == (state in AFTER_FIN)
    assert script.c.read(script.now, 10) == []
    if state in (S.ESTABLISHED, S.FIN_WAIT_1, S.FIN_WAIT_2):
        script.put("FA", 1, ours(state), b"hello")
        assert not script.c.at_eof
        assert b"".join(script.c.read(script.now, 10)) == b"hello"
        assert script.c.at_eof


# Timeouts (3.10.8).


@pytest.mark.parametrize(
    ("state", "again"),
    [
        (S.SYN_SENT, "S 0"),
        (S.SYN_RECEIVED, "SA 0 1"),
        (S.FIN_WAIT_1, "AF 1 1"),
        (S.CLOSING, "AF 1 2"),
        (S.LAST_ACK, "AF 1 2"),
    ],
)
def test_what_is_not_acknowledged_goes_again_until_we_give_up(state: State, again: str) -> None:
    script = in_state(state)
    said = script.wait(900 * MILLISECOND) + script.wait(600 * SECOND)
    assert set(said) == {again}
    assert 4 <= len(said) <= 13
    assert script.c.state is S.CLOSED
    assert script.c.error is not None


@pytest.mark.parametrize("state", [S.ESTABLISHED, S.FIN_WAIT_2, S.CLOSE_WAIT])
def test_without_anything_under_way_nothing_is_sent(state: State) -> None:
    script = in_state(state)
    assert script.wait(3600 * SECOND) == []
    assert script.c.state is state


def test_time_wait_ends_and_a_fin_begins_it_anew() -> None:
    script = in_state(S.TIME_WAIT)
    script.wait(TIME_WAIT_US - 1)
    assert script.put("FA", 1, 2) == ["A 2 2"]
    script.wait(TIME_WAIT_US - 1)
    assert script.c.state is S.TIME_WAIT
    script.wait(1)
    assert [script.c.state, script.c.error] == [S.CLOSED, None]


# Both at once, and other sequences.


def test_simultaneous_open() -> None:
    """RFC 9293 figure 7."""
    script = in_state(S.SYN_SENT)
    assert script.put("S", 0) == ["SA 0 1"]
    assert script.put("SA", 0, 1) in ([], ["A 1 1"])
    assert script.c.state is S.ESTABLISHED
    assert script.put("A", 1, 1, b"x") == ["A 1 2"]


def test_simultaneous_close() -> None:
    """RFC 9293 figure 13."""
    script = in_state(S.FIN_WAIT_1)
    assert script.put("FA", 1, 1) == ["A 2 2"]
    assert script.put("A", 2, 2) == []
    assert script.c.state is S.TIME_WAIT


def test_an_old_duplicate_syn_is_recovered_from() -> None:
    """RFC 9293 figure 8: our answer to the old one is refused, and the new one gets in."""
    script = Script()
    assert script.put("S", -1000) == ["SA 0 4294966297"]
    script.put("R", -999)
    assert script.host.connections() == []
    assert script.put("S", 0) == ["SA 0 1"]
    script.put("A", 1, 1)
    assert script.c.state is S.ESTABLISHED


def test_a_half_open_connection_is_discovered() -> None:
    """RFC 9293 figure 9: the peer lost its memory and opens anew."""
    script = in_state(S.ESTABLISHED)
    # Its SYN is challenged, and its reset answers that.
    assert script.put("S", 400) == ["A 1 1"]
    assert script.put("R", 1) == []
    assert isinstance(script.c.error, ConnectReset)


def test_half_close_both_ways() -> None:
    script = in_state(S.FIN_WAIT_2)
    for seq in (1, 6, 11):
        assert script.put("A", seq, 2, b"12345") == [f"A 2 {seq + 5}"]
    script = in_state(S.CLOSE_WAIT)
    for seq in (1, 6, 11):
        script.c.write(script.now, b"12345")
        assert script.out() == [f"A {seq} 2 +5"]
        script.put("A", 2, seq + 5)


def test_data_for_a_reader_that_is_gone_is_refused() -> None:
    script = in_state(S.ESTABLISHED)
    script.c.close(script.now)
    assert script.out() == ["AF 1 1"]
    assert script.put("A", 1, 2, b"hello") == ["AR 2 1"]
    assert script.c.state is S.CLOSED


def test_the_window_of_the_peer_is_kept() -> None:
    script = in_state(S.ESTABLISHED)
    script.c.write(script.now, bytes(3000))
    assert script.out() == ["A 1 1 +1000"]
    assert script.put("A", 1, 501) == ["A 1001 1 +500"]


def test_overlaps_are_trimmed() -> None:
    script = in_state(S.ESTABLISHED)
    assert script.put("A", 1, 1, b"abcde") == ["A 1 6"]
    assert script.put("A", 3, 1, b"cdefgh") == ["A 1 9"]
    assert script.put("A", 12, 1, b"lmn") == ["A 1 9"]
    assert script.put("A", 8, 1, b"hijkl") == ["A 1 15"]
    assert b"".join(script.c.read(script.now, 99)) == b"abcdefghijklmn"
