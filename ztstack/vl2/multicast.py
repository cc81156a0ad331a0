"""Who listens to which group, and frames that wait for listeners (vl2 sections 6.5 and 2.7)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

from ztstack.base.address import Address
from ztstack.base.entropy import Entropy
from ztstack.base.limits import BoundedMap
from ztstack.base.mac import Mac, MulticastGroup
from ztstack.base.timers import SECOND

GROUP_LIMIT: Final = 4096
MEMBER_LIMIT: Final = 4096
COUNTED_MEMBERS: Final = 16_384
GROUPS_OF_MEMBER: Final = 256
"""Groups that one node may be in, so that nobody pushes out the groups of all others."""
QUEUE_LIMIT: Final = 32
QUEUE_LIFE_US: Final = 5 * SECOND
GATHER_SPACING_US: Final = 60 * SECOND
MEMBER_LIFE_US: Final = 600 * SECOND
SWEEP_US: Final = 30 * SECOND
ANSWER_LIMIT: Final = 65_535


class Outgoing:
    """A frame to a group, and who has it already."""

    __slots__ = ("created", "ethertype", "gather_limit", "group", "payload", "sent", "source")

    def __init__(
        self, now: int, group: MulticastGroup, source: Mac | None, ethertype: int, payload: bytes
    ) -> None:
        self.created = now
        self.group = group
        self.source = source
        self.ethertype = ethertype
        self.payload = payload
        self.gather_limit = 1
        self.sent: set[Address] = set()


class Distribution(NamedTuple):
    """Whom to send a frame to now, and how many members to ask for; zero asks nobody."""

    recipients: tuple[Address, ...]
    gather: int


class _Group:
    __slots__ = ("gathered_at", "limit", "members", "queue")

    def __init__(self) -> None:
        self.members: BoundedMap[Address, int] = BoundedMap(MEMBER_LIMIT)
        self.queue: list[Outgoing] = []
        self.gathered_at: int | None = None
        self.limit = 0


class Multicast:
    """The groups of one network, as far as this node has heard of them."""

    def __init__(self, own: Address, entropy: Entropy) -> None:
        self._own = own
        self._entropy = entropy
        self._groups: BoundedMap[MulticastGroup, _Group] = BoundedMap(GROUP_LIMIT)
        # Of each member, the groups that it came to; the sweep leaves out those that it left.
        self._counts: BoundedMap[Address, int] = BoundedMap(COUNTED_MEMBERS)
        self._sweep_at: int | None = None

    def add(self, now: int, group: MulticastGroup, member: Address) -> list[Outgoing] | None:
        """Note a listener; return the waiting frames for it, None if it is in too many groups."""
        if member == self._own or member.is_reserved:
            return []
        known = self._groups.get(group)
        if known is None or member not in known.members:
            count = self._counts.get(member) or 0
            if count >= GROUPS_OF_MEMBER:
                return None
            self._counts.set(member, count + 1)
        entry = self._obtain(now, group)
        entry.members.set(member, now)
        if not entry.queue:
            return []
        ready: list[Outgoing] = []
        waiting: list[Outgoing] = []
        for frame in entry.queue:
            if now - frame.created >= QUEUE_LIFE_US:
                continue
            if member not in frame.sent:
                frame.sent.add(member)
                ready.append(frame)
            if len(frame.sent) < entry.limit:
                waiting.append(frame)
        entry.queue = waiting
        return ready

    def remove(self, group: MulticastGroup, member: Address) -> None:
        entry = self._groups.get(group)
        if entry is not None:
            entry.members.pop(member)

    def distribute(
        self,
        now: int,
        frame: Outgoing,
        limit: int,
        bridges: Iterable[Address] = (),
        origin: Address | None = None,
    ) -> Distribution:
        """Choose at most `limit` recipients; if there are too few, the frame waits for more."""
        entry = self._obtain(now, frame.group)
        entry.limit = limit
        members = [
            member
            for member, seen in entry.members.items()
            if now - seen < MEMBER_LIFE_US and member != origin
        ]
        chosen = [bridge for bridge in bridges if bridge not in (self._own, origin)]
        others = [member for member in members if member not in chosen]
        if len(chosen) + len(others) > limit:
            others = shuffled(others, self._entropy, limit)
        recipients = tuple((chosen + others)[:limit])
        if len(members) >= limit:
            return Distribution(recipients, 0)
        frame.gather_limit = limit - len(members) + 1
        frame.sent.update(recipients)
        if origin is not None:
            frame.sent.add(origin)
        if len(entry.queue) >= QUEUE_LIMIT:
            del entry.queue[0]
        entry.queue.append(frame)
        gather = 0
        if not members or entry.gathered_at is None or now - entry.gathered_at >= GATHER_SPACING_US:
            entry.gathered_at = now
            gather = frame.gather_limit
        return Distribution(recipients, gather)

    def answer(
        self,
        now: int,
        group: MulticastGroup,
        asker: Address,
        limit: int,
        subscriptions: Collection[MulticastGroup],
    ) -> tuple[int, tuple[Address, ...]]:
        """Return how many listeners are known, and some of them: we first, never the asker."""
        entry = self._groups.get(group)
        members = [] if entry is None else entry.members.items()
        known = [member for member, seen in members if now - seen < MEMBER_LIFE_US]
        others = [member for member in known if member != asker]
        total = len(known)
        if len(others) > limit:
            others = shuffled(others, self._entropy, limit)
        if group in subscriptions:
            others.insert(0, self._own)
            total += 1
        return total, tuple(others[: min(limit, ANSWER_LIMIT)])

    def members(self, group: MulticastGroup) -> list[Address]:
        entry = self._groups.get(group)
        return [] if entry is None else list(entry.members)

    def handle_timer(self, now: int) -> None:
        """Forget listeners that were silent for long, and frames that waited in vain."""
        if self._sweep_at is None or now < self._sweep_at:
            return
        counts: BoundedMap[Address, int] = BoundedMap(COUNTED_MEMBERS)
        for group, entry in self._groups.items():
            for member, seen in entry.members.items():
                if now - seen >= MEMBER_LIFE_US:
                    entry.members.pop(member)
                else:
                    counts.set(member, (counts.get(member) or 0) + 1)
            entry.queue = [frame for frame in entry.queue if now - frame.created < QUEUE_LIFE_US]
            gathered = entry.gathered_at is not None and now - entry.gathered_at < MEMBER_LIFE_US
            if not len(entry.members) and not entry.queue and not gathered:
                self._groups.pop(group)
        self._counts = counts
        self._sweep_at = now + SWEEP_US if len(self._groups) else None

    @property
    def group_count(self) -> int:
        return len(self._groups)

    def next_timer(self) -> int | None:
        return self._sweep_at

    def _obtain(self, now: int, group: MulticastGroup) -> _Group:
        entry = self._groups.get(group)
        if entry is None:
            entry = _Group()
            self._groups.set(group, entry)
        if self._sweep_at is None:
            self._sweep_at = now + SWEEP_US
        return entry


def shuffled(items: Iterable[Address], entropy: Entropy, count: int | None = None) -> list[Address]:
    """Return the items in random order, or `count` of them."""
    pool = list(items)
    wanted = len(pool) if count is None else min(count, len(pool))
    noise = entropy.take(4 * wanted)
    # The begin of a Fisher-Yates shuffle: a question costs what its answer is long.
    for i in range(wanted):
        j = i + int.from_bytes(noise[4 * i : 4 * i + 4], "big") % (len(pool) - i)
        pool[i], pool[j] = pool[j], pool[i]
    return pool[:wanted]
