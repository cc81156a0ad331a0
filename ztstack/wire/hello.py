"""HELLO and OK(HELLO): how two nodes get to know each other (vl1 section 4.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from ztstack.base.codec import Reader, Writer
from ztstack.base.endpoint import Endpoint, decode_endpoint, encode_endpoint
from ztstack.crypto.identity import Identity
from ztstack.wire.world import World, WorldType

_IDENTITY_OFFSET: Final = 13
_IDENTITY_BYTES: Final = 71
_PLANET_BYTES: Final = 16


def encrypted_offset(payload: bytes) -> int:
    """Return where the field-encrypted list of moons begins, `len(payload)` if there is none.

    The payload begins after the verb byte; what is in front of the list is always in clear, so this
    works before and after decryption.
    """
    r = Reader(payload, _IDENTITY_OFFSET)
    r.skip(_IDENTITY_BYTES - 1)
    r.skip(r.uint(1))
    if r.remaining:
        decode_endpoint(r)
    if r.remaining >= _PLANET_BYTES:
        r.skip(_PLANET_BYTES)
    return r.offset


@dataclass(frozen=True, slots=True)
class Hello:
    """HELLO with its list of moons in clear.

    `destination` is the physical address to which the datagram goes; `moons` are (id, timestamp),
    and a timestamp of zero asks for a moon that the sender does not have.
    """

    protocol: int
    major: int
    minor: int
    revision: int
    timestamp_ms: int
    identity: Identity
    destination: Endpoint | None
    planet_id: int
    planet_timestamp: int
    moons: tuple[tuple[int, int], ...]

    @classmethod
    def decode(cls, r: Reader) -> Self:
        protocol, major, minor, revision = r.uint(1), r.uint(1), r.uint(1), r.uint(2)
        timestamp_ms = r.uint(8)
        identity = Identity.decode(r).public
        # Older nodes end here, after the address, or after the planet.
        destination = decode_endpoint(r) if r.remaining else None
        planet_id = planet_timestamp = 0
        if r.remaining >= _PLANET_BYTES:
            planet_id, planet_timestamp = r.uint(8), r.uint(8)
        moons = []
        for _ in range(r.uint(2) if r.remaining else 0):
            kind, moon, timestamp = r.uint(1), r.uint(8), r.uint(8)
            if kind == WorldType.MOON:
                moons.append((moon, timestamp))
        return cls(
            protocol=protocol,
            major=major,
            minor=minor,
            revision=revision,
            timestamp_ms=timestamp_ms,
            identity=identity,
            destination=destination,
            planet_id=planet_id,
            planet_timestamp=planet_timestamp,
            moons=tuple(moons),
        )

    def encode(self, w: Writer) -> None:
        w.uint(self.protocol, 1)
        w.uint(self.major, 1)
        w.uint(self.minor, 1)
        w.uint(self.revision, 2)
        w.uint(self.timestamp_ms, 8)
        self.identity.encode(w)
        encode_endpoint(w, self.destination)
        w.uint(self.planet_id, 8)
        w.uint(self.planet_timestamp, 8)
        w.uint(len(self.moons), 2)
        for moon, timestamp in self.moons:
            w.uint(WorldType.MOON, 1)
            w.uint(moon, 8)
            w.uint(timestamp, 8)


@dataclass(frozen=True, slots=True)
class HelloOk:
    """OK(HELLO) after its in-re part; `endpoint` is where the HELLO came from."""

    timestamp_ms: int
    protocol: int
    major: int
    minor: int
    revision: int
    endpoint: Endpoint | None
    worlds: tuple[World, ...]

    @classmethod
    def decode(cls, r: Reader) -> Self:
        timestamp_ms = r.uint(8)
        protocol, major, minor, revision = r.uint(1), r.uint(1), r.uint(1), r.uint(2)
        endpoint = decode_endpoint(r) if r.remaining else None
        worlds = []
        if r.remaining >= 2:
            updates = Reader(r.take(r.uint(2)))
            while updates.remaining:
                worlds.append(World.decode(updates))
        return cls(
            timestamp_ms=timestamp_ms,
            protocol=protocol,
            major=major,
            minor=minor,
            revision=revision,
            endpoint=endpoint,
            worlds=tuple(worlds),
        )

    def encode(self, w: Writer) -> None:
        w.uint(self.timestamp_ms, 8)
        w.uint(self.protocol, 1)
        w.uint(self.major, 1)
        w.uint(self.minor, 1)
        w.uint(self.revision, 2)
        encode_endpoint(w, self.endpoint)
        updates = b"".join(world.serialize() for world in self.worlds)
        w.uint(len(updates), 2)
        w.put(updates)
