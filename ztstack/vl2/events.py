"""What a network tells its owner, and what it thinks of a message it was given."""

from __future__ import annotations

from enum import IntEnum, StrEnum, unique
from typing import NamedTuple

from ztstack.base.address import Address
from ztstack.base.frame import Burst, Frame
from ztstack.base.mac import Mac
from ztstack.vl2.network_config import NetworkConfig


@unique
class Verdict(IntEnum):
    """What VL1 may conclude from a message; of several the largest counts."""

    IGNORED = 0
    """Do no bookkeeping: the message counts as never received."""
    TAKEN = 1
    """The message was processed."""
    TRUSTED = 2
    """The message was processed, and its sender is a member of the network."""


@unique
class NetworkStatus(StrEnum):
    """How far membership has come, in the words of the official local interface (vl2 8.4)."""

    REQUESTING = "REQUESTING_CONFIGURATION"
    OK = "OK"
    ACCESS_DENIED = "ACCESS_DENIED"
    NOT_FOUND = "NOT_FOUND"
    AUTHENTICATION_REQUIRED = "AUTHENTICATION_REQUIRED"
    PORT_ERROR = "PORT_ERROR"


class SendMessage(NamedTuple):
    """Send a message; `payload` is what follows the verb byte."""

    destination: Address
    verb: int
    payload: bytes
    compress: bool


class SendFrames(NamedTuple):
    """Send FRAMEs to one node: each is prefix + header + body, the prefix with the verb byte."""

    destination: Address
    prefix: bytes
    packets: list[tuple[bytes, bytes | memoryview]]


class ReplyOk(NamedTuple):
    """Answer a message of `source`; `verb` is what the answer says it answers."""

    source: Address
    packet_id: int
    verb: int
    body: bytes


class ReplyError(NamedTuple):
    """Refuse a message of `source`; `code` is an ErrorCode."""

    source: Address
    packet_id: int
    verb: int
    code: int
    body: bytes


class FrameIn(NamedTuple):
    """A frame for this host's IP stack."""

    frame: Frame


class BurstsIn(NamedTuple):
    """Frames of one sender to this host's own MAC."""

    source_mac: Mac
    ethertype: int
    bursts: list[Burst]


class Configured(NamedTuple):
    """A configuration came into force; `raw` is what a later start may use at once."""

    config: NetworkConfig
    raw: bytes


class StatusChanged(NamedTuple):
    """The network has another status; `detail` is for people, such as a sign-in address."""

    status: NetworkStatus
    detail: str


class WantIdentity(NamedTuple):
    """Find the identity of a node, then call `Network.identity_learned`."""

    address: Address


Output = (
    SendMessage
    | SendFrames
    | ReplyOk
    | ReplyError
    | FrameIn
    | BurstsIn
    | Configured
    | StatusChanged
    | WantIdentity
)
