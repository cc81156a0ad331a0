"""Messages that came before the credential or the identity that they need (vl2 section 2.10)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from ztstack.base.address import Address
from ztstack.base.timers import SECOND

PARKED_LIMIT: Final = 64
PARKED_PER_NODE: Final = 16
PARKED_LIFE_US: Final = 5 * SECOND


class Parked(NamedTuple):
    """A message that waits; `is_answer` if it was the body of an OK."""

    deadline: int
    source: Address
    verb: int
    packet_id: int
    payload: bytes
    is_answer: bool


class Parking:
    """A bounded place to wait in; nobody can take all of it."""

    __slots__ = ("_parked",)

    def __init__(self) -> None:
        self._parked: list[Parked] = []

    def put(
        self,
        now: int,
        source: Address,
        verb: int,
        packet_id: int,
        payload: bytes,
        *,
        is_answer: bool = False,
    ) -> bool:
        """Park a message; tell whether another one had to go for it."""
        deadline = now + PARKED_LIFE_US
        entry = Parked(deadline, source, verb, packet_id, payload, is_answer)
        mine = [parked for parked in self._parked if parked.source == source]
        pushed_out = True
        if len(mine) >= PARKED_PER_NODE:
            self._parked.remove(mine[0])
        elif len(self._parked) >= PARKED_LIMIT:
            del self._parked[0]
        else:
            pushed_out = False
        self._parked.append(entry)
        return pushed_out

    def take_ready(self, is_ready: Callable[[Parked], bool]) -> list[Parked]:
        """Remove and return what need not wait any longer, in order of arrival."""
        if not self._parked:
            return []
        ready: list[Parked] = []
        waiting: list[Parked] = []
        for parked in self._parked:
            (ready if is_ready(parked) else waiting).append(parked)
        self._parked = waiting
        return ready

    def take_expired(self, now: int) -> list[Parked]:
        return self.take_ready(lambda parked: parked.deadline <= now)

    def clear(self) -> None:
        self._parked.clear()

    def next_timer(self) -> int | None:
        # They are in the order of their deadlines.
        return self._parked[0].deadline if self._parked else None

    def __len__(self) -> int:
        return len(self._parked)
