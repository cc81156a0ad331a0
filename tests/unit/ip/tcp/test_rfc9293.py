"""Segment in, segment out: what RFC 9293 section 3.10.7 asks for in each state."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.support.tcp_script import (
    AFTER_FIN,
    SYNCHRONIZED,
    WINDOW,
    Script,
    in_state,
    ours,
    theirs,
)
from ztstack.base.errors import ConnectRefused, ConnectReset
from ztstack.ip.tcp.state import State

S = State


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
        # Data that comes with the answer is not kept: the peer says it again.
        Case(S.SYN_SENT, "SA", 0, 1, 5, ["A 1 1"], S.ESTABLISHED, None, "fourth"),
        Case(S.SYN_SENT, "S", 0, None, 0, ["SA 0 1"], S.SYN_RECEIVED, None, "fourth"),
        Case(S.SYN_SENT, "SF", 0, None, 0, ["SA 0 1"], S.SYN_RECEIVED, None, "fourth"),
        Case(S.SYN_SENT, "S", 0, None, 9, ["SA 0 1"], S.SYN_RECEIVED, None, "fourth"),
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
        Case(S.SYN_RECEIVED, "F", 1, None, 0, [], S.SYN_RECEIVED, None, "fifth"),
        Case(S.SYN_RECEIVED, "FA", 1, 1, 0, ["A 1 2"], S.CLOSE_WAIT, None, "eighth"),
        Case(S.SYN_RECEIVED, "UA", 1, 1, 5, ["A 1 6"], S.ESTABLISHED, None, "sixth"),
        Case(S.SYN_RECEIVED, "A", 6, 1, 5, ["A 1 1"], S.ESTABLISHED, None, "seventh"),
        Case(S.SYN_RECEIVED, "RA", 1, 1, 0, [], S.CLOSED, ConnectRefused, "second"),
        Case(S.SYN_RECEIVED, "R", 2, None, 0, ["A 1 1"], S.SYN_RECEIVED, None, "second"),
        Case(S.SYN_RECEIVED, "R", 0, None, 0, [], S.SYN_RECEIVED, None, "first"),
        Case(S.SYN_RECEIVED, "R", 70_000, None, 0, [], S.SYN_RECEIVED, None, "first"),
        Case(S.SYN_RECEIVED, "A", 70_000, 1, 5, ["A 1 1"], S.SYN_RECEIVED, None, "first"),
        Case(S.SYN_RECEIVED, "A", -9, 1, 5, ["A 1 1"], S.SYN_RECEIVED, None, "first"),
        Case(S.SYN_RECEIVED, "S", 9, None, 0, ["SA 0 1"], S.SYN_RECEIVED, None, "fourth"),
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
            # Even if it has data or the end (fifth): nothing of it is taken.
            Case(state, "FA", seq, una + 1, 5, here, state, None, "fifth"),
            # An end, and something urgent, beyond the window (first).
            Case(state, "FA", seq + 70_000, una, 0, here, state, None, "first"),
            Case(state, "UA", seq + 70_000, una, 1, here, state, None, "first"),
        )
        if state in AFTER_FIN:
            # Behind the peer's end there is nothing, whatever it says (seventh). An old
            # acknowledgement leaves the state as it is.
            old = 1 if state in (S.CLOSING, S.LAST_ACK) else una
            found.append(Case(state, "A", seq, old, 5, here, state, None, "seventh"))
            found.append(Case(state, "UA", seq, old, 5, here, state, None, "sixth"))
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


@pytest.mark.parametrize(
    ("flags", "ack", "data", "answer", "half_open"),
    [
        ("R", None, 0, [], 0),  # first
        ("RA", 9, 0, [], 0),
        ("SR", None, 0, [], 0),
        ("A", 9, 0, ["R 9"], 0),  # second
        ("A", 9, 5, ["R 9"], 0),
        ("FA", 9, 0, ["R 9"], 0),
        ("SA", 9, 0, ["R 9"], 0),
        ("S", None, 0, ["SA 0 1"], 1),  # third
        ("S", None, 5, ["SA 0 1"], 1),  # its data is said again
        ("SF", None, 0, ["SA 0 1"], 1),
        ("SPU", None, 0, ["SA 0 1"], 1),
        ("", None, 0, [], 0),  # fourth
        ("", None, 5, [], 0),
        ("F", None, 0, [], 0),
        ("FPU", None, 1, [], 0),
    ],
)
def test_a_segment_arrives_where_we_listen(
    flags: str, ack: int | None, data: int, answer: list[str], half_open: int
) -> None:
    """Section 3.10.7.2."""
    script = Script()
    assert script.put(flags, 0, ack, bytes(data)) == answer
    assert script.listener.half_open == half_open
    assert len(script.host.connections()) == half_open


# Both at once, and other sequences.


@pytest.mark.parametrize("shift", [None, 7])
@pytest.mark.parametrize("seed", [3, 8])
def test_simultaneous_open(seed: int, shift: int | None) -> None:
    """RFC 9293 figure 7; the window of a SYN is never scaled (RFC 7323 section 2.2)."""
    script = Script(seed)
    script.listener.close(script.now)
    script.connect()
    assert script.out() == ["S 0"]
    assert script.put("S", 0, shift=shift) == ["SA 0 1"]
    assert script.put("SA", 0, 1, shift=shift) == []
    assert script.c.state is S.ESTABLISHED
    assert script.c.peer_window == WINDOW
    assert script.put("A", 1, 1, b"x") == ["A 1 2"]
    assert script.c.peer_window == WINDOW << (shift or 0)


def test_a_simultaneous_open_can_be_refused() -> None:
    script = in_state(S.SYN_SENT)
    script.put("S", 0)
    assert script.put("R", 1) == []
    assert script.c.state is S.CLOSED
    assert isinstance(script.c.error, ConnectRefused)


def test_an_old_segment_does_not_set_the_window() -> None:
    """Section 3.10.7.4, fifth: SND.WL1 and SND.WL2."""
    script = in_state(S.ESTABLISHED)
    script.c.write(script.now, b"hello")
    script.out()
    script.put("A", 1, 6, window=600)
    script.put("A", 1, 1, window=700)
    assert script.c.peer_window == 600
    script.put("A", 1, 6, b"abc", window=800)
    script.put("A", 1, 6, window=900)
    assert script.c.peer_window == 800
    script.put("A", 4, 6, window=0)
    assert script.c.peer_window == 0


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


def test_a_closed_window_takes_acknowledgements_and_probes() -> None:
    """Section 3.10.7.4, first: of some peers one begins behind the byte that they probe it with."""
    script = in_state(S.ESTABLISHED)
    script.c.received.bound(4096)
    for seq in range(1, 65_536, 1000):
        script.put("A", seq, 1, bytes(min(1000, 65_536 - seq)))
    end = 65_536
    script.c.write(script.now, b"hello, you")
    assert script.out() == [f"A 1 {end} +10"]
    # A byte beyond the window is not taken, but what it acknowledges is.
    assert script.put("A", end, 4, b"!") == [f"A 11 {end}"]
    assert script.c.send_unacknowledged == 3
    script.put("A", end + 1, 7)
    assert script.c.send_unacknowledged == 6
    script.put("A", end + 2, 11)
    assert script.c.send_unacknowledged == 6
    assert script.put("R", end + 1) == []
    script.put("FA", end, 11)
    assert (script.c.state, script.c.in_flight) == (S.CLOSE_WAIT, 0)
    assert script.c.received.size == end - 1
