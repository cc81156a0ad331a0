"""Bounds on what a stranger can fill or repeat."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from itertools import islice
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class BoundedMap(Generic[K, V]):
    """A mapping with at most `limit` entries; the one least recently set goes first."""

    __slots__ = ("_items", "limit")

    def __init__(self, limit: int) -> None:
        self._items: OrderedDict[K, V] = OrderedDict()
        self.limit = limit

    def get(self, key: K) -> V | None:
        return self._items.get(key)

    def set(self, key: K, value: V) -> V | None:
        """Store and return the value that had to go, if one had to."""
        self._items[key] = value
        self._items.move_to_end(key)
        if len(self._items) > self.limit:
            return self._items.popitem(last=False)[1]
        return None

    def pop(self, key: K) -> V | None:
        return self._items.pop(key, None)

    def items(self) -> list[tuple[K, V]]:
        return list(self._items.items())

    def values(self) -> list[V]:
        return list(self._items.values())

    def newest(self, count: int) -> list[K]:
        """Return the `count` keys that were set last, the last first."""
        return list(islice(reversed(self._items), count))

    def __contains__(self, key: K) -> bool:
        return key in self._items

    def __iter__(self) -> Iterator[K]:
        return iter(list(self._items))

    def __len__(self) -> int:
        return len(self._items)


class RateGate(Generic[K]):
    """Lets a key through once per interval; remembers at most `limit` keys."""

    __slots__ = ("_last", "interval_us")

    def __init__(self, interval_us: int, limit: int) -> None:
        self.interval_us = interval_us
        self._last: BoundedMap[K, int] = BoundedMap(limit)

    def allow(self, now: int, key: K) -> bool:
        last = self._last.get(key)
        if last is not None and now - last < self.interval_us:
            return False
        self._last.set(key, now)
        return True

    def forget(self, key: K) -> None:
        self._last.pop(key)
