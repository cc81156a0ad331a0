"""Finds the line of a TOML file on which a key stands, for those who have to mend it."""

from __future__ import annotations

import re
from typing import Final

_HEAD: Final = re.compile(r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(#.*)?")
_KEY: Final = re.compile(r"\s*([A-Za-z0-9_\"'.\s-]+?)\s*=")
_PART: Final = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|([^.\s]+))\s*(?:\.|$)""")

Place = tuple[str | int, ...]


def line_of(text: str, place: Place) -> int | None:
    """Return the number of the line that sets a key, or that begins a table; None if unsure.

    The parts of `place` are keys, and numbers for the tables of an array.
    """
    table: Place = ()
    counts: dict[Place, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        head = _HEAD.fullmatch(line)
        if head is not None:
            table = _parts(head[2])
            if head[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                table = (*table, counts[table])
            if table == place:
                return number
            continue
        key = _KEY.match(line)
        if key is not None and (*table, *_parts(key[1])) == place:
            return number
    return None


def _parts(key: str) -> Place:
    return tuple(found[0] or found[1] or found[2] for found in _PART.findall(key))
