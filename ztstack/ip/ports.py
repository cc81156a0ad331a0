"""Chooses local ports that nobody uses."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from typing import Final

from ztstack.base.entropy import Entropy
from ztstack.base.errors import PortInUse

EPHEMERAL_FIRST: Final = 49152
EPHEMERAL_LAST: Final = 65535
_COUNT: Final = EPHEMERAL_LAST - EPHEMERAL_FIRST + 1
_SECRET_BYTES: Final = 32
_COUNTERS: Final = struct.Struct(">256H")


def choose_port(entropy: Entropy, is_used: Callable[[int], bool]) -> int:
    """Return a random free port of the ephemeral range; PortInUse if there is none."""
    # 16384 divides 65536, so no port is likelier than another.
    start = int.from_bytes(entropy.take(2), "big") % _COUNT
    for step in range(_COUNT):
        port = EPHEMERAL_FIRST + (start + step) % _COUNT
        if not is_used(port):
            return port
    raise PortInUse(f"all ports from {EPHEMERAL_FIRST} to {EPHEMERAL_LAST} are in use")


class EphemeralPorts:
    """Local ports of connections that we open (RFC 6056 section 3.3.4, "double-hash").

    Where a peer's ports begin nobody else can guess, and they are not used again before all others
    were: what an old connection with the same ends has left under way meets no new one.
    """

    def __init__(self, entropy: Entropy) -> None:
        self._entropy = entropy
        self._secret = b""
        self._counters: list[int] = []

    def choose(
        self, local_ip: bytes, remote_ip: bytes, remote_port: int, is_used: Callable[[int], bool]
    ) -> int:
        """Return the next port for these ends that is not used; PortInUse if there is none."""
        if not self._secret:
            self._secret = self._entropy.take(_SECRET_BYTES)
            self._counters = list(_COUNTERS.unpack(self._entropy.take(_COUNTERS.size)))
        ends = local_ip + remote_ip + remote_port.to_bytes(2, "big")
        hashed = hashlib.blake2b(ends, digest_size=3, key=self._secret).digest()
        offset, index = int.from_bytes(hashed[:2], "big"), hashed[2]
        for _ in range(_COUNT):
            port = EPHEMERAL_FIRST + (offset + self._counters[index]) % _COUNT
            self._counters[index] = (self._counters[index] + 1) % _COUNT
            if not is_used(port):
                return port
        raise PortInUse(f"all ports from {EPHEMERAL_FIRST} to {EPHEMERAL_LAST} are in use")
