"""Names and places: node ids, mapped addresses, and where nodes were last heard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from overlay.errors import NameNotResolved

MAX_PLACES: Final = 4096
_HEX: Final = frozenset("0123456789abcdefABCDEF")

Place = tuple[str, int]


def node_text(node: int) -> str:
    return f"{node:010x}"


class Registry:
    """Hosts to node ids, node ids to places."""

    def __init__(self, addresses: Mapping[str, int], places: Mapping[int, Place]) -> None:
        self._addresses = dict(addresses)
        self._fixed = dict(places)
        self._heard: dict[int, Place] = {}

    def resolve(self, host: str) -> int:
        """Return the node of a host: a mapped address, or ten hexadecimal digits."""
        node = self._addresses.get(host)
        if node is not None:
            return node
        if len(host) == 10 and _HEX.issuperset(host):
            return int(host, 16)
        raise NameNotResolved(f"{host}: is neither a node id nor mapped; see --map-ip")

    def place(self, node: int) -> Place | None:
        """Return where a node is: where it was heard last, else where we were told."""
        return self._heard.get(node) or self._fixed.get(node)

    def heard(self, node: int, place: Place) -> None:
        if node not in self._heard and len(self._heard) >= MAX_PLACES:
            del self._heard[next(iter(self._heard))]
        self._heard[node] = place

    def known(self) -> dict[int, Place]:
        return {**self._fixed, **self._heard}
