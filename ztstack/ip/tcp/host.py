"""All TCP of one interface: finds the connection of a segment, and takes turns in sending."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from typing import Final

from ztstack.base.endpoint import Endpoint
from ztstack.base.entropy import Entropy
from ztstack.base.errors import DecodeError, Drop, PortInUse, Unreachable
from ztstack.base.frame import Burst, EtherType
from ztstack.base.limits import RateGate
from ztstack.base.timers import MILLISECOND
from ztstack.base.trace import Tracer
from ztstack.ip.events import Accepted, Event
from ztstack.ip.packets.checksum import has_numpy, slot_sums, swap, word_sum
from ztstack.ip.packets.tcp import HEADER_BYTES, PROTOCOL, Flags, TcpSegment, verify
from ztstack.ip.tcp.arrival import receive, receive_run, take_syn
from ztstack.ip.tcp.connection import Connection
from ztstack.ip.tcp.control_block import Shared, usable_mss
from ztstack.ip.tcp.departure import Packet, SegmentRun, ip_header, take
from ztstack.ip.tcp.listener import Listener
from ztstack.ip.tcp.sequence import add, distance
from ztstack.ip.tcp.state import State
from ztstack.ip.tcp.timing import handle_timer

__all__ = ["SegmentRun", "TcpHost"]

MAX_CONNECTIONS: Final = 16_384
MAX_WAITING: Final = 4096
"""Connections in TIME-WAIT; then the oldest makes room."""
MAX_RESETS: Final = 256
RESET_US: Final = 10 * MILLISECOND
RESET_TARGETS: Final = 1024
_ROWS: Final = 4
_FIELDS: Final = struct.Struct(">IIHH")
_FAST_FLAGS: Final = HEADER_BYTES // 4 << 12 | int(Flags.ACK)
_PSH: Final = int(Flags.PSH)
_SECRET_BYTES: Final = 16
_SEQUENCE_TICK_US: Final = 4


class TcpHost:
    """Connections and listeners of one IP host."""

    def __init__(self, entropy: Entropy, tracer: Tracer, is_local: Callable[[bytes], bool]) -> None:
        self._entropy = entropy
        self._tracer = tracer
        self._is_local = is_local
        self._mtu = 1280
        self._secret = b""
        self._shared = Shared()
        self._connections: dict[bytes, Connection] = {}
        self._listeners: dict[int, list[Listener]] = {}
        self._half_open: dict[Connection, Listener] = {}
        self._ports: dict[int, int] = {}
        self._resets: list[SegmentRun] = []
        self._reset_gate: RateGate[bytes] = RateGate(RESET_US, RESET_TARGETS)

    # Commands.

    def set_mtu(self, now: int, mtu: int) -> None:
        del now
        self._mtu = mtu

    def is_port_used(self, port: int) -> bool:
        return port in self._listeners or port in self._ports

    def connect(self, now: int, local: Endpoint, remote: Endpoint, mtu: int) -> Connection:
        """Begin to open a connection; PortInUse if there is one with these ends."""
        sequence = self._initial_sequence(now, local, remote)
        connection = Connection(self._shared, local, remote, mtu, sequence)
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
            if ip is None or other.ip is None or other.ip == ip:
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

    def _initial_sequence(self, now: int, local: Endpoint, remote: Endpoint) -> int:
        """Return what nobody can guess, and what grows for the same two ends (RFC 6528)."""
        if not self._secret:
            self._secret = self._entropy.take(_SECRET_BYTES)
        ports = struct.pack(">HH", local.port, remote.port)
        ends = local.ip + remote.ip + ports
        hashed = hashlib.blake2b(ends, digest_size=4, key=self._secret).digest()
        return add(int.from_bytes(hashed, "big"), now // _SEQUENCE_TICK_US)

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
                self._reset(
                    block.local,
                    block.remote,
                    block.wire_sequence(block.send_next),
                    block.wire_acknowledgement(),
                    acknowledges=True,
                )
        over.clear()

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
        receive(connection, now, segment, self._tracer)
        if opening and connection.was_established:
            self._accept(connection)
        if connection.reset_due and connection.state is not State.CLOSED:
            connection.reset_due = False
            self._refuse(connection.local, connection.remote, segment)
        self._sweep()

    @staticmethod
    def _may_reopen(connection: Connection, segment: TcpSegment) -> bool:
        """Tell whether a SYN may end TIME-WAIT early (RFC 9293 section 3.6.1)."""
        if connection.state is not State.TIME_WAIT or segment.flags & Flags.ACK:
            return False
        if not segment.flags & Flags.SYN:
            return False
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
        if listener is None or segment.flags & Flags.ACK or not segment.flags & Flags.SYN:
            self._tracer.drop(Drop.NO_SOCKET, "tcp")
            if self._reset_gate.allow(now, remote.ip + local.port.to_bytes(2, "big")) or (
                segment.flags & Flags.SYN
            ):
                self._refuse(local, remote, segment)
            return
        if listener.is_full or len(self._connections) >= MAX_CONNECTIONS:
            self._tracer.drop(Drop.BACKLOG_FULL, "tcp")
            return
        sequence = self._initial_sequence(now, local, remote)
        connection = Connection(self._shared, local, remote, self._mtu, sequence)
        connection.is_passive = True
        connection.state = State.SYN_RECEIVED
        take_syn(connection, segment)
        self._register(connection)
        self._half_open[connection] = listener
        listener.half_open += 1
        connection.want_output()

    def _listener_for(self, local: Endpoint) -> Listener | None:
        for listener in self._listeners.get(local.port, []):
            if listener.ip is None or listener.ip == local.ip:
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
        if len(self._resets) >= MAX_RESETS:
            self._tracer.drop(Drop.QUEUE_FULL, "tcp")
            return
        flags = Flags.RST | Flags.ACK if acknowledges else Flags.RST
        header = TcpSegment(local.port, remote.port, sequence, acknowledgement, flags, 0).encode(
            local.ip, remote.ip
        )
        constant = local.ip + remote.ip
        if len(local.ip) == 16:
            constant = bytes((PROTOCOL, 64)) + constant
        packet: Packet = (ip_header(constant, len(header)) + header, b"")
        self._resets.append(SegmentRun(local, remote, [packet]))

    # Bursts in.

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
        source, destination = flow[:ip_bytes], flow[ip_bytes : 2 * ip_bytes]
        connection = self._connections.get(flow)
        if connection is None or not self._is_local(destination):
            return False
        if not self._is_usual(burst, flow, header, flow_end):
            return False
        if connection.state is State.ESTABLISHED and not connection.received.has_gap:
            at = self._take_run(now, connection, burst, header)
        else:
            at = 0
        for row, length in zip(rows[at:], burst.lengths[at:], strict=True):
            # What is kept of a few odd packets must not keep the arena alive.
            data = memoryview(bytes(view[row + header : row + length]))
            self._receive_verified(now, source, destination, data)
        self._sweep()
        return True

    @staticmethod
    def _is_usual(burst: Burst, flow: bytes, header: int, flow_end: int) -> bool:
        """Tell whether all rows are whole plain TCP packets of one flow with right checksums."""
        arena, stride = burst.arena, burst.stride
        is_batch = len(burst.rows) >= _ROWS and has_numpy()
        # A slot holds 28 bytes, then the IP packet, then zeros: one sum for each.
        sums = slot_sums(arena, stride, 28) if is_batch else []
        known, size, wanted = bytearray(), 0, 0
        for row, length in zip(burst.rows, burst.lengths, strict=True):
            head = arena[row : row + flow_end]
            if head != known:
                # Headers of one size are mostly the same bytes, and need no second look.
                if not _is_plain(head, flow, header, length):
                    return False
                known, size = head, length
                pseudo = word_sum(flow[:-4]) + PROTOCOL + length - header
                wanted = (word_sum(head[:header]) - pseudo) % 65_535
                if is_batch:
                    # Sums of little-endian words are the others' with their bytes swapped.
                    wanted = swap(wanted)
            if is_batch:
                total = sums[(row - 28) // stride]
            else:
                total = word_sum(burst.view[row : row + length])
            if total != wanted or length != size:
                return False
        return True

    def _take_run(self, now: int, connection: Connection, burst: Burst, header: int) -> int:
        """Take rows in order as one run; return how many. Named by tests/bench/stream.py."""
        view = burst.view
        expected = connection.wire_acknowledgement()
        room = connection.window_edge - connection.received.next
        fields = _FIELDS.unpack_from
        views: list[memoryview] = []
        last = (0, 0, 0)
        taken = 0
        for row, length in zip(burst.rows, burst.lengths, strict=True):
            at = row + header
            sequence, acknowledgement, bits, window = fields(view, at + 4)
            size = length - header - HEADER_BYTES
            if sequence != expected or not size or size > room or bits & ~_PSH != _FAST_FLAGS:
                break
            views.append(view[at + HEADER_BYTES : row + length])
            expected = expected + size & 0xFFFFFFFF
            room -= size
            last = sequence, acknowledgement, window
            taken += 1
        if views and not connection.closed_by_user:
            start, end = connection.received.next, connection.window_edge - room
            if 2 * (end - start) < len(burst.arena):
                # A little data must not keep a large arena alive.
                views = [memoryview(bytes(piece)) for piece in views]
            receive_run(connection, now, views, last)
            return taken
        return 0

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
        """Take an ICMP error about a segment of ours (RFC 5927: only opening ones give up)."""
        del now
        connection = self._find(local, remote)
        if connection is None or not self._is_ours(connection, sequence):
            self._tracer.drop(Drop.NO_SOCKET, "tcp")
            return
        opening = connection.state in (State.SYN_SENT, State.SYN_RECEIVED)
        if opening and (hard or isinstance(error, Unreachable)):
            connection.fail(error)
            self._sweep()

    def receive_too_big(
        self, now: int, local: Endpoint, remote: Endpoint, sequence: int, mtu: int
    ) -> None:
        """Use smaller segments on a connection (RFC 1191, RFC 8201)."""
        connection = self._find(local, remote)
        if connection is None or not self._is_ours(connection, sequence):
            self._tracer.drop(Drop.NO_SOCKET, "tcp")
            return
        mss = usable_mss(mtu, len(local.ip))
        if mss < connection.mss:
            connection.set_mss(mss)
            connection.resent.clear()
            connection.recovery_point = connection.send_next
            connection.lost_edge = connection.send_next
            connection.want_output()
        del now

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
        del now
        touched = self._shared.touched
        if touched:
            for block in touched:
                if block.ack_due:
                    block.want_output()
            touched.clear()

    def handle_timer(self, now: int) -> None:
        shared = self._shared
        if shared.next_at is None or now < shared.next_at:
            return
        shared.next_at = None
        for block in list(shared.timed):
            at = block.timers.next_at()
            if at is not None and at <= now:
                handle_timer(block, now)
                at = block.timers.next_at()
            if at is None:
                shared.timed.pop(block, None)
            elif shared.next_at is None or at < shared.next_at:
                shared.next_at = at
        self._sweep()

    def next_timer(self) -> int | None:
        return self._shared.next_at

    # Outputs.

    @property
    def has_output(self) -> bool:
        return bool(self._shared.ready or self._resets or self._shared.over)

    def take_packets(self, now: int, limit: int) -> list[SegmentRun]:
        """Return about `limit` packets, the connections in turn; use them before anything else."""
        self._sweep()
        runs, self._resets = self._resets, []
        ready = self._shared.ready
        room = limit
        while ready and room > 0:
            block = next(iter(ready))
            del ready[block]
            run, more = take(block, now, room)
            if more:
                ready[block] = None
            if run is not None:
                room -= len(run.packets)
                runs.append(run)
        self._sweep()
        return runs

    def take_events(self) -> list[Event]:
        self._sweep()
        events, self._shared.events = self._shared.events, []
        return events


def _is_plain(head: bytes | bytearray, flow: bytes, header: int, length: int) -> bool:
    """Tell whether an IP header and the ports behind it are the flow's, with nothing special."""
    if not head.endswith(flow):
        return False
    if header == 20:
        # No options, TCP, a hop limit that is not zero, the whole frame, no fragment.
        return (
            head[0] == 0x45
            and head[9] == PROTOCOL
            and head[8] > 0
            and head[2] << 8 | head[3] == length
            and not head[6] & 0x3F
            and not head[7]
            and not word_sum(head[:20])
        )
    return (
        head[0] >> 4 == 6
        and head[6] == PROTOCOL
        and head[7] > 0
        and (head[4] << 8 | head[5]) + 40 == length
    )
