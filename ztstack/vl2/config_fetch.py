"""Asking the controller for a configuration until it answers, then renewing it (vl2 2.6, 8.1)."""

from __future__ import annotations

from typing import Final

from ztstack.base.codec import Writer
from ztstack.base.errors import DecodeError
from ztstack.base.network_id import NetworkId
from ztstack.base.timers import SECOND
from ztstack.crypto.identity import Identity
from ztstack.vl2.events import NetworkStatus, Output, SendMessage, StatusChanged
from ztstack.wire.network_config import MAX_CHUNKS, ConfigChunk, ConfigRequest, default_metadata
from ztstack.wire.verbs import Verb

FIRST_RETRIES_US: Final = (1 * SECOND, 2 * SECOND, 2 * SECOND)
"""A first question is easily lost, or comes before a root is there, so the next ones come soon."""
RETRY_US: Final = 5 * SECOND
RENEW_US: Final = 60 * SECOND
REFUSED_RETRY_US: Final = 2 * SECOND
"""Whoever was refused waits for an administrator, who sits there now; later RETRY_US will do."""
EAGER_US: Final = 120 * SECOND
DOUBT_US: Final = 5 * SECOND
"""So often at most the doubts of others make us ask; any member can have some."""
ASSEMBLIES: Final = 3


class _Assembly:
    """One update on its way in; nothing is in it that the controller did not sign."""

    __slots__ = ("chunk_ids", "data", "received", "total", "update_id", "used")

    def __init__(self, update_id: int, total: int) -> None:
        self.update_id = update_id
        self.total = total
        self.data = bytearray()
        self.chunk_ids: set[int] = set()
        self.received = 0
        self.used = 0


class ConfigAssembler:
    """Joins the chunks of at most ASSEMBLIES updates; a later update pushes out the oldest."""

    __slots__ = ("_slots", "_use_counter")

    def __init__(self) -> None:
        self._slots: list[_Assembly] = []
        self._use_counter = 0

    def is_known(self, chunk: ConfigChunk) -> bool:
        """Tell whether this very chunk was taken already, which is what stops loops of copies."""
        return any(
            slot.update_id == chunk.update_id and chunk.chunk_id in slot.chunk_ids
            for slot in self._slots
        )

    def add(self, chunk: ConfigChunk, controller: Identity) -> bytes | None:
        """Take a new signed chunk; return the whole text if it was the last one that lacked."""
        chunk.verify(controller)
        assert chunk.update_id is not None
        slot = self._slot(chunk.update_id, chunk.total)
        if slot.total != chunk.total or len(slot.chunk_ids) >= MAX_CHUNKS:
            raise DecodeError("chunks of a configuration that do not fit together")
        slot.chunk_ids.add(chunk.chunk_id)
        if slot.received >= slot.total > 0:
            return None
        if not slot.data:
            slot.data = bytearray(slot.total)
        slot.data[chunk.offset : chunk.offset + len(chunk.data)] = chunk.data
        slot.received += len(chunk.data)
        if slot.received < slot.total:
            return None
        # The ids stay, so that copies that come late are still known.
        data, slot.data = bytes(slot.data), bytearray()
        return data if slot.received == slot.total else None

    def _slot(self, update_id: int, total: int) -> _Assembly:
        self._use_counter += 1
        for slot in self._slots:
            if slot.update_id == update_id:
                slot.used = self._use_counter
                return slot
        if len(self._slots) >= ASSEMBLIES:
            self._slots.remove(min(self._slots, key=lambda slot: slot.used))
        slot = _Assembly(update_id, total)
        slot.used = self._use_counter
        self._slots.append(slot)
        return slot


class ConfigFetch:
    """When to ask, and what the answers make of the network's status.

    The first question says that no configuration is held, even if there is one from the cache:
    revocations are not kept, and the controller tells them again to whoever begins.
    """

    def __init__(self, now: int, network: NetworkId, *, is_cached: bool) -> None:
        self.network = network
        self.detail = ""
        self._failure: NetworkStatus | None = None
        self._has_config = is_cached
        self._revision = 0
        self._timestamp = 0
        self._attempts = 0
        self._started = now
        self._asked_at: int | None = None
        self._ask_at: int | None = now
        self.out: list[Output] = []

    @property
    def status(self) -> NetworkStatus:
        if self._failure is not None:
            return self._failure
        return NetworkStatus.OK if self._has_config else NetworkStatus.REQUESTING

    def receive_config(self, now: int, revision: int, timestamp: int) -> None:
        """Note that a configuration for us came, whether or not it says something new."""
        self._revision, self._timestamp = revision, timestamp
        self._attempts = 0
        self._ask_at = now + RENEW_US
        before, self._failure, self._has_config = self.status, None, True
        self._note(before, "")

    def receive_refusal(self, now: int, status: NetworkStatus, detail: str = "") -> None:
        """Note that the controller does not let us in, and go on asking: it may change its mind."""
        eager = now - self._started < EAGER_US
        again = now + (REFUSED_RETRY_US if eager else RETRY_US)
        # Never later than planned, or else a stream of refusals would silence us.
        self._ask_at = again if self._ask_at is None else min(self._ask_at, again)
        before, self._failure = self.status, status
        self._note(before, detail)

    def doubt(self, now: int) -> None:
        """Ask soon: a member does not accept what the controller gave us last."""
        if self._ask_at is not None and self._asked_at is not None:
            self._ask_at = min(self._ask_at, max(now, self._asked_at + DOUBT_US))

    def stop(self) -> None:
        self._ask_at = None
        self.out.clear()

    def handle_timer(self, now: int) -> None:
        if self._ask_at is None or now < self._ask_at:
            return
        n = self._attempts
        self._attempts += 1
        self._asked_at = now
        self._ask_at = now + (FIRST_RETRIES_US[n] if n < len(FIRST_RETRIES_US) else RETRY_US)
        w = Writer()
        ConfigRequest(
            network=self.network,
            metadata=default_metadata(),
            revision=self._revision,
            timestamp=self._timestamp,
        ).encode(w)
        self.out.append(
            SendMessage(
                self.network.controller, Verb.NETWORK_CONFIG_REQUEST, w.getvalue(), compress=True
            )
        )

    def next_timer(self) -> int | None:
        return self._ask_at

    def take_output(self) -> list[Output]:
        out, self.out = self.out, []
        return out

    def _note(self, before: NetworkStatus, detail: str) -> None:
        if self.status is before and self.detail == detail:
            return
        self.detail = detail
        self.out.append(StatusChanged(self.status, detail))
