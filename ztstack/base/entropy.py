"""Where random bytes come from."""

from __future__ import annotations

from typing import Protocol


class Entropy(Protocol):
    """A source of random bytes: the system's, or a seeded one in simulations."""

    def take(self, length: int) -> bytes: ...
