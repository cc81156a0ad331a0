"""The physical network: an internet of sites, their links, and one queue of events."""

from __future__ import annotations

import hashlib
import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from ztstack.base.endpoint import Endpoint
from ztstack.base.timers import MILLISECOND
from ztstack.sim.nat import Nat

LAN_LATENCY_US: Final = 200
INTERNET_HOPS: Final = 8
"""Routers on the way between two sites; one with address translation is the first of them."""
_UDP_HEADERS4: Final = 28
_UDP_HEADERS6: Final = 48


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a link does to the datagrams that cross it; chances are 0 to 1, in each direction.

    A datagram that is `reorder`ed waits up to four latencies longer than its neighbours. One larger
    than `mtu` bytes, headers included, is lost: nobody fragments and nobody says so.

    A wire that was laid may have a rate; what it cannot carry at once waits in front of it, and is
    lost if that would be for longer than `queue_us`.
    """

    latency_us: int = 10 * MILLISECOND
    jitter_us: int = 0
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    corrupt: float = 0.0
    mtu: int = 65_535
    rate_mbit: float = 0.0
    queue_us: int = 50 * MILLISECOND

    @property
    def is_plain(self) -> bool:
        """Tell whether nothing but time happens on the link."""
        return not (self.jitter_us or self.loss or self.duplicate or self.reorder or self.corrupt)


_FINE: Final = Conditions()


class Receiver(Protocol):
    """What is behind a machine's sockets."""

    def receive(self, local: Endpoint, remote: Endpoint, data: bytes) -> None: ...


class Machine:
    """A machine with its addresses, at the internet itself or behind a router."""

    def __init__(self, name: str, ips: tuple[bytes, ...], router: Nat | None = None) -> None:
        self.name = name
        self.ips = ips
        self.router = router
        self.conditions = Conditions()
        self.group = 0
        """Machines of different groups do not hear each other: a partition."""
        self.receiver: Receiver | None = None

    def ip_of_size(self, size: int) -> bytes | None:
        """Return the first address of 4 or of 16 bytes."""
        for ip in self.ips:
            if len(ip) == size:
                return ip
        return None

    def __repr__(self) -> str:
        return f"Machine({self.name})"


