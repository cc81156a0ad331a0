"""The moons of a node and their files: `moons.d/<16 digits>.moon` (vl1 sections 5.5 and 5.7)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

from ztstack.aio.storage import Storage
from ztstack.base.address import Address
from ztstack.base.errors import DecodeError, InvalidConfig, Unreachable
from ztstack.vl1.switch import Switch
from ztstack.wire.world import World


def parse_moon(data: bytes) -> World:
    """Read a moon file; InvalidConfig says what is wrong with it."""
    try:
        world = World.parse(data)
    except DecodeError as error:
        raise InvalidConfig(f"not a moon file: {error}") from None
    if not world.is_moon or not world.id:
        raise InvalidConfig("not a moon file: it holds a planet, or has no id")
    return world


def load_moons(storage: Storage) -> list[World]:
    """Return the moons that are kept; a file that holds another one than its name is left out."""
    found = []
    for moon_id, data in storage.moons():
        try:
            moon = parse_moon(data)
        except InvalidConfig:
            continue
        if moon.id == moon_id:
            found.append(moon)
    return found


class MoonFiles:
    """The moons of a node that is not running."""

    def __init__(self, state: Path) -> None:
        self._storage = Storage(state)

    def list(self) -> list[World]:
        return load_moons(self._storage)

    def add(self, data: bytes) -> World:
        """Keep the content of a moon file; StateInUse if a node runs there."""
        moon = parse_moon(data)
        self._storage.open()
        try:
            self._storage.save_moon(moon.id, moon.serialize())
        finally:
            self._storage.close()
        return moon

    def remove(self, moon_id: int) -> bool:
        """Forget a moon; False if there was none, StateInUse if a node runs there."""
        if not self._storage.folder.is_dir():
            return False
        self._storage.open()
        try:
            return self._storage.remove_moon(moon_id)
        finally:
            self._storage.close()


class KeptWorlds:
    """The moons of a running node, and what is kept of what its roots tell."""

    def __init__(self, switch: Switch, storage: Storage | None) -> None:
        self._switch = switch
        self._storage = storage
        self._arrived = asyncio.Event()

    def load(self, now: int, wanted: Iterable[tuple[int, Address]]) -> None:
        """Take what is kept, and want what is configured."""
        for moon in load_moons(self._storage) if self._storage is not None else ():
            self._switch.load_moon(now, moon)
        for moon_id, seed in wanted:
            self._switch.orbit(now, moon_id, seed)

    def orbit(self, now: int, moon_id: int, seed: Address) -> None:
        self._switch.orbit(now, moon_id, seed)

    async def wait(self, moon_id: int, timeout: float) -> World:
        """Wait for a moon that was asked for; Unreachable after `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                while True:
                    for moon in self._switch.moons:
                        if moon.id == moon_id:
                            return moon
                    await self._arrived.wait()
                    self._arrived.clear()
        except TimeoutError:
            raise Unreachable(
                f"moon {moon_id:016x}: its seed gave no such moon in {timeout:g} s"
            ) from None

    def store(self, data: bytes, moon_id: int) -> None:
        """Keep a planet or moon that came, or a newer one; a planet's `moon_id` is zero."""
        if self._storage is not None and moon_id:
            self._storage.save_moon(moon_id, data)
        elif self._storage is not None:
            self._storage.save_planet(data)
        self._arrived.set()

    def deorbit(self, now: int, moon_id: int) -> bool:
        """Forget a moon and its file; False if there was none."""
        removed = self._storage is not None and self._storage.remove_moon(moon_id)
        return self._switch.deorbit(now, moon_id) or removed

    def moons(self) -> list[World]:
        return self._switch.moons
