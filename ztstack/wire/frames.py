"""FRAME and EXT_FRAME: Ethernet frames between members (vl2 sections 2.1 and 2.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from ztstack.base.codec import Reader, Writer
from ztstack.base.mac import Mac
from ztstack.base.network_id import NetworkId
from ztstack.wire.credentials import Com
from ztstack.wire.verbs import Verb

FRAME_PREFIX_BYTES: Final = 11

FLAG_COM: Final = 0x01
FLAG_ACKNOWLEDGE: Final = 0x10

# What a copy or a detour is, with the request for an acknowledgement where there is one.
OUTBOUND_TEE: Final = 0x02
OUTBOUND_REDIRECT: Final = 0x04
OUTBOUND_WATCH: Final = 0x16
INBOUND_TEE: Final = 0x08
INBOUND_REDIRECT: Final = 0x0A
INBOUND_WATCH: Final = 0x1C


def frame_prefix(network: NetworkId, ethertype: int) -> bytes:
    """Return what stands before the Ethernet payload in every FRAME of a flow, with the verb."""
    return b"%c%b%b" % (Verb.FRAME, network.packed, ethertype.to_bytes(2, "big"))


@dataclass(frozen=True, slots=True)
class FrameMessage:
    """FRAME: a frame whose MACs follow from the two nodes."""

    network: NetworkId
    ethertype: int
    payload: bytes

    @classmethod
    def decode(cls, r: Reader) -> Self:
        return cls(network=NetworkId.decode(r), ethertype=r.uint(2), payload=r.rest())

    def encode(self, w: Writer) -> None:
        self.network.encode(w)
        w.uint(self.ethertype, 2)
        w.put(self.payload)


@dataclass(frozen=True, slots=True)
class ExtFrame:
    """EXT_FRAME: a frame with its MACs. `flags` are without FLAG_COM, which `com` implies."""

    network: NetworkId
    flags: int
    com: Com | None
    destination: Mac
    source: Mac
    ethertype: int
    payload: bytes

    @classmethod
    def decode(cls, r: Reader) -> Self:
        network = NetworkId.decode(r)
        flags = r.uint(1)
        # Deprecated: nobody sends a certificate here, but it must be accepted.
        com = Com.decode(r) if flags & FLAG_COM else None
        return cls(
            network=network,
            flags=flags & ~FLAG_COM,
            com=com,
            destination=Mac.decode(r),
            source=Mac.decode(r),
            ethertype=r.uint(2),
            payload=r.rest(),
        )

    def encode(self, w: Writer) -> None:
        self.network.encode(w)
        w.uint(self.flags & ~FLAG_COM | (FLAG_COM if self.com else 0), 1)
        if self.com:
            self.com.encode(w)
        self.destination.encode(w)
        self.source.encode(w)
        w.uint(self.ethertype, 2)
        w.put(self.payload)

    @property
    def wants_acknowledgement(self) -> bool:
        return bool(self.flags & FLAG_ACKNOWLEDGE)
