from __future__ import annotations

from tests.support.vl2 import CountingEntropy
from ztstack.base.address import Address
from ztstack.base.mac import BROADCAST, MulticastGroup
from ztstack.vl2.multicast import (
    GATHER_SPACING_US,
    MEMBER_LIFE_US,
    QUEUE_LIFE_US,
    QUEUE_LIMIT,
    SWEEP_US,
    Distribution,
    Multicast,
    Outgoing,
)

OWN = Address(1)
A, B, C, D = (Address(n) for n in range(0x10, 0x14))
GROUP = MulticastGroup(BROADCAST, 7)
SECOND = 1_000_000


def machine() -> Multicast:
    return Multicast(OWN, CountingEntropy())


def frame(now: int = 0) -> Outgoing:
    return Outgoing(now, GROUP, None, 0x0806, b"payload")


def test_a_frame_without_listeners_waits_for_them() -> None:
    multicast = machine()
    out = frame()
    assert multicast.distribute(0, out, 2) == Distribution((), 3)
    assert out.gather_limit == 3
    assert multicast.add(1, GROUP, OWN) == []
    assert multicast.add(1, GROUP, A) == [out]
    assert multicast.add(1, GROUP, A) == []
    assert multicast.add(1, GROUP, B) == [out]
    # Two recipients were the limit.
    assert multicast.add(1, GROUP, C) == []


def test_an_old_frame_is_not_sent() -> None:
    multicast = machine()
    multicast.distribute(0, frame(), 32)
    assert multicast.add(QUEUE_LIFE_US, GROUP, A) == []


def test_known_listeners_get_it_at_once() -> None:
    multicast = machine()
    multicast.add(0, GROUP, A)
    multicast.add(0, GROUP, B)
    out = frame(1)
    assert multicast.distribute(1, out, 32) == Distribution((A, B), 31)
    assert multicast.add(2, GROUP, A) == []
    assert multicast.add(2, GROUP, C) == [out]


def test_gathering_is_spaced_once_somebody_is_known() -> None:
    multicast = machine()
    assert multicast.distribute(0, frame(), 8).gather == 9
    assert multicast.distribute(1, frame(1), 8).gather == 9
    multicast.add(2, GROUP, A)
    assert multicast.distribute(3, frame(3), 8).gather == 0
    later = GATHER_SPACING_US + 1
    assert multicast.distribute(later, frame(later), 8).gather == 8


def test_enough_listeners_need_no_gathering() -> None:
    multicast = machine()
    for member in (A, B, C):
        multicast.add(0, GROUP, member)
    out = frame()
    plan = multicast.distribute(0, out, 2)
    assert plan.gather == 0
    assert len(plan.recipients) == 2
    assert out.gather_limit == 1
    assert multicast.add(1, GROUP, D) == []


def test_bridges_come_first() -> None:
    multicast = machine()
    for member in (A, B, C):
        multicast.add(0, GROUP, member)
    plan = multicast.distribute(0, frame(), 2, bridges=(D, OWN), origin=A)
    assert plan.recipients[0] == D
    assert A not in plan.recipients


def test_the_queue_is_bounded() -> None:
    multicast = machine()
    frames = [frame(n) for n in range(QUEUE_LIMIT + 3)]
    for n, out in enumerate(frames):
        multicast.distribute(n, out, 32)
    assert multicast.add(100, GROUP, A) == frames[3:]


def test_answers() -> None:
    multicast = machine()
    assert multicast.answer(0, GROUP, A, 10, frozenset()) == (0, ())
    assert multicast.answer(0, GROUP, A, 10, frozenset({GROUP})) == (1, (OWN,))
    for member in (A, B, C):
        multicast.add(0, GROUP, member)
    assert multicast.answer(0, GROUP, A, 10, frozenset({GROUP})) == (4, (OWN, B, C))
    total, members = multicast.answer(0, GROUP, A, 1, frozenset())
    assert total == 3
    assert members in ((B,), (C,))
    assert multicast.answer(MEMBER_LIFE_US, GROUP, A, 10, frozenset()) == (0, ())


def test_listeners_are_forgotten() -> None:
    multicast = machine()
    assert multicast.next_timer() is None
    multicast.add(0, GROUP, A)
    multicast.add(0, GROUP, B)
    multicast.remove(GROUP, B)
    assert multicast.members(GROUP) == [A]
    assert multicast.next_timer() == SWEEP_US
    multicast.handle_timer(SWEEP_US)
    assert multicast.members(GROUP) == [A]
    multicast.handle_timer(MEMBER_LIFE_US + SWEEP_US)
    assert multicast.members(GROUP) == []
    assert multicast.next_timer() is None
