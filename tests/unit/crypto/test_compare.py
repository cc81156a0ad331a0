from __future__ import annotations

from ztstack.crypto import compare


def test_equal() -> None:
    assert compare.equal(b"", b"")
    assert compare.equal(b"same", b"same")
    assert not compare.equal(b"same", b"sane")
    assert not compare.equal(b"same", b"same ")
