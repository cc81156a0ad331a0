"""Remembers which packets of a peer have come, for they may come by several paths."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from ztstack.base.errors import Drop
from ztstack.base.trace import Tracer
from ztstack.vl1.train import Opened

LIMIT: Final = 8192
KEPT: Final = 4096
_ID_BYTES: Final = 8


class Duplicates:
    """The ids of the last packets, at least 8192 of them unless they are old.

    As long as one direct way brings nearly all, the last 4096 of its ids are laid aside. They are
    looked for only among those that came otherwise, by a relay, which are compared with all.
    """

    __slots__ = (
        "_aside",
        "_aside_aged",
        "_aside_count",
        "_is_needed",
        "_new",
        "_old",
        "_others",
        "_others_old",
        "count",
        "is_watching",
    )

    def __init__(self) -> None:
        self._new: set[bytes] = set()
        self._old: set[bytes] = set()
        self._others: set[bytes] = set()
        self._others_old: set[bytes] = set()
        # Ids side by side: thousands of objects would push the packets out of the caches.
        self._aside: deque[bytes] = deque()
        self._aside_count = self._aside_aged = 0
        self._is_needed = False
        self.is_watching = False
        self.count = 0

    def lay_aside(self, packet_ids: Sequence[bytes]) -> bool:
        """Note authentic packets of the only direct way.

        False, and nothing is noted, if some came by a relay too, or if all are compared.
        """
        if self.is_watching or not (
            self._others.isdisjoint(packet_ids) and self._others_old.isdisjoint(packet_ids)
        ):
            return False
        self._aside.append(b"".join(packet_ids))
        self._aside_count += len(packet_ids)
        while self._aside_count - len(self._aside[0]) // _ID_BYTES >= KEPT:
            self._let_go()
        return True

    def _let_go(self) -> None:
        self._aside_count -= len(self._aside.popleft()) // _ID_BYTES
        self._aside_aged = max(self._aside_aged - 1, 0)

    def watch(self) -> None:
        """Compare all with all for some time: there are several direct ways."""
        self._is_needed = self.is_watching = True
        self._fetch()

    def _fetch(self) -> None:
        """Let what was laid aside be compared."""
        while self._aside:
            ids = self._aside.popleft()
            self._new.update(ids[at : at + _ID_BYTES] for at in range(0, len(ids), _ID_BYTES))
        self._aside_count = self._aside_aged = 0

    def is_new(self, packet_id: bytes) -> bool:
        """Tell whether an authentic packet came for the first time."""
        self._fetch()
        if packet_id in self._new or packet_id in self._old:
            self.count += 1
            return False
        self._note({packet_id})
        return True

    def are_new(self, packet_ids: Sequence[bytes]) -> bool:
        """Tell whether all of some authentic packets came for the first time; else note nothing."""
        self._fetch()
        found = set(packet_ids)
        if len(found) < len(packet_ids) or not (
            found.isdisjoint(self._new) and found.isdisjoint(self._old)
        ):
            return False
        self._note(found)
        return True

    def _note(self, found: set[bytes]) -> None:
        self._new |= found
        if len(self._new) >= LIMIT:
            self._old, self._new = self._new, set()
        if not self.is_watching:
            self._others |= found
            if len(self._others) >= LIMIT:
                self._others_old, self._others = self._others, set()

    def age(self) -> None:
        """Forget what came before the last time this was called: copies come soon or never."""
        self._old, self._new = self._new, set()
        self._others_old, self._others = self._others, set()
        for _ in range(self._aside_aged):
            self._let_go()
        self._aside_aged = len(self._aside)
        self.is_watching, self._is_needed = self._is_needed, False


def sift(duplicates: Duplicates, opened: Opened, tracer: Tracer) -> Opened:
    """Return what came for the first time."""
    ids = opened.packet_ids
    if duplicates.are_new(ids):
        return opened
    kept = [index for index, packet_id in enumerate(ids) if duplicates.is_new(packet_id)]
    for _ in range(len(ids) - len(kept)):
        tracer.drop(Drop.DUPLICATE, "switch")
    return opened._replace(
        starts=[opened.starts[index] for index in kept],
        lengths=[opened.lengths[index] for index in kept],
        packet_ids=[ids[index] for index in kept],
    )
