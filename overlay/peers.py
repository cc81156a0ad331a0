"""Who else is there, and where: told, heard, asked for; and gone after a minute of silence."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from overlay.messages import Place

MAX_PEERS: Final = 1024
"""Peers that were heard and not told; then the one heard longest ago makes room."""
MAX_ASKED: Final = 256
"""Questions that were not answered; the oldest go."""
EXPIRY_S: Final = 60.0
ASK_S: Final = 0.2
"""Nobody is asked the same more often."""
ANSWER_S: Final = 5.0

Key = tuple[int, int]
"""Network and node."""


@dataclass(slots=True)
class Peer:
    """One node: `heard` is the time of its last frame, None if there was none yet.

    It is proven once it answered a question of ours from its place.
    """

    node: int
    network: int
    place: Place
    is_fixed: bool = False
    heard: float | None = None
    advertised: Place | None = None
    version: int = 2
    since: float = 0.0
    is_proven: bool = False
    sent_bytes: int = 0
    received_bytes: int = 0

    @property
    def is_there(self) -> bool:
        """Whether it answered, or was heard at the place that we were told of."""
        return self.heard is not None and (self.is_proven or self.is_fixed)

    @property
    def public_place(self) -> Place:
        """Where others should look for it."""
        return self.advertised or self.place


class Peers:
    """The nodes that we know; times are seconds of any one clock."""

    def __init__(self) -> None:
        self._fixed: dict[Key, Peer] = {}
        self._heard: OrderedDict[Key, Peer] = OrderedDict()
        # Questions that were not answered yet: the nonce, and when it was asked first and last.
        self._asked: OrderedDict[tuple[Key, Place], tuple[bytes, float, float]] = OrderedDict()

    def tell(self, now: float, network: int, node: int, place: Place, *, fixed: bool) -> None:
        """Note where a peer is said to be; what was heard of it is better."""
        key = network, node
        if fixed:
            self._fixed[key] = Peer(node, network, place, is_fixed=True)
        elif key not in self._heard and key not in self._fixed:
            self._remember(key, Peer(node, network, place, since=now))

    def get(self, network: int, node: int) -> Peer | None:
        key = network, node
        return self._heard.get(key) or self._fixed.get(key)

    def of_network(self, network: int) -> list[Peer]:
        return [peer for peer in self if peer.network == network]

    def __iter__(self) -> Iterator[Peer]:
        everything = {**self._fixed, **self._heard}
        return iter(list(everything.values()))

    def __len__(self) -> int:
        return len({**self._fixed, **self._heard})

    def heard(self, now: float, network: int, node: int, place: Place, version: int) -> bool:
        """Note a frame of a peer; False if it came from a place that is to be asked first.

        A peer that speaks has its place. Somebody else who says to be it gets no word of ours
        before an answer came from there: whoever only forges its address does not see the question.
        """
        key = network, node
        peer = self._heard.get(key)
        if peer is None:
            told = self._fixed.get(key) or Peer(node, network, place)
            if told.place != place:
                return False
            self._remember(key, replace(told, heard=now, version=version, since=now))
            return True
        if place != peer.place:
            return False
        self._heard.move_to_end(key)
        peer.heard = now
        peer.version = version
        return True

    def _remember(self, key: Key, peer: Peer) -> None:
        self._heard[key] = peer
        if len(self._heard) > MAX_PEERS:
            # Whoever only said a word goes first; nobody can crowd out those who answered.
            unproven = (other for other, one in self._heard.items() if not one.is_proven)
            del self._heard[next(unproven, next(iter(self._heard)))]

    def count(self, network: int, node: int, *, sent: int = 0, received: int = 0) -> None:
        """Count the bytes of a frame to a peer or from it."""
        peer = self.get(network, node)
        if peer is not None:
            peer.sent_bytes += sent
            peer.received_bytes += received

    # Questions.

    def ask(self, now: float, network: int, node: int, place: Place, nonce: bytes) -> bytes | None:
        """Note a question; return the nonce for it, None if it was asked a moment ago.

        A question that is repeated keeps its nonce, so that a late answer still counts.
        """
        asked = (network, node), place
        known = self._asked.get(asked)
        if known is not None and now - known[1] < ANSWER_S:
            if now - known[2] < ASK_S:
                return None
            self._asked[asked] = known[0], known[1], now
            return known[0]
        self._asked[asked] = nonce, now, now
        self._asked.move_to_end(asked)
        while len(self._asked) > MAX_ASKED:
            self._asked.popitem(last=False)
        return nonce

    def answered(self, now: float, network: int, node: int, place: Place, nonce: bytes) -> bool:
        """Take the answer to a question; then the peer is where it came from."""
        asked = (network, node), place
        known = self._asked.get(asked)
        if known is None or known[0] != nonce or now - known[2] > ANSWER_S:
            return False
        del self._asked[asked]
        key = network, node
        peer = self._heard.get(key)
        if peer is None:
            told = self._fixed.get(key) or Peer(node, network, place)
            peer = replace(told, place=place, heard=now, since=now, is_proven=True)
            self._remember(key, peer)
            return True
        peer.place, peer.heard, peer.is_proven = place, now, True
        self._heard.move_to_end(key)
        return True

    # Time.

    def expire(self, now: float) -> list[Peer]:
        """Forget who was silent for too long; told ones stay where they were told to be."""
        gone = [
            key
            for key, peer in self._heard.items()
            if now - (peer.heard if peer.heard is not None else peer.since) > EXPIRY_S
        ]
        return [self._heard.pop(key) for key in gone]

    def forget(self, network: int, node: int) -> None:
        for table in (self._fixed, self._heard):
            table.pop((network, node), None)

    def forget_network(self, network: int) -> None:
        for table in (self._fixed, self._heard):
            for key in [key for key in table if key[0] == network]:
                del table[key]
