"""RENDEZVOUS and PUSH_DIRECT_PATHS: where a peer may be met (vl1 sections 4.7 and 4.9)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

from ztstack.base.address import Address
from ztstack.base.codec import Reader, Writer
from ztstack.base.endpoint import Endpoint
from ztstack.base.errors import DecodeError
from ztstack.wire.header import HEADER_BYTES

FORGET: Final = 0x01
"""Flag of a pushed path: receivers ignore the record."""
CLUSTER_REDIRECT: Final = 0x02

_IP_LENGTHS: Final = frozenset((4, 16))
_PATH_BYTES: Final = {4: 6, 6: 18}
_PACKET_ROOM: Final = 1200
_RECORD_ROOM: Final = 24


@dataclass(frozen=True, slots=True)
class Rendezvous:
    """RENDEZVOUS: `peer` was last seen at `ip`:`port`; try to meet it there."""

    peer: Address
    port: int
    ip: bytes

    @classmethod
    def decode(cls, r: Reader) -> Self:
        r.uint(1)  # flags: none is defined, and senders write zero
        peer = Address.decode(r)
        port = r.uint(2)
        length = r.uint(1)
        if length not in _IP_LENGTHS:
            raise DecodeError(f"an IP address of {length} bytes")
        return cls(peer=peer, port=port, ip=r.take(length))

    def encode(self, w: Writer) -> None:
        w.uint(0, 1)
        self.peer.encode(w)
        w.uint(self.port, 2)
        w.uint(len(self.ip), 1)
        w.put(self.ip)

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(self.ip, self.port)


@dataclass(frozen=True, slots=True)
class PushedPath:
    """One record of PUSH_DIRECT_PATHS."""

    flags: int
    endpoint: Endpoint

    def encode(self, w: Writer) -> None:
        kind = 4 if self.endpoint.is_ipv4 else 6
        w.uint(self.flags, 1)
        w.uint(0, 2)  # no extension
        w.uint(kind, 1)
        w.uint(_PATH_BYTES[kind], 1)
        w.put(self.endpoint.ip)
        w.uint(self.endpoint.port, 2)


@dataclass(frozen=True, slots=True)
class PushDirectPaths:
    """PUSH_DIRECT_PATHS: where the sender believes it can be reached."""

    paths: tuple[PushedPath, ...]

    @classmethod
    def decode(cls, r: Reader) -> Self:
        paths = []
        for _ in range(r.uint(2)):
            flags = r.uint(1)
            r.skip(r.uint(2))  # an extension that we do not know
            kind = r.uint(1)
            address = r.take(r.uint(1))  # with the port, other than in RENDEZVOUS
            # Kinds other than 4 and 6 are skipped; so is a record whose length is not its kind's.
            if _PATH_BYTES.get(kind) == len(address):
                port = int.from_bytes(address[-2:], "big")
                paths.append(PushedPath(flags, Endpoint(address[:-2], port)))
        return cls(tuple(paths))

    def encode(self, w: Writer) -> None:
        w.uint(len(self.paths), 2)
        for path in self.paths:
            path.encode(w)

    @classmethod
    def split(cls, endpoints: Iterable[Endpoint]) -> list[Self]:
        """Pack endpoints into as few messages as the 1200 bytes a packet may have allow."""
        messages: list[Self] = []
        paths: list[PushedPath] = []
        size = HEADER_BYTES + 2
        for endpoint in endpoints:
            if size + _RECORD_ROOM >= _PACKET_ROOM:
                messages.append(cls(tuple(paths)))
                paths = []
                size = HEADER_BYTES + 2
            paths.append(PushedPath(0, endpoint))
            size += 7 + len(endpoint.ip)
        if paths:
            messages.append(cls(tuple(paths)))
        return messages
