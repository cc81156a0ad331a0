"""MULTICAST_LIKE, MULTICAST_GATHER, MULTICAST_FRAME and their answers (vl2 2.3, 2.7, 2.8)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from ztstack.base.address import ADDRESS_BYTES, Address
from ztstack.base.codec import Reader, Writer
from ztstack.base.errors import DecodeError
from ztstack.base.mac import Mac, MulticastGroup
from ztstack.base.network_id import NetworkId
from ztstack.wire.credentials import Com
from ztstack.wire.header import MAX_PAYLOAD

MAX_LIKES: Final = 554
"""How many groups fit in one MULTICAST_LIKE."""
MAX_MEMBERS: Final = (MAX_PAYLOAD - 64) // ADDRESS_BYTES
"""How many members fit in one answer, its own fields counted generously."""

_FLAG_COM: Final = 0x01
_FLAG_GATHER: Final = 0x02
_FLAG_SOURCE: Final = 0x04
_FLAG_REPLICATE: Final = 0x08
_FLAG_RESULTS: Final = 0x02


@dataclass(frozen=True, slots=True)
class MulticastLike:
    """MULTICAST_LIKE: the sender listens to these groups."""

    groups: tuple[tuple[NetworkId, MulticastGroup], ...]

    @classmethod
    def decode(cls, r: Reader) -> Self:
        groups = []
        while r.remaining:
            groups.append((NetworkId.decode(r), MulticastGroup.decode(r)))
        return cls(tuple(groups))

    def encode(self, w: Writer) -> None:
        for network, group in self.groups:
            network.encode(w)
            group.encode(w)


@dataclass(frozen=True, slots=True)
class MulticastGather:
    """MULTICAST_GATHER: who listens to this group? At most `limit` members, please."""

    network: NetworkId
    group: MulticastGroup
    limit: int
    com: Com | None = None

    @classmethod
    def decode(cls, r: Reader) -> Self:
        network = NetworkId.decode(r)
        flags = r.uint(1)
        group = MulticastGroup.decode(r)
        limit = r.uint(4)
        com = None
        if flags & _FLAG_COM:
            try:
                com = Com.decode(r)
            except DecodeError:
                com = None  # the protocol says to ignore errors in this certificate
        return cls(network=network, group=group, limit=limit, com=com)

    def encode(self, w: Writer) -> None:
        self.network.encode(w)
        w.uint(_FLAG_COM if self.com else 0, 1)
        self.group.encode(w)
        w.uint(self.limit, 4)
        if self.com:
            self.com.encode(w)


def _decode_members(r: Reader) -> tuple[int, tuple[Address, ...]]:
    total = r.uint(4)
    return total, tuple(Address.decode(r) for _ in range(r.uint(2)))


def _encode_members(w: Writer, total: int, members: tuple[Address, ...]) -> None:
    w.uint(total, 4)
    w.uint(len(members), 2)
    for member in members:
        member.encode(w)


@dataclass(frozen=True, slots=True)
class GatherOk:
    """OK(MULTICAST_GATHER): some members of a group, and how many the answerer knows."""

    network: NetworkId
    group: MulticastGroup
    total: int
    members: tuple[Address, ...]

    @classmethod
    def decode(cls, r: Reader) -> Self:
        network, group = NetworkId.decode(r), MulticastGroup.decode(r)
        total, members = _decode_members(r)
        return cls(network=network, group=group, total=total, members=members)

    def encode(self, w: Writer) -> None:
        self.network.encode(w)
        self.group.encode(w)
        _encode_members(w, self.total, self.members)


@dataclass(frozen=True, slots=True)
class MulticastFrame:
    """MULTICAST_FRAME: a frame to a group.

    Without `source` it is the sender's own MAC. A `gather_limit` above zero asks for members in the
    same breath; `flags_replicate` asks the receiver to pass the frame on.
    """

    network: NetworkId
    gather_limit: int
    source: Mac | None
    group: MulticastGroup
    ethertype: int
    payload: bytes
    com: Com | None = None
    flags_replicate: bool = False

    @classmethod
    def decode(cls, r: Reader) -> Self:
        network = NetworkId.decode(r)
        flags = r.uint(1)
        com = Com.decode(r) if flags & _FLAG_COM else None
        return cls(
            network=network,
            gather_limit=r.uint(4) if flags & _FLAG_GATHER else 0,
            source=Mac.decode(r) if flags & _FLAG_SOURCE else None,
            group=MulticastGroup.decode(r),
            ethertype=r.uint(2),
            payload=r.rest(),
            com=com,
            flags_replicate=bool(flags & _FLAG_REPLICATE),
        )

    def encode(self, w: Writer) -> None:
        flags = _FLAG_COM if self.com else 0
        flags |= _FLAG_GATHER if self.gather_limit else 0
        flags |= _FLAG_SOURCE if self.source is not None else 0
        flags |= _FLAG_REPLICATE if self.flags_replicate else 0
        self.network.encode(w)
        w.uint(flags, 1)
        if self.com:
            self.com.encode(w)
        if self.gather_limit:
            w.uint(self.gather_limit, 4)
        if self.source is not None:
            self.source.encode(w)
        self.group.encode(w)
        w.uint(self.ethertype, 2)
        w.put(self.payload)


@dataclass(frozen=True, slots=True)
class MulticastFrameOk:
    """OK(MULTICAST_FRAME): members of the group, as the frame asked for them."""

    network: NetworkId
    group: MulticastGroup
    com: Com | None
    gathered: GatherOk | None

    @classmethod
    def decode(cls, r: Reader) -> Self:
        network, group = NetworkId.decode(r), MulticastGroup.decode(r)
        flags = r.uint(1)
        com = Com.decode(r) if flags & _FLAG_COM else None
        gathered = None
        if flags & _FLAG_RESULTS:
            total, members = _decode_members(r)
            gathered = GatherOk(network=network, group=group, total=total, members=members)
        return cls(network=network, group=group, com=com, gathered=gathered)

    def encode(self, w: Writer) -> None:
        self.network.encode(w)
        self.group.encode(w)
        w.uint((_FLAG_COM if self.com else 0) | (_FLAG_RESULTS if self.gathered else 0), 1)
        if self.com:
            self.com.encode(w)
        if self.gathered:
            _encode_members(w, self.gathered.total, self.gathered.members)
