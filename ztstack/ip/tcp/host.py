"""All TCP of one interface: finds the connection of a segment, and takes turns in sending."""

from __future__ import annotations

import hashlib
import struct
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Final

from ztstack.base.endpoint import Endpoint
from ztstack.base.entropy import Entropy
from ztstack.base.errors import DecodeError, Drop, PortInUse, Unreachable
from ztstack.base.frame import Burst, EtherType
from ztstack.base.limits import RateGate
from ztstack.base.timers import MILLISECOND, SECOND, earliest
from ztstack.base.trace import Tracer
from ztstack.ip.addresses import overlaps
from ztstack.ip.events import Accepted, Event
from ztstack.ip.packets.tcp import HEADER_BYTES, PROTOCOL, Flags, TcpSegment, verify
from ztstack.ip.tcp.arrival import receive, take_syn
from ztstack.ip.tcp.bursts import flow_ends, take_leading
from ztstack.ip.tcp.connection import Connection
from ztstack.ip.tcp.control_block import WINDOW_SHIFT, Shared, usable_mss
from ztstack.ip.tcp.cookies import Cookies
from ztstack.ip.tcp.departure import Packet, SegmentRun, ip_header, take
from ztstack.ip.tcp.listener import Listener
from ztstack.ip.tcp.recovery import shrink
from ztstack.ip.tcp.sequence import add, distance
from ztstack.ip.tcp.state import State
from ztstack.ip.tcp.timing import handle_timer

__all__ = ["SegmentRun", "TcpHost"]

MAX_CONNECTIONS: Final = 16_384
MAX_REPEATED: Final = 256
REPEATED_US: Final = 1 * SECOND
MAX_WAITING: Final = 4096
"""Connections in TIME-WAIT; then the oldest makes room."""
MAX_REPLIES: Final = 256
RESET_US: Final = 10 * MILLISECOND
RESET_AGAIN_US: Final = (200 * MILLISECOND, 1000 * MILLISECOND)
"""A reset of ours is said again so long after: nobody acknowledges it, and a peer that has nothing
to send would wait for ever."""
RESET_TARGETS: Final = 1024
TURN_PACKETS: Final = 44
"""Two trains of full packets: so much of a connection is sent before the next one's turn."""
_SECRET_BYTES: Final = 16
_SEQUENCE_TICK_US: Final = 4


