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


class Duplicates:
    """The ids of the last packets, at least 8192 of them unless they are old.

    As long as nothing can come twice, the last 4096 are kept aside and not compared.
    """

    __slots__ = (
        "_is_needed",
        "_kept",
        "_kept_aged",
        "_kept_count",
        "_new",
        "_old",
        "count",
        "is_watching",
    )

    def __init__(self) -> None:
        self._new: set[bytes] = set()
        self._old: set[bytes] = set()
        self._kept: deque[Sequence[bytes]] = deque()
        self._kept_count = self._kept_aged = 0
        self._is_needed = False
        self.is_watching = False
        self.count = 0

    def keep(self, packet_ids: Sequence[bytes]) -> None:
        """Note authentic packets of which none can have come before."""
        self._kept.append(packet_ids)
        self._kept_count += len(packet_ids)
        while self._kept_count - len(self._kept[0]) >= KEPT:
            self._let_go()

    def _let_go(self) -> None:
        self._kept_count -= len(self._kept.popleft())
        self._kept_aged = max(self._kept_aged - 1, 0)

    def watch(self) -> None:
        """Compare from now on, also with what was kept aside."""
        self._is_needed = self.is_watching = True
        while self._kept:
            self._new.update(self._kept.popleft())
        self._kept_count = self._kept_aged = 0

    def is_new(self, packet_id: bytes) -> bool:
        """Tell whether an authentic packet came for the first time."""
        if packet_id in self._new or packet_id in self._old:
            self.count += 1
            return False
        self._new.add(packet_id)
        if len(self._new) >= LIMIT:
            self._old, self._new = self._new, set()
        return True

    def are_new(self, packet_ids: Sequence[bytes]) -> bool:
        """Tell whether all of some authentic packets came for the first time; else note nothing."""
        found = set(packet_ids)
        if len(found) < len(packet_ids) or not (
            found.isdisjoint(self._new) and found.isdisjoint(self._old)
        ):
            return False
        self._new |= found
        if len(self._new) >= LIMIT:
            self._old, self._new = self._new, set()
        return True

    def age(self) -> None:
        """Forget what came before the last time this was called: copies come soon or never."""
        self._old, self._new = self._new, set()
        for _ in range(self._kept_aged):
            self._let_go()
        self._kept_aged = len(self._kept)
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
