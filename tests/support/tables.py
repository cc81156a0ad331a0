"""Finds every container that a machine holds, so that none grows unseen."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Final

from ztstack.base.limits import BoundedMap

_OURS: Final = "ztstack."
_FLAT: Final = (int, float, str, bytes, bytearray, memoryview, type(None))


def tables(machine: object) -> Iterator[tuple[str, int, int | None]]:
    """Yield the path of each container below `machine`, its length, and its limit if it has one."""
    seen: set[int] = set()
    waiting: list[tuple[str, object]] = [(type(machine).__name__, machine)]
    while waiting:
        path, item = waiting.pop()
        if isinstance(item, _FLAT) or id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, BoundedMap):
            yield path, len(item), item.limit
            waiting.extend((f"{path}[]", value) for value in item.values())
        elif isinstance(item, dict | OrderedDict):
            yield path, len(item), None
            waiting.extend((f"{path}[]", value) for value in item.values())
        elif isinstance(item, list | tuple | set | frozenset | deque):
            if not isinstance(item, tuple):
                yield path, len(item), None
            waiting.extend((f"{path}[]", value) for value in item)
        elif type(item).__module__.startswith(_OURS):
            waiting.extend((f"{path}.{name}", value) for name, value in _attributes(item))


def _attributes(item: object) -> Iterator[tuple[str, object]]:
    for kind in type(item).__mro__:
        for name in getattr(kind, "__slots__", ()):
            if hasattr(item, name):
                yield name, getattr(item, name)
    yield from getattr(item, "__dict__", {}).items()


def overfull(machine: object, plain_limit: int) -> list[str]:
    """Return the containers that hold more than their limit, or than `plain_limit` without one."""
    found: dict[str, int] = {}
    for path, length, limit in tables(machine):
        if length > (plain_limit if limit is None else limit):
            found[path] = max(length, found.get(path, 0))
    return [f"{path}: {length}" for path, length in found.items()]


def held(machine: object) -> int:
    """Return how many items all containers hold together."""
    return sum(length for _, length, _ in tables(machine))
