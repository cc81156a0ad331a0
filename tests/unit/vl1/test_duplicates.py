"""Packets that come twice are known, and those of long ago are forgotten."""

from __future__ import annotations

from ztstack.base.errors import Drop
from ztstack.base.trace import ListTracer
from ztstack.vl1.duplicates import KEPT, LIMIT, Duplicates, sift
from ztstack.vl1.train import Opened


def packet(number: int) -> bytes:
    return number.to_bytes(8, "big")


def test_each_is_new_once() -> None:
    seen = Duplicates()
    found = [seen.is_new(packet(number)) for number in (1, 2, 1, 3, 2)]
    assert found == [True, True, False, True, False]
    assert seen.count == 2


def test_the_last_ones_are_remembered_and_no_more_than_twice_as_many() -> None:
    seen = Duplicates()
    for number in range(3 * LIMIT):
        assert seen.is_new(packet(number))
    for number in range(2 * LIMIT, 3 * LIMIT):
        assert not seen.is_new(packet(number))
    assert seen.is_new(packet(0))


def test_a_train_loses_what_came_before() -> None:
    seen, tracer = Duplicates(), ListTracer()
    ids = [packet(number) for number in range(4)]
    opened = Opened(bytearray(), 0, [10, 20, 30, 40], [1, 2, 3, 4], ids, 99, 0)
    seen.is_new(ids[1])
    left = sift(seen, opened, tracer)
    assert (left.starts, left.lengths, left.consumed) == ([10, 30, 40], [1, 3, 4], 99)
    assert tracer.drops == [Drop.DUPLICATE]
    assert sift(seen, opened, tracer).starts == []
    other = opened._replace(packet_ids=[packet(number) for number in range(4, 8)])
    assert sift(seen, other, tracer) is other


def test_many_at_once_are_all_new_or_none_is_noted() -> None:
    seen = Duplicates()
    assert seen.are_new([packet(1), packet(2)])
    assert not seen.are_new([packet(2), packet(3)])
    assert not seen.are_new([packet(4), packet(4)])
    seen.age()
    assert not seen.are_new([packet(3), packet(1)])
    assert seen.are_new([packet(3), packet(4)])
    for start in range(0, 4 * LIMIT, 64):
        assert seen.are_new([packet(number) for number in range(start + 100, start + 164)])
    assert seen.is_new(packet(1))
    assert not seen.is_new(packet(4 * LIMIT + 99))


def test_what_is_laid_aside_is_compared_once_there_are_several_ways() -> None:
    seen = Duplicates()
    for start in range(0, 2 * KEPT, 64):
        assert seen.lay_aside([packet(number) for number in range(start, start + 64)])
    watching = [seen.is_watching]
    seen.watch()
    watching.append(seen.is_watching)
    assert not seen.lay_aside([packet(3 * KEPT)])
    assert not any(seen.is_new(packet(number)) for number in range(KEPT, 2 * KEPT))
    assert seen.is_new(packet(0))
    for _ in range(2):
        seen.age()
        watching.append(seen.is_watching)
    assert watching == [False, True, True, False]


def test_what_comes_by_a_relay_is_compared_with_what_was_laid_aside() -> None:
    seen = Duplicates()
    assert seen.lay_aside([packet(1), packet(2)])
    assert not seen.is_new(packet(2))
    assert seen.lay_aside([packet(3)])
    assert not seen.are_new([packet(3), packet(4)])
    assert seen.is_new(packet(4))
    assert not seen.is_watching


def test_what_came_by_a_relay_first_is_not_laid_aside() -> None:
    seen = Duplicates()
    assert seen.is_new(packet(1))
    assert seen.are_new([packet(2), packet(3)])
    assert not seen.lay_aside([packet(4), packet(3)])
    assert not seen.are_new([packet(4), packet(3)])
    assert seen.lay_aside([packet(4)])
    seen.age()
    assert not seen.lay_aside([packet(1)])
    seen.age()
    assert seen.lay_aside([packet(1)])


def test_what_came_by_a_relay_is_bounded() -> None:
    seen = Duplicates()
    for number in range(3 * LIMIT):
        assert seen.is_new(packet(number))
    assert seen.lay_aside([packet(LIMIT - 1)])
    assert not seen.lay_aside([packet(2 * LIMIT)])


def test_old_ones_are_forgotten() -> None:
    seen = Duplicates()
    seen.is_new(packet(1))
    seen.age()
    assert not seen.is_new(packet(1))
    seen.age()
    assert seen.is_new(packet(1))


def test_what_is_laid_aside_is_forgotten_too() -> None:
    seen = Duplicates()
    assert seen.lay_aside([packet(0), packet(1)])
    seen.age()
    assert seen.lay_aside([packet(2)])
    seen.age()
    seen.watch()
    assert seen.is_new(packet(0))
    assert seen.is_new(packet(1))
    assert not seen.is_new(packet(2))