class Network:
    """Carries datagrams between machines, and knows the time.

    `digest` sums up everything that was delivered, and so tells one run from another.
    """

    def __init__(self, seed: int | str, start_us: int) -> None:
        self.now = start_us
        self.digest = hashlib.sha256()
        self.delivered = 0
        self.lost = 0
        self.cuts: set[tuple[str, str]] = set()
        """Pairs of machine names: nothing comes directly from the first to the second."""
        self.wires: dict[tuple[bytes, bytes], Conditions] = {}
        """What a datagram from one address to another meets, instead of the internet."""
        self._wired: set[bytes] = set()
        self._busy_until: dict[tuple[bytes, bytes], float] = {}
        self._random = random.Random(f"network {seed}")
        self._machines: dict[bytes, Machine] = {}
        self._routers: dict[bytes, Nat] = {}
        self._inside: dict[tuple[int, bytes], Machine] = {}
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0

    # The map.

    def attach(self, machine: Machine) -> None:
        """Put a machine where its addresses and its router say."""
        for ip in machine.ips:
            if machine.router is not None and len(ip) == 4:
                self._inside[id(machine.router), ip] = machine
                self._routers[machine.router.ip] = machine.router
            else:
                self._machines[ip] = machine

    def move(self, machine: Machine, ips: tuple[bytes, ...], router: Nat | None) -> None:
        """Give a machine other addresses; nothing tells it."""
        for ip in machine.ips:
            self._machines.pop(ip, None)
            self._inside.pop((id(machine.router), ip), None)
        machine.ips, machine.router = ips, router
        self.attach(machine)

    def reboot(self, router: Nat, ip: bytes | None = None) -> None:
        """Let a router forget its mappings, and take another address if one is given."""
        self._routers.pop(router.ip, None)
        router.reboot(ip)
        self._routers[router.ip] = router

    def cut(self, one: Machine, other: Machine) -> None:
        """Cut the way from one machine to the other, in this direction only."""
        self.cuts.add((one.name, other.name))

    def heal(self, one: Machine, other: Machine) -> None:
        self.cuts.discard((one.name, other.name))

    def lay(self, one: bytes, other: bytes, conditions: Conditions, *, only: bool = True) -> None:
        """Lay a wire between two addresses; nobody else can reach them then if it is the `only`."""
        if only:
            self._wired |= {one, other}
        self.wires[one, other] = self.wires[other, one] = conditions

    # Datagrams.

    def send(
        self,
        sender: Machine,
        port: int,
        remote: Endpoint,
        data: bytes,
        ttl: int = 0,
        source_ip: bytes | None = None,
    ) -> None:
        """Send one datagram from `port`; with a `ttl` it may die on the way (RFC 791)."""
        if source_ip is None:
            source_ip = sender.ip_of_size(len(remote.ip))
        if source_ip is None:
            return
        source = Endpoint(source_ip, port)
        wire = self.wires.get((source_ip, remote.ip)) if self.wires else None
        if wire is not None:
            wait = self._wait(wire, (source_ip, remote.ip), len(data))
            if wait > wire.queue_us:
                self.lost += 1
                return
            self._cross((wire,), wire.latency_us + wait, sender, source, remote, data)
            return
        if source_ip in self._wired or remote.ip in self._wired:
            return
        router = sender.router if len(source_ip) == 4 else None
        if router is not None and (neighbour := self._inside.get((id(router), remote.ip))):
            self._fly(sender, neighbour.conditions, source, remote, data, neighbour)
            return
        if router is not None and ttl != 1:
            source = router.outbound(self.now, source, remote)
        if 0 < ttl <= INTERNET_HOPS:
            return
        target = self._machines.get(remote.ip)
        conditions = target.conditions if target is not None else _FINE
        self._fly(sender, conditions, source, remote, data, target)

    def _wait(self, wire: Conditions, ends: tuple[bytes, bytes], length: int) -> int:
        """Return how long a datagram waits and is being sent; if that is not too long, it is."""
        if not wire.rate_mbit:
            return 0
        headers = _UDP_HEADERS4 if len(ends[0]) == 4 else _UDP_HEADERS6
        free = max(self._busy_until.get(ends, 0.0), float(self.now))
        free += 8 * (length + headers) / wire.rate_mbit
        wait = round(free - self.now)
        if wait <= wire.queue_us:
            self._busy_until[ends] = free
        return wait

    def _fly(
        self,
        sender: Machine,
        far: Conditions,
        source: Endpoint,
        remote: Endpoint,
        data: bytes,
        target: Machine | None,
    ) -> None:
        """Let a datagram meet its fate on the two links between two machines."""
        near = sender.conditions
        size = len(data) + (_UDP_HEADERS4 if len(source.ip) == 4 else _UDP_HEADERS6)
        if size > near.mtu or size > far.mtu:
            self.lost += 1
            return
        delay = near.latency_us + far.latency_us
        if target is not None and sender.router is not None and target.router is sender.router:
            delay = LAN_LATENCY_US
        self._cross((near, far), delay, sender, source, remote, data)

    def _cross(
        self,
        links: tuple[Conditions, ...],
        delay: int,
        sender: Machine,
        source: Endpoint,
        remote: Endpoint,
        data: bytes,
    ) -> None:
        copies = [delay]
        for link in links:
            if not link.is_plain:
                copies, data = self._roughen(link, copies, data)
        self.lost += not copies
        for at in copies:
            self._put(at, sender, source, remote, data)

    def _roughen(self, link: Conditions, copies: list[int], data: bytes) -> tuple[list[int], bytes]:
        chance = self._random.random
        if link.duplicate and chance() < link.duplicate:
            copies = copies * 2
        if link.loss:
            copies = [at for at in copies if chance() >= link.loss]
        if link.jitter_us:
            copies = [at + self._random.randrange(link.jitter_us) for at in copies]
        if link.reorder:
            late = 4 * link.latency_us + 1
            copies = [
                at + (self._random.randrange(late) if chance() < link.reorder else 0)
                for at in copies
            ]
        if link.corrupt and data and chance() < link.corrupt:
            place = self._random.randrange(len(data))
            flipped = data[place] ^ 1 << self._random.randrange(8)
            data = data[:place] + bytes((flipped,)) + data[place + 1 :]
        return copies, data

    def _put(
        self, delay: int, sender: Machine, source: Endpoint, remote: Endpoint, data: bytes
    ) -> None:
        self.at(self.now + delay, lambda: self._arrive(sender, source, remote, data))

    def _arrive(self, sender: Machine, source: Endpoint, remote: Endpoint, data: bytes) -> None:
        local = remote
        target = self._machines.get(remote.ip)
        if target is None:
            router = self._routers.get(remote.ip)
            if router is not None:
                inside = router.inbound(self.now, source, remote.port)
                if inside is None:
                    return
                target, local = self._inside.get((id(router), inside.ip)), inside
            elif sender.router is not None:
                target = self._inside.get((id(sender.router), remote.ip))
        if target is None or target.receiver is None or target.group != sender.group:
            return
        if (sender.name, target.name) in self.cuts:
            self.lost += 1
            return
        self.delivered += 1
        note = b"%d %b/%d %b/%d " % (self.now, *source, *local)
        self.digest.update(b"".join((note, target.name.encode(), b" ", data)))
        target.receiver.receive(local, source, data)

    # Time.

    def at(self, when: int, action: Callable[[], None]) -> None:
        """Do something at a moment, now at the earliest; what is asked first is done first."""
        self._count += 1
        heapq.heappush(self._queue, (max(when, self.now), self._count, action))

    def run(self, until: int) -> None:
        """Let the time go on to `until`."""
        while self._queue and self._queue[0][0] <= until:
            self.now, _, action = heapq.heappop(self._queue)
            action()
        self.now = max(self.now, until)
