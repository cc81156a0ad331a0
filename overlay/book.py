"""The address book: ids as they are written, and names and IP addresses that stand for nodes."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from typing import Final

from overlay.errors import InvalidConfig, NameNotResolved
from overlay.messages import MAX_NODE, node_text

_NODE: Final = re.compile(r"[0-9a-fA-F]{10}|0[xX][0-9a-fA-F]{1,10}")
_SUFFIX: Final = ".zt"


def parse_node(node: int | str) -> int:
    """Return a node id, given as a number, as ten hexadecimal digits, or as fewer after 0x."""
    if isinstance(node, str):
        if _NODE.fullmatch(node) is None:
            raise InvalidConfig(f"a node id is ten hexadecimal digits, not {node!r}")
        node = int(node, 16)
    if not 0 < node <= MAX_NODE:
        raise InvalidConfig(f"a node id has 40 bits, not {node:#x}")
    return node


def parse_network(network: int | str) -> int:
    """Return a network id, given as a number or in hexadecimal, with 0x or without."""
    if isinstance(network, str):
        try:
            network = int(network, 16)
        except ValueError:
            raise InvalidConfig(f"a network id is hexadecimal, not {network!r}") from None
    if not 0 < network < 1 << 64:
        raise InvalidConfig(f"a network id has 64 bits, not {network:#x}")
    return network


class AddressBook:
    """Names and IP addresses of nodes; a node id needs no entry."""

    def __init__(self, entries: Mapping[str, int | str] | None = None) -> None:
        self._entries: dict[str, int] = {}
        for name, node in (entries or {}).items():
            self.add(name, node)

    def add(self, name: str, node: int | str) -> None:
        if not name:
            raise InvalidConfig("a name in the address book is empty")
        self._entries[_spelled(name)] = parse_node(node)

    def remove(self, name: str) -> None:
        self._entries.pop(_spelled(name), None)

    def resolve(self, host: str) -> int:
        """Return the node of a host: an entry, or a node id, which may end in .zt."""
        name = _spelled(host)
        node = self._entries.get(name)
        if node is not None:
            return node
        name = name.removesuffix(_SUFFIX)
        if _NODE.fullmatch(name) is not None:
            return parse_node(name)
        raise NameNotResolved(f"{host}: is neither a node id nor mapped; see --map-ip")

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter([(name, node_text(node)) for name, node in self._entries.items()])

    def __len__(self) -> int:
        return len(self._entries)


def _spelled(name: str) -> str:
    """Return a name in the one spelling in which it is kept; IP addresses have many."""
    try:
        return str(ipaddress.ip_address(name.removeprefix("[").removesuffix("]")))
    except ValueError:
        return name.lower()
