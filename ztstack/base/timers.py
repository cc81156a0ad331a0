"""Deadlines of one machine, by name."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

MILLISECOND = 1_000
SECOND = 1_000_000


class Timers(Generic[K]):
    """A small table of named deadlines, in microseconds."""

    __slots__ = ("_due",)

    def __init__(self) -> None:
        self._due: dict[K, int] = {}

    def set(self, key: K, at: int) -> None:
        self._due[key] = at

    def stop(self, key: K) -> None:
        self._due.pop(key, None)

    def get(self, key: K) -> int | None:
        return self._due.get(key)

    def next_at(self) -> int | None:
        return min(self._due.values(), default=None)

    def take_expired(self, now: int) -> list[K]:
        """Remove and return the keys that are due, earliest first."""
        due = sorted((at, n, key) for n, (key, at) in enumerate(self._due.items()) if at <= now)
        for _, _, key in due:
            del self._due[key]
        return [key for _, _, key in due]


def earliest(*deadlines: int | None) -> int | None:
    first = None
    for at in deadlines:
        if at is not None and (first is None or at < first):
            first = at
    return first
