"""Does all of it work on this machine? Whole nodes in virtual time, without a socket."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from ztstack.aio.entropy import SystemEntropy
from ztstack.base.endpoint import Endpoint
from ztstack.base.errors import ZtError
from ztstack.base.timers import SECOND
from ztstack.crypto.identity import Identity
from ztstack.ip.interface import Interface
from ztstack.ip.tcp.connection import Connection
from ztstack.ip.udp_socket import UdpSocket
from ztstack.sim.host import Host
from ztstack.sim.nat import NatKind
from ztstack.sim.scenario import START_US, Shape, World
from ztstack.wire.planet import official_planet

JOIN_US: Final = 30 * SECOND
STREAM_US: Final = 120 * SECOND
DATAGRAM_US: Final = 10 * SECOND
TCP_PORT: Final = 80
UDP_PORT: Final = 53
BYTES: Final = 300_000
DEEP_BYTES: Final = 10_000_000
_PIECE: Final = 65_536


class Failure(Exception):
    """A check found something wrong; the message says what."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one check went; `detail` says what was found, or what is wrong."""

    name: str
    ok: bool
    detail: str
    seconds: float


def run_checks(*, deep: bool = False) -> Iterator[Outcome]:
    """Run one check after the other; a failure does not stop the rest."""
    for name, check in _checks(deep=deep):
        began = time.monotonic()
        try:
            detail, ok = check(), True
        except (Failure, TimeoutError, ZtError, AssertionError) as error:
            detail, ok = str(error) or type(error).__name__, False
        yield Outcome(name, ok, detail, time.monotonic() - began)


