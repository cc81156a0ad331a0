"""Streams over messages that may be lost: numbered bytes, acknowledgements, repetition."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from overlay.errors import Closed, ConnectRefused, ConnectReset
from overlay.messages import SEGMENT_BYTES, Flag, Segment, difference

WINDOW: Final = 256 * 1024
SEND_BUFFER: Final = 256 * 1024
REPEAT_S: Final = 0.2
REPEAT_MOST_S: Final = 5.0
GIVE_UP: Final = 12
_IN_FLIGHT: Final = 64 * SEGMENT_BYTES

Send = Callable[[Segment], None]


class Stream:
    """One connection, for one reader and one writer at a time."""

    def __init__(
        self,
        local: tuple[str, int],
        remote: tuple[str, int],
        send: Send,
        forget: Callable[[Stream], None],
    ) -> None:
        self.local = local
        self.remote = remote
        self._send = send
        self._forget = forget
        self._loop = asyncio.get_running_loop()
        self._next = 0  # The number of the next new byte.
        self._acknowledged = 0  # All before it has arrived there.
        self._unacknowledged: deque[Segment] = deque()
        self._waiting = bytearray()
        self._window = SEGMENT_BYTES
        self._expected = 0
        self._early: dict[int, Segment] = {}
        self._received: deque[bytes] = deque()
        self._buffered = 0
        self._fin_wanted = False
        self._fin_sent = False
        self._peer_ended = False
        self._established = False
        self._error: Exception | None = None
        self._closed = False
        self._waiters: list[asyncio.Future[None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._repeats = 0

    # What applications call.

    async def receive_views(self, limit: int = 1 << 20) -> list[memoryview]:
        """Return what arrived in pieces; [] is the end."""
        while True:
            self._check_open()
            views: list[memoryview] = []
            taken = 0
            while self._received and taken < limit:
                piece = self._received.popleft()
                if taken + len(piece) > limit:
                    self._received.appendleft(piece[limit - taken :])
                    piece = piece[: limit - taken]
                views.append(memoryview(piece))
                taken += len(piece)
            if views:
                was_full = WINDOW - self._buffered < SEGMENT_BYTES
                self._buffered -= taken
                if was_full:
                    self._acknowledge()
                return views
            if self._peer_ended:
                return []
            if self._error is not None:
                raise self._error
            await self._wait()

    async def receive(self, limit: int = 1 << 20) -> bytes:
        return b"".join(await self.receive_views(limit))

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        """Return when all of `data` is in the send buffer."""
        view = memoryview(data)
        while view:
            self._check_open()
            if self._error is not None:
                raise self._error
            if self._fin_wanted:
                raise Closed("sending has ended")
            room = SEND_BUFFER - len(self._waiting)
            if room > 0:
                self._waiting += view[:room]
                view = view[room:]
                self._push()
            else:
                await self._wait()

    async def send_eof(self) -> None:
        """Half-close: what was sent goes out, then the end; receiving goes on."""
        self._check_open()
        self._fin_wanted = True
        self._push()

    async def wait_sent(self, timeout: float | None = None) -> None:
        """Wait until the peer has acknowledged our end."""
        async with asyncio.timeout(timeout):
            while not (self._fin_sent and not self._unacknowledged):
                if self._error is not None:
                    raise self._error
                await self._wait()

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._fin_wanted = True
        self._push()
        self._forget_when_done()
        self._wake()

    def abort(self) -> None:
        """Reset the connection at once."""
        if self._closed and self._error is not None:
            return
        self._closed = True
        if self._error is None and not (self._peer_ended and not self._unacknowledged):
            self._transmit(self._segment(Flag.RST | Flag.ACK, self._next))
        self._end(Closed("the stream is closed"))

    # The handshake.

    def start(self) -> None:
        """Send the first segment of a connection that we open."""
        self._queue(Flag.SYN, b"")

    def accept(self, segment: Segment) -> None:
        """Answer the first segment of a connection that a peer opens."""
        self._expected = segment.sequence + 1
        self._window = segment.window
        self._established = True
        self._queue(Flag.SYN | Flag.ACK, b"")

    async def wait_established(self) -> None:
        while not self._established:
            if self._error is not None:
                raise self._error
            await self._wait()

    # Segments.

    def segment_arrived(self, segment: Segment) -> None:
        if segment.flags & Flag.RST:
            refused = not self._established
            kind = ConnectRefused if refused else ConnectReset
            what = "connection refused" if refused else "the peer reset the connection"
            self._end(kind(f"{self.remote[0]}:{self.remote[1]}: {what}"))
            return
        if segment.flags & Flag.ACK:
            self._take_acknowledgement(segment)
        if segment.flags & Flag.SYN and not self._established:
            self._expected = segment.sequence + 1
            self._established = True
            self._acknowledge()
            self._wake()
            self._push()
            return
        if segment.length:
            self._take_data(segment)
            self._acknowledge()
        self._push()
        self._forget_when_done()

    def _take_acknowledgement(self, segment: Segment) -> None:
        self._window = segment.window
        moved = False
        while self._unacknowledged:
            first = self._unacknowledged[0]
            if difference(segment.acknowledged, first.sequence + first.length) < 0:
                break
            self._unacknowledged.popleft()
            moved = True
        if moved:
            self._repeats = 0
            self._arm(restart=True)
            self._wake()

    def _take_data(self, segment: Segment) -> None:
        if segment.flags & Flag.SYN:
            return
        offset = difference(segment.sequence, self._expected)
        if offset < 0 or offset > WINDOW or self._buffered + len(segment.data) > WINDOW:
            return
        self._early[segment.sequence & 0xFFFFFFFF] = segment
        while True:
            following = self._early.pop(self._expected & 0xFFFFFFFF, None)
            if following is None:
                return
            self._expected += following.length
            if following.data and not self._closed:
                self._received.append(following.data)
                self._buffered += len(following.data)
            if following.flags & Flag.FIN:
                self._peer_ended = True
            self._wake()

    def _push(self) -> None:
        """Send what the window allows."""
        if not self._established or self._error is not None:
            return
        while self._waiting and self._in_flight() < min(self._window, _IN_FLIGHT):
            data = bytes(self._waiting[:SEGMENT_BYTES])
            del self._waiting[:SEGMENT_BYTES]
            self._queue(Flag.ACK, data)
            self._wake()
        if self._fin_wanted and not self._waiting and not self._fin_sent:
            self._fin_sent = True
            self._queue(Flag.FIN | Flag.ACK, b"")

    def _in_flight(self) -> int:
        return sum(segment.length for segment in self._unacknowledged)

    def _queue(self, flags: Flag, data: bytes) -> None:
        segment = self._segment(flags, self._next, data)
        self._next += segment.length
        self._unacknowledged.append(segment)
        self._transmit(segment)
        self._arm()

    def _segment(self, flags: Flag, sequence: int, data: bytes = b"") -> Segment:
        return Segment(
            self.local[1],
            self.remote[1],
            flags,
            sequence,
            self._expected,
            max(0, WINDOW - self._buffered),
            data,
        )

    def _acknowledge(self) -> None:
        self._transmit(self._segment(Flag.ACK, self._next))

    def _transmit(self, segment: Segment) -> None:
        try:
            self._send(segment)
        except OSError as error:
            self._end(error)

    # Repetition.

    def _arm(self, *, restart: bool = False) -> None:
        if self._timer is not None:
            if self._unacknowledged and not restart:
                return
            self._timer.cancel()
            self._timer = None
        if self._unacknowledged and self._error is None:
            delay = min(REPEAT_S * 2**self._repeats, REPEAT_MOST_S)
            self._timer = self._loop.call_later(delay, self._repeat)

    def _repeat(self) -> None:
        self._timer = None
        self._repeats += 1
        if self._repeats > GIVE_UP:
            self._end(TimeoutError(f"{self.remote[0]}: no answer"))
            return
        for segment in list(self._unacknowledged)[:16]:
            flags = segment.flags
            self._transmit(self._segment(flags, segment.sequence, segment.data))
        self._arm()

    # The end.

    def _forget_when_done(self) -> None:
        if self._closed and self._fin_sent and not self._unacknowledged and self._peer_ended:
            self._end(Closed("the stream is closed"))

    def _end(self, error: Exception) -> None:
        if self._error is None:
            self._error = error
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._unacknowledged.clear()
        self._forget(self)
        self._wake()

    def _check_open(self) -> None:
        if self._closed:
            raise Closed("the stream is closed")

    async def _wait(self) -> None:
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
