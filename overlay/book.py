"""The address book: names and IP addresses that stand for nodes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from overlay.errors import InvalidConfig, NameNotResolved
from overlay.messages import MAX_NODE, node_text

_NODE: Final = re.compile(r"[0-9a-fA-F]{10}")


def parse_node(node: int | str) -> int:
    """Return a node id, given as a number or as ten hexadecimal digits."""
    if isinstance(node, str):
        if _NODE.fullmatch(node) is None:
            raise InvalidConfig(f"a node id is ten hexadecimal digits, not {node!r}")
        node = int(node, 16)
    if not 0 < node <= MAX_NODE:
        raise InvalidConfig(f"a node id has 40 bits, not {node:#x}")
    return node


class AddressBook:
    """Names and IP addresses of nodes; a node id needs no entry."""

    def __init__(self, entries: Mapping[str, int | str] | None = None) -> None:
        self._entries: dict[str, int] = {}
        for name, node in (entries or {}).items():
            self.add(name, node)

    def add(self, name: str, node: int | str) -> None:
        if not name:
            raise InvalidConfig("a name in the address book is empty")
        self._entries[name.lower()] = parse_node(node)

    def remove(self, name: str) -> None:
        self._entries.pop(name.lower(), None)

    def resolve(self, host: str) -> int:
        """Return the node of a host: an entry, or ten hexadecimal digits."""
        node = self._entries.get(host.lower())
        if node is not None:
            return node
        if _NODE.fullmatch(host) is not None:
            return parse_node(host)
        raise NameNotResolved(f"{host}: is neither a node id nor mapped; see --map-ip")

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter([(name, node_text(node)) for name, node in self._entries.items()])

    def __len__(self) -> int:
        return len(self._entries)
