"""What users and time may do in each state (RFC 9293 sections 3.10.1 to 3.10.6, and 3.10.8)."""

from __future__ import annotations

import pytest

from tests.support.tcp_script import AFTER_FIN, SETUPS, SYNCHRONIZED, in_state, ours, theirs
from ztstack.base.errors import Closed, ConnectReset, NoAnswer, PortInUse
from ztstack.base.timers import MILLISECOND, SECOND
from ztstack.ip.tcp.control_block import ORPHAN_US, TIME_WAIT_US
from ztstack.ip.tcp.state import State

S = State

# Calls of the user (3.10.1 to 3.10.6).


@pytest.mark.parametrize("state", SETUPS)
def test_open(state: State) -> None:
    """There is one connection for two ends, whatever state it is in."""
    script = in_state(state)
    before = script.c
    if state is S.CLOSED:
        script.connect()
        assert script.c is not before
        assert len(script.out()) == 1
        return
    with pytest.raises(PortInUse, match="is connected"):
        script.connect()
    assert script.c is before
    assert script.c.state is state
    assert script.out() == []


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


@pytest.mark.parametrize("state", [S.SYN_SENT, S.SYN_RECEIVED])
def test_receive_while_opening_waits(state: State) -> None:
    script = in_state(state)
    assert script.c.read(script.now, 10) == []
    assert not script.c.at_eof
    script.put("SA" if state is S.SYN_SENT else "A", 0 if state is S.SYN_SENT else 1, 1)
    script.put("A", 1, 1, b"hello")
    assert b"".join(script.c.read(script.now, 10)) == b"hello"


def test_receive_after_a_reset() -> None:
    """What had arrived can be read; there is no end of the stream."""
    script = in_state(S.ESTABLISHED)
    script.put("A", 1, 1, b"hello")
    script.put("R", 6)
    assert isinstance(script.c.error, ConnectReset)
    assert b"".join(script.c.read(script.now, 10)) == b"hello"
    assert script.c.read(script.now, 10) == []
    assert not script.c.at_eof


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


@pytest.mark.parametrize("state", [S.ESTABLISHED, S.CLOSE_WAIT])
def test_data_that_is_not_acknowledged_goes_again_until_we_give_up(state: State) -> None:
    script = in_state(state)
    script.c.write(script.now, b"hello")
    said = script.out() + script.wait(3600 * SECOND)
    assert set(said) == {f"A 1 {theirs(state)} +5"}
    assert len(said) > 8
    assert script.c.state is S.CLOSED
    assert isinstance(script.c.error, NoAnswer)


@pytest.mark.parametrize("state", SETUPS)
def test_the_user_timeout(state: State) -> None:
    """It ends a connection that waits for an acknowledgement, and no other."""
    script = in_state(state)
    script.c.set_user_timeout(script.now, 5 * SECOND)
    if state in (S.ESTABLISHED, S.CLOSE_WAIT):
        script.c.write(script.now, b"hello")
        script.out()
    waits = state not in (S.FIN_WAIT_2, S.TIME_WAIT, S.CLOSED)
    script.wait(4900 * MILLISECOND)
    assert script.c.state is state
    before = script.c.error
    # Timers that were set before it was are kept.
    script.wait(3 * SECOND)
    assert (script.c.state is S.CLOSED) == (waits or state is S.CLOSED)
    assert (script.c.error is not before) == waits


@pytest.mark.parametrize("is_closed", [True, False])
def test_the_end_of_a_peer_is_waited_for_while_somebody_wants_it(is_closed: bool) -> None:
    script = in_state(S.FIN_WAIT_2)
    if is_closed:
        script.c.close(script.now)
    script.wait(ORPHAN_US - 1)
    assert [script.c.state] == [S.FIN_WAIT_2]
    script.wait(3600 * SECOND)
    assert [script.c.state] == [S.CLOSED if is_closed else S.FIN_WAIT_2]


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
