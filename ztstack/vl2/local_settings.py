"""What the owner of this node lets one network do: addresses, routes and DNS (vl2 section 9.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ztstack.base.endpoint import Endpoint, Scope

Subnet = tuple[bytes, int]

_NEVER: Final = frozenset((Scope.NONE, Scope.MULTICAST, Scope.LOOPBACK, Scope.LINK_LOCAL))


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """As made here, the official defaults; a network about which nothing was said has EVERYTHING.

    `only` are the subnets that managed addresses and routes are to lie in; empty allows all.
    """

    allow_managed: bool = True
    allow_global: bool = False
    allow_default: bool = False
    allow_dns: bool = False
    only: tuple[Subnet, ...] = ()

    def accepts(self, ip: bytes, bits: int) -> bool:
        """Tell whether a managed address, or the target of a managed route, is taken."""
        if not self.allow_managed:
            return False
        if self.only and not any(_is_inside(ip, bits, subnet) for subnet in self.only):
            return False
        if bits == 0:
            return self.allow_default
        scope = Endpoint(ip, 0).scope
        if scope in _NEVER:
            return False
        return scope is not Scope.GLOBAL or self.allow_global


EVERYTHING: Final = LocalSettings(allow_global=True, allow_default=True, allow_dns=True)
"""The stack of this node is no other program's, so what a network adds harms nobody unasked."""


def _is_inside(ip: bytes, bits: int, subnet: Subnet) -> bool:
    base, length = subnet
    if len(ip) != len(base) or bits < length:
        return False
    shift = 8 * len(ip) - length
    return int.from_bytes(ip, "big") >> shift == int.from_bytes(base, "big") >> shift