class TcpHost:
    """Connections and listeners of one IP host; what they have to tell goes to `events`."""

    def __init__(
        self,
        entropy: Entropy,
        tracer: Tracer,
        is_local: Callable[[bytes], bool],
        events: list[Event],
    ) -> None:
        self._entropy = entropy
        self._tracer = tracer
        self._is_local = is_local
        self._mtu = 1280
        # Whether connections that we open ask for time stamps; those of others get them.
        self.offers_stamps = True
        self._secret = b""
        self.events = events
        self._shared = Shared(events)
        self._connections: dict[bytes, Connection] = {}
        self._listeners: dict[int, list[Listener]] = {}
        self._half_open: dict[Connection, Listener] = {}
        self._ports: dict[int, int] = {}
        self._replies: list[SegmentRun] = []
        self._broken: list[SegmentRun] = []
        self._again: deque[tuple[int, int, SegmentRun]] = deque()
        self._cookies = Cookies(self._key, self._stamp_offset)
        self._reset_gate: RateGate[bytes] = RateGate(RESET_US, RESET_TARGETS)

    # Commands.

    def set_mtu(self, now: int, mtu: int) -> None:
        """Set the MTU; connections whose segments have become too long use shorter ones."""
        del now
        is_less = mtu < self._mtu
        self._mtu = mtu
        if is_less:
            for connection in self._connections.values():
                connection.lower_mss(usable_mss(mtu, len(connection.local.ip)))

    def connections(self) -> list[Connection]:
        """Return all that are not over."""
        return list(self._connections.values())

    def is_port_used(self, port: int) -> bool:
        return port in self._listeners or port in self._ports

    def is_taken(self, ip: bytes, remote: Endpoint, port: int) -> bool:
        """Tell whether no connection to `remote` can begin here: somebody listens, or there is one.

        One in TIME-WAIT counts too.
        """
        local = Endpoint(ip, port)
        return self._listener_for(local) is not None or self._find(local, remote) is not None

    def connect(self, now: int, local: Endpoint, remote: Endpoint, mtu: int) -> Connection:
        """Begin to open a connection; PortInUse if there is one with these ends."""
        sequence = self._initial_sequence(now, local, remote)
        connection = Connection(self._shared, local, remote, mtu, sequence)
        connection.stamps = self.offers_stamps
        connection.stamp_offset = self._stamp_offset(local, remote)
        if connection.flow in self._connections:
            raise PortInUse(f"port {local.port} is connected to {remote} already")
        if len(self._connections) >= MAX_CONNECTIONS:
            raise PortInUse(f"there are {MAX_CONNECTIONS} connections already")
        self._register(connection)
        connection.want_output()
        return connection

    def listen(self, now: int, ip: bytes | None, port: int, backlog: int) -> Listener:
        """Listen; PortInUse if somebody does on an address that this one includes."""
        del now
        for other in self._listeners.get(port, []):
            if overlaps(ip, other.ip):
                raise PortInUse(f"port {port} is listened on already")
        listener = Listener(ip, port, max(1, backlog), self._forget_listener)
        self._listeners.setdefault(port, []).append(listener)
        return listener

    def _forget_listener(self, listener: Listener) -> None:
        others = self._listeners.get(listener.port, [])
        if listener in others:
            others.remove(listener)
        if not others:
            self._listeners.pop(listener.port, None)
        for connection in [c for c, by in self._half_open.items() if by is listener]:
            connection.finish()
        self._sweep()

    def _key(self) -> bytes:
        if not self._secret:
            self._secret = self._entropy.take(_SECRET_BYTES)
        return self._secret

    def _initial_sequence(self, now: int, local: Endpoint, remote: Endpoint) -> int:
        """Return what nobody can guess, and what grows for the same two ends (RFC 6528)."""
        ports = struct.pack(">HH", local.port, remote.port)
        ends = local.ip + remote.ip + ports
        hashed = hashlib.blake2b(ends, digest_size=4, key=self._key()).digest()
        return add(int.from_bytes(hashed, "big"), now // _SEQUENCE_TICK_US)

    def _stamp_offset(self, local: Endpoint, remote: Endpoint) -> int:
        """Return where our clock stands for a peer: one for all ports (RFC 7323 section 5.4)."""
        ends = b"stamp" + local.ip + remote.ip
        hashed = hashlib.blake2b(ends, digest_size=4, key=self._key()).digest()
        return int.from_bytes(hashed, "big")

    def _register(self, connection: Connection) -> None:
        self._connections[connection.flow] = connection
        port = connection.local.port
        self._ports[port] = self._ports.get(port, 0) + 1

    def _sweep(self) -> None:
        """Take connections that are over out of the tables."""
        waiting = self._shared.waiting
        while len(waiting) > MAX_WAITING:
            next(iter(waiting)).finish()
        over = self._shared.over
        if not over:
            return
        for block in over:
            connection = self._connections.get(block.flow)
            if connection is not block:
                continue
            del self._connections[block.flow]
            port = block.local.port
            left = self._ports[port] - 1
            if left:
                self._ports[port] = left
            else:
                del self._ports[port]
            listener = self._half_open.pop(connection, None)
            if listener is not None:
                listener.half_open -= 1
            if block.reset_due:
                block.reset_due = False
                before = len(self._replies)
                self._reset(
                    block.local,
                    block.remote,
                    block.wire_sequence(block.empty_at),
                    block.wire_acknowledgement(),
                    acknowledges=True,
                )
                self._broken += self._replies[before:]
        over.clear()
        if not self._connections:
            # An emptied dict keeps the room that it had when it was fullest, until it is cleared.
            for table in (self._connections, self._half_open, self._ports, waiting):
                table.clear()
            self._shared.ready.clear()

    # Segments in.

    def receive(self, now: int, source: bytes, destination: bytes, segment: memoryview) -> None:
        """Take one segment; its checksum is verified here."""
        if not verify(source, destination, segment):
            self._tracer.drop(Drop.BAD_CHECKSUM, "tcp")
            return
        self._receive_verified(now, source, destination, segment)

    def _receive_verified(
        self, now: int, source: bytes, destination: bytes, data: memoryview
    ) -> None:
        try:
            segment = TcpSegment.decode(data)
        except DecodeError:
            self._tracer.drop(Drop.MALFORMED, "tcp")
            return
        connection = self._connections.get(source + destination + bytes(data[:4]))
        if connection is not None and self._may_reopen(connection, segment):
            connection.finish()
            self._sweep()
            connection = None
        if connection is None:
            local = Endpoint(destination, segment.destination_port)
            remote = Endpoint(source, segment.source_port)
            self._receive_unknown(now, local, remote, segment)
            return
        opening = connection.state is State.SYN_RECEIVED
        if opening and not segment.flags & (Flags.SYN | Flags.RST):
            listener = self._half_open.get(connection)
            if listener is not None and listener.is_full:
                # The peer will say it again, and there may be room by then.
                self._tracer.drop(Drop.BACKLOG_FULL, "tcp")
                return
        receive(connection, now, segment, self._tracer)
        if opening and connection.was_established:
            self._accept(connection)
        if connection.reset_due and connection.state is not State.CLOSED:
            connection.reset_due = False
            self._refuse(connection.local, connection.remote, segment)
        self._sweep()

    @staticmethod
    def _may_reopen(connection: Connection, segment: TcpSegment) -> bool:
        """Tell whether a SYN may end TIME-WAIT early (RFC 9293 section 3.6.1, RFC 6191)."""
        if connection.state is not State.TIME_WAIT or segment.flags & Flags.ACK:
            return False
        if not segment.flags & Flags.SYN:
            return False
        if connection.stamps and segment.stamps is not None:
            newer = distance(segment.stamps[0], connection.stamp_recent)
            if newer:
                return newer > 0
        return distance(segment.sequence, connection.wire_acknowledgement()) > 0

    def _accept(self, connection: Connection) -> None:
        listener = self._half_open.pop(connection, None)
        if listener is None:
            return
        listener.half_open -= 1
        listener.queue.append(connection)
        self._shared.events.append(Accepted(listener))

    def _receive_unknown(
        self, now: int, local: Endpoint, remote: Endpoint, segment: TcpSegment
    ) -> None:
        if segment.flags & Flags.RST:
            self._tracer.drop(Drop.NO_SOCKET, "tcp")
            return
        listener = self._listener_for(local)
        acknowledges = segment.flags & (Flags.SYN | Flags.ACK) == Flags.ACK
        if (
            listener is not None
            and acknowledges
            and self._take_cookie(now, listener, local, remote, segment)
        ):
            return
        if listener is None or segment.flags & Flags.ACK or not segment.flags & Flags.SYN:
            self._tracer.drop(Drop.NO_SOCKET, "tcp")
            if listener is not None and not segment.flags & Flags.ACK:
                # Neither a beginning nor an answer to one (RFC 9293 section 3.10.7.2).
                return
            if self._reset_gate.allow(now, remote.ip + local.port.to_bytes(2, "big")) or (
                segment.flags & Flags.SYN
            ):
                self._refuse(local, remote, segment)
            return
        if listener.is_full or len(self._connections) >= MAX_CONNECTIONS:
            self._tracer.drop(Drop.BACKLOG_FULL, "tcp")
        elif listener.is_flooded:
            # Nothing is kept of this one until it proves that it is there.
            own_mss = usable_mss(self._mtu, len(local.ip))
            answer = self._cookies.answer(now, local, remote, segment, own_mss, WINDOW_SHIFT)
            self._reply(local, remote, answer)
        else:
            sequence = self._initial_sequence(now, local, remote)
            self._half_open_one(now, listener, local, remote, segment, sequence)

    def _half_open_one(
        self,
        now: int,
        listener: Listener,
        local: Endpoint,
        remote: Endpoint,
        syn: TcpSegment,
        sequence: int,
    ) -> Connection:
        connection = Connection(self._shared, local, remote, self._mtu, sequence)
        connection.is_passive = True
        connection.state = State.SYN_RECEIVED
        connection.stamp_offset = self._stamp_offset(local, remote)
        take_syn(connection, now, syn)
        self._register(connection)
        self._half_open[connection] = listener
        listener.half_open += 1
        connection.want_output()
        return connection

    def _take_cookie(
        self, now: int, listener: Listener, local: Endpoint, remote: Endpoint, segment: TcpSegment
    ) -> bool:
        """Open the connection of a segment that answers a cookie; False if it does not."""
        syn = self._cookies.recover(now, local, remote, segment)
        if syn is None:
            return False
        if listener.is_full or len(self._connections) >= MAX_CONNECTIONS:
            self._tracer.drop(Drop.BACKLOG_FULL, "tcp")
            return True
        ours = add(segment.acknowledgement, -1)
        connection = self._half_open_one(now, listener, local, remote, syn, ours)
        connection.syn_due = False
        connection.window_edge = 0xFFFF
        receive(connection, now, segment, self._tracer)
        if connection.was_established:
            self._accept(connection)
        self._sweep()
        return True

    def _listener_for(self, local: Endpoint) -> Listener | None:
        for listener in self._listeners.get(local.port, []):
            if overlaps(listener.ip, local.ip):
                return listener
        return None

    def _refuse(self, local: Endpoint, remote: Endpoint, segment: TcpSegment) -> None:
        """Answer a segment that belongs to no connection (RFC 9293 section 3.10.7.1)."""
        if segment.flags & Flags.ACK:
            self._reset(local, remote, segment.acknowledgement, 0, acknowledges=False)
        else:
            after = add(segment.sequence, segment.length)
            self._reset(local, remote, 0, after, acknowledges=True)

    def _reset(
        self,
        local: Endpoint,
        remote: Endpoint,
        sequence: int,
        acknowledgement: int,
        *,
        acknowledges: bool,
    ) -> None:
        flags = Flags.RST | Flags.ACK if acknowledges else Flags.RST
        answer = TcpSegment(local.port, remote.port, sequence, acknowledgement, flags, 0)
        self._reply(local, remote, answer)

    def _reply(self, local: Endpoint, remote: Endpoint, segment: TcpSegment) -> None:
        """Send a segment that belongs to no connection."""
        if len(self._replies) >= MAX_REPLIES:
            self._tracer.drop(Drop.QUEUE_FULL, "tcp")
            return
        header = segment.encode(local.ip, remote.ip)
        constant = local.ip + remote.ip
        if len(local.ip) == 16:
            constant = bytes((PROTOCOL, 64)) + constant
        packet: Packet = (ip_header(constant, len(header)) + header, b"")
        self._replies.append(SegmentRun(local, remote, [packet]))

    # Bursts in.

    def take_burst(self, now: int, ethertype: int, burst: Burst) -> list[int]:
        """Take what is usual of whole IP packets; return the indices of the others.

        Packets of several connections come mixed when each had little to say.
        """
        if self.receive_burst(now, ethertype, burst):
            return []
        rows, lengths = burst.rows, burst.lengths
        left: list[int] = []
        first = 0
        for last in flow_ends(burst, ethertype):
            part = Burst(burst.arena, burst.stride, rows[first:last], lengths[first:last])
            # The whole of it was tried already.
            if last - first == len(rows) or not self.receive_burst(now, ethertype, part):
                left += range(first, last)
            first = last
        return left

    def receive_burst(self, now: int, ethertype: int, burst: Burst) -> bool:
        """Take whole IP packets that came together; False, and nothing done, if any is unusual.

        Usual are plain headers, right sums, and one flow for a known connection. Named by
        tests/bench/stream.py.
        """
        rows = burst.rows
        if not rows:
            return True
        view = burst.view
        first = rows[0]
        if ethertype == EtherType.IPV4:
            header, flow_at, flow_end, ip_bytes = 20, 12, 24, 4
        elif ethertype == EtherType.IPV6:
            header, flow_at, flow_end, ip_bytes = 40, 8, 44, 16
        else:
            return False
        if min(burst.lengths) < header + HEADER_BYTES:
            return False
        flow = bytes(view[first + flow_at : first + flow_end])
        if len(rows) > 1 and view[rows[-1] + flow_at : rows[-1] + flow_end] != flow:
            return False
        source, destination = flow[:ip_bytes], flow[ip_bytes : 2 * ip_bytes]
        connection = self._connections.get(flow)
        if connection is None or not self._is_local(destination):
            return False
        at = take_leading(now, connection, burst, header, flow_at, flow)
        if at < 0:
            return False
        for row, length in zip(rows[at:], burst.lengths[at:], strict=True):
            # What is kept of a few odd packets must not keep the arena alive.
            data = memoryview(bytes(view[row + header : row + length]))
            self._receive_verified(now, source, destination, data)
        if self._shared.over:
            self._sweep()
        return True

    # ICMP.

    def receive_error(
        self,
        now: int,
        local: Endpoint,
        remote: Endpoint,
        sequence: int,
        error: Exception,
        hard: bool,  # noqa: FBT001
    ) -> None:
        """Take an ICMP error about a segment of ours.

        Only what is opening gives up (RFC 5927); others tell of it if they do later.
        """
        del now
        connection = self._find(local, remote)
        if connection is None or not self._is_ours(connection, sequence):
            self._tracer.drop(Drop.NO_SOCKET, "tcp")
            return
        opening = connection.state in (State.SYN_SENT, State.SYN_RECEIVED)
        if opening and (hard or isinstance(error, Unreachable)):
            connection.fail(error)
            self._sweep()
        else:
            connection.complaint = error

    def receive_too_big(
        self, now: int, local: Endpoint, remote: Endpoint, sequence: int, mtu: int
    ) -> bool:
        """Use smaller segments on a connection (RFC 1191, RFC 8201); False if it sent none such."""
        connection = self._find(local, remote)
        if connection is None or not self._is_ours(connection, sequence):
            return False
        mss = usable_mss(mtu, len(local.ip))
        if mss < connection.full_mss:
            shrink(connection, now, mss)
        return True

    def _find(self, local: Endpoint, remote: Endpoint) -> Connection | None:
        ports = remote.port.to_bytes(2, "big") + local.port.to_bytes(2, "big")
        return self._connections.get(remote.ip + local.ip + ports)

    @staticmethod
    def _is_ours(connection: Connection, sequence: int) -> bool:
        """Tell whether a sequence number is one that is in flight (RFC 5927 section 4.1)."""
        base = connection.wire_sequence(connection.send_unacknowledged)
        return -1 <= distance(sequence, base) <= connection.in_flight

    # Time.

    def flush(self, now: int) -> None:
        """End a wake-up: what arrived in it is acknowledged once."""
        touched = self._shared.touched
        if touched:
            for block in touched:
                if block.ack_due:
                    block.owe(now)
            touched.clear()

    def _say_again(self, now: int) -> None:
        """Repeat resets that may have been lost, unless there is a connection again."""
        while self._again and self._again[0][0] <= now:
            _, count, run = self._again.popleft()
            if self._find(run.local, run.remote) is None and len(self._replies) < MAX_REPLIES:
                self._replies.append(run)
                self._keep(now, count + 1, run)

    def _keep(self, now: int, count: int, run: SegmentRun) -> None:
        if count < len(RESET_AGAIN_US) and len(self._again) < MAX_REPLIES:
            entry = now + RESET_AGAIN_US[count], count, run
            at = len(self._again)
            while at and self._again[at - 1][0] > entry[0]:
                at -= 1
            self._again.insert(at, entry)

    def handle_timer(self, now: int) -> None:
        self._say_again(now)
        for block in self._shared.take_alarms(now):
            if block.state is State.CLOSED:
                continue
            handle_timer(block, now)
            at = block.timers.next_at()
            if at is not None:
                block.wake(at)
        self._sweep()

    def next_timer(self) -> int | None:
        alarms = self._shared.alarms
        first = alarms[0].at if alarms else None
        return earliest(first, self._again[0][0]) if self._again else first

    def repeat_last(self, now: int) -> bool:
        """Say once more how connections ended just now; False if none did.

        For a host that goes away: it will not be there to answer a FIN that is sent again because
        its last acknowledgement was lost (RFC 9293 section 3.6.1), nor to repeat a reset.
        """
        self._sweep()
        newest = islice(reversed(self._shared.waiting), MAX_REPEATED)
        fresh = [block for block in newest if block.waited_us(now) < REPEATED_US]
        for block in fresh:
            block.ack_due = True
            block.want_output()
        for _, _, run in islice(reversed(self._again), MAX_REPEATED):
            if self._find(run.local, run.remote) is None and len(self._replies) < MAX_REPLIES:
                self._replies.append(run)
        return bool(fresh or self._replies)

    # Outputs.

    @property
    def has_output(self) -> bool:
        return bool(self._shared.ready or self._replies or self._shared.over)

    def take_packets(self, now: int, limit: int) -> list[SegmentRun]:
        """Return about `limit` packets, the connections in turn; use them before anything else."""
        if self._shared.over or len(self._shared.waiting) > MAX_WAITING:
            self._sweep()
        runs, self._replies = self._replies, []
        if self._broken:
            for broken in self._broken:
                self._keep(now, 0, broken)
            self._broken.clear()
        ready = self._shared.ready
        room = limit
        while ready and room > 0:
            block = next(iter(ready))
            del ready[block]
            # Who is not alone takes turns.
            run, more = take(block, now, min(room, TURN_PACKETS) if ready else room)
            if more:
                ready[block] = None
            if run is not None:
                room -= len(run.packets)
                runs.append(run)
        if self._shared.over:
            self._sweep()
        return runs
