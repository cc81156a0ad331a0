from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from ztstack.ip.tcp.sequence import add, distance


@pytest.mark.parametrize(
    ("later", "earlier", "ahead"),
    [
        (5, 3, 2),
        (3, 5, -2),
        (0, 0xFFFFFFFF, 1),
        (0xFFFFFFFF, 0, -1),
        (0x7FFFFFFF, 0, 0x7FFFFFFF),
        (0x80000000, 0, -0x80000000),
    ],
)
def test_distance(later: int, earlier: int, ahead: int) -> None:
    assert distance(later, earlier) == ahead


@given(st.integers(0, 0xFFFFFFFF), st.integers(-0x80000000, 0x7FFFFFFF))
def test_distance_undoes_add(start: int, count: int) -> None:
    assert distance(add(start, count), start) == count
