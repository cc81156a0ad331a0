"""Everything a connection remembers, and the few steps that all its parts take."""

from __future__ import annotations

import struct
from typing import Final

from ztstack.base.endpoint import Endpoint
from ztstack.base.timers import SECOND, Timers
from ztstack.ip.events import Ended, Event, Refused
from ztstack.ip.packets.checksum import pseudo_header, word_sum
from ztstack.ip.packets.tcp import HEADER_BYTES, PROTOCOL
from ztstack.ip.tcp.congestion import Congestion
from ztstack.ip.tcp.receive_buffer import LIMIT, ReceiveBuffer
from ztstack.ip.tcp.rtt import RttEstimator
from ztstack.ip.tcp.scoreboard import Scoreboard
from ztstack.ip.tcp.send_buffer import SendBuffer
from ztstack.ip.tcp.sequence import add
from ztstack.ip.tcp.state import OPENING, State

WINDOW_SHIFT: Final = 7
WINDOW_LIMIT: Final = LIMIT
TIME_WAIT_US: Final = 30 * SECOND
ORPHAN_US: Final = 60 * SECOND
"""How long the peer of a closed connection may take to close its side."""
DEFAULT_MSS4: Final = 536
DEFAULT_MSS6: Final = 1220
MIN_MSS: Final = 88

RETRANSMIT, PROBE_TAIL, PERSIST, LINGER, REPAIR = (
    "retransmit",
    "probe tail",
    "persist",
    "linger",
    "repair",
)


class Shared:
    """What all connections of a host have in common."""

    __slots__ = ("events", "next_at", "over", "ready", "timed", "touched", "waiting")

    def __init__(self) -> None:
        # Connections that may have something to send, in turn; a dict for its order.
        self.ready: dict[ControlBlock, None] = {}
        # Connections that received something since the last flush.
        self.touched: dict[ControlBlock, None] = {}
        # Connections in TIME-WAIT, the oldest first.
        self.waiting: dict[ControlBlock, None] = {}
        # Connections that are CLOSED and leave the tables.
        self.over: list[ControlBlock] = []
        self.events: list[Event] = []
        # Connections that may have a deadline: idle ones cost nothing.
        self.timed: dict[ControlBlock, None] = {}
        # No connection has an earlier deadline; it may have none so early.
        self.next_at: int | None = None