def _checks(*, deep: bool) -> Iterator[tuple[str, Callable[[], str]]]:
    count = DEEP_BYTES if deep else BYTES
    yield "identities", _identities
    if deep:
        yield "a fresh identity", _fresh_identity
    yield "root and controller", _join
    yield "a stream", lambda: _stream(count, loss=0.0)
    yield "a stream under loss", lambda: _stream(count // 3, loss=0.02)
    yield "datagrams", _datagrams
    yield "crossing two routers", lambda: _routers(NatKind.PORT_RESTRICTED, direct=True)
    yield "the relay", lambda: _routers(NatKind.SYMMETRIC, direct=False)
    yield "access", _access
    if deep:
        yield "a hundred nodes", _crowd


# Identities.


def _identities() -> str:
    """Check an identity that everybody knows by the memory-hard rule."""
    roots = [root.identity for root in official_planet().roots]
    roots[0].validate()
    return f"{len(roots)} public roots; the memory-hard rule holds"


def _fresh_identity() -> str:
    identity = Identity.generate(SystemEntropy())
    Identity.parse(identity.public_text()).validate()
    return str(identity.address)


# Worlds.


def _world(members: int, kind: NatKind | None = None, *, private: bool = False) -> World:
    shape = Shape(
        roots=1,
        members=0,
        private=private,
        behind_router=0.0 if kind is None else 1.0,
        shared=0.0,
        kinds=() if kind is None else (kind,),
        with_ipv6=0.0,
    )
    world = World("selftest", shape)
    for _ in range(members):
        world.add_member()
    world.start_members()
    if not private:
        world.run_until(world.are_all_joined, JOIN_US)
    return world


def _interface(world: World, host: Host) -> Interface:
    interface = host.interface(world.network_id)
    if interface is None:
        raise Failure(f"{host.name} has no interface")
    return interface


def _ip(world: World, host: Host) -> bytes:
    ip = host.ip(world.network_id)
    if ip is None:
        raise Failure(f"{host.name} has no address")
    return ip


def _join() -> str:
    world = _world(2)
    return f"two nodes joined and got addresses in {_passed(world):.1f} s of their time"


def _passed(world: World) -> float:
    return (world.network.now - START_US) / SECOND


class _Stream:
    """Bytes that one host sends to another, which sends them back; polled in virtual time."""

    def __init__(self, world: World, count: int) -> None:
        self._world = world
        self._a, self._b = world.members[:2]
        self.sent = hashlib.shake_256(b"selftest").digest(count)
        self._rest = memoryview(self.sent)
        self._listener = _interface(world, self._b).listen(self._b.now, None, TCP_PORT)
        self._there = _interface(world, self._a).connect(self._a.now, _ip(world, self._b), TCP_PORT)
        self._back: Connection | None = None
        self._waiting: list[memoryview] = []
        self._has_ended = False
        self.received = bytearray()

    def step(self) -> bool:
        """Move what can be moved; True at the end."""
        if self._there.error is not None:
            raise Failure(f"the stream broke: {self._there.error}")
        if self._there.is_established and self._rest:
            self._rest = self._rest[self._there.write(self._a.now, self._rest[:_PIECE]) :]
            if not self._rest:
                self._there.shutdown(self._a.now)
        if self._there.is_established:
            for view in self._there.read(self._a.now, 1 << 20):
                self.received += view
        if self._back is None:
            self._back = self._listener.accept()
        else:
            self._echo(self._back)
        self._a.pump()
        self._b.pump()
        return self._there.at_eof

    def _echo(self, back: Connection) -> None:
        self._waiting += back.read(self._b.now, 1 << 20)
        while self._waiting:
            taken = back.write(self._b.now, self._waiting[0])
            self._waiting[0] = self._waiting[0][taken:]
            if self._waiting[0]:
                return
            del self._waiting[0]
        if back.at_eof and not self._has_ended:
            self._has_ended = True
            back.shutdown(self._b.now)


def _stream(count: int, *, loss: float) -> str:
    world = _world(2)
    for host in world.members:
        host.machine.conditions = replace(host.machine.conditions, loss=loss)
    began = world.network.now
    stream = _Stream(world, count)
    while not stream.step():
        if world.network.now - began > STREAM_US:
            raise Failure(f"{len(stream.received)} of {count} bytes came back")
        world.run(2000)
    if hashlib.sha256(stream.received).digest() != hashlib.sha256(stream.sent).digest():
        raise Failure("other bytes came back")
    seconds = (world.network.now - began) / SECOND
    lossy = f", one packet in {1 / loss:.0f} lost" if loss else ""
    return f"{count} bytes there and back in {seconds:.1f} s of their time{lossy}"


def _datagrams() -> str:
    world = _world(2)
    _ask(world, 10)
    return "10 questions, 10 answers"


def _ask(world: World, count: int) -> None:
    """Send datagrams from one member to another, which answers each."""
    a, b = world.members[:2]
    asking = _interface(world, a).bind_udp(a.now, None, 0)
    serving = _interface(world, b).bind_udp(b.now, None, UDP_PORT)
    for number in range(count):
        asking.send(a.now, b"question %d" % number, _ip(world, b), UDP_PORT)
        a.pump()
        data, remote = _arrived(world, serving, f"question {number}")
        serving.send(b.now, data[::-1], remote.ip, remote.port)
        b.pump()
        answer, _ = _arrived(world, asking, f"answer {number}")
        if answer != (b"question %d" % number)[::-1]:
            raise Failure(f"answer {number} is another")
    asking.close()
    serving.close()


def _arrived(world: World, sock: UdpSocket, what: str) -> tuple[bytes, Endpoint]:
    deadline = world.network.now + DATAGRAM_US
    while (found := sock.receive()) is None:
        if world.network.now > deadline:
            raise Failure(f"{what} did not arrive")
        world.run(20_000)
    return found[0], found[1]


def _routers(kind: NatKind, *, direct: bool) -> str:
    world = _world(2, kind)
    _ask(world, 10)
    a, b = world.members
    is_direct = a.node is not None and a.node.switch.has_direct_path(a.now, b.identity.address)
    if is_direct is not direct:
        raise Failure("a direct path was found" if is_direct else "no direct path was found")
    return f"{kind.value} routers on both sides: {'direct' if direct else 'relayed'}"


def _access() -> str:
    """See that a private network lets in only whom its controller knows, and puts out again."""
    world = _world(2, private=True)
    world.run(10 * SECOND)
    if any(map(world.is_joined, world.members)):
        raise Failure("a node came in without leave")
    controller = world.controller.controller
    for host in world.members:
        controller.authorize(world.controller.now, world.network_id, host.identity.address)
    world.controller.pump()
    world.run_until(world.are_all_joined, 180 * SECOND)
    _ask(world, 2)
    outsider = world.members[0].identity.address
    controller.deauthorize(world.controller.now, world.network_id, outsider)
    world.controller.pump()
    world.run(10 * SECOND)
    try:
        _ask(world, 1)
    except Failure:
        return "denied, let in, put out"
    raise Failure("a node that was put out is still heard")


def _crowd() -> str:
    world = _world(100)
    return f"all joined {_passed(world):.1f} s of their time after the first start"
