"""Physical paths: where they lead, when they were used, and how good they are (vl1 6.1)."""

from __future__ import annotations

from typing import Final, NamedTuple

from ztstack.base.endpoint import Endpoint
from ztstack.base.timers import SECOND

NEVER: Final = -(1 << 62)
"""A time before all others."""

ALIVE_US: Final = 19 * SECOND
HEARTBEAT_US: Final = 14 * SECOND
TRUST_US: Final = 600 * SECOND
ECHO_GATE_US: Final = 166_000
_QUALITY_AGE_MS: Final = 140_000
_UNKNOWN_LATENCY_MS: Final = 65_535
_SCOPES: Final = 8


class PathKey(NamedTuple):
    """A local socket and a remote endpoint."""

    socket: int
    remote: Endpoint


class Path:
    """What is known about one way to a physical address; peers share it."""

    __slots__ = (
        "bad_bytes_in",
        "bytes_in",
        "bytes_out",
        "key",
        "last_confirm",
        "last_echo_in",
        "last_in",
        "last_out",
        "last_trusted_in",
        "latency_ms",
        "mtu",
        "scope",
    )

    def __init__(self, key: PathKey) -> None:
        self.key = key
        self.scope = key.remote.scope
        self.last_in = NEVER
        self.last_out = NEVER
        self.last_trusted_in = NEVER
        self.last_echo_in = NEVER
        self.last_confirm = NEVER
        self.latency_ms: int | None = None
        self.bytes_in = 0
        self.bad_bytes_in = 0
        """About how much of that was not authentic: damaged on the way, or forged."""
        self.bytes_out = 0
        self.mtu = 0
        """How long datagrams here may be, if that is not left to the physical network."""

    def is_alive(self, now: int) -> bool:
        return now - self.last_in < ALIVE_US

    def is_trusted(self, now: int) -> bool:
        return now - self.last_trusted_in < TRUST_US

    def needs_heartbeat(self, now: int) -> bool:
        return now - self.last_out >= HEARTBEAT_US

    def add_latency(self, sample_ms: int) -> None:
        sample_ms = min(max(sample_ms, 0), _UNKNOWN_LATENCY_MS - 1)
        if self.latency_ms is None:
            self.latency_ms = sample_ms
        else:
            self.latency_ms = (self.latency_ms + sample_ms) // 2

    def allow_echo(self, now: int) -> bool:
        if now - self.last_echo_in < ECHO_GATE_US:
            return False
        self.last_echo_in = now
        return True

    def quality(self, now: int) -> int:
        """Return the figure by which paths are chosen; the lower, the better."""
        latency = _UNKNOWN_LATENCY_MS if self.latency_ms is None else self.latency_ms
        age_ms = min((now - self.last_in) // 1000, _QUALITY_AGE_MS)
        if age_ms * 1000 >= ALIVE_US:
            latency += _UNKNOWN_LATENCY_MS + age_ms
        return latency * (_SCOPES - self.scope)
