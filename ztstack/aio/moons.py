"""The moons of a node and their files: `moons.d/<16 digits>.moon` (vl1 sections 5.5 and 5.7)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from ztstack.aio.storage import Storage
from ztstack.base.address import Address
from ztstack.base.errors import DecodeError, InvalidConfig, StateInUse, StorageError, Unreachable
from ztstack.vl1.switch import Switch
from ztstack.wire.world import World

FOLLOW_S: Final = 2.0
"""How often a running node looks into its folder of moons."""

_log = logging.getLogger("ztstack")


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
    found = (_moon_of(moon_id, data) for moon_id, data in storage.moons())
    return [moon for moon in found if moon is not None]


def _moon_of(moon_id: int, data: bytes) -> World | None:
    try:
        moon = parse_moon(data)
    except InvalidConfig:
        return None
    return moon if moon.id == moon_id else None


class MoonFiles:
    """The moons of a node, which takes changes up within FOLLOW_S if it is running."""

    def __init__(self, state: Path) -> None:
        self._storage = Storage(state)

    def list(self) -> list[World]:
        return load_moons(self._storage)

    def add(self, data: bytes) -> World:
        """Keep the content of a moon file."""
        moon = parse_moon(data)
        if not self.is_in_use():
            # This makes the folders.
            self._storage.open()
            self._storage.close()
        self._storage.save_moon(moon.id, moon.serialize())
        return moon

    def remove(self, moon_id: int) -> bool:
        """Forget a moon; False if there was none."""
        return self._storage.remove_moon(moon_id)

    def is_in_use(self) -> bool:
        """Tell whether a node runs there, which will follow."""
        if not self._storage.folder.is_dir():
            return False
        try:
            self._storage.open()
        except StateInUse:
            return True
        self._storage.close()
        return False


class KeptWorlds:
    """The moons of a running node, and what is kept of what its roots tell."""

    def __init__(self, switch: Switch, storage: Storage | None) -> None:
        self._switch = switch
        self._storage = storage
        self._arrived = asyncio.Event()
        # What the folder held at the last look.
        self._files: dict[int, bytes] = {}

    def load(self, now: int, wanted: Iterable[tuple[int, Address]]) -> None:
        """Take what is kept, and want what is configured."""
        self.look(now)
        for moon_id, seed in wanted:
            self._switch.orbit(now, moon_id, seed)

    async def follow(self, now: Callable[[], int], changed: Callable[[], None]) -> None:
        """Take up for ever what others do in the folder, and tell when something changed."""
        while self._storage is not None:
            await asyncio.sleep(FOLLOW_S)
            try:
                if self.look(now()):
                    changed()
            except (InvalidConfig, StorageError) as error:
                _log.warning("%s", error)

    def look(self, now: int) -> bool:
        """Take up what was put into the folder or taken out; return whether that matters."""
        files = dict(self._storage.moons()) if self._storage is not None else {}
        before, self._files = self._files, files
        matters = [self._switch.deorbit(now, gone) for gone in before.keys() - files.keys()]
        for moon_id, data in files.items():
            moon = _moon_of(moon_id, data) if before.get(moon_id) != data else None
            if moon is not None:
                matters.append(self._switch.load_moon(now, moon))
        return any(matters)

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
