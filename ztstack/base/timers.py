"""Deadlines of one machine, by name."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TypeVar

K = TypeVar("K", bound=Hashable)

MILLISECOND = 1_000
SECOND = 1_000_000


class Timers(dict[K, int]):
    """A small table of named deadlines, in microseconds."""

    __slots__ = ()

    def set(self, key: K, at: int) -> None:
        self[key] = at

    def stop(self, key: K) -> None:
        self.pop(key, None)

    def next_at(self) -> int | None:
        return min(self.values()) if self else None

    def take_expired(self, now: int) -> list[K]:
        """Remove and return the keys that are due, earliest first."""
        due = sorted((at, n, key) for n, (key, at) in enumerate(self.items()) if at <= now)
        for _, _, key in due:
            del self[key]
        return [key for _, _, key in due]


def earliest(*deadlines: int | None) -> int | None:
    first = None
    for at in deadlines:
        if at is not None and (first is None or at < first):
            first = at
    return first
