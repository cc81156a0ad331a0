"""The planet and the moons: which are taken, which are wanted, what others are told (vl1 5)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ztstack.base.address import Address
from ztstack.base.errors import DecodeError, InvalidConfig
from ztstack.wire.world import Root, World

MOONS_LIMIT: Final = 16
"""Moons that are known or wanted; every HELLO lists them all."""


class Worlds:
    """One planet, the moons that a node orbits, and those that it wants and does not have."""

    __slots__ = ("moons", "planet", "wanted")

    def __init__(self, planet: World) -> None:
        self.planet = planet
        self.moons: dict[int, World] = {}
        self.wanted: dict[int, Address] = {}

    # Commands.

    def orbit(self, moon_id: int, seed: Address) -> None:
        """Want a moon, which `seed` is a root of; InvalidConfig if there are too many."""
        if moon_id in self.moons:
            return
        self._check_room(moon_id)
        self.wanted[moon_id] = seed

    def deorbit(self, moon_id: int) -> bool:
        """Forget a moon; False if it was neither known nor wanted."""
        wanted = self.wanted.pop(moon_id, None)
        return self.moons.pop(moon_id, None) is not None or wanted is not None

    def load(self, moon: World) -> bool:
        """Take a moon that this machine's owner provides; its signature is not looked at."""
        if not moon.is_moon or not moon.id:
            return False
        known = self.moons.get(moon.id)
        if known is not None and not known.should_be_replaced_by(moon):
            return False
        self._check_room(moon.id)
        self._take(moon)
        return True

    def _check_room(self, moon_id: int) -> None:
        if not 0 < moon_id < 1 << 64:
            raise InvalidConfig(f"a moon's id has 64 bits and is not zero, not {moon_id}")
        others = (self.moons.keys() | self.wanted.keys()) - {moon_id}
        if len(others) >= MOONS_LIMIT:
            raise InvalidConfig(f"a node orbits at most {MOONS_LIMIT} moons")

    def _take(self, moon: World) -> None:
        self.moons[moon.id] = moon
        self.wanted.pop(moon.id, None)

    # What upstreams and seeds say.

    def offer(self, world: World) -> bool:
        """Take a world of the network if the rules allow (vl1 section 5.4)."""
        if world.is_planet:
            if not self.planet.should_be_replaced_by(world):
                return False
            self.planet = world
            return True
        if not world.is_moon:
            return False
        known = self.moons.get(world.id)
        if known is None and not self._is_wanted(world):
            return False
        if known is not None and not known.should_be_replaced_by(world):
            return False
        self._take(world)
        return True

    def _is_wanted(self, moon: World) -> bool:
        """Tell whether a moon is one that we wait for.

        Stock nodes look for the seed among the roots and take any signature; here the first
        revision must be signed with the key that it publishes.
        """
        seed = self.wanted.get(moon.id)
        if seed is None or all(root.identity.address != seed for root in moon.roots):
            return False
        try:
            moon.verify(moon.signer_key)
        except DecodeError:
            return False
        return True

    # What others are told.

    def listed(self) -> tuple[tuple[int, int], ...]:
        """Return the ids and timestamps of a HELLO: zero asks for a moon."""
        known = [(moon.id, moon.timestamp) for moon in self.moons.values()]
        return (*known, *((moon_id, 0) for moon_id in self.wanted))

    def news_for(
        self, planet: tuple[int, int], moons: tuple[tuple[int, int], ...], limit: int
    ) -> tuple[World, ...]:
        """Return what is newer than these ids and timestamps, in at most `limit` bytes."""
        asked = dict(moons)
        news = [
            moon
            for moon in self.moons.values()
            if moon.id in asked and moon.timestamp > asked[moon.id]
        ]
        if planet[0] == self.planet.id != 0 and self.planet.timestamp > planet[1]:
            news.insert(0, self.planet)
        fitting = []
        for world in news:
            limit -= len(world.serialize())
            if limit < 0:
                break  # The rest comes with the answer to a later HELLO.
            fitting.append(world)
        return tuple(fitting)

    def roots(self) -> Iterator[Root]:
        """Return the planet's roots, then those of the moons; a node may come several times."""
        yield from self.planet.roots
        for moon in self.moons.values():
            yield from moon.roots
