"""Reads planet files: the roots that everybody under them shares."""

from __future__ import annotations

from ztstack.base.errors import DecodeError, InvalidConfig
from ztstack.wire.world import World


def parse_planet(data: bytes) -> World:
    """Read a planet file; InvalidConfig says what is wrong with it."""
    try:
        world = World.parse(data)
    except DecodeError as error:
        raise InvalidConfig(f"not a planet file: {error}") from None
    if not world.is_planet or not world.id:
        raise InvalidConfig("not a planet file: it holds a moon, or has no id")
    if not world.roots:
        raise InvalidConfig("not a usable planet file: it names no roots")
    return world
