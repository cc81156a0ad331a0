"""The bond with one peer: which of its paths each packet takes."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp
from typing import Final, Protocol

from ztstack.base.datagram import ALL_SOCKETS
from ztstack.base.endpoint import Endpoint
from ztstack.base.timers import SECOND
from ztstack.bonding.flows import Flows, flow_of
from ztstack.bonding.lane import LOSS_WEIGHT, Lane, LaneState
from ztstack.bonding.report import BondReport, LinkReport
from ztstack.bonding.settings import BondPolicy, LinkSettings, PolicySettings, Reselect
from ztstack.vl1.chooser import Packets, Share
from ztstack.vl1.path import Path, PathKey
from ztstack.vl1.peer import Peer

ACTIVE_US: Final = 30 * SECOND
"""Paths are watched closely for so long after the last packet."""
STAY_US: Final = 10 * SECOND
BETTER_US: Final = 25_000
"""A path is left for one that is quicker by so much, after it was in use for so long."""
EXPIRY_US: Final = 10 * SECOND
OVERHEAD: Final = 60
"""What stands in front of an IP packet on the wire, about."""
SHARE_US: Final = SECOND
_SHARE_WEIGHT: Final = 0.5
_REASONS: Final = {
    BondPolicy.BROADCAST: "each gets every packet",
    BondPolicy.BALANCE_RR: "each in its turn",
    BondPolicy.BALANCE_XOR: "flows are shared evenly",
    BondPolicy.BALANCE_AWARE: "what arrives first goes here",
}


class Locator(Protocol):
    """Knows by which interface of this machine a datagram would leave."""

    def interface_to(self, socket: int, remote: Endpoint) -> str:
        """Return its name; empty if there is none, or nobody knows."""
        ...


class Bond:
    """Paths to one peer, and the policy for them."""

    def __init__(
        self,
        now: int,
        peer: Peer,
        settings: PolicySettings,
        locator: Locator,
        *,
        warmup: bool,
        unused: tuple[str, ...] = (),
    ) -> None:
        self.peer = peer
        self.settings = settings
        self.lanes: list[Lane] = []
        self.usable: list[Lane] = []
        self._striped: list[Lane] = []
        self._is_doubtful = False
        self.last_used = now
        self.warmups = 0
        self._warmup = warmup
        self._locator = locator
        self._unused = unused
        self._interfaces: dict[PathKey, str] = {}
        self._flows = Flows()
        self._current: Lane | None = None
        self._chosen_at = now
        self._turn = 0
        self._expire_at = now + EXPIRY_US
        self._share_at = now + SHARE_US

    # The paths.

    def sync(self, now: int) -> None:
        """Take new paths in and let go of those that the peer no longer has."""
        paths = [
            entry.path
            for entry in self.peer.entries
            if entry.path.key.socket != ALL_SOCKETS and self._is_allowed(entry.path)
        ]
        if len(paths) == len(self.lanes) and all(
            lane.path is path for lane, path in zip(self.lanes, paths, strict=True)
        ):
            return
        known = {lane.path.key: lane for lane in self.lanes}
        self.lanes = []
        self._interfaces.clear()
        for path in paths:
            lane = known.pop(path.key, None)
            if lane is None:
                lane = Lane(now, path, self._interface_to(path.key), self.settings)
            lane.path = path
            self._limit(lane)
            self.lanes.append(lane)
        self.review()
        for lane in known.values():
            self._flows.forget(lane)
            if lane is self._current:
                self._current = None

    def interfaces_changed(self, now: int) -> None:
        """Ask anew by which interfaces the paths leave, and whether they work."""
        self._interfaces.clear()
        for lane in self.lanes:
            found = self._interface_to(lane.path.key)
            if found == lane.interface or not lane.interface:
                lane.interface = found
                lane.doubt(now)
            elif lane.state is not LaneState.DEAD:
                lane.fail(now)
            else:
                lane.interface = found
            self._limit(lane)
        self.review()

    def _limit(self, lane: Lane) -> None:
        """Let datagrams on a path be no longer than its link bears."""
        link = self._link(lane)
        lane.path.mtu = link.mtu if link is not None else 0

    def _link(self, lane: Lane) -> LinkSettings | None:
        return self.settings.links.get(lane.interface)

    def _is_allowed(self, path: Path) -> bool:
        """Only the links that a policy names may be used, if it names any (bonding 2.5)."""
        links = self.settings.links
        if not links and not self._unused:
            return True
        interface = self._interface_to(path.key)
        if interface.startswith(self._unused):
            return False
        if not links:
            return True
        link = links.get(interface)
        if link is None or not link.enabled:
            return False
        is_ipv4 = len(path.key.remote.ip) == 4
        return link.ip_preference not in (4, 6) or (link.ip_preference == 4) is is_ipv4

    def _interface_to(self, key: PathKey) -> str:
        """Ask the system once, and again when something has changed or some time has passed."""
        found = self._interfaces.get(key)
        if found is None:
            found = self._interfaces[key] = self._locator.interface_to(*key)
        return found

    def is_active(self, now: int) -> bool:
        return now - self.last_used < ACTIVE_US

    # Which may be used.

    def review(self) -> None:
        """Work out which paths may be used: to be called when something about them has changed."""
        self.usable = self._find_usable()
        self._striped = self._one_each(self.usable)
        known = [lane.rate / lane.capacity for lane in self.lanes if lane.is_measured]
        if 0 < len(known) < len(self.lanes):
            for lane in self.lanes:
                lane.assume(sum(known) / len(known))
        self._is_doubtful = self._warmup and not any(lane.is_confirmed for lane in self.usable)

    def _find_usable(self) -> list[Lane]:
        """Return the paths that work; those that lose packets only if there is no other."""
        up = [lane for lane in self.lanes if lane.state is LaneState.UP]
        if not up:
            up = [lane for lane in self.lanes if lane.state is LaneState.RETURNING]
        if not up:
            # When all fall silent at once, it is rather the peer that is held up.
            up = [lane for lane in self.lanes if lane.state is LaneState.SUSPECT]
        good = [lane for lane in up if not lane.avoided and not self._is_poor(lane)]
        return self._primaries(good or up)

    def _is_poor(self, lane: Lane) -> bool:
        """Tell whether a path is beyond what its owner wants to bear."""
        most = self.settings.quality
        return most is not None and (
            lane.one_way_us > most.max_latency_ms * 1000
            or lane.variance_us > most.max_variance_ms * 1000
            or lane.loss > max(most.max_loss, LOSS_WEIGHT)
        )

    def _primaries(self, lanes: list[Lane]) -> list[Lane]:
        """Leave spare links out as long as a primary one works."""
        if not self.settings.links:
            return lanes
        primary = [
            lane for lane in lanes if (link := self._link(lane)) is not None and link.is_primary
        ]
        return primary or lanes

    def _one_each(self, lanes: list[Lane]) -> list[Lane]:
        """Return the first path of each link: two of one cable carry no more than one."""
        if len(lanes) < 2:
            return lanes
        best: dict[str | bytes, Lane] = {}
        for lane in sorted(lanes, key=self._is_of_other_family):
            best.setdefault(lane.interface or lane.path.key.remote.ip, lane)
        return list(best.values())

    def _is_of_other_family(self, lane: Lane) -> bool:
        link = self._link(lane)
        preference = link.ip_preference if link is not None else 0
        return preference in (46, 64) and (preference == 46) is not lane.path.key.remote.is_ipv4

    # Choosing.

    @property
    def current(self) -> Lane | None:
        """The path that single messages, and all with one path in use, take."""
        return self._current

    def route(self, now: int) -> Path | None:
        """Return the path for a single message."""
        self.last_used = now
        lane = self._single(now, self._striped if self.settings.links else self.usable)
        return lane.path if lane is not None else None

    def shares(self, now: int, packets: Packets) -> Sequence[Share]:
        """Divide a burst; named by tests/bench/bonding.py.

        As long as no path is confirmed, or when all have fallen silent, the root is to carry a
        copy of each packet.
        """
        self.last_used = now
        lanes = self.usable
        if not lanes:
            return ()
        shares = self._divide(now, lanes, packets)
        if not self._is_doubtful:
            return shares
        self.warmups += len(packets)
        return [share._replace(by_relay=True) for share in shares]

    def _divide(self, now: int, lanes: list[Lane], packets: Packets) -> Sequence[Share]:
        policy = self.settings.policy
        if policy is BondPolicy.BROADCAST:
            lanes = [lane for lane in self.lanes if lane.answers] or lanes
            return (Share([lane.path for lane in lanes], packets),)
        if len(lanes) > 1:
            if policy is BondPolicy.BALANCE_RR:
                return self._round_robin(self._striped, packets)
            if policy is BondPolicy.BALANCE_XOR:
                return self._by_flow(now, self._striped, packets)
            if policy is BondPolicy.BALANCE_AWARE:
                return self._by_arrival(now, self._striped, packets)
        lane = self._single(now, self._striped if self.settings.links else lanes)
        assert lane is not None
        return (Share((lane.path,), packets),)

    def _single(self, now: int, lanes: list[Lane]) -> Lane | None:
        if not lanes:
            self._current = None
            return None
        current = self._current
        if current in lanes:
            assert current is not None
            if len(lanes) == 1 or now - self._chosen_at < STAY_US:
                return current
            best = self._best(lanes)
            if best is current or not self._is_worth(current, best):
                return current
            return self._take(now, best)
        return self._take(now, self._best(self._successors(lanes)))

    def _successors(self, lanes: list[Lane]) -> list[Lane]:
        """Return the paths of the link that is to follow the one that failed, if they work."""
        link = self._link(self._current) if self._current is not None else None
        named = [lane for lane in lanes if link is not None and lane.interface == link.failover_to]
        return named or lanes

    def _take(self, now: int, lane: Lane) -> Lane:
        self._current = lane
        self._chosen_at = now
        return lane

    def _best(self, lanes: list[Lane]) -> Lane:
        """Return the quickest path, or one that the peer would like and that is not much slower."""
        best = min(lanes, key=self._rank)
        wanted = next((lane for lane in lanes if lane.is_wanted), best)
        if best.rtt_us is None or wanted.rtt_us is None:
            return best
        return wanted if wanted.rtt_us <= best.rtt_us + BETTER_US else best

    def _rank(self, lane: Lane) -> float:
        """Return a figure for a path, the lower the better: its time or quality (bonding 3)."""
        most = self.settings.quality
        if lane.rtt_us is None:
            return 1e9
        if most is None:
            return lane.rtt_us
        return -(
            most.latency_weight * exp(-4 * lane.one_way_us / (most.max_latency_ms * 1000))
            + most.variance_weight * exp(-4 * lane.variance_us / (most.max_variance_ms * 1000))
            + most.loss_weight * exp(-4 * lane.loss / most.max_loss)
            + most.errors_weight * exp(-4 * lane.errors / most.max_errors)
        )

    def _is_worth(self, current: Lane, best: Lane) -> bool:
        """Tell whether to leave a path that works for a better one."""
        if self.settings.reselect is Reselect.FAILURE or best.rtt_us is None:
            return False
        if best.is_wanted and not current.is_wanted:
            return True
        return current.rtt_us is None or best.rtt_us + BETTER_US < current.rtt_us

    def _round_robin(self, lanes: list[Lane], packets: Packets) -> Sequence[Share]:
        count, run = len(lanes), self.settings.packets_per_link
        if len(packets) == 1:
            self._turn = (self._turn + 1) % (count * run)
            return (Share((lanes[self._turn // run].path,), packets),)
        parts: list[list[tuple[bytes, bytes | memoryview]]] = [[] for _ in lanes]
        turn = self._turn
        for packet in packets:
            turn = turn + 1 if turn + 1 < count * run else 0
            parts[turn // run].append(packet)
        self._turn = turn
        return [Share((lane.path,), part) for lane, part in zip(lanes, parts, strict=True) if part]

    def _by_flow(self, now: int, lanes: list[Lane], packets: Packets) -> Sequence[Share]:
        parts: dict[Lane, list[tuple[bytes, bytes | memoryview]]] = {}
        if len(packets) == 1:
            lane = self._flows.lane(now, flow_of(*packets[0]), lanes)
            return (Share((lane.path,), packets),)
        last, lane = b"", lanes[0]
        for packet in packets:
            header = packet[0]
            first = header[:1]
            # Addresses and ports stand side by side, unless there is something in between.
            mark = header[12:24] if first == b"E" else header[8:44] if first == b"`" else b""
            if mark != last or not mark:
                lane, last = self._flows.lane(now, flow_of(*packet), lanes), mark
            part = parts.get(lane)
            if part is None:
                part = parts[lane] = []
            part.append(packet)
        return [Share((lane.path,), part) for lane, part in parts.items()]

    def _by_arrival(self, now: int, lanes: list[Lane], packets: Packets) -> Sequence[Share]:
        """Send each packet where it arrives first, so that packets overtake each other little."""
        if len(packets) == 1:
            size = len(packets[0][0]) + len(packets[0][1]) + OVERHEAD
            earliest = 0.0
            chosen, until = lanes[0], 0.0
            for lane in lanes:
                start = lane.busy_until
                sent = (max(now, start)) + size / lane.rate
                arrival = sent + lane.one_way_us
                if not earliest or arrival < earliest:
                    earliest, chosen, until = arrival, lane, sent
            chosen.busy_until = until
            return (Share((chosen.path,), packets),)
        free = [max(float(now), lane.busy_until) for lane in lanes]
        rates = [lane.rate for lane in lanes]
        delays = [lane.one_way_us for lane in lanes]
        parts: list[list[tuple[bytes, bytes | memoryview]]] = [[] for _ in lanes]
        others = range(1, len(lanes))
        for packet in packets:
            size = len(packet[0]) + len(packet[1]) + OVERHEAD
            best, sent = 0, free[0] + size / rates[0]
            earliest = sent + delays[0]
            for index in others:
                done = free[index] + size / rates[index]
                if done + delays[index] < earliest:
                    best, sent, earliest = index, done, done + delays[index]
            free[best] = sent
            parts[best].append(packet)
        found = []
        for lane, part, until in zip(lanes, parts, free, strict=True):
            if part:
                lane.busy_until = until
                found.append(Share((lane.path,), part))
        return found

    # Time and views.

    def tick(self, now: int) -> None:
        self.sync(now)
        for lane in self.lanes:
            lane.tick(now)
        self.review()
        if now >= self._expire_at:
            self._expire_at = now + EXPIRY_US
            self._flows.expire(now)
            self._interfaces.clear()
        if now >= self._share_at:
            self._share_at = now + SHARE_US
            self._measure_shares()

    def _measure_shares(self) -> None:
        sent = [lane.path.bytes_out - lane.seen_out for lane in self.lanes]
        total = sum(sent)
        for lane, count in zip(self.lanes, sent, strict=True):
            lane.seen_out = lane.path.bytes_out
            part = count / total if total else 0.0
            lane.share += (part - lane.share) * _SHARE_WEIGHT
            lane.count_errors()

    def report(self) -> BondReport:
        usable = self.usable
        return BondReport(
            peer=self.peer.address,
            policy=self.settings.policy.value,
            links=tuple(self._link_report(lane, usable) for lane in self.lanes),
            warmups=self.warmups,
            duplicates=self.peer.duplicates.count if self.peer.duplicates is not None else 0,
        )

    def _link_report(self, lane: Lane, usable: list[Lane]) -> LinkReport:
        state, reason = self._words(lane, usable)
        known = lane.rtt_us is not None
        return LinkReport(
            socket=lane.path.key.socket,
            remote=lane.path.key.remote,
            interface=lane.interface,
            state=state,
            reason=reason,
            rtt_ms=round((lane.rtt_us or 0.0) / 1000, 3) if known else -1.0,
            variance_ms=round(lane.variance_us / 1000, 3) if known else -1.0,
            loss=round(lane.loss, 4),
            errors=round(lane.errors, 6),
            rate_bytes=round(lane.rate * 1e6) if lane.is_measured else -1.0,
            share=round(lane.share, 3),
            sent_bytes=lane.path.bytes_out,
            received_bytes=lane.path.bytes_in,
            flows=lane.flows,
        )

    def _words(self, lane: Lane, usable: list[Lane]) -> tuple[str, str]:
        match lane.state:
            case LaneState.SUSPECT:
                return "suspect", "the last questions were not answered"
            case LaneState.DEAD:
                return "dead", "no answer"
            case LaneState.RETURNING if lane not in usable:
                return "returning", "it answers again and has to prove itself"
            case _:
                pass
        if lane not in usable:
            return "standby", "it loses packets" if lane.avoided else "its link is a spare one"
        policy = self.settings.policy
        if policy in (BondPolicy.OFF, BondPolicy.ACTIVE_BACKUP):
            if lane is self._current:
                return "active", "the best when it was chosen"
            return "standby", "another one is in use"
        if policy is not BondPolicy.BROADCAST and lane not in self._striped:
            return "standby", "another one by its interface is in use"
        return "active", _REASONS[policy]
