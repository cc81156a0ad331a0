"""Flows: what belongs together and should arrive in the order in which it was sent."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Final

from ztstack.base.limits import BoundedMap
from ztstack.base.timers import SECOND
from ztstack.bonding.lane import Lane

MAX_FLOWS: Final = 65_536
EXPIRY_US: Final = 120 * SECOND
PAUSE_US: Final = SECOND // 5
"""A flow that has paused for so long may take another path: nothing of it is on its way."""
_TCP, _UDP, _SCTP, _UDPLITE = 6, 17, 132, 136
_WITH_PORTS: Final = frozenset((_TCP, _UDP, _SCTP, _UDPLITE))
_PLAIN_IPV4: Final = 0x45
_LEAST_NEEDED: Final = 20
_PORTS_IPV4, _PORTS_IPV6 = 24, 44
_NOTE_US: Final = SECOND // 20
"""A flow's last packet is noted no oftener than that."""


def flow_of(header: bytes, body: bytes | memoryview) -> int:
    """Return a number for the flow of an IP packet, 0 if it is none (bonding 4.1).

    Addresses count too, and fragments, which have no ports, keep together by their addresses.
    """
    start = header
    if len(header) < (_PORTS_IPV4 if header[:1] == b"E" else _PORTS_IPV6):
        start = header + bytes(body[:_PORTS_IPV6])
    if len(start) < _LEAST_NEEDED:
        return 0
    first = start[0]
    if first == _PLAIN_IPV4 and not (start[6] & 0x3F or start[7]):
        # Addresses and ports stand side by side.
        protocol = start[9]
        return zlib.crc32(start[12:24] if protocol in _WITH_PORTS else start[12:20], protocol) or 1
    if first >> 4 == 4:
        at, protocol, key = (first & 15) * 4, start[9], start[12:20]
        has_ports = not (start[6] & 0x3F or start[7])
    elif first >> 4 == 6 and len(start) >= 40:
        at, protocol, key = 40, start[6], start[8:40]
        has_ports = True
    else:
        return 0
    if has_ports and protocol in _WITH_PORTS:
        key += start[at : at + 4]
    return zlib.crc32(key, protocol) or 1


class Flows:
    """Which lane each flow has; a new one gets the lane with the fewest."""

    def __init__(self) -> None:
        self._lanes: BoundedMap[int, tuple[Lane, int]] = BoundedMap(MAX_FLOWS)

    def lane(self, now: int, flow: int, lanes: Sequence[Lane]) -> Lane:
        """Return the lane of a flow; it stays on one that is among those given."""
        found = self._lanes.get(flow)
        if found is not None:
            lane, last = found
            if lane in lanes:
                quiet = now - last
                if quiet < _NOTE_US:
                    return lane
                fewest = min(one.flows for one in lanes) if quiet > PAUSE_US else lane.flows
                if lane.flows <= fewest + 1:
                    self._lanes.set(flow, (lane, now))
                    return lane
            lane.flows -= 1
        elif len(self._lanes) >= MAX_FLOWS:
            self.expire(now)
            if len(self._lanes) >= MAX_FLOWS:
                return lanes[flow % len(lanes)]
        lane = min(lanes, key=lambda one: one.flows)
        lane.flows += 1
        self._lanes.set(flow, (lane, now))
        return lane

    def forget(self, lane: Lane) -> None:
        """Let go of a lane that is no more."""
        for flow, (one, _) in self._lanes.items():
            if one is lane:
                self._lanes.pop(flow)

    def expire(self, now: int) -> None:
        for flow, (lane, last) in self._lanes.items():
            if now - last >= EXPIRY_US:
                lane.flows -= 1
                self._lanes.pop(flow)

    def __len__(self) -> int:
        return len(self._lanes)
