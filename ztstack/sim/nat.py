"""Routers that translate addresses, in the four classic kinds (RFC 3489 section 5, RFC 4787)."""

from __future__ import annotations

import random
from enum import StrEnum
from typing import Final

from ztstack.base.endpoint import Endpoint
from ztstack.base.timers import SECOND

LIFETIME_US: Final = 120 * SECOND
"""The least that RFC 4787 asks for; what sends nothing for so long is forgotten."""
MAPPINGS_LIMIT: Final = 4096
_FIRST_PORT: Final = 1024


class NatKind(StrEnum):
    """Who may answer on a mapping, and whether all destinations see the same one."""

    FULL_CONE = "full-cone"
    RESTRICTED = "restricted"
    PORT_RESTRICTED = "port-restricted"
    SYMMETRIC = "symmetric"


class _Mapping:
    """One port outside that stands for an address inside."""

    __slots__ = ("contacts", "inside", "port", "used_at")

    def __init__(self, inside: Endpoint, port: int) -> None:
        self.inside = inside
        self.port = port
        self.used_at = 0
        # Whom the inside sent to, and when last.
        self.contacts: dict[Endpoint, int] = {}


class Nat:
    """One router; it keeps ports where it can unless it is symmetric."""

    def __init__(
        self, kind: NatKind, ip: bytes, seed: int | str, *, lifetime_us: int = LIFETIME_US
    ) -> None:
        self.kind = kind
        self.ip = ip
        self._lifetime_us = lifetime_us
        self._random = random.Random(seed)
        self._by_key: dict[tuple[Endpoint, Endpoint | None], _Mapping] = {}
        self._by_port: dict[int, _Mapping] = {}

    def outbound(self, now: int, inside: Endpoint, remote: Endpoint) -> Endpoint:
        """Return where a datagram from `inside` to `remote` seems to come from."""
        key = (inside, remote if self.kind is NatKind.SYMMETRIC else None)
        mapping = self._by_key.get(key)
        if mapping is not None and now - mapping.used_at >= self._lifetime_us:
            self._remove(key, mapping)
            mapping = None
        if mapping is None:
            if len(self._by_port) >= MAPPINGS_LIMIT:
                self._clean(now)
            mapping = _Mapping(inside, self._choose_port(inside.port))
            self._by_key[key] = self._by_port[mapping.port] = mapping
        mapping.used_at = mapping.contacts[remote] = now
        return Endpoint(self.ip, mapping.port)

    def inbound(self, now: int, remote: Endpoint, port: int) -> Endpoint | None:
        """Return whom a datagram to `port` is for, None if it is refused."""
        mapping = self._by_port.get(port)
        if mapping is None or now - mapping.used_at >= self._lifetime_us:
            return None
        if self.kind is NatKind.FULL_CONE:
            return mapping.inside
        by_host = self.kind is NatKind.RESTRICTED
        if by_host:
            times = (at for to, at in mapping.contacts.items() if to.ip == remote.ip)
            sent = max(times, default=None)
        else:
            sent = mapping.contacts.get(remote)
        return mapping.inside if sent is not None and now - sent < self._lifetime_us else None

    def reboot(self, ip: bytes | None = None) -> None:
        """Forget everything, and have another address if one is given."""
        self._by_key.clear()
        self._by_port.clear()
        if ip is not None:
            self.ip = ip

    def __len__(self) -> int:
        return len(self._by_port)

    def _choose_port(self, wanted: int) -> int:
        if self.kind is not NatKind.SYMMETRIC and wanted not in self._by_port:
            return wanted
        while True:
            port = self._random.randrange(_FIRST_PORT, 65536)
            if port not in self._by_port:
                return port

    def _clean(self, now: int) -> None:
        old = [(k, m) for k, m in self._by_key.items() if now - m.used_at >= self._lifetime_us]
        if not old:
            old = [min(self._by_key.items(), key=lambda item: item[1].used_at)]
        for key, mapping in old:
            self._remove(key, mapping)

    def _remove(self, key: tuple[Endpoint, Endpoint | None], mapping: _Mapping) -> None:
        del self._by_key[key]
        del self._by_port[mapping.port]
