"""What VL1 hands to its owner: messages for others, and news."""

from __future__ import annotations

from typing import NamedTuple

from ztstack.base.address import Address
from ztstack.base.endpoint import Endpoint
from ztstack.base.frame import Burst
from ztstack.crypto.identity import Identity
from ztstack.vl1.path import PathKey
from ztstack.wire.world import World


class Inbound(NamedTuple):
    """An authentic message of a verb that VL1 does not own; `payload` follows the verb byte."""

    source: Address
    path: PathKey
    hops: int
    verb: int
    packet_id: int
    payload: bytes


class InboundBurst(NamedTuple):
    """Authentic FRAME messages of one sender that arrived together.

    `prefix` is what they have in common: the verb, the network id and the ethertype (11 bytes).
    """

    source: Address
    path: PathKey
    hops: int
    prefix: bytes
    burst: Burst


class OnlineChanged(NamedTuple):
    """A root answered, or none does any more."""

    online: bool


class WorldChanged(NamedTuple):
    """A newer planet or a moon was accepted and is to be kept."""

    world: World


class ValidateIdentity(NamedTuple):
    """A stranger's identity wants the memory-hard check; answer `identity_validated`."""

    identity: Identity


class IdentityCollision(NamedTuple):
    """An upstream says that another node has our address."""

    reporter: Address


class IdentityLearned(NamedTuple):
    """A peer became known."""

    address: Address


class PathLearned(NamedTuple):
    """A peer answered on a direct path that was not known before."""

    address: Address
    remote: Endpoint


class UpstreamHeard(NamedTuple):
    """An upstream spoke for the first time, or after it had been silent; it may know nothing."""

    address: Address


class EchoReply(NamedTuple):
    """A peer sent back the `data` of an echo of ours; `relay` is the root that brought it."""

    source: Address
    rtt_us: int
    path: PathKey
    hops: int
    relay: Address | None
    data: bytes


Event = (
    OnlineChanged
    | WorldChanged
    | ValidateIdentity
    | IdentityCollision
    | IdentityLearned
    | PathLearned
    | UpstreamHeard
    | EchoReply
)
