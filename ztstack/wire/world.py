"""Worlds: the signed lists of roots called planet and moons (vl1 section 5)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum, unique
from typing import Final, Self

from ztstack.base.codec import Reader, Writer
from ztstack.base.endpoint import Endpoint, Scope, decode_endpoint, encode_endpoint
from ztstack.base.errors import DecodeError
from ztstack.crypto import curve25519
from ztstack.crypto.identity import Identity

MAX_ROOTS: Final = 4
MAX_ENDPOINTS: Final = 32
MAX_WORLD_BYTES: Final = 8480
EARTH_ID: Final = 0x08EAC90A
"""The id of the public planet."""

_KEY_BYTES: Final = 64
_SIGNATURE_BYTES: Final = 96
_BEFORE: Final = b"\x7f" * 8
_AFTER: Final = b"\xf7" * 8


@unique
class WorldType(IntEnum):
    """Kinds of worlds."""

    NULL = 0
    PLANET = 1
    MOON = 127


@dataclass(frozen=True, slots=True)
class Root:
    """An upstream node and where it always is; no endpoints means anywhere."""

    identity: Identity
    endpoints: tuple[Endpoint, ...]

    @classmethod
    def decode(cls, r: Reader) -> Self:
        identity = Identity.decode(r)
        count = r.uint(1)
        if count > MAX_ENDPOINTS:
            raise DecodeError(f"a root with {count} endpoints")
        endpoints = []
        for _ in range(count):
            endpoint = decode_endpoint(r)
            if endpoint is None:
                # It would be lost when the signed message is built again.
                raise DecodeError("a root with an endpoint that is no IP address")
            endpoints.append(endpoint)
        return cls(identity.public, tuple(endpoints))

    def encode(self, w: Writer) -> None:
        self.identity.encode(w)
        w.uint(len(self.endpoints), 1)
        for endpoint in self.endpoints:
            encode_endpoint(w, endpoint)


@dataclass(frozen=True, slots=True)
class World:
    """A planet or a moon. `signer_key` signs its successor, not this one."""

    type: WorldType
    id: int
    timestamp: int
    signer_key: bytes
    roots: tuple[Root, ...]
    signature: bytes = bytes(_SIGNATURE_BYTES)

    @classmethod
    def decode(cls, r: Reader) -> Self:
        number = r.uint(1)
        try:
            kind = WorldType(number)
        except ValueError:
            raise DecodeError(f"a world of type {number}") from None
        identifier = r.uint(8)
        timestamp = r.uint(8)
        signer_key = r.take(_KEY_BYTES)
        signature = r.take(_SIGNATURE_BYTES)
        count = r.uint(1)
        if count > MAX_ROOTS:
            raise DecodeError(f"a world with {count} roots")
        roots = tuple(Root.decode(r) for _ in range(count))
        if kind is WorldType.MOON:
            r.skip(r.uint(2))  # attached data, which nobody writes or reads
        return cls(
            type=kind,
            id=identifier,
            timestamp=timestamp,
            signer_key=signer_key,
            roots=roots,
            signature=signature,
        )

    def encode(self, w: Writer) -> None:
        self._encode_parts(w, self.signature)

    def _encode_parts(self, w: Writer, signature: bytes) -> None:
        w.uint(self.type, 1)
        w.uint(self.id, 8)
        w.uint(self.timestamp, 8)
        w.put(self.signer_key)
        w.put(signature)
        w.uint(len(self.roots), 1)
        for root in self.roots:
            root.encode(w)
        if self.type is WorldType.MOON:
            w.uint(0, 2)

    @property
    def is_planet(self) -> bool:
        return self.type is WorldType.PLANET

    @property
    def is_lab(self) -> bool:
        """Whether every root is on this machine's loopback interface."""
        endpoints = [endpoint for root in self.roots for endpoint in root.endpoints]
        return bool(endpoints) and all(e.scope is Scope.LOOPBACK for e in endpoints)

    @property
    def is_moon(self) -> bool:
        return self.type is WorldType.MOON

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a file; bytes after the world are ignored."""
        return cls.decode(Reader(data))

    def serialize(self) -> bytes:
        w = Writer()
        self.encode(w)
        return w.getvalue()

    def signed_message(self) -> bytes:
        w = Writer()
        w.put(_BEFORE)
        self._encode_parts(w, b"")
        w.put(_AFTER)
        return w.getvalue()

    def signed_with(self, private_key: bytes, public_key: bytes) -> Self:
        """Sign with the combined key that the predecessor published as its `signer_key`."""
        signature = curve25519.sign(private_key, public_key, self.signed_message())
        return replace(self, signature=signature)

    def verify(self, public_key: bytes) -> None:
        """Raise DecodeError unless this world was signed with the key."""
        curve25519.verify(public_key, self.signed_message(), self.signature)

    def should_be_replaced_by(self, candidate: World) -> bool:
        """Apply the update rule of vl1 section 5.4; a world with id 0 counts as none."""
        if self.id == 0 or self.type is WorldType.NULL:
            return True
        if (candidate.id, candidate.type) != (self.id, self.type):
            return False
        if candidate.timestamp <= self.timestamp:
            return False
        try:
            candidate.verify(self.signer_key)
        except DecodeError:
            return False
        return True
