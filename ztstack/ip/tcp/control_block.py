"""Everything a connection remembers, and the few steps that all its parts take."""

from __future__ import annotations

import struct
from heapq import heapify, heappop, heappush
from typing import Final

from ztstack.base.endpoint import Endpoint
from ztstack.base.timers import MILLISECOND, SECOND, Timers
from ztstack.ip.events import Ended, Event, Refused
from ztstack.ip.packets.checksum import pseudo_header, word_sum
from ztstack.ip.packets.tcp import HEADER_BYTES, PROTOCOL
from ztstack.ip.tcp.congestion import Congestion
from ztstack.ip.tcp.flight import Flight
from ztstack.ip.tcp.receive_buffer import LIMIT, ReceiveBuffer
from ztstack.ip.tcp.rtt import RttEstimator
from ztstack.ip.tcp.send_buffer import SendBuffer
from ztstack.ip.tcp.sequence import MASK
from ztstack.ip.tcp.state import OPENING, RECEIVING, State

WINDOW_SHIFT: Final = 7
WINDOW_LIMIT: Final = LIMIT
TIME_WAIT_US: Final = 30 * SECOND
ORPHAN_US: Final = 60 * SECOND
"""How long the peer of a closed connection may take to close its side."""
DEFAULT_MSS4: Final = 536
DEFAULT_MSS6: Final = 1220
MIN_MSS: Final = 88

STAMP_BYTES: Final = 12
_STAMP: Final = struct.Struct(">III")
_STAMP_KIND: Final = 0x0101080A
"""Two NOPs, kind and length of a time stamp."""
QUICK_ACKS: Final = 16
"""So many acknowledgements at the beginning, and after a gap, are not held back."""
DELAY_US: Final = 40 * MILLISECOND
"""How long less than two full segments wait for company (RFC 9293 section 3.8.6.3)."""
PACED_RTT_US: Final = 4 * MILLISECOND
"""From this round trip on, segments are spread over it, up to so many bytes a microsecond."""
PACED_BYTES_PER_US: Final = 20
FIRST_BURST: Final = 10
"""A window of no more segments than these leaves at once."""
PACE_US: Final = 1 * MILLISECOND
PACE_SLACK_US: Final = 4 * MILLISECOND
"""How much of what was not sent, because a wake-up came late, may be made up for."""
_HELD_BACK_US: Final = 50 * MILLISECOND

_DEAD_ALARMS: Final = 256
PACE: Final = "pace"
RETRANSMIT, PROBE_TAIL, PERSIST, LINGER, REORDER, DELAY, KEEPALIVE, IDLE = (
    "retransmit",
    "probe tail",
    "persist",
    "linger",
    "reorder",
    "delay",
    "keepalive",
    "idle",
)
IDLE_US: Final = 1 * SECOND
"""After so long without anything to send the send buffer's memory is given back."""


class Alarm:
    """An entry of the heap of deadlines."""

    __slots__ = ("at", "block", "count")

    def __init__(self, at: int, count: int, block: ControlBlock) -> None:
        self.at = at
        self.count = count
        self.block: ControlBlock | None = block

    def __lt__(self, other: Alarm) -> bool:
        return (self.at, self.count) < (other.at, other.count)


class Shared:
    """What all connections of a host have in common."""

    __slots__ = (
        "_count",
        "alarms",
        "dead_alarms",
        "events",
        "over",
        "ready",
        "touched",
        "waiting",
    )

    def __init__(self, events: list[Event]) -> None:
        # Connections that may have something to send, in turn; a dict for its order.
        self.ready: dict[ControlBlock, None] = {}
        # Connections that received something since the last flush.
        self.touched: dict[ControlBlock, None] = {}
        # Connections in TIME-WAIT, the oldest first.
        self.waiting: dict[ControlBlock, None] = {}
        # Connections that are CLOSED and leave the tables.
        self.over: list[ControlBlock] = []
        self.events = events
        # When to look at which connection: a heap, with some entries that hold nobody any more.
        self.alarms: list[Alarm] = []
        self.dead_alarms = 0
        self._count = 0

    def set_alarm(self, at: int, block: ControlBlock) -> Alarm:
        self._count += 1
        alarm = Alarm(at, self._count, block)
        heappush(self.alarms, alarm)
        return alarm

    def forget_alarm(self, alarm: Alarm) -> None:
        """Let go of the connection; the entry goes when its time comes, or when most are dead."""
        alarm.block = None
        self.dead_alarms += 1
        if self.dead_alarms > _DEAD_ALARMS and 2 * self.dead_alarms > len(self.alarms):
            self.alarms = [alarm for alarm in self.alarms if alarm.block is not None]
            heapify(self.alarms)
            self.dead_alarms = 0

    def take_alarms(self, now: int) -> list[ControlBlock]:
        """Return the connections whose time has come."""
        due: list[ControlBlock] = []
        while self.alarms and self.alarms[0].at <= now:
            alarm = heappop(self.alarms)
            if alarm.block is None:
                self.dead_alarms -= 1
            else:
                alarm.block.alarm = None
                due.append(alarm.block)
        return due


