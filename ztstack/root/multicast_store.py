"""Who listens to which group, for all networks: what roots keep for their clients (vl1 7.5)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from ztstack.base.address import Address
from ztstack.base.codec import Reader, Writer
from ztstack.base.entropy import Entropy
from ztstack.base.errors import DecodeError, Drop
from ztstack.base.mac import MulticastGroup
from ztstack.base.network_id import NetworkId
from ztstack.base.timers import SECOND
from ztstack.base.trace import Tracer
from ztstack.wire.multicast import GatherOk, MulticastGather, MulticastLike

EXPIRY_US: Final = 600 * SECOND
MAX_GROUPS: Final = 65_536
MAX_MEMBERS: Final = 4_096
"""Members of one group; the one that was silent longest goes first."""
MAX_GROUPS_OF_NODE: Final = 1_024
ANSWER_MEMBERS: Final = 1_000

Key = tuple[NetworkId, MulticastGroup]


class MulticastStore:
    """Takes MULTICAST_LIKE and answers MULTICAST_GATHER."""

    def __init__(self, address: Address, entropy: Entropy, tracer: Tracer) -> None:
        self._address = address
        self._entropy = entropy
        self._tracer = tracer
        self._groups: OrderedDict[Key, OrderedDict[Address, int]] = OrderedDict()

    def receive_like(
        self,
        now: int,
        source: Address,
        payload: bytes,
        admits: Callable[[NetworkId, Address], bool] | None = None,
    ) -> None:
        """Note the groups that a node listens to, of the networks on which `admits` knows it."""
        try:
            message = MulticastLike.decode(Reader(payload))
        except DecodeError:
            self._tracer.drop(Drop.MALFORMED, "multicast")
            return
        for key in message.groups[:MAX_GROUPS_OF_NODE]:
            if admits is not None and not admits(key[0], source):
                continue
            members = self._groups.get(key)
            if members is None:
                if len(self._groups) >= MAX_GROUPS:
                    self._groups.popitem(last=False)
                members = self._groups[key] = OrderedDict()
            self._groups.move_to_end(key)
            members[source] = now
            members.move_to_end(source)
            if len(members) > MAX_MEMBERS:
                members.popitem(last=False)

    def receive_gather(self, now: int, source: Address, payload: bytes) -> bytes | None:
        """Return the body of the OK, None if there is nobody to name."""
        try:
            message = MulticastGather.decode(Reader(payload))
        except DecodeError:
            self._tracer.drop(Drop.MALFORMED, "multicast")
            return None
        key = (message.network, message.group)
        members = self._groups.get(key)
        if members is None:
            return None
        # The order is that of the last LIKE, so the expired ones come first.
        while members and now - next(iter(members.values())) >= EXPIRY_US:
            members.popitem(last=False)
        if not members:
            del self._groups[key]
            return None
        others = [address for address in members if address != source]
        limit = min(message.limit, ANSWER_MEMBERS)
        if not others or not limit:
            return None
        w = Writer()
        GatherOk(
            message.network, message.group, len(members), tuple(self._choose(others, limit))
        ).encode(w)
        return w.getvalue()

    def _choose(self, members: list[Address], limit: int) -> list[Address]:
        """Return `limit` members at random, all if there are no more."""
        if len(members) <= limit:
            return members
        # A partial Fisher-Yates shuffle.
        for i in range(limit):
            left = len(members) - i
            j = i + int.from_bytes(self._entropy.take(4), "big") % left
            members[i], members[j] = members[j], members[i]
        return members[:limit]
