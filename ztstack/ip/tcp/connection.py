"""A TCP connection as its user sees it: write, read, half-close, abort."""

from __future__ import annotations

from typing import Final

from ztstack.base.errors import Closed, ConnectReset
from ztstack.base.timers import MILLISECOND, SECOND
from ztstack.ip.tcp.control_block import KEEPALIVE, LINGER, ORPHAN_US, ControlBlock
from ztstack.ip.tcp.state import OPENING, RECEIVING, State

KEEPALIVE_INTERVAL_US: Final = 75 * SECOND
KEEPALIVE_PROBES: Final = 9
MIN_INTERVAL_US: Final = 100 * MILLISECOND
_WINDOW_UPDATE: Final = 2
_RESETTABLE: Final = RECEIVING | {State.SYN_RECEIVED, State.CLOSE_WAIT}
"""States in which the peer may still send or wait for something (RFC 9293 section 3.10.5)."""
_OVER: Final = frozenset((State.CLOSED, State.TIME_WAIT))


class Connection(ControlBlock):
    """One connection; data in order, errors in `error`."""

    __slots__ = ()

    @property
    def is_established(self) -> bool:
        """Whether the handshake was completed, whatever came after."""
        return self.was_established

    @property
    def at_eof(self) -> bool:
        """Whether the peer's end of the stream was reached and everything was read."""
        if self.received.size or self.fin_received is None:
            return False
        return self.received.next >= self.fin_received

    @property
    def fin_acknowledged(self) -> bool:
        """Whether the peer has everything, our end of the stream included."""
        return self.fin_offset is not None and self.send_unacknowledged > self.fin_offset

    @property
    def write_room(self) -> int:
        return 0 if self.state in _OVER else self.buffer.room

    # Settings.

    def set_nodelay(self, now: int, enabled: bool) -> None:  # noqa: FBT001
        """Send little pieces at once, as is usual here; or collect them (RFC 9293 3.7.4)."""
        del now
        self.nodelay = enabled
        if enabled and self.state not in OPENING:
            self.want_output()

    def set_keepalive(
        self,
        now: int,
        idle_us: int,
        interval_us: int = KEEPALIVE_INTERVAL_US,
        probes: int = KEEPALIVE_PROBES,
    ) -> None:
        """Ask a silent peer whether it is there (RFC 9293 section 3.8.4); never if `idle_us` is 0.

        A connection whose peer answers none of `probes` ends with TimeoutError.
        """
        self.keepalive_probes = 0
        self.heard_at = now
        if idle_us <= 0:
            self.keepalive = None
            self.timers.stop(KEEPALIVE)
            return
        self.keepalive = idle_us, max(interval_us, MIN_INTERVAL_US), max(probes, 1)
        if self.was_established and self.state not in _OVER:
            self.arm(KEEPALIVE, now + idle_us)

    def set_user_timeout(self, now: int, timeout_us: int) -> None:
        """End with TimeoutError when nothing is acknowledged for so long (RFC 5482); 0 for never.

        Without it, this takes some minutes.
        """
        del now
        self.user_timeout_us = max(0, timeout_us)

    def write(self, now: int, data: bytes | bytearray | memoryview) -> int:
        """Take bytes into the send buffer; return how many, 0 if it is full.

        Closed after `shutdown`, the connection's error after it broke.
        """
        del now
        window = 2 * self.congestion.window
        if window > self.buffer.limit:
            # What is in flight is kept too, so that there is always something to follow.
            self.buffer.limit = min(window, self.buffer.ceiling)
        if self.fin_offset is not None or self.closed_by_user:
            raise Closed("this side of the connection was closed")
        if self.error is not None:
            raise self.error
        if self.state in _OVER:
            raise ConnectReset("the connection is over")
        count = self.buffer.write(data)
        if count < len(data):
            self.room_wanted = True
        if count and self.state not in OPENING:
            self.want_output()
        return count

    def read(self, now: int, limit: int) -> list[memoryview]:
        """Return what arrived, at most `limit` bytes; [] if there is nothing now."""
        before = self.received.size
        views = self.received.read(limit)
        if views:
            self.received.tune(now, before - self.received.size, self.rtt.smoothed_us)
        if views and self.state in (State.ESTABLISHED, State.FIN_WAIT_1, State.FIN_WAIT_2):
            # Tell a sender that was stopped, or nearly so, that it may go on.
            before = self.window_edge - self.received.next
            gained = self.received.free - before
            least = min(_WINDOW_UPDATE * self.mss, self.received.limit // 2)
            if gained >= least and gained >= before // 2:
                self.ack_due = self.ack_now = True
                self.want_output()
        return views

    def shutdown(self, now: int) -> None:
        """Half-close: FIN follows what was written. Doing it twice does nothing."""
        del now
        if self.fin_offset is not None or self.state in _OVER:
            return
        self.fin_offset = self.buffer.end
        if self.state is State.ESTABLISHED:
            self.state = State.FIN_WAIT_1
        elif self.state is State.CLOSE_WAIT:
            self.state = State.LAST_ACK
        if self.state not in OPENING:
            self.want_output()

    def close(self, now: int) -> None:
        """Close both directions; what was written still goes out.

        If something arrived that nobody will read, the peer gets a reset, as RFC 2525 section 2.17
        has it.
        """
        if self.closed_by_user:
            return
        if self.state is State.SYN_SENT and not self.buffer.end:
            self.finish()
            self.closed_by_user = True
            return
        unread = self.received.size > 0
        self.received.clear()
        if unread and self.fin_received is None and self.state not in _OVER:
            self.abort(now)
            return
        self.shutdown(now)
        self.closed_by_user = True
        if self.state is State.FIN_WAIT_2:
            self.arm(LINGER, now + ORPHAN_US)

    def abort(self, now: int) -> None:
        """Break the connection off: the peer gets a reset."""
        del now
        self.closed_by_user = True
        if self.state in _OVER:
            self.finish()
            return
        self.reset_due = self.state in _RESETTABLE
        self.finish()
