"""What two nodes with two cables show, case by case: each is run, and what came of it returned.

The tests compare with bounds that a busy machine keeps; `tests/bench/bonding_cables.py` prints.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final, NamedTuple

from tests.support.bond_hosts import Bonded, Cable, Pair
from tests.support.bond_traffic import bytes_of
from tests.support.link_emulator import Way, direct_link
from tests.support.zt_process import wait_until

RATE_MBIT: Final = 40
PPS: Final = 100
BETTER: Final = Way(rate_mbit=40.0, delay_ms=10.0)
WORSE: Final = Way(rate_mbit=10.0, delay_ms=40.0)
_FAULT_AFTER_S: Final = 0.5
_FIRST_BYTE_S: Final = 0.3

Values = dict[str, Any]


@contextmanager
def nodes(world: Bonded, policy: str) -> Iterator[Pair]:
    """Start both nodes with a policy and wait until both cables are in use or probed."""
    with world.pair("--mp-bond", policy) as pair:
        warm_up(pair)
        yield pair


def warm_up(pair: Pair) -> None:
    """Let some datagrams pass, and wait until each cable has carried probes both ways."""
    before = [cable.packets() for cable in pair.cables]

    def are_known() -> bool:
        pair.source.result(pair.datagrams(count=5, rate=50))
        return all(
            there - t >= 8 and back - b >= 8
            for (there, back), (t, b) in zip(
                (cable.packets() for cable in pair.cables), before, strict=True
            )
        )

    wait_until("both cables are known", are_known, 20.0)
    time.sleep(0.1)
    pair.taken()


# Throughput.


class OnePath(NamedTuple):
    """What one stream gets in bytes per second, and what part of it went by the other cable."""

    rate: float
    other_part: float


def rate_of(bins: list[list[float]], after: float, seconds: float) -> float:
    """Return bytes per second in a window that begins so long after the first byte."""
    start = bins[0][0] + after
    return sum(count for at, count in bins if start <= at < start + seconds) / seconds


def throughput(pair: Pair, count: int = 1, seconds: float = 1.5, start: float = 1.0) -> float:
    """Fill some streams and cut them; return bytes per second after the start."""
    # The first byte comes late where a program loads numpy for it.
    lasting = start + seconds + _FIRST_BYTE_S
    pair.source.result(pair.streams(count=count, seconds=lasting, abort=True))
    return rate_of(pair.taken()["bins"], start, seconds)


def one_path(world: Bonded, seconds: float = 1.5) -> OnePath:
    """Send one stream with the policy `off`."""
    with nodes(world, "off") as pair:
        before = [cable.sent() for cable in pair.cables]
        rate = throughput(pair, seconds=seconds)
        sent = sorted(cable.sent() - b for cable, b in zip(pair.cables, before, strict=True))
    return OnePath(rate, sent[0] / sent[1])


@contextmanager
def uneven(world: Bonded) -> Iterator[Bonded]:
    """Take the cables out, and give the hosts a better and a worse link in their place."""
    with ExitStack() as stack:
        for cable in world.cables:
            cable.pull()
            stack.callback(cable.plug)
        links = [
            stack.enter_context(direct_link(world.site.lan, world.left, world.right, number, way))
            for number, way in enumerate((BETTER, WORSE), 3)
        ]
        yield world.over(links)


def better_alone(pair: Pair, seconds: float = 1.5) -> float:
    """Return what one stream gets from the first cable without the second."""
    pair.cables[1].pull()
    rate = throughput(pair, seconds=seconds)
    pair.cables[1].plug()
    warm_up(pair)
    return rate


# Failures.


class Transfer(NamedTuple):
    """The longest time without a byte, beyond what was usual before; and whether all came."""

    stall_s: float
    is_intact: bool


class Heard(NamedTuple):
    """Numbered datagrams: the longest silence, that of the sender itself, and what went wrong."""

    silence_s: float
    own_pause_s: float
    lost: int
    twice: int

    @property
    def stall_s(self) -> float:
        return self.silence_s - self.own_pause_s


def longest_gap(times: list[float]) -> float:
    return max(after - before for before, after in itertools.pairwise(times))


def heard(taken: Values, sent: Values) -> Heard:
    """Judge what came of numbered datagrams."""
    numbers = [number for number, _ in taken["datagrams"]]
    times = [sent["began"], *(at for _, at in taken["datagrams"]), sent["ended"]]
    return Heard(
        silence_s=longest_gap(times),
        own_pause_s=longest_gap(sent["times"]),
        lost=len(sent["times"]) - len(set(numbers)),
        twice=len(numbers) - len(set(numbers)),
    )


def numbered(pair: Pair, seconds: float) -> int:
    """Begin to send numbered datagrams, a hundred in a second."""
    return pair.datagrams(count=int(seconds * PPS), rate=PPS)


def in_use(pair: Pair) -> int:
    """Return which cable carries most of what is sent now."""
    before = [cable.sent() for cable in pair.cables]
    pair.source.result(pair.datagrams(count=40, rate=200, first=90_000, size=1000))
    sent = [cable.sent() - b for cable, b in zip(pair.cables, before, strict=True)]
    pair.taken()
    return sent.index(max(sent))


def states(world: Bonded) -> dict[str, str]:
    """Ask the running node on the left for its paths to the right one, by `zt bond`."""
    told = json.loads(world.nodes["left"].text("bond", "list", "--json"))
    (bond,) = (bond for bond in told["bonds"] if len(bond["links"]) > 1)
    return {link["interface"]: link["state"] for link in bond["links"]}


def pulled_in_a_transfer(world: Bonded, count: int) -> Transfer:
    """Pull the cable in use when a quarter of the bytes is sent."""
    expected = hashlib.sha256(bytes_of(0, count)).hexdigest()
    with nodes(world, "active-backup") as pair:
        before = [cable.sent() for cable in pair.cables]
        tag = pair.streams(bytes=count)
        used = pair.cables[0]

        def is_moving() -> bool:
            nonlocal used
            sent = [cable.sent() - b for cable, b in zip(pair.cables, before, strict=True)]
            used = pair.cables[sent.index(max(sent))]
            return max(sent) > count // 4

        wait_until("a quarter is sent", is_moving, 30.0)
        moment = time.monotonic()
        used.pull()
        try:
            pair.source.result(tag)
        finally:
            used.plug()
        taken = pair.taken()
    arrivals = [at for at, _ in taken["bins"]]
    usual = longest_gap([at for at in arrivals if at < moment])
    after = longest_gap([at for at in arrivals if at > moment - 0.1])
    told = [(one["bytes"], one["sha256"]) for one in taken["streams"]]
    return Transfer(after - usual, told == [(count, expected)])


def idle_cable_dies(world: Bonded, seconds: float = 2.5) -> Heard:
    with nodes(world, "active-backup") as pair:
        used = in_use(pair)
        idle = pair.cables[1 - used]
        assert states(world) == {idle.name: "standby", pair.cables[used].name: "active"}
        return _while_dropping(pair, seconds, idle)


def one_direction_dies(world: Bonded, policy: str = "active-backup", seconds: float = 2.5) -> Heard:
    with nodes(world, policy) as pair:
        used = pair.cables[in_use(pair)]
        return _while_dropping(pair, seconds, used, back=False)


def all_cables_die(world: Bonded, policy: str = "balance-aware", seconds: float = 3.5) -> Heard:
    with nodes(world, policy) as pair:
        return _while_dropping(pair, seconds, *pair.cables)


def _while_dropping(pair: Pair, seconds: float, *cables: Cable, back: bool = True) -> Heard:
    """Send numbered datagrams; soon after the start some cables carry nothing any more."""
    tag = numbered(pair, seconds)
    time.sleep(_FAULT_AFTER_S)
    with ExitStack() as stack:
        for cable in cables:
            stack.enter_context(cable.dropping(back=back))
        sent = pair.source.result(tag)
        time.sleep(0.2)
    return heard(pair.taken(), sent)


def broadcast_over_a_lossy_cable(world: Bonded, seconds: float = 2.0) -> Heard:
    world.cables[0].single()
    with nodes(world, "broadcast") as pair, pair.cables[0].dropping(share=0.5):
        sent = pair.source.result(numbered(pair, seconds))
        time.sleep(0.3)
        return heard(pair.taken(), sent)


# Flows.


class Sharing(NamedTuple):
    """How far a cable is from half of the bytes, and the most of one flow on its other cable."""

    unevenness: float
    strayed: float


def many_flows(world: Bonded, flows: int = 64) -> Sharing:
    """Send datagrams of many flows at once, and then of single ones."""
    with nodes(world, "balance-xor") as pair:

        def sent_of(**values: object) -> list[int]:
            before = [cable.sent() for cable in pair.cables]
            pair.source.result(pair.datagrams(size=1000, **values))
            return [cable.sent() - b for cable, b in zip(pair.cables, before, strict=True)]

        sent = sent_of(count=20 * flows, rate=640, flows=flows)
        ones = [sorted(sent_of(count=100, rate=400)) for _ in range(6)]
    even = sum(sent) / 2
    return Sharing(abs(sent[0] - even) / even, max(one[0] / one[1] for one in ones))
