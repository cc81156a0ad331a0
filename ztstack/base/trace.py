"""Where the core reports what it dropped and what it learned."""

from __future__ import annotations

from collections import Counter
from typing import Protocol

from ztstack.base.errors import Drop


class Tracer(Protocol):
    """Receives every drop; must be cheap and must not raise."""

    def drop(self, reason: Drop, where: str) -> None: ...


class CountingTracer:
    """Counts drops by reason and remembers nothing else."""

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts: Counter[Drop] = Counter()

    def drop(self, reason: Drop, where: str) -> None:
        self.counts[reason] += 1


class ListTracer:
    """Keeps the drops in order; for tests."""

    __slots__ = ("drops",)

    def __init__(self) -> None:
        self.drops: list[Drop] = []

    def drop(self, reason: Drop, where: str) -> None:
        self.drops.append(reason)
