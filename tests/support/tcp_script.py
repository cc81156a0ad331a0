"""One TCP host, led into a state by a script: segments in and out as words, by the clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tests.support.switches import SeededEntropy
from tests.support.tcp_pair import IP_A, IP_B, MTU, START_US
from ztstack.base.endpoint import Endpoint
from ztstack.base.trace import ListTracer
from ztstack.ip.packets.tcp import Flags, TcpSegment
from ztstack.ip.tcp.connection import Connection
from ztstack.ip.tcp.host import TcpHost
from ztstack.ip.tcp.state import State

THEIRS = 5000
"""The number of the peer's SYN; ours count from our own."""
PORT, PEER_PORT = 80, 4000
WINDOW: Final = 1000
FLAGS: Final = {"S": 2, "A": 16, "F": 1, "R": 4, "P": 8, "U": 32}


class Script:
    """One host, and a peer that a test speaks for; numbers are relative to both SYNs."""

    def __init__(self, seed: int = 3) -> None:
        self.now = START_US
        self.host = TcpHost(SeededEntropy(seed), ListTracer(), lambda ip: ip == IP_B, [])
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

    def put(
        self,
        flags: str,
        seq: int = 1,
        ack: int | None = None,
        data: bytes = b"",
        *,
        window: int = WINDOW,
        shift: int | None = None,
    ) -> list[str]:
        """Give a segment of the peer to the host; return what it sends at once."""
        segment = TcpSegment(
            source_port=PEER_PORT,
            destination_port=PORT,
            sequence=THEIRS + seq & 0xFFFFFFFF,
            acknowledgement=0 if ack is None else self.base + ack & 0xFFFFFFFF,
            flags=sum(FLAGS[flag] for flag in flags),
            window=window,
            payload=data,
            mss=1000 if "S" in flags else None,
            window_shift=shift,
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
SYNCHRONIZED: Final = tuple(SETUPS)[2:9]
AFTER_FIN: Final = (State.CLOSE_WAIT, State.CLOSING, State.LAST_ACK, State.TIME_WAIT)


def in_state(state: State) -> Script:
    script = Script()
    SETUPS[state](script)
    assert script.c.state is state
    return script


def ours(state: State) -> int:
    """What the peer may acknowledge: everything that we sent."""
    return 1 if state in (State.SYN_RECEIVED, State.ESTABLISHED, State.CLOSE_WAIT) else 2


def theirs(state: State) -> int:
    """What the peer sends next."""
    return 2 if state in AFTER_FIN else 1
