"""Which next hop leads to an address: longest prefix first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Route(NamedTuple):
    """`target`/`bits` is reached through `via`, or directly if that is None."""

    target: bytes
    bits: int
    via: bytes | None


class Routes:
    """The routing table: one dictionary per prefix length that occurs."""

    __slots__ = ("_tables",)

    def __init__(self, routes: Iterable[Route] = ()) -> None:
        self._tables: dict[int, list[tuple[int, dict[int, Route]]]] = {4: [], 16: []}
        self.set(routes)

    def set(self, routes: Iterable[Route]) -> None:
        """Replace all routes; the first of two with the same prefix wins."""
        found: dict[int, dict[int, dict[int, Route]]] = {4: {}, 16: {}}
        for route in routes:
            size = len(route.target)
            if size not in found or not 0 <= route.bits <= size * 8:
                continue
            shift = size * 8 - route.bits
            prefix = int.from_bytes(route.target, "big") >> shift
            found[size].setdefault(shift, {}).setdefault(prefix, route)
        # The smallest shift is the longest prefix.
        self._tables = {size: sorted(tables.items()) for size, tables in found.items()}

    def lookup(self, ip: bytes) -> Route | None:
        value = int.from_bytes(ip, "big")
        for shift, table in self._tables.get(len(ip), ()):
            route = table.get(value >> shift)
            if route is not None:
                return route
        return None

    def next_hop(self, ip: bytes) -> bytes | None:
        """Return the neighbour to which a packet for `ip` goes; None if there is no route.

        A gateway must itself be on-link.
        """
        route = self.lookup(ip)
        if route is None:
            return None
        if route.via is None:
            return ip
        gate = self.lookup(route.via)
        return route.via if gate is not None and gate.via is None else None
