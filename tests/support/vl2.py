"""A small world for VL2: members, a controller and a root, with messages delivered by hand."""

from __future__ import annotations

from collections import deque
from typing import Any

from tests.support.vectors import load
from ztstack.base.address import Address
from ztstack.base.codec import Reader, Writer
from ztstack.base.frame import Burst, Frame
from ztstack.base.mac import MulticastGroup
from ztstack.base.network_id import NetworkId
from ztstack.base.trace import ListTracer
from ztstack.crypto.identity import Identity
from ztstack.vl2.events import (
    BurstsIn,
    Configured,
    FrameIn,
    Output,
    ReplyError,
    ReplyOk,
    SendFrames,
    SendMessage,
    StatusChanged,
    Verdict,
    WantIdentity,
)
from ztstack.vl2.network import Network
from ztstack.vl2.network_config import NetworkConfig
from ztstack.wire.credentials import Com
from ztstack.wire.multicast import GatherOk, MulticastGather, MulticastLike
from ztstack.wire.network_config import ConfigChunk
from ztstack.wire.replies import Error, Ok
from ztstack.wire.rules import ACCEPT_ALL
from ztstack.wire.verbs import ErrorCode, Verb

NODES: list[dict[str, Any]] = load("session_network.json")["nodes"]
ROOT, CONTROLLER, ALICE, BOB = (Identity.parse(node["secret"]) for node in NODES)
NETWORK = NetworkId(CONTROLLER.address << 24 | 0x77FFB6)
SECOND = 1_000_000
START = 1_700_000_000 * SECOND


class CountingEntropy:
    """Bytes that differ and are the same in every run."""

    def __init__(self) -> None:
        self._next = 0

    def take(self, length: int) -> bytes:
        self._next += 1
        return (
            (self._next * 2_654_435_761 & 0xFFFFFFFF)
            .to_bytes(4, "big")[:length]
            .ljust(length, b"\0")
        )


class Phonebook:
    """Identities that a node knows, and its one root."""

    def __init__(self, *known: Identity) -> None:
        self.known = {identity.address: identity for identity in known}
        self.roots = [ROOT.address]
        self.latencies: dict[Address, int] = {}

    def identity_of(self, address: Address) -> Identity | None:
        return self.known.get(address)

    def upstreams(self) -> list[Address]:
        return self.roots

    def best_upstream(self) -> Address | None:
        return self.roots[0] if self.roots else None

    def is_upstream(self, address: Address) -> bool:
        return address in self.roots

    def direct_latency(self, address: Address) -> int | None:
        return self.latencies.get(address)


EVERYBODY = (ROOT, CONTROLLER, ALICE, BOB)


