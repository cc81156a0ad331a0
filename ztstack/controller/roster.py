"""One network of a controller in memory: its records, who holds which address, who is online."""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import Final

from ztstack.base.address import Address
from ztstack.base.errors import InvalidConfig
from ztstack.base.limits import BoundedMap
from ztstack.base.timers import SECOND
from ztstack.controller.model import MemberRecord, NetworkRecord
from ztstack.wire.credentials import Revocation

ONLINE_US: Final = 120 * SECOND
"""Members ask once a minute; who did not for so long is not there."""
MAX_MEMBERS: Final = 10_000
MAX_STRANGERS: Final = 1_000
"""Members of a network that are not authorised; the oldest is forgotten first."""
MAX_REVOKED: Final = 256


class Roster:
    """A network and its members; keeps what would be slow to count each time.

    Who was heard is not stored. So whoever was known when a network was loaded, at `loaded_at`,
    counts as online until it would have asked again.
    """

    def __init__(
        self, record: NetworkRecord, members: list[MemberRecord], loaded_at: int | None = None
    ) -> None:
        self.record = record
        self._unsure_until = 0 if loaded_at is None else loaded_at + ONLINE_US
        self.members: dict[Address, MemberRecord] = {}
        self.taken: Counter[bytes] = Counter()
        """How many members hold an address: by hand two can be given the same."""
        self.bridges: set[Address] = set()
        # What members said of themselves since the start; nobody else is pushed to.
        self.knows_rules: dict[Address, bool] = {}
        self.heard: BoundedMap[Address, int] = BoundedMap(MAX_MEMBERS)
        # Up to when members were told who was put out; who waits for authorisation is not.
        self.told: BoundedMap[Address, int] = BoundedMap(MAX_MEMBERS)
        # Who was put out lately, the last one at the end.
        self.revoked: BoundedMap[Address, Revocation] = BoundedMap(MAX_REVOKED)
        # Those who wait for authorisation, the oldest first.
        self._strangers: OrderedDict[Address, None] = OrderedDict()
        for member in sorted(members, key=lambda item: item.created_ms):
            self.put(member)

    def put(self, member: MemberRecord) -> None:
        """Add a member or replace its record."""
        old = self.members.get(member.address)
        if old is None or old.ips != member.ips:
            self._release(old)
            self.taken.update(member.ips)
        self.members[member.address] = member
        if member.bridge:
            self.bridges.add(member.address)
        else:
            self.bridges.discard(member.address)
        if member.authorized:
            self._strangers.pop(member.address, None)
            self.revoked.pop(member.address)
        else:
            self._strangers.setdefault(member.address)

    def remove(self, address: Address) -> MemberRecord:
        """Forget a member and what it said."""
        member = self.members.pop(address, None)
        if member is None:
            raise InvalidConfig(f"{address} is no member of {self.record.id}")
        self._release(member)
        self.bridges.discard(address)
        self.knows_rules.pop(address, None)
        self._strangers.pop(address, None)
        return member

    def _release(self, member: MemberRecord | None) -> None:
        if member is None:
            return
        for ip in member.ips:
            self.taken[ip] -= 1
            if self.taken[ip] <= 0:
                del self.taken[ip]

    def one_too_many(self) -> Address | None:
        """Return who must be forgotten before another can be added; InvalidConfig if nobody can."""
        if len(self._strangers) < MAX_STRANGERS and len(self.members) < MAX_MEMBERS:
            return None
        if not self._strangers:
            raise InvalidConfig(f"a network has at most {MAX_MEMBERS} members")
        return next(iter(self._strangers))

    def is_online(self, now: int, address: Address) -> bool:
        heard = self.heard.get(address)
        if heard is None:
            return now < self._unsure_until and self._is_known(address)
        return now - heard < ONLINE_US

    def online(self, now: int) -> list[Address]:
        found = [address for address, heard in self.heard.items() if now - heard < ONLINE_US]
        if now < self._unsure_until:
            silent = (address for address in self.members if self.heard.get(address) is None)
            found.extend(address for address in silent if self._is_known(address))
        return found

    def _is_known(self, address: Address) -> bool:
        member = self.members.get(address)
        return member is not None and member.identity is not None
