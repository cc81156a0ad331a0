"""USER_MESSAGE: bytes of an application between two nodes (vl1 section 4.12)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from ztstack.base.codec import Reader, Writer


@dataclass(frozen=True, slots=True)
class UserMessage:
    """USER_MESSAGE; types up to 65535 are the vendor's."""

    type_id: int
    data: bytes

    @classmethod
    def decode(cls, r: Reader) -> Self:
        return cls(type_id=r.uint(8), data=r.rest())

    def encode(self, w: Writer) -> None:
        w.uint(self.type_id, 8)
        w.put(self.data)
