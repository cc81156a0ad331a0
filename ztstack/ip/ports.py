"""Chooses local ports that nobody uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ztstack.base.entropy import Entropy
from ztstack.base.errors import PortInUse

EPHEMERAL_FIRST: Final = 49152
EPHEMERAL_LAST: Final = 65535
_COUNT: Final = EPHEMERAL_LAST - EPHEMERAL_FIRST + 1


def choose_port(entropy: Entropy, is_used: Callable[[int], bool]) -> int:
    """Return a random free port of the ephemeral range; PortInUse if there is none."""
    # 16384 divides 65536, so no port is likelier than another.
    start = int.from_bytes(entropy.take(2), "big") % _COUNT
    for step in range(_COUNT):
        port = EPHEMERAL_FIRST + (start + step) % _COUNT
        if not is_used(port):
            return port
    raise PortInUse(f"all ports from {EPHEMERAL_FIRST} to {EPHEMERAL_LAST} are in use")
