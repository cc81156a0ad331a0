"""This node's external addresses, as others see them (vl1 section 6.11)."""

from __future__ import annotations

from typing import Final, NamedTuple

from ztstack.base.address import Address
from ztstack.base.endpoint import Endpoint, Scope
from ztstack.base.limits import BoundedMap
from ztstack.base.timers import SECOND

ENTRY_LIFETIME_US: Final = 600 * SECOND
ENTRIES_LIMIT: Final = 1024

_REFUSED: Final = frozenset((Scope.NONE, Scope.LOOPBACK, Scope.MULTICAST))


class _Key(NamedTuple):
    reporter: Address
    socket: int
    remote: Endpoint
    scope: Scope


class Sighting(NamedTuple):
    """A peer at `remote` saw packets of a local socket come from `claimed`."""

    socket: int
    remote: Endpoint
    claimed: Endpoint


class _Entry(NamedTuple):
    claimed: Endpoint
    at: int


class Surface:
    """Remembers who saw us where."""

    def __init__(self) -> None:
        self._entries: BoundedMap[_Key, _Entry] = BoundedMap(ENTRIES_LIMIT)

    def report(
        self,
        now: int,
        reporter: Address,
        socket: int,
        remote: Endpoint,
        claimed: Endpoint,
        *,
        trusted: bool,
    ) -> Scope | None:
        """Note what a peer says; return a scope if our address of that scope has changed."""
        scope = claimed.scope
        if scope is not remote.scope or scope in _REFUSED:
            return None
        key = _Key(reporter, socket, remote, scope)
        old = self._entries.get(key)
        changed = (
            trusted
            and old is not None
            and now - old.at < ENTRY_LIFETIME_US
            and old.claimed.ip != claimed.ip
        )
        if changed:
            for other in self._entries:
                if other.scope is scope and other.remote != remote:
                    self._entries.pop(other)
        self._entries.set(key, _Entry(claimed, now))
        return scope if changed else None

    def endpoints(self, now: int) -> list[Endpoint]:
        """Return the distinct external addresses that are still believed."""
        fresh = [e.claimed for e in self._entries.values() if now - e.at < ENTRY_LIFETIME_US]
        return list(dict.fromkeys(fresh))

    def sightings(self, now: int) -> dict[Address, list[Sighting]]:
        """Return what is still believed of each peer's reports."""
        found: dict[Address, list[Sighting]] = {}
        for key, entry in self._entries.items():
            if now - entry.at < ENTRY_LIFETIME_US:
                sighting = Sighting(key.socket, key.remote, entry.claimed)
                found.setdefault(key.reporter, []).append(sighting)
        return found

    def clean(self, now: int) -> None:
        for key, entry in self._entries.items():
            if now - entry.at >= ENTRY_LIFETIME_US:
                self._entries.pop(key)
