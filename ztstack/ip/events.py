"""What an IP host tells about its sockets; every event names its `socket`."""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple


class Readable(NamedTuple):
    """Data, the end of the stream, a datagram or an error is there to be read."""

    socket: Hashable


class Writable(NamedTuple):
    """The send buffer has room again for what it refused, or the peer acknowledged our FIN."""

    socket: Hashable


class Established(NamedTuple):
    """A connection that we opened is open."""

    socket: Hashable


class Refused(NamedTuple):
    """A connection that we opened was not to be; its `error` says why."""

    socket: Hashable


class Ended(NamedTuple):
    """A connection is over, regularly or by its `error`."""

    socket: Hashable


class Accepted(NamedTuple):
    """A listener has a connection to accept."""

    socket: Hashable


class GroupsChanged(NamedTuple):
    """A UDP socket joined or left a group: other groups must be heard."""

    socket: Hashable


class Pong(NamedTuple):
    """The answer to an echo request."""

    ip: bytes
    identifier: int
    sequence: int
    data: bytes

    @property
    def socket(self) -> Hashable:
        return self.identifier


Event = Readable | Writable | Established | Refused | Ended | Accepted | GroupsChanged | Pong
