"""QOS_MEASUREMENT and PATH_NEGOTIATION_REQUEST: what bonds tell each other (bonding section 1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from ztstack.base.codec import Reader, Writer
from ztstack.base.errors import DecodeError

PROTOCOL_BONDING: Final = 11
"""The first protocol version whose speakers know several paths (bonding section 1.7)."""
QOS_RECORDS: Final = 140
MAX_HOLDING_MS: Final = 0xFFFF

_RECORD_BYTES: Final = 10
_ID_BYTES: Final = 8
_UTILITY_BYTES: Final = 2
_UTILITY_MIN: Final = -(1 << 15)
_UTILITY_MAX: Final = (1 << 15) - 1


@dataclass(frozen=True, slots=True)
class QosMeasurement:
    """QOS_MEASUREMENT: packets that came on this path, each with the ms it was held since.

    Unlike everything else in the protocol, both numbers are little-endian.
    """

    records: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.records) <= QOS_RECORDS:
            raise DecodeError(f"a measurement of {len(self.records)} packets")

    @classmethod
    def decode(cls, r: Reader) -> Self:
        # A ragged tail is no record; official nodes would read past it.
        count = r.remaining // _RECORD_BYTES
        data = r.rest()
        ends = range(0, count * _RECORD_BYTES, _RECORD_BYTES)
        return cls(
            tuple(
                (
                    int.from_bytes(data[at : at + _ID_BYTES], "little"),
                    int.from_bytes(data[at + _ID_BYTES : at + _RECORD_BYTES], "little"),
                )
                for at in ends
            )
        )

    def encode(self, w: Writer) -> None:
        for packet_id, holding_ms in self.records:
            w.put(packet_id.to_bytes(_ID_BYTES, "little"))
            held = min(max(holding_ms, 0), MAX_HOLDING_MS)
            w.put(held.to_bytes(_RECORD_BYTES - _ID_BYTES, "little"))


@dataclass(frozen=True, slots=True)
class PathNegotiation:
    """PATH_NEGOTIATION_REQUEST: how much the sender would like the path on which it came."""

    utility: int

    def __post_init__(self) -> None:
        if not _UTILITY_MIN <= self.utility <= _UTILITY_MAX:
            raise DecodeError(f"a utility of {self.utility}")

    @classmethod
    def decode(cls, r: Reader) -> Self:
        if r.remaining != _UTILITY_BYTES:
            raise DecodeError(f"a utility of {r.remaining} bytes")
        return cls(int.from_bytes(r.take(_UTILITY_BYTES), "big", signed=True))

    def encode(self, w: Writer) -> None:
        w.put(self.utility.to_bytes(_UTILITY_BYTES, "big", signed=True))
