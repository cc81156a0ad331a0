"""Which groups this node listens to, and when it says so to whom (vl2 section 6.6)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from ztstack.base.codec import Writer
from ztstack.base.mac import BROADCAST, MulticastGroup
from ztstack.base.network_id import NetworkId
from ztstack.base.timers import SECOND
from ztstack.wire.multicast import MAX_LIKES, MulticastLike

PERIOD_US: Final = 60 * SECOND
FIRST_PERIODS_US: Final = (5 * SECOND, 10 * SECOND)
"""The first announcements may come before the roots are there, and nobody says so."""
MEMBER_CHECK_US: Final = 5 * SECOND

_BROADCAST: Final = MulticastGroup(BROADCAST, 0)


class Subscriptions:
    """The groups of this node on one network."""

    def __init__(self, network: NetworkId) -> None:
        self._network = network
        self.groups: frozenset[MulticastGroup] = frozenset()
        self.all_groups: frozenset[MulticastGroup] = frozenset()
        """With the plain broadcast, which is implied where the network allows it."""
        self._announced = 0
        self._announce_at: int | None = None
        self._check_at: int | None = None

    def replace(
        self, groups: frozenset[MulticastGroup], *, allows_broadcast: bool
    ) -> list[MulticastGroup]:
        """Listen to exactly these; return what is new and to be announced."""
        before = self.all_groups
        self.groups = groups
        self.all_groups = groups | {_BROADCAST} if allows_broadcast else groups
        return sorted(self.all_groups - before)

    def start(self, now: int) -> None:
        """Begin to announce at once, then again and again."""
        self._announced = 0
        self._announce_at = now
        if self._check_at is None:
            self._check_at = now + MEMBER_CHECK_US

    def stop(self) -> None:
        self._announce_at = self._check_at = None

    def is_announcement_due(self, now: int) -> bool:
        """Tell whether all groups are to go to those who keep track of them, and note it."""
        if self._announce_at is None or now < self._announce_at:
            return False
        n = self._announced
        self._announced += 1
        period = FIRST_PERIODS_US[n] if n < len(FIRST_PERIODS_US) else PERIOD_US
        self._announce_at = now + period
        return True

    def is_member_check_due(self, now: int) -> bool:
        if self._check_at is None or now < self._check_at:
            return False
        self._check_at = now + MEMBER_CHECK_US
        return True

    def next_timer(self) -> int | None:
        if self._announce_at is None or self._check_at is None:
            return None
        return min(self._announce_at, self._check_at)

    def payloads(self, groups: Collection[MulticastGroup] | None = None) -> list[bytes]:
        """Return MULTICAST_LIKE for these groups, or for all."""
        wanted = sorted(self.all_groups) if groups is None else list(groups)
        return [self._like(wanted[at : at + MAX_LIKES]) for at in range(0, len(wanted), MAX_LIKES)]

    def _like(self, groups: Iterable[MulticastGroup]) -> bytes:
        w = Writer()
        MulticastLike(tuple((self._network, group) for group in groups)).encode(w)
        return w.getvalue()
