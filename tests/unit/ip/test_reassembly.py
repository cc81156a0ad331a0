"""Fragments in any order, copies, overlaps, bounds and age."""

from __future__ import annotations

from itertools import pairwise, permutations

import pytest
from hypothesis import given, strategies as st

from ztstack.base.errors import Drop
from ztstack.base.trace import ListTracer
from ztstack.ip.reassembly import LIFE_US, MAX_DATAGRAMS, MAX_FRAGMENTS, FragmentKey, Reassembly

KEY = FragmentKey(b"from", b"to  ", 17, 7)
DATA = bytes(range(40))


class Table:
    """A reassembly with what it dropped."""

    def __init__(self) -> None:
        self.tracer = ListTracer()
        self.reassembly = Reassembly(self.tracer)

    def add(
        self, start: int, end: int, *, now: int = 0, key: FragmentKey = KEY, total: int = 40
    ) -> tuple[int, bytes] | None:
        return self.reassembly.add(
            now, key, start, DATA[start:end], more=end < total, protocol=17 if start == 0 else 99
        )


@pytest.mark.parametrize("order", list(permutations([(0, 16), (16, 24), (24, 40)])))
def test_any_order(order: tuple[tuple[int, int], ...]) -> None:
    table = Table()
    assert [table.add(*piece) for piece in order[:-1]] == [None, None]
    # The protocol is what the first fragment says.
    assert table.add(*order[-1]) == (17, DATA)
    assert table.tracer.drops == []
    assert table.reassembly.next_timer() is None


def test_copies_do_no_harm() -> None:
    table = Table()
    for _ in range(3):
        assert table.add(0, 16) is None
    assert table.add(16, 40) == (17, DATA)
    assert table.tracer.drops == []


@pytest.mark.parametrize(
    "pieces",
    [
        [(0, 16), (8, 24)],
        [(8, 24), (0, 16)],
        [(0, 24), (8, 16)],
        [(24, 40), (32, 40)],
    ],
)
def test_an_overlap_ends_the_packet(pieces: list[tuple[int, int]]) -> None:
    table = Table()
    for piece in pieces:
        assert table.add(*piece) is None
    assert table.tracer.drops == [Drop.BAD_FRAGMENT]
    assert table.reassembly.next_timer() is None


def test_two_ends_disagree() -> None:
    table = Table()
    assert table.add(16, 24, total=24) is None
    assert table.add(24, 40) is None
    assert table.tracer.drops == [Drop.BAD_FRAGMENT]


def test_an_end_before_what_is_there() -> None:
    table = Table()
    assert table.add(24, 32) is None
    assert table.add(0, 16, total=16) is None
    assert table.tracer.drops == [Drop.BAD_FRAGMENT]


def test_lengths_that_cannot_be() -> None:
    table = Table()
    reassembly = table.reassembly
    assert reassembly.add(0, KEY, 0, b"1234567", more=True, protocol=17) is None
    assert reassembly.add(0, KEY, 0, b"", more=True, protocol=17) is None
    assert reassembly.add(0, KEY, 65528, bytes(8), more=False, protocol=17) is None
    assert table.tracer.drops == [Drop.BAD_FRAGMENT] * 3
    assert reassembly.next_timer() is None


def test_too_many_fragments() -> None:
    table = Table()
    for number in range(MAX_FRAGMENTS + 1):
        table.reassembly.add(0, KEY, number * 8, bytes(8), more=True, protocol=17)
    assert table.tracer.drops == [Drop.BAD_FRAGMENT]


def test_the_oldest_goes_when_the_table_is_full() -> None:
    table = Table()
    for number in range(MAX_DATAGRAMS + 1):
        table.add(0, 16, key=KEY._replace(identification=number))
    assert table.tracer.drops == [Drop.FRAGMENT_TABLE_FULL]
    assert table.add(16, 40, key=KEY._replace(identification=0)) is None
    assert table.add(16, 40, key=KEY._replace(identification=MAX_DATAGRAMS)) == (17, DATA)


def test_age() -> None:
    table = Table()
    table.add(0, 16, now=5)
    assert table.reassembly.next_timer() == 5 + LIFE_US
    table.reassembly.handle_timer(4 + LIFE_US)
    assert table.tracer.drops == []
    table.reassembly.handle_timer(5 + LIFE_US)
    assert table.tracer.drops == [Drop.QUEUE_TIMEOUT]
    assert table.add(16, 40, now=5 + LIFE_US) is None


@given(st.lists(st.integers(1, 39), unique=True, max_size=6), st.randoms(use_true_random=False))
def test_every_cut_is_put_together(cuts: list[int], chance: object) -> None:
    units = bytes(range(160)) + bytes(160)
    edges = [0, *sorted(cuts), 40]
    pieces = list(pairwise(edges))
    chance.shuffle(pieces)  # type: ignore[attr-defined]
    reassembly = Reassembly(ListTracer())
    results = [
        reassembly.add(0, KEY, a * 8, units[a * 8 : b * 8], more=b < 40, protocol=17)
        for a, b in pieces
    ]
    assert results[-1] == (17, units)
    assert results[:-1] == [None] * (len(pieces) - 1)
