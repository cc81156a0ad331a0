"""What VL1 needs of somebody who knows better which path to take."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple, Protocol

from ztstack.vl1.path import Path, PathKey
from ztstack.vl1.peer import Peer
from ztstack.wire.bonding import PathNegotiation, QosMeasurement

Packets = Sequence[tuple[bytes, bytes | memoryview]]


class Share(NamedTuple):
    """Packets that go by all of some paths; with `by_relay` by a relay as well."""

    paths: Sequence[Path]
    packets: Packets
    by_relay: bool = False


class Question(Enum):
    """What is sent to learn whether a path works; whoever knows us answers every HELLO."""

    ECHO = "echo"
    HELLO = "hello"


class Note(NamedTuple):
    """A message about a path, for that path; nobody answers it."""

    peer: Peer
    key: PathKey
    verb: int
    payload: bytes


class PathChooser(Protocol):
    """Chooses among the direct paths to a peer; it hears how they fare."""

    def attend(self, now: int, peer: Peer) -> None:
        """Know that a peer spoke directly, perhaps on a new path."""
        ...

    def answered(self, now: int, peer: Peer, key: PathKey, sent_at: int) -> None:
        """Know that an ECHO or a HELLO was answered where it was sent."""
        ...

    def sent(
        self, now: int, peer: Peer, path: Path, packet_ids: Sequence[bytes], count: int
    ) -> None:
        """Know that `count` packets left on a path, and the ids of some."""
        ...

    def came(self, now: int, peer: Peer, path: Path, packet_ids: Sequence[bytes]) -> None:
        """Know that authentic packets came on a path."""
        ...

    def receive_measurement(
        self, now: int, peer: Peer, key: PathKey, message: QosMeasurement
    ) -> bool:
        """Know what the peer says of packets that came; False if it says too much."""
        ...

    def receive_wish(self, now: int, peer: Peer, key: PathKey, message: PathNegotiation) -> bool:
        """Know which path the peer would like; False if it says so too often."""
        ...

    def interfaces_changed(self, now: int) -> None: ...

    def handle_timer(self, now: int) -> None: ...

    def next_timer(self) -> int | None: ...

    def take_questions(self) -> list[tuple[Peer, PathKey, Question]]:
        """Return what is to be asked, and on which paths."""
        ...

    def take_notes(self) -> list[Note]:
        """Return what is to be told to peers."""
        ...

    def has(self, peer: Peer) -> bool:
        """Tell whether the direct paths to a peer are chosen here."""
        ...

    def is_direct(self, peer: Peer) -> bool:
        """Tell whether one of these paths works."""
        ...

    def route(self, now: int, peer: Peer) -> Path | None:
        """Return the path for a single message; None if no direct one works."""
        ...

    def shares(self, now: int, peer: Peer, packets: Packets) -> Sequence[Share]:
        """Divide packets among the paths; nothing if no direct one works."""
        ...
