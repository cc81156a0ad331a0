"""What a node tells its owner."""

from __future__ import annotations

from typing import NamedTuple

from ztstack.base.address import Address
from ztstack.base.network_id import NetworkId
from ztstack.crypto.identity import Identity
from ztstack.ip.events import Event as SocketEvent
from ztstack.vl1.events import EchoReply
from ztstack.vl2.events import NetworkStatus


class OnlineChanged(NamedTuple):
    """The node reached a root, or lost all of them."""

    online: bool


class NetworkChanged(NamedTuple):
    """A network has another status; `detail` is for people, such as a sign-in address."""

    network: NetworkId
    status: NetworkStatus
    detail: str


class NetworkConfigured(NamedTuple):
    """A configuration came into force; `raw` is what a later start may use at once."""

    network: NetworkId
    raw: bytes


class WorldStored(NamedTuple):
    """A planet was accepted and is to be kept, or a moon, whose id is not zero."""

    raw: bytes
    moon_id: int = 0


class IdentityToValidate(NamedTuple):
    """A stranger's identity wants the slow check; answer with `Node.identity_validated`."""

    identity: Identity


class IdentityCollided(NamedTuple):
    """A root says that another node has this node's address."""

    reporter: Address


class Socket(NamedTuple):
    """Something happened to a socket of a network."""

    network: NetworkId
    event: SocketEvent


Event = (
    OnlineChanged
    | NetworkChanged
    | NetworkConfigured
    | WorldStored
    | IdentityToValidate
    | IdentityCollided
    | EchoReply
    | Socket
)
