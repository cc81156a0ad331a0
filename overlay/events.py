"""What a node tells about itself and its peers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum, unique

from overlay.messages import Place


@unique
class EventKind(StrEnum):
    """What happened."""

    STARTED = "started"
    STOPPED = "stopped"
    JOINED = "joined"
    LEFT = "left"
    PEER_FOUND = "peer-found"
    PEER_LOST = "peer-lost"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened; `network` and `peer` are empty where they mean nothing."""

    kind: EventKind
    network: str = ""
    peer: str = ""
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """One peer: seconds since it was heard, None if it never was."""

    node: str
    network: str
    place: Place
    advertised: Place | None
    seen_s: float | None
    version: int
    sent_bytes: int = 0
    received_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Status:
    """A node and what it knows; `drops` counts what arrived and went no further."""

    node: str
    networks: tuple[str, ...]
    local: tuple[Place, ...]
    peers: tuple[PeerStatus, ...]
    drops: dict[str, int]


@dataclass(frozen=True, slots=True)
class Echo:
    """One answer to a question whether a node is there."""

    node: str
    rtt_ms: float
    place: Place
