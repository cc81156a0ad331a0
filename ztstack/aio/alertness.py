"""When it is worth staying awake: as long as small questions are answered at once."""

from __future__ import annotations

from typing import Final

AWAKE_US: Final = 600
"""How long an answer to a small datagram is waited for awake, while answers come so soon.

To sleep and to be woken costs more than half of such an exchange, mostly in cold caches.
"""
SMALL_BYTES: Final = 512


class Alertness:
    """Watches what is sent and what comes; trains and silence make it sleepy."""

    __slots__ = ("_asked_at", "_is_lively", "_looked_for", "is_awake")

    def __init__(self) -> None:
        self.is_awake = False
        # When a small datagram left after which nothing came, and that for which was looked.
        self._asked_at: int | None = None
        self._looked_for: int | None = None
        self._is_lively = False

    def heard(self, now: int, size: int) -> None:
        """Note that `size` bytes came."""
        if self._asked_at is not None:
            self._is_lively = size <= SMALL_BYTES and now - self._asked_at < AWAKE_US
            self._asked_at = None

    def asked(self, now: int) -> bool:
        """Note that one small datagram was sent; tell whether to begin to stay awake."""
        self._asked_at = now
        if not self._is_lively or self.is_awake:
            return False
        self.is_awake = True
        return True

    def stays(self, now: int) -> bool:
        """Tell whether to stay awake a little longer."""
        asked_at = self._asked_at
        self.is_awake = asked_at is not None and now - asked_at < AWAKE_US
        return self.is_awake

    def looked(self) -> bool:
        """Note that the loop looks now; tell whether it has looked before for the same answer."""
        again = self._asked_at == self._looked_for
        self._looked_for = self._asked_at
        return again
