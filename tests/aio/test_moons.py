"""A running node follows what others do in its folder of moons."""

from __future__ import annotations

from pathlib import Path

import pytest

import ztstack
from tests.support.switches import (
    START_US,
    SeededEntropy,
    known_identities,
    planet_of,
)
from ztstack.aio.moons import KeptWorlds, MoonFiles
from ztstack.aio.storage import Storage
from ztstack.base.endpoint import Endpoint
from ztstack.base.errors import InvalidConfig
from ztstack.base.trace import ListTracer
from ztstack.vl1.switch import PathPolicy, Switch
from ztstack.vl1.worlds import MOONS_LIMIT
from ztstack.wire.world import World

ROOT, ME, KEEPER, OTHER = known_identities()[:4]
WHERE = (Endpoint.parse("10.1.0.9/9993"),)


def moon(timestamp: int = 1, moon_id: int = 0xAA) -> World:
    return ztstack.make_moon(timestamp * 1_000_000, [(KEEPER, WHERE)], KEEPER, world_id=moon_id)


@pytest.fixture
def files(tmp_path: Path) -> MoonFiles:
    return MoonFiles(tmp_path / "state")


@pytest.fixture
def switch() -> Switch:
    planet = planet_of([(ROOT, Endpoint.parse("10.1.0.1/9993"))])
    return Switch(START_US, ME, planet, SeededEntropy(1), ListTracer(), PathPolicy())


@pytest.fixture
def worlds(tmp_path: Path, switch: Switch) -> KeptWorlds:
    return KeptWorlds(switch, Storage(tmp_path / "state"))


def test_each_change_is_taken_up_once(files: MoonFiles, worlds: KeptWorlds) -> None:
    assert not worlds.look(START_US)
    files.add(moon().serialize())
    assert worlds.look(START_US)
    assert worlds.moons() == [moon()]
    assert not worlds.look(START_US)
    files.add(moon(2).serialize())
    assert worlds.look(START_US)
    assert worlds.moons() == [moon(2)]
    # An older one does not replace it.
    files.add(moon(1).serialize())
    assert not worlds.look(START_US)
    assert worlds.moons() == [moon(2)]
    assert files.remove(0xAA)
    assert worlds.look(START_US)
    assert worlds.moons() == []
    assert not files.remove(0xAA)


def test_what_is_wanted_and_has_no_file_stays(
    files: MoonFiles, worlds: KeptWorlds, switch: Switch
) -> None:
    worlds.load(START_US, [(0xBB, OTHER.address)])
    files.add(moon().serialize())
    worlds.look(START_US)
    files.remove(0xAA)
    worlds.look(START_US)
    assert switch.wanted_moons == {0xBB: OTHER.address}


def test_a_file_that_is_half_written_is_read_again(
    tmp_path: Path, files: MoonFiles, worlds: KeptWorlds
) -> None:
    files.add(moon().serialize())
    path = tmp_path / "state" / "moons.d" / f"{0xAA:016x}.moon"
    path.write_bytes(moon().serialize()[:50])
    assert not worlds.look(START_US)
    assert worlds.moons() == []
    path.write_bytes(moon().serialize())
    assert worlds.look(START_US)
    assert worlds.moons() == [moon()]


def test_too_many_are_refused_and_told_once(files: MoonFiles, worlds: KeptWorlds) -> None:
    for number in range(1, MOONS_LIMIT + 2):
        files.add(moon(moon_id=number).serialize())
    with pytest.raises(InvalidConfig):
        worlds.look(START_US)
    assert len(worlds.moons()) == MOONS_LIMIT
    assert not worlds.look(START_US)


def test_adding_does_not_need_the_lock(tmp_path: Path, files: MoonFiles) -> None:
    assert not files.is_in_use()
    assert not (tmp_path / "state").exists()
    holder = Storage(tmp_path / "state")
    holder.open()
    try:
        assert files.is_in_use()
        files.add(moon().serialize())
        assert files.list() == [moon()]
    finally:
        holder.close()
    assert not files.is_in_use()
    with pytest.raises(InvalidConfig):
        files.add(b"\x01 is no moon")
