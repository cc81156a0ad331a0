"""The laws that every codec keeps, as functions for the tests of each."""

from __future__ import annotations

from typing import Protocol, Self

import pytest

from ztstack.base.codec import Reader, Writer
from ztstack.base.errors import DecodeError


class Encodable(Protocol):
    """What can be written."""

    def encode(self, w: Writer) -> None: ...


class Message(Protocol):
    """What has the one shape of a codec."""

    @classmethod
    def decode(cls, r: Reader) -> Self: ...

    def encode(self, w: Writer) -> None: ...


def encoded(message: Encodable) -> bytes:
    w = Writer()
    message.encode(w)
    return w.getvalue()


def decoded(kind: type[Message], data: bytes) -> Message:
    return kind.decode(Reader(data))


def check_round_trip(message: Message) -> None:
    """Decode after encode gives the message and uses every byte."""
    r = Reader(encoded(message))
    assert type(message).decode(r) == message
    assert r.remaining == 0


def check_cuts_fail(kind: type[Message], data: bytes, legal: frozenset[int] = frozenset()) -> None:
    """Every shorter beginning is a DecodeError, but at the lengths that are legal."""
    kind.decode(Reader(data))
    for cut in range(len(data)):
        if cut in legal:
            kind.decode(Reader(data[:cut]))
        else:
            with pytest.raises(DecodeError):
                kind.decode(Reader(data[:cut]))


def check_fails_in_one_way(kind: type[Message], noise: bytes) -> None:
    """Bytes are refused with DecodeError, or give a message that comes back from its own bytes."""
    try:
        message = kind.decode(Reader(noise))
    except DecodeError:
        return
    assert kind.decode(Reader(encoded(message))) == message
