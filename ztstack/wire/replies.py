"""The envelopes of OK and ERROR: which message they answer (vl1 sections 4.4 and 4.5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from ztstack.base.codec import Reader, Writer


@dataclass(frozen=True, slots=True)
class Ok:
    """OK: the answer to a message; `body` is of the kind that its verb defines."""

    in_re_verb: int
    in_re_packet_id: int
    body: bytes

    @classmethod
    def decode(cls, r: Reader) -> Self:
        return cls(in_re_verb=r.uint(1), in_re_packet_id=r.uint(8), body=r.rest())

    def encode(self, w: Writer) -> None:
        w.uint(self.in_re_verb, 1)
        w.uint(self.in_re_packet_id, 8)
        w.put(self.body)


@dataclass(frozen=True, slots=True)
class Error:
    """ERROR: a refusal; `code` is an ErrorCode, or a number that we do not know."""

    in_re_verb: int
    in_re_packet_id: int
    code: int
    body: bytes

    @classmethod
    def decode(cls, r: Reader) -> Self:
        return cls(in_re_verb=r.uint(1), in_re_packet_id=r.uint(8), code=r.uint(1), body=r.rest())

    def encode(self, w: Writer) -> None:
        w.uint(self.in_re_verb, 1)
        w.uint(self.in_re_packet_id, 8)
        w.uint(self.code, 1)
        w.put(self.body)
