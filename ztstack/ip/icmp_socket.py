"""Echo requests and replies of one interface: ping in both directions."""

from __future__ import annotations

from typing import Final, NamedTuple

from ztstack.base.codec import Writer
from ztstack.base.errors import Drop
from ztstack.base.limits import BoundedMap
from ztstack.base.timers import SECOND
from ztstack.base.trace import Tracer
from ztstack.ip.events import Event, Pong
from ztstack.ip.packets import icmpv4, icmpv6
from ztstack.ip.packets.icmpv4 import Icmpv4Message
from ztstack.ip.packets.icmpv6 import Icmpv6Message

MAX_WAITING: Final = 1024
WAIT_US: Final = 60 * SECOND
REPLIES_PER_SECOND: Final = 1000
REPLIES_AT_ONCE: Final = 100


class TokenBucket:
    """Lets `rate` things a second through, and up to `burst` at once."""

    __slots__ = ("_burst_us", "_cost_us", "_full_at")

    def __init__(self, rate: int, burst: int) -> None:
        self._cost_us = SECOND // rate
        self._burst_us = self._cost_us * burst
        self._full_at = 0

    def allow(self, now: int) -> bool:
        full_at = max(self._full_at, now) + self._cost_us
        if full_at - now > self._burst_us:
            return False
        self._full_at = full_at
        return True


class _Asked(NamedTuple):
    ip: bytes
    identifier: int
    sequence: int


class EchoSocket:
    """Remembers whom we pinged, and answers who pings us; replies go to `events`."""

    def __init__(self, tracer: Tracer, events: list[Event]) -> None:
        self._tracer = tracer
        self._waiting: BoundedMap[_Asked, int] = BoundedMap(MAX_WAITING)
        self._bucket = TokenBucket(REPLIES_PER_SECOND, REPLIES_AT_ONCE)
        self.events = events

    def request(
        self, now: int, source: bytes, ip: bytes, identity: tuple[int, int], data: bytes
    ) -> bytes:
        """Return the echo request with (identifier, sequence) and wait for its reply."""
        identifier, sequence = identity
        self._waiting.set(_Asked(ip, identifier, sequence), now)
        word = identifier << 16 | sequence
        w = Writer()
        if len(ip) == 4:
            Icmpv4Message(icmpv4.ECHO_REQUEST, 0, word, data).encode(w)
        else:
            Icmpv6Message(icmpv6.ECHO_REQUEST, 0, word, data).encode(w, source, ip)
        return w.getvalue()

    def reply(
        self, now: int, source: bytes, ip: bytes, message: Icmpv4Message | Icmpv6Message
    ) -> bytes | None:
        """Answer a request of `ip`; None if too many came."""
        if not self._bucket.allow(now):
            self._tracer.drop(Drop.RATE_LIMITED, "icmp")
            return None
        w = Writer()
        if isinstance(message, Icmpv4Message):
            Icmpv4Message(icmpv4.ECHO_REPLY, 0, message.word, message.body).encode(w)
        else:
            answer = Icmpv6Message(icmpv6.ECHO_REPLY, 0, message.word, message.body)
            answer.encode(w, source, ip)
        return w.getvalue()

    def receive_reply(self, now: int, ip: bytes, word: int, data: bytes) -> None:
        identifier, sequence = word >> 16, word & 0xFFFF
        asked = self._waiting.pop(_Asked(ip, identifier, sequence))
        if asked is None or now - asked > WAIT_US:
            self._tracer.drop(Drop.UNEXPECTED_REPLY, "icmp")
            return
        self.events.append(Pong(ip, identifier, sequence, data))

    def is_waiting_for(self, ip: bytes) -> bool:
        """Tell whether an echo request to `ip` was not answered yet."""
        return any(asked.ip == ip for asked in self._waiting)