class ControlBlock:
    """The variables of one connection; sequence numbers are kept as stream offsets."""

    __slots__ = (
        "ack_due",
        "acks_wanted",
        "board",
        "buffer",
        "challenged_at",
        "closed_by_user",
        "congestion",
        "duplicates",
        "error",
        "fast_header",
        "fin_offset",
        "fin_received",
        "flow",
        "initial_receive",
        "initial_send",
        "is_passive",
        "last_sent",
        "local",
        "lost_edge",
        "mss",
        "own_mss",
        "peer_window",
        "peer_window_max",
        "peer_window_shift",
        "probe_due",
        "pseudo",
        "received",
        "recovery_point",
        "remote",
        "resent",
        "reset_due",
        "retries",
        "rtt",
        "sack_ok",
        "scaled",
        "send_next",
        "send_unacknowledged",
        "shared",
        "state",
        "syn_due",
        "tail_probed",
        "timed_at",
        "timed_offset",
        "timers",
        "was_established",
        "window_edge",
        "window_from",
    )

    def __init__(
        self, shared: Shared, local: Endpoint, remote: Endpoint, mtu: int, initial_send: int
    ) -> None:
        self.shared = shared
        self.local = local
        self.remote = remote
        self.state = State.SYN_SENT
        self.is_passive = False
        self.error: Exception | None = None
        self.was_established = False
        self.closed_by_user = False
        # Where to find this connection: addresses and ports as they arrive.
        ports = struct.pack(">HH", remote.port, local.port)
        self.flow = remote.ip + local.ip + ports
        self.pseudo = word_sum(pseudo_header(local.ip, remote.ip, PROTOCOL, 0))
        self.fast_header = _ip_header(local.ip, remote.ip)
        self.own_mss = usable_mss(mtu, len(local.ip))
        self.mss = min(self.own_mss, DEFAULT_MSS4 if len(local.ip) == 4 else DEFAULT_MSS6)
        # Sending.
        self.initial_send = initial_send
        self.buffer = SendBuffer()
        self.send_unacknowledged = 0
        self.send_next = 0
        self.fin_offset: int | None = None
        self.peer_window = 0
        self.peer_window_max = 0
        self.peer_window_shift = 0
        self.window_from = (0, 0)
        self.scaled = False
        self.sack_ok = False
        self.board = Scoreboard()
        self.congestion = Congestion(self.mss, WINDOW_LIMIT)
        self.rtt = RttEstimator()
        self.timed_at = 0
        self.timed_offset: int | None = None
        self.recovery_point: int | None = None
        self.lost_edge = 0
        self.resent: dict[int, tuple[int, int, int]] = {}
        self.duplicates = 0
        self.retries = 0
        self.last_sent = 0
        self.syn_due = True
        self.probe_due = False
        self.reset_due = False
        self.tail_probed = False
        # Receiving.
        self.initial_receive = 0
        self.received = ReceiveBuffer()
        self.fin_received: int | None = None
        self.window_edge = 0
        self.ack_due = False
        self.acks_wanted = 0
        self.challenged_at: int | None = None
        self.timers: Timers[str] = Timers()

    # Small steps.

    def wire_sequence(self, offset: int) -> int:
        return add(self.initial_send, 1 + offset)

    def wire_acknowledgement(self) -> int:
        received = self.received.next
        if self.fin_received is not None and received >= self.fin_received:
            received += 1
        return add(self.initial_receive, 1 + received)

    @property
    def send_end(self) -> int:
        """The offset behind everything that there is to send, our FIN included."""
        return self.buffer.end if self.fin_offset is None else self.fin_offset + 1

    @property
    def in_flight(self) -> int:
        return self.send_next - self.send_unacknowledged

    @property
    def is_repairing(self) -> bool:
        """Whether something that is known to be lost is not acknowledged yet."""
        return self.recovery_point is not None and self.send_unacknowledged < self.lost_edge

    @property
    def scale(self) -> int:
        return WINDOW_SHIFT if self.scaled else 0

    def window_field(self) -> int:
        """Return what to advertise; the right edge never moves back (RFC 9293 3.8.6)."""
        free = self.received.free
        if free < min(2 * self.mss, WINDOW_LIMIT // 2):
            free = 0
        edge = max(self.window_edge, self.received.next + free)
        shift = self.scale
        field = min((edge - self.received.next) >> shift, 0xFFFF)
        self.window_edge = max(self.window_edge, self.received.next + (field << shift))
        return field

    def want_output(self) -> None:
        self.shared.ready[self] = None

    def arm(self, timer: str, at: int) -> None:
        self.timers.set(timer, at)
        self.shared.timed[self] = None
        if self.shared.next_at is None or at < self.shared.next_at:
            self.shared.next_at = at

    def arm_probe(self, now: int, more_us: int = 0) -> None:
        """Set the time of the tail's probe (RFC 8985 section 7.2)."""
        if self.tail_probed or self.is_repairing or not self.rtt.smoothed_us:
            self.timers.stop(PROBE_TAIL)
            return
        self.arm(PROBE_TAIL, now + self.rtt.probe_us + more_us)

    def fail(self, error: Exception) -> None:
        """End the connection with an error; what has arrived can still be read."""
        opening = self.state in OPENING
        if self.error is None:
            self.error = error
        self.finish(event=Refused(self) if opening else Ended(self))

    def finish(self, event: Event | None = None) -> None:
        """Enter CLOSED and let go of what is not needed any more."""
        if self.state is State.CLOSED:
            return
        self.state = State.CLOSED
        self.buffer.clear()
        self.board.clear()
        self.resent.clear()
        self.timers = Timers()
        self.shared.ready.pop(self, None)
        self.shared.touched.pop(self, None)
        self.shared.timed.pop(self, None)
        self.shared.waiting.pop(self, None)
        self.shared.over.append(self)
        self.shared.events.append(event if event is not None else Ended(self))

    def set_mss(self, mss: int) -> None:
        mss = max(MIN_MSS, mss)
        # Rows of a multiple of four bytes are what numpy sums best.
        self.mss = mss & ~3
        self.congestion.set_mss(self.mss)


def usable_mss(mtu: int, ip_bytes: int) -> int:
    """Return the payload of a full segment without options."""
    return mtu - HEADER_BYTES - (20 if ip_bytes == 4 else 40)


def _ip_header(source: bytes, destination: bytes) -> bytes:
    """Return the constant part of the IP header: IPv4 with DF, id and checksum to be added."""
    if len(source) == 4:
        return source + destination
    return bytes((PROTOCOL, 64)) + source + destination
