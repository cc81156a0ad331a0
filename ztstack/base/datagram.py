"""What goes to the physical network: bytes with a local socket and a remote endpoint."""

from __future__ import annotations

from typing import Final, NamedTuple

from ztstack.base.endpoint import Endpoint

ALL_SOCKETS: Final = -1


class Datagram(NamedTuple):
    """One UDP datagram, or a train of equal ones.

    `socket` is a number the shell gave to one of its sockets, or ALL_SOCKETS. If `segment` is not
    zero, `data` holds several datagrams of `segment` bytes each; only the last may be shorter.
    `ttl` is the IP time to live where it must not be the system's.
    """

    socket: int
    remote: Endpoint
    data: bytes
    segment: int = 0
    ttl: int = 0
