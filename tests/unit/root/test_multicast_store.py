from __future__ import annotations

from hypothesis import given, strategies as st

from tests.support.codec import encoded
from tests.support.switches import START_US, SeededEntropy
from ztstack.base.address import Address
from ztstack.base.codec import Reader
from ztstack.base.errors import Drop
from ztstack.base.mac import Mac, MulticastGroup
from ztstack.base.network_id import NetworkId
from ztstack.base.trace import ListTracer
from ztstack.root.multicast_store import EXPIRY_US, MAX_MEMBERS, MulticastStore
from ztstack.wire.multicast import GatherOk, MulticastGather, MulticastLike

NETWORK = NetworkId(0x8056C2E21C000001)
GROUP = MulticastGroup(Mac(0xFFFFFFFFFFFF), 5)


def store() -> MulticastStore:
    return MulticastStore(Address(1), SeededEntropy(1), ListTracer())


def like(machine: MulticastStore, who: int, now: int = START_US) -> None:
    machine.receive_like(now, Address(who), encoded(MulticastLike(((NETWORK, GROUP),))))


def gather(
    machine: MulticastStore, who: int, limit: int = 100, now: int = START_US
) -> GatherOk | None:
    question = encoded(MulticastGather(NETWORK, GROUP, limit, None))
    answer = machine.receive_gather(now, Address(who), question)
    return None if answer is None else GatherOk.decode(Reader(answer))


def test_members_are_named_to_others() -> None:
    machine = store()
    assert gather(machine, 9) is None
    like(machine, 2)
    like(machine, 3)
    assert gather(machine, 2) == GatherOk(NETWORK, GROUP, 2, (Address(3),))
    answer = gather(machine, 9)
    assert answer is not None
    assert set(answer.members) == {2, 3}
    assert gather(machine, 9, limit=0) is None


def test_a_controller_takes_the_word_of_its_members_only() -> None:
    machine = store()
    payload = encoded(MulticastLike(((NETWORK, GROUP), (NetworkId(1 << 24), GROUP))))
    for who in (2, 3):
        machine.receive_like(
            START_US, Address(who), payload, lambda network, node: (network, node) == (NETWORK, 3)
        )
    assert gather(machine, 9) == GatherOk(NETWORK, GROUP, 1, (Address(3),))


def test_limit_and_expiry() -> None:
    machine = store()
    for who in range(2, 50):
        like(machine, who, START_US + who)
    answer = gather(machine, 9, limit=5)
    assert answer is not None
    assert len(set(answer.members)) == 5
    assert gather(machine, 9, now=START_US + EXPIRY_US + 100) is None


def test_groups_are_bounded() -> None:
    machine = store()
    for who in range(2, MAX_MEMBERS + 100):
        like(machine, who)
    answer = gather(machine, 1 << 30)
    assert answer is not None
    assert answer.total == MAX_MEMBERS


@given(st.binary(max_size=60))
def test_noise(noise: bytes) -> None:
    tracer = ListTracer()
    machine = MulticastStore(Address(1), SeededEntropy(1), tracer)
    machine.receive_like(START_US, Address(2), noise)
    assert machine.receive_gather(START_US, Address(3), noise) is None
    assert set(tracer.drops) <= {Drop.MALFORMED}
