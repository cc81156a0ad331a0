from __future__ import annotations

from ztstack.base.address import Address
from ztstack.vl2.parking import PARKED_LIFE_US, PARKED_LIMIT, PARKED_PER_NODE, Parking

A = Address(1)


def ids(parking: Parking) -> list[int]:
    return [parked.packet_id for parked in parking.take_ready(lambda _: True)]


def test_order_and_deadline() -> None:
    parking = Parking()
    assert parking.next_timer() is None
    assert not parking.put(0, A, 6, 1, b"")
    assert not parking.put(10, A, 6, 2, b"")
    assert parking.next_timer() == PARKED_LIFE_US
    assert [parked.packet_id for parked in parking.take_expired(PARKED_LIFE_US)] == [1]
    assert parking.next_timer() == PARKED_LIFE_US + 10
    assert ids(parking) == [2]
    assert len(parking) == 0


def test_one_node_cannot_take_it_all() -> None:
    parking = Parking()
    parking.put(0, Address(2), 6, 99, b"")
    for number in range(PARKED_PER_NODE):
        assert not parking.put(0, A, 6, number, b"")
    assert parking.put(0, A, 6, 100, b"")
    assert ids(parking) == [99, *range(1, PARKED_PER_NODE), 100]


def test_many_nodes_push_out_the_oldest() -> None:
    parking = Parking()
    for number in range(PARKED_LIMIT):
        assert not parking.put(0, Address(number + 1), 6, number, b"")
    assert parking.put(0, Address(1000), 6, 1000, b"")
    assert len(parking) == PARKED_LIMIT
    assert ids(parking)[0] == 1


def test_only_what_is_ready() -> None:
    parking = Parking()
    for number in range(4):
        parking.put(0, A, 6, number, b"")
    ready = parking.take_ready(lambda parked: parked.packet_id % 2 == 0)
    assert [parked.packet_id for parked in ready] == [0, 2]
    assert ids(parking) == [1, 3]
    parking.put(0, A, 6, 5, b"")
    parking.clear()
    assert len(parking) == 0
