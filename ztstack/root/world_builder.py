"""Planets and moons of one's own (vl1 sections 5 and 7.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ztstack.base.endpoint import Endpoint
from ztstack.base.entropy import Entropy
from ztstack.base.errors import IdentityError, InvalidConfig
from ztstack.crypto.identity import Identity
from ztstack.wire.world import EARTH_ID, MAX_ENDPOINTS, MAX_ROOTS, Root, World, WorldType

_MARS_ID: Final = 227_883_110
_RESERVED: Final = frozenset((0, EARTH_ID, _MARS_ID))


Roots = Sequence[tuple[Identity, tuple[Endpoint, ...]]]


def make_planet(
    now: int,
    roots: Roots,
    signer: Identity,
    entropy: Entropy,
    *,
    world_id: int | None = None,
) -> World:
    """Return a planet signed with, and to be renewed by, the keys of `signer`.

    InvalidConfig if there are no roots, too many, or one without an endpoint.
    """
    while world_id is None or world_id in _RESERVED:
        world_id = int.from_bytes(entropy.take(8), "big")
    return _make(WorldType.PLANET, world_id, now, roots, signer)


def make_moon(now: int, roots: Roots, signer: Identity, *, world_id: int | None = None) -> World:
    """Return a moon; its id is by convention the address of its first root.

    InvalidConfig as for a planet.
    """
    if world_id is None:
        world_id = int(roots[0][0].address) if roots else 0
    return _make(WorldType.MOON, world_id, now, roots, signer)


def _make(kind: WorldType, world_id: int, now: int, roots: Roots, signer: Identity) -> World:
    what = "moon" if kind is WorldType.MOON else "planet"
    if not 1 <= len(roots) <= MAX_ROOTS:
        raise InvalidConfig(f"a {what} has 1 to {MAX_ROOTS} roots, not {len(roots)}")
    for identity, endpoints in roots:
        if not 1 <= len(endpoints) <= MAX_ENDPOINTS:
            raise InvalidConfig(
                f"the root {identity.address} needs 1 to {MAX_ENDPOINTS} endpoints,"
                f" not {len(endpoints)}"
            )
    addresses = [identity.address for identity, _ in roots]
    if len(set(addresses)) != len(addresses):
        raise InvalidConfig("a root is named twice; give one root all its endpoints")
    if signer.private_key is None:
        raise IdentityError(f"a {what} is signed, and the signer has no private key")
    world = World(
        type=kind,
        id=world_id,
        timestamp=now // 1000,
        signer_key=signer.public_key,
        roots=tuple(
            Root(identity.public, tuple(endpoints))
            for identity, endpoints in sorted(roots, key=lambda root: root[0].address)
        ),
    )
    return world.signed_with(signer.private_key, signer.public_key)
