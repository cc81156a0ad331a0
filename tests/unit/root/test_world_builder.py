from __future__ import annotations

import pytest

from tests.support.switches import START_US, SeededEntropy, known_identities
from ztstack.base.endpoint import Endpoint
from ztstack.base.errors import IdentityError, InvalidConfig
from ztstack.root.world_builder import make_moon, make_planet
from ztstack.wire.world import World

A, B = known_identities()[:2]
WHERE = Endpoint.parse("10.0.0.1/9993")


def test_a_planet_is_signed_and_comes_back() -> None:
    world = make_planet(START_US, [(A, (WHERE,)), (B, (WHERE,))], A, SeededEntropy(1))
    assert World.parse(world.serialize()) == world
    world.verify(A.public_key)
    assert {root.identity for root in world.roots} == {A.public, B.public}
    assert not any(root.identity.has_private for root in world.roots)
    assert world.timestamp == START_US // 1000


def test_a_successor_replaces_it() -> None:
    first = make_planet(START_US, [(A, (WHERE,))], A, SeededEntropy(1))
    second = make_planet(START_US + 1000, [(B, (WHERE,))], A, SeededEntropy(2), world_id=first.id)
    assert first.should_be_replaced_by(second)
    forged = make_planet(START_US + 1000, [(B, (WHERE,))], B, SeededEntropy(2), world_id=first.id)
    assert not first.should_be_replaced_by(forged)


def test_bad_planets() -> None:
    entropy = SeededEntropy(1)
    with pytest.raises(InvalidConfig, match="roots"):
        make_planet(START_US, [], A, entropy)
    with pytest.raises(InvalidConfig, match="endpoints"):
        make_planet(START_US, [(A, ())], A, entropy)
    with pytest.raises(InvalidConfig, match="twice"):
        make_planet(START_US, [(A, (WHERE,)), (A, (WHERE,))], A, entropy)
    with pytest.raises(IdentityError):
        make_planet(START_US, [(A, (WHERE,))], A.public, entropy)


def test_a_moon_has_the_id_of_its_first_root() -> None:
    moon = make_moon(START_US, [(B, (WHERE,)), (A, (WHERE,))], A)
    assert moon.is_moon
    assert moon.id == int(B.address)
    assert World.parse(moon.serialize()) == moon
    moon.verify(A.public_key)
    newer = make_moon(START_US + 1000, [(A, (WHERE,))], A, world_id=moon.id)
    assert moon.should_be_replaced_by(newer)


def test_bad_moons() -> None:
    with pytest.raises(InvalidConfig, match="a moon has 1 to 4 roots"):
        make_moon(START_US, [], A)
    with pytest.raises(InvalidConfig, match="endpoints"):
        make_moon(START_US, [(A, ())], A)
    with pytest.raises(IdentityError, match="moon"):
        make_moon(START_US, [(A, (WHERE,))], A.public)
