from __future__ import annotations

from hypothesis import given, settings, strategies as st

from ztstack.ip.tcp.scoreboard import MAX_RANGES, Scoreboard

RANGE = st.tuples(st.integers(0, 60), st.integers(1, 20)).map(lambda r: (r[0], r[0] + r[1]))


def runs(numbers: set[int], start: int, end: int) -> list[tuple[int, int]]:
    """Return the ranges between `start` and `end` that lack every number."""
    found: list[tuple[int, int]] = []
    for number in range(start, end):
        if number in numbers:
            continue
        if found and found[-1][1] == number:
            found[-1] = (found[-1][0], number + 1)
        else:
            found.append((number, number + 1))
    return found


@settings(max_examples=50)
@given(st.lists(RANGE, max_size=15), st.integers(0, 90), RANGE)
def test_as_a_set(ranges: list[tuple[int, int]], released: int, asked: tuple[int, int]) -> None:
    board, plain = Scoreboard(), set[int]()
    for start, end in ranges:
        new = set(range(start, end)) - plain
        assert board.add(start, end) == len(new)
        plain |= new
        assert board.total == len(plain)
        assert board.highest == max(plain) + 1
        assert board.gaps(*asked) == runs(plain, *asked)
    board.release(released)
    plain = {number for number in plain if number >= released}
    assert board.total == len(plain)
    assert bool(board) == bool(plain)
    assert board.gaps(released, 100) == runs(plain, released, 100)
    board.clear()
    assert board.gaps(0, 9) == [(0, 9)]


def test_the_number_of_ranges_is_bounded() -> None:
    board = Scoreboard()
    for at in range(MAX_RANGES + 10):
        board.add(2 * at, 2 * at + 1)
    assert board.total == MAX_RANGES
    # What touches a known range is still taken.
    assert board.add(1, 2) == 1


def test_the_range_around_an_offset() -> None:
    board = Scoreboard()
    board.add(10, 20)
    board.add(30, 40)
    found = [board.around(at) for at in (9, 10, 19, 20, 35, 40)]
    assert found == [None, (10, 20), (10, 20), None, (30, 40), None]
