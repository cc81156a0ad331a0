"""The states of a connection, and what its parts share (RFC 9293 section 3.3.2)."""

from __future__ import annotations

from enum import Enum, auto, unique
from typing import Final


@unique
class State(Enum):
    """RFC 9293's states; LISTEN belongs to the listener."""

    SYN_SENT = auto()
    SYN_RECEIVED = auto()
    ESTABLISHED = auto()
    FIN_WAIT_1 = auto()
    FIN_WAIT_2 = auto()
    CLOSE_WAIT = auto()
    CLOSING = auto()
    LAST_ACK = auto()
    TIME_WAIT = auto()
    CLOSED = auto()

    # Members are one of a kind; what an enum has itself is slow.
    __hash__ = object.__hash__


OPENING: Final = frozenset((State.SYN_SENT, State.SYN_RECEIVED))
RECEIVING: Final = frozenset((State.ESTABLISHED, State.FIN_WAIT_1, State.FIN_WAIT_2))
"""States in which data from the peer is taken."""
SENDING: Final = frozenset(
    (State.ESTABLISHED, State.CLOSE_WAIT, State.FIN_WAIT_1, State.CLOSING, State.LAST_ACK)
)
"""States in which data, or our FIN, may be unacknowledged."""
KEPT: Final = frozenset((State.ESTABLISHED, State.CLOSE_WAIT, State.FIN_WAIT_2))
"""States in which a silent peer may be asked whether it is there."""
