"""A TCP connection as its user sees it: write, read, half-close, abort."""

from __future__ import annotations

from typing import Final

from ztstack.base.errors import Closed, ConnectReset
from ztstack.ip.tcp.control_block import LINGER, ORPHAN_US, ControlBlock
from ztstack.ip.tcp.state import OPENING, State

_WINDOW_UPDATE: Final = 2
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

    def write(self, now: int, data: bytes | bytearray | memoryview) -> int:
        """Take bytes into the send buffer; return how many, 0 if it is full.

        Closed after `shutdown`, the connection's error after it broke.
        """
        del now
        if self.fin_offset is not None or self.closed_by_user:
            raise Closed("this side of the connection was closed")
        if self.error is not None:
            raise self.error
        if self.state in _OVER:
            raise ConnectReset("the connection is over")
        count = self.buffer.write(data)
        if count and self.state not in OPENING:
            self.want_output()
        return count

    def read(self, now: int, limit: int) -> list[memoryview]:
        """Return what arrived, at most `limit` bytes; [] if there is nothing now."""
        del now
        views = self.received.read(limit)
        if views and self.state in (State.ESTABLISHED, State.FIN_WAIT_1, State.FIN_WAIT_2):
            # Tell a sender that was stopped, or nearly so, that it may go on.
            before = self.window_edge - self.received.next
            gained = self.received.free - before
            if gained >= _WINDOW_UPDATE * self.mss and gained >= before // 2:
                self.ack_due = True
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
        if self.state in OPENING and not self.buffer.end:
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
        if self.was_established or self.state is State.SYN_RECEIVED:
            self.reset_due = True
        self.finish()
