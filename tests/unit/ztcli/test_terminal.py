"""What a peer says, shown on a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from ztcli.terminal import Harmless, harmless

C0_AND_C1 = {*range(0x20), 0x7F, *range(0x80, 0xA0)} - {0x09, 0x0A, 0x0D}


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"plain text\tand a tab\n", b"plain text\tand a tab\n"),
        (b"a line\r\n", b"a line\r\n"),
        ("Grüße, 世界 🙂".encode(), "Grüße, 世界 🙂".encode()),
        (b"\x1b]0;title\x07", b"^[]0;title^G"),
        (b"real\rfake", b"real^Mfake"),
        (b"a\x08\x7f\0\x0c", b"a^H^?^@^L"),
        ("\x9b2J".encode(), rb"\x9b2J"),
        (b"\x9b2J", rb"\x9b2J"),
        (b"\xe0\x82\x9b2J", rb"\xe0\x82\x9b2J"),
        (b"caf\xe9", rb"caf\xe9"),
    ],
)
def test_what_is_shown(data: bytes, shown: bytes) -> None:
    assert harmless(data) == shown


@given(st.lists(st.binary(max_size=9)))
def test_where_it_is_cut_makes_no_difference(parts: list[bytes]) -> None:
    stream = Harmless()
    shown = b"".join(stream.feed(part) for part in parts) + stream.end()
    assert shown == harmless(b"".join(parts))
    assert not {ord(letter) for letter in shown.decode()} & C0_AND_C1


def test_what_is_cut_short_at_the_end_is_shown_too() -> None:
    stream = Harmless()
    assert stream.feed(b"\xe4\xb8") == b""
    assert stream.end() == rb"\xe4\xb8"
    assert stream.feed(b"\r") == b""
    assert stream.end() == b"^M"
    assert stream.feed(b"next") == b"next"