class ControlBlock:
    """The variables of one connection; sequence numbers are kept as stream offsets."""

    __slots__ = (
        "ack_due",
        "ack_now",
        "acknowledged_to",
        "acks_wanted",
        "alarm",
        "assumed",
        "buffer",
        "challenged_at",
        "closed_by_user",
        "complaint",
        "congestion",
        "duplicates",
        "error",
        "fast_header",
        "fin_offset",
        "fin_received",
        "flight",
        "flow",
        "heard_at",
        "in_loss",
        "initial_receive",
        "initial_send",
        "is_passive",
        "keepalive",
        "keepalive_probes",
        "largest",
        "last_sent",
        "local",
        "may_undo",
        "mss",
        "mss_before",
        "mss_trial",
        "mss_trial_at",
        "must_resend",
        "nodelay",
        "option_sum",
        "options",
        "own_mss",
        "pace_at",
        "peer_window",
        "peer_window_max",
        "peer_window_shift",
        "ping_due",
        "plain_head",
        "probe_due",
        "progress_at",
        "pseudo",
        "quick_acks",
        "received",
        "recovery_point",
        "remote",
        "reset_due",
        "retries",
        "room_wanted",
        "round_end",
        "rtt",
        "sack_ok",
        "scaled",
        "send_next",
        "send_unacknowledged",
        "shared",
        "stamp_offset",
        "stamp_recent",
        "stamp_recent_at",
        "stamps",
        "state",
        "syn_at",
        "syn_due",
        "tail_end",
        "tail_needless",
        "tail_repeated",
        "timers",
        "user_timeout_us",
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
        # What a router said of the way to the peer since something last arrived there.
        self.complaint: Exception | None = None
        # Where to find this connection: addresses and ports as they arrive.
        ports = struct.pack(">HH", remote.port, local.port)
        self.flow = remote.ip + local.ip + ports
        self.pseudo = word_sum(pseudo_header(local.ip, remote.ip, PROTOCOL, 0))
        # What the last plain packet began with up to its ports, its length, and its right sum.
        self.plain_head = b"", 0, 0
        self.fast_header = _ip_header(local.ip, remote.ip)
        self.own_mss = usable_mss(mtu, len(local.ip))
        self.mss = min(self.own_mss, DEFAULT_MSS4 if len(local.ip) == 4 else DEFAULT_MSS6)
        self._begin_sending(initial_send)
        self._begin_stamps()
        # Receiving.
        self.initial_receive = 0
        self.received = ReceiveBuffer()
        self.fin_received: int | None = None
        self.window_edge = 0
        # An acknowledgement is owed, and whether it may not be held back.
        self.ack_due = False
        self.ack_now = False
        self.acks_wanted = 0
        self.acknowledged_to = 0
        self.quick_acks = QUICK_ACKS
        # The largest segment that came.
        self.largest = DEFAULT_MSS4
        self.challenged_at: int | None = None
        self.timers: Timers[str] = Timers()
        self.alarm: Alarm | None = None
        # Settings, and when the peer was heard last.
        self.nodelay = True
        self.keepalive: tuple[int, int, int] | None = None
        self.keepalive_probes = 0
        self.ping_due = False
        self.user_timeout_us = 0
        self.heard_at = 0

    def _begin_sending(self, initial_send: int) -> None:
        self.initial_send = initial_send
        self.buffer = SendBuffer()
        # Whether not all that was to be written found room.
        self.room_wanted = False
        self.send_unacknowledged = 0
        self.send_next = 0
        self.fin_offset: int | None = None
        self.peer_window = 0
        self.peer_window_max = 0
        self.peer_window_shift = 0
        self.window_from = (0, 0)
        self.scaled = False
        self.sack_ok = False
        self.flight = Flight()
        self.congestion = Congestion(self.mss, WINDOW_LIMIT)
        self.rtt = RttEstimator()
        # When our first SYN left, None if it was repeated: then an answer says nothing.
        self.syn_at: int | None = None
        # Where the round trip ends that is being measured.
        self.round_end = 0
        # Until this offset is acknowledged, a recovery lasts; after a timeout it is `in_loss`.
        self.recovery_point: int | None = None
        self.in_loss = False
        self.may_undo = False
        self.must_resend = False
        # Without SACK: duplicates in a row, and the bytes that they stand for.
        self.duplicates = 0
        self.assumed = 0
        self.retries = 0
        self.last_sent = 0
        # When the next segment may leave, where they are spread over the round trip.
        self.pace_at = 0
        # When something was last acknowledged, or the first of what is not was sent.
        self.progress_at = 0
        # The segment size before it was lowered because nothing of it came through, 0 if it was
        # not; the end of a full segment that tries it again, and when to.
        self.mss_before = 0
        self.mss_trial: int | None = None
        self.mss_trial_at = 0
        self.syn_due = True
        self.probe_due = False
        self.reset_due = False
        # The end of the probe of a tail that is not answered yet, and whether it sent old data.
        self.tail_end: int | None = None
        self.tail_repeated = False
        self.tail_needless = 0

    def _begin_stamps(self) -> None:
        # Time stamps (RFC 7323): our clock's offset, and what to echo.
        self.stamps = False
        self.stamp_offset = 0
        self.stamp_recent = 0
        self.stamp_recent_at = 0
        self.options = b""
        self.option_sum = 0

    # Small steps.

    def wire_sequence(self, offset: int) -> int:
        return (self.initial_send + 1 + offset) & MASK

    def wire_acknowledgement(self) -> int:
        received = self.received.next
        if self.fin_received is not None and received >= self.fin_received:
            received += 1
        return (self.initial_receive + 1 + received) & MASK

    @property
    def send_end(self) -> int:
        """The offset behind everything that there is to send, our FIN included."""
        return self.buffer.end if self.fin_offset is None else self.fin_offset + 1

    @property
    def in_flight(self) -> int:
        return self.send_next - self.send_unacknowledged

    @property
    def empty_at(self) -> int:
        """Where a segment without data begins.

        Behind the byte that probes a closed window it would be beyond that, and dropped.
        """
        is_probing = not self.peer_window and self.in_flight == 1
        return self.send_unacknowledged if is_probing else self.send_next

    @property
    def takes_runs(self) -> bool:
        """Whether what follows in order is all that there is to look at."""
        return self.state in RECEIVING and self.fin_received is None and not self.received.has_gap

    @property
    def is_steady(self) -> bool:
        """Whether acknowledgements may be taken together.

        Nothing is being repaired or probed, and no start counts round trips.
        """
        congestion = self.congestion
        return (
            self.recovery_point is None
            and self.tail_end is None
            and not self.flight.is_disturbed
            and (not congestion.in_slow_start or congestion.window >= congestion.limit)
        )

    @property
    def has_reports(self) -> bool:
        """Whether an acknowledgement must tell of more than its number."""
        received = self.received
        return self.sack_ok and (received.has_gap or received.duplicate is not None)

    @property
    def pipe(self) -> int:
        """How much is believed to be on its way (RFC 6675 section 4)."""
        flight = self.flight
        return (
            self.send_next - self.send_unacknowledged - flight.sacked - flight.lost - self.assumed
        )

    def window_field(self) -> int:
        """Return what to advertise; the right edge never moves back (RFC 9293 3.8.6)."""
        received = self.received
        free, begin, shift = received.free, received.next, WINDOW_SHIFT if self.scaled else 0
        if free < 2 * self.mss and free < received.limit // 2:
            free = 0
        edge = max(self.window_edge, begin + free)
        field = min((edge - begin) >> shift, 0xFFFF)
        self.window_edge = max(self.window_edge, begin + (field << shift))
        return field

    def want_output(self) -> None:
        self.shared.ready[self] = None

    def arm(self, timer: str, at: int) -> None:
        self.timers[timer] = at
        alarm = self.alarm
        if alarm is None or at < alarm.at:
            self.wake(at)

    def arm_retransmit(self, now: int) -> None:
        """Set the time of the next timeout; the user's comes no later than it was asked for."""
        at = now + self.rtt.timeout_us
        if self.user_timeout_us:
            at = min(at, max(self.progress_at + self.user_timeout_us, now + MILLISECOND))
        self.arm(RETRANSMIT, at)

    def wake(self, at: int) -> None:
        """Have the timers looked at no later than this."""
        alarm = self.alarm
        if alarm is None or at < alarm.at:
            self.alarm = self.shared.set_alarm(at, self)
            if alarm is not None:
                self.shared.forget_alarm(alarm)

    def owe(self, now: int) -> None:
        """Let an acknowledgement go at the end of a wake-up, or a little later if it may wait."""
        news = self.received.next - self.acknowledged_to
        if self.ack_now or self.quick_acks or news >= 2 * self.largest or not news:
            self.ack_now = True
            self.want_output()
        elif self.timers.get(DELAY) is None:
            self.arm(DELAY, now + DELAY_US)

    def revive(self, now: int) -> None:
        """Begin to wait anew for a peer that was silent and is not."""
        self.keepalive_probes = 0
        if self.keepalive is not None:
            self.arm(KEEPALIVE, now + self.keepalive[0])

    @property
    def is_paced(self) -> bool:
        """Whether segments are spread over the round trip, as small buffers on the way like it.

        That is on long paths that keep the order, beyond the first segments, and where a wake-up a
        millisecond is not what limits the rate.
        """
        rtt_us, window = self.rtt.smoothed_us, self.congestion.window
        return (
            rtt_us >= PACED_RTT_US
            and self.recovery_point is None
            and not self.flight.is_reordered
            and FIRST_BURST * self.mss < window < rtt_us * PACED_BYTES_PER_US
        )

    def _pace_us(self, count: int) -> int:
        """Return how long `count` bytes take: a little less than they would by the window."""
        congestion = self.congestion
        faster = 2.0 if congestion.window < congestion.threshold else 1.2
        return int(count * self.rtt.smoothed_us / (congestion.window * faster))

    def allowance(self, now: int) -> int:
        """Return how many segments may leave now; a late wake-up gets a little more."""
        self.pace_at = max(self.pace_at, now - PACE_SLACK_US)
        ahead = now + PACE_US - self.pace_at
        each = max(1, self._pace_us(self.mss))
        return max(0, -(-ahead // each))

    def spend(self, count: int) -> None:
        """Note that `count` bytes have left."""
        self.pace_at += self._pace_us(count)

    def arm_probe(self, now: int) -> None:
        """Set the time of the tail's probe (RFC 8985 section 7.2)."""
        in_flight = self.send_next - self.send_unacknowledged
        if (
            not in_flight
            or self.in_loss
            or self.tail_end is not None
            or not self.sack_ok
            or not self.rtt.smoothed_us
        ):
            self.timers.stop(PROBE_TAIL)
            return
        # The peer may hold back its acknowledgement of a single segment.
        more_us = _HELD_BACK_US if in_flight <= self.mss else 0
        self.arm(PROBE_TAIL, now + self.rtt.probe_us + more_us)

    def waited_us(self, now: int) -> int:
        """Return how long this has been in TIME_WAIT."""
        return now - (self.timers.get(LINGER) or now) + TIME_WAIT_US

    def stamp(self, now: int) -> None:
        """Prepare the options that all segments of now bear."""
        value = now // MILLISECOND + self.stamp_offset & MASK
        recent = self.stamp_recent
        self.options = _STAMP.pack(_STAMP_KIND, value, recent)
        self.option_sum = (
            (_STAMP_KIND >> 16)
            + (_STAMP_KIND & 0xFFFF)
            + (value >> 16)
            + (value & 0xFFFF)
            + (recent >> 16)
            + (recent & 0xFFFF)
        )

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
        self.flight.clear()
        self.timers = Timers()
        self.shared.ready.pop(self, None)
        self.shared.touched.pop(self, None)
        if self.alarm is not None:
            self.shared.forget_alarm(self.alarm)
            self.alarm = None
        self.shared.waiting.pop(self, None)
        self.shared.over.append(self)
        self.shared.events.append(event if event is not None else Ended(self))

    @property
    def full_mss(self) -> int:
        """The size of a full segment with its options."""
        return self.mss + (STAMP_BYTES if self.stamps else 0)

    def set_mss(self, mss: int) -> None:
        mss = max(MIN_MSS, mss - (STAMP_BYTES if self.stamps else 0))
        # Rows of a multiple of four bytes are what numpy sums best.
        self.mss = mss & ~3
        self.congestion.set_mss(self.mss)

    def lower_mss(self, most: int) -> None:
        """Use no longer segments from now on, and do not try longer ones again."""
        self.own_mss = min(self.own_mss, most)
        if most < self.full_mss:
            self.set_mss(most)
        if most < self.mss_before:
            self.mss_before = 0
            self.mss_trial = None


def usable_mss(mtu: int, ip_bytes: int) -> int:
    """Return the payload of a full segment without options."""
    return mtu - HEADER_BYTES - (20 if ip_bytes == 4 else 40)


def _ip_header(source: bytes, destination: bytes) -> bytes:
    """Return the constant part of the IP header: IPv4 with DF, id and checksum to be added."""
    if len(source) == 4:
        return source + destination
    return bytes((PROTOCOL, 64)) + source + destination
