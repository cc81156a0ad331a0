from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, strategies as st

from tests.strategies import worlds
from tests.support.codec import check_cuts_fail, check_fails_in_one_way, check_round_trip
from tests.support.vectors import cases, load
from ztstack.base.codec import Reader
from ztstack.base.endpoint import Endpoint
from ztstack.base.errors import DecodeError
from ztstack.crypto.identity import Identity
from ztstack.wire.world import Root, World, WorldType

PLANET = bytes.fromhex(load("world.json")["cases"][1]["serialized"])


def fields(world: World) -> dict[str, Any]:
    return {
        "type": int(world.type),
        "id": f"{world.id:016x}",
        "timestamp": world.timestamp,
        "updates_must_be_signed_by": world.signer_key.hex(),
        "signature": world.signature.hex(),
        "roots": [
            {
                "identity": root.identity.public_text(),
                "stable_endpoints": [str(e) for e in root.endpoints],
            }
            for root in world.roots
        ],
    }


def root(case: dict[str, Any]) -> Root:
    endpoints = tuple(Endpoint.parse(text) for text in case["stable_endpoints"])
    return Root(Identity.parse(case["identity"]), endpoints)


@pytest.mark.parametrize("case", cases("world.json", "world"))
def test_world(case: dict[str, Any]) -> None:
    world = World(
        type=WorldType(case["type"]),
        id=int(case["id"], 16),
        timestamp=case["timestamp"],
        signer_key=bytes.fromhex(case["updates_must_be_signed_by"]),
        roots=tuple(root(entry) for entry in case["roots"]),
    )
    assert world.signed_message() == bytes.fromhex(case["signed_message"])
    private, public = (bytes.fromhex(case[f"sign_key_{kind}"]) for kind in ("private", "public"))
    signed = world.signed_with(private, public)
    assert signed.signature == bytes.fromhex(case["signature"])
    assert signed.serialize() == bytes.fromhex(case["serialized"])
    assert World.parse(signed.serialize()) == signed
    signed.verify(public)
    assert signed.is_planet is (case["type"] == 1)
    assert signed.is_moon is (case["type"] == 127)


@pytest.mark.parametrize("case", cases("world.json", "parse"))
def test_parse(case: dict[str, Any]) -> None:
    r = Reader(bytes.fromhex(case["input"]))
    if not case["ok"]:
        with pytest.raises(DecodeError):
            World.decode(r)
        return
    world = World.decode(r)
    assert r.offset == case["consumed"]
    assert fields(world) == case["fields"]


@pytest.mark.parametrize("case", cases("world.json", "verify_signature"))
def test_verify_signature(case: dict[str, Any]) -> None:
    world = World.parse(bytes.fromhex(case["world"]))
    key = bytes.fromhex(case["public_key"])
    if case["valid"]:
        world.verify(key)
    else:
        with pytest.raises(DecodeError):
            world.verify(key)


@pytest.mark.parametrize("case", cases("world.json", "should_be_replaced_by"))
def test_should_be_replaced_by(case: dict[str, Any]) -> None:
    candidate = World.parse(bytes.fromhex(case["candidate"]))
    if case["current"] is None:
        current = World(WorldType.NULL, 0, 0, bytes(64), ())
    else:
        current = World.parse(bytes.fromhex(case["current"]))
    assert current.should_be_replaced_by(candidate) is case["replace"]


def test_a_root_without_an_ip_address_is_refused() -> None:
    world = World.parse(PLANET)
    data = bytearray(replace(world, roots=(replace(world.roots[0], endpoints=()),)).serialize())
    data[-1] = 1
    with pytest.raises(DecodeError):
        World.parse(bytes(data) + b"\0")


def test_cut_short() -> None:
    check_cuts_fail(World, PLANET)


@given(worlds)
def test_decode_after_encode(world: World) -> None:
    check_round_trip(world)


@given(st.binary(max_size=64), st.integers(0, len(PLANET) - 1), st.integers(1, 255))
def test_noise(noise: bytes, at: int, flip: int) -> None:
    check_fails_in_one_way(World, noise)
    damaged = bytearray(PLANET)
    damaged[at] ^= flip
    check_fails_in_one_way(World, bytes(damaged))