def config_for(member: Identity, now: int = START, **changes: Any) -> NetworkConfig:  # noqa: ANN401
    """Return the configuration of a member of the private test network."""
    fields: dict[str, Any] = {
        "network": NETWORK,
        "issued_to": member.address,
        "timestamp": now // 1000,
        "credential_delta_ms": 1_800_000,
        "revision": 1,
        "flags": 2,
        "multicast_limit": 32,
        "name": "test",
        "com": Com.of_member(NETWORK, now // 1000, 1_800_000, member).signed_by(CONTROLLER),
        "rules": ACCEPT_ALL,
    }
    return NetworkConfig(**(fields | changes))


def chunks_of(config: NetworkConfig, update_id: int = 1, size: int = 9740) -> list[bytes]:
    """Return the bodies of the signed chunks of a configuration."""
    bodies = []
    for chunk in ConfigChunk.split(NETWORK, config.to_dictionary(), update_id, size):
        w = Writer()
        chunk.signed_by(CONTROLLER).encode(w)
        bodies.append(w.getvalue())
    return bodies


class Host:
    """One node with its network, and what came out of it."""

    def __init__(self, now: int, identity: Identity, *known: Identity) -> None:
        self.identity = identity
        self.address = identity.address
        self.phonebook = Phonebook(*(known or EVERYBODY))
        self.tracer = ListTracer()
        self.network = Network(
            now, NETWORK, identity, self.phonebook, CountingEntropy(), self.tracer
        )
        self.frames: list[Frame] = []
        self.bursts: list[BurstsIn] = []
        self.configured: list[NetworkConfig] = []
        self.statuses: list[StatusChanged] = []
        self.wanted: list[Address] = []
        self.verdicts: list[Verdict] = []


def burst_of(packets: list[bytes]) -> Burst:
    """Lay packets side by side as VL1 does."""
    stride = (max(map(len, packets)) + 28 + 3) // 4 * 4
    arena = bytearray(stride * len(packets))
    rows = []
    for number, packet in enumerate(packets):
        row = number * stride + 28
        arena[row : row + len(packet)] = packet
        rows.append(row)
    return Burst(arena, stride, rows, [len(packet) for packet in packets])


class World:
    """Delivers messages in the order in which they were sent; `log` is what travelled."""

    def __init__(self, now: int = START) -> None:
        self.now = now
        self.hosts: dict[Address, Host] = {}
        self.log: list[tuple[Address, Address, int]] = []
        self.allowed: dict[Address, NetworkConfig] = {}
        self.listeners: dict[MulticastGroup, list[Address]] = {}
        self.lost: set[int] = set()
        self._queue: deque[tuple[Address, Output]] = deque()
        self._packet_id = 1000

    def join(self, identity: Identity, *known: Identity) -> Host:
        host = Host(self.now, identity, *known)
        self.hosts[host.address] = host
        return host

    def verbs(self, source: Identity, destination: Identity) -> list[int]:
        """Return what went from one node to another since the last look, and forget it all."""
        wanted = (source.address, destination.address)
        found = [verb for a, b, verb in self.log if (a, b) == wanted]
        self.log = [entry for entry in self.log if entry[:2] != wanted]
        return found

    def run(self, seconds: float = 0) -> None:
        """Deliver everything, and let time pass."""
        end = self.now + int(seconds * SECOND)
        self._settle()
        while True:
            due = [at for host in self.hosts.values() if (at := host.network.next_timer())]
            if not due or min(due) > end:
                break
            self.now = max(self.now, min(due))
            for host in self.hosts.values():
                host.network.handle_timer(self.now)
            self._settle()
        self.now = end

    def _settle(self) -> None:
        for _ in range(10_000):
            for host in self.hosts.values():
                self._queue.extend((host.address, out) for out in host.network.take_output())
            if not self._queue:
                return
            source, output = self._queue.popleft()
            self._route(self.hosts[source], output)
        raise AssertionError("the world does not come to rest")

    def _route(self, host: Host, output: Output) -> None:
        match output:
            case SendMessage():
                self._message(host, output)
            case SendFrames():
                self._frames(host, output)
            case ReplyOk() | ReplyError():
                self._reply(host, output)
            case FrameIn(frame):
                host.frames.append(frame)
            case BurstsIn():
                host.bursts.append(output)
            case Configured(config, raw):
                assert NetworkConfig.from_dictionary(raw) == config
                host.configured.append(config)
            case StatusChanged():
                host.statuses.append(output)
            case WantIdentity(address):
                host.wanted.append(address)

    def _message(self, host: Host, message: SendMessage) -> None:
        destination, verb, payload, _ = message
        self._packet_id += 1
        self.log.append((host.address, destination, verb))
        if verb in self.lost:
            return
        if destination == ROOT.address:
            self._root(host, verb, payload)
        elif destination == CONTROLLER.address:
            self._controller(host, verb)
        elif destination in self.hosts:
            other = self.hosts[destination]
            verdict = other.network.receive(self.now, host.address, verb, self._packet_id, payload)
            other.verdicts.append(verdict)

    def _frames(self, host: Host, frames: SendFrames) -> None:
        destination, prefix, packets = frames
        self.log.append((host.address, destination, Verb.FRAME))
        if destination in self.hosts:
            assert prefix[:9] == bytes((Verb.FRAME,)) + NETWORK.packed
            burst = burst_of([head + bytes(body) for head, body in packets])
            ethertype = int.from_bytes(prefix[9:], "big")
            other = self.hosts[destination]
            verdict = other.network.receive_bursts(self.now, host.address, ethertype, [burst])
            other.verdicts.append(verdict)

    def _reply(self, host: Host, reply: ReplyOk | ReplyError) -> None:
        to = self.hosts.get(reply.source)
        is_ok = isinstance(reply, ReplyOk)
        self.log.append((host.address, reply.source, Verb.OK if is_ok else Verb.ERROR))
        if to is None:
            return
        if isinstance(reply, ReplyOk):
            ok = Ok(reply.verb, reply.packet_id, reply.body)
            to.network.receive_ok(self.now, host.address, ok)
        else:
            error = Error(reply.verb, reply.packet_id, reply.code, reply.body)
            to.network.receive_error(self.now, host.address, error)

    def _controller(self, host: Host, verb: int) -> None:
        if verb != Verb.NETWORK_CONFIG_REQUEST:
            return
        config = self.allowed.get(host.address)
        network = host.network
        request = Verb.NETWORK_CONFIG_REQUEST
        if config is None:
            code = ErrorCode.NETWORK_ACCESS_DENIED
            error = Error(request, 1, code, NETWORK.packed)
            network.receive_error(self.now, CONTROLLER.address, error)
            return
        for body in chunks_of(config, update_id=self._packet_id):
            network.receive_ok(self.now, CONTROLLER.address, Ok(request, 1, body))

    def _root(self, host: Host, verb: int, payload: bytes) -> None:
        if verb == Verb.MULTICAST_LIKE:
            for network, group in MulticastLike.decode(Reader(payload)).groups:
                assert network == NETWORK
                known = self.listeners.setdefault(group, [])
                if host.address not in known:
                    known.append(host.address)
        elif verb == Verb.MULTICAST_GATHER:
            gather = MulticastGather.decode(Reader(payload))
            members = self.listeners.get(gather.group, [])
            members = [member for member in members if member != host.address]
            if members:
                w = Writer()
                GatherOk(NETWORK, gather.group, len(members), tuple(members)).encode(w)
                ok = Ok(Verb.MULTICAST_GATHER, 1, w.getvalue())
                host.network.receive_ok(self.now, ROOT.address, ok)
