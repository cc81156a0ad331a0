"""Mutated packets for whole nodes: a root, a controller and members in a simulated world."""

from __future__ import annotations

import random
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.fuzz_corpus import (
    Message,
    Mutator,
    recorded,
    recorded_datagrams,
    transplanted,
    with_checksums,
)
from tests.support.tables import held, overfull
from ztstack.base.codec import Reader, Writer
from ztstack.base.datagram import Datagram
from ztstack.base.endpoint import Endpoint
from ztstack.base.errors import DecodeError, Drop
from ztstack.base.network_id import NetworkId
from ztstack.base.timers import MILLISECOND, SECOND
from ztstack.sim.host import Host
from ztstack.sim.network import Receiver
from ztstack.sim.probes import Probes
from ztstack.sim.scenario import PORT, Shape, World
from ztstack.vl1.armor import PeerKeys, seal
from ztstack.vl1.assembly import cut
from ztstack.wire.compression import compress
from ztstack.wire.dictionary import Dictionary
from ztstack.wire.header import COMPRESSED, SUITE_AES, SUITE_POLY1305, SUITE_SALSA2012
from ztstack.wire.network_config import ConfigChunk
from ztstack.wire.verbs import Verb
from ztstack.wire.world import World as WorldFile

STEP_US = 20 * MILLISECOND
STEP_PACKETS = 50
CHECK_PACKETS = 50_000
PLAIN_LIMIT = 10_000
"""No container without a limit of its own may hold more."""
HANG_S = 5.0
"""Fifty packets take a hundredth of a second."""
_VERBS = [int(verb) for verb in Verb]
_SUITES = (SUITE_AES,) * 6 + (SUITE_SALSA2012, SUITE_POLY1305)


@dataclass
class Findings:
    """What a run of the fuzzer came to."""

    packets: int = 0
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)
    drops: Counter[Drop] = field(default_factory=Counter)
    held: list[int] = field(default_factory=list)
    """How many items the attacked nodes held, at each check."""
    forged: Counter[int] = field(default_factory=Counter)
    """Verbs of the packets that were sealed with a good key."""

    @property
    def rate(self) -> float:
        return self.packets / self.seconds if self.seconds else 0.0


class _Ear:
    """Remembers what a host was sent, and lets it through."""

    def __init__(self, host: Host, packets: list[bytes]) -> None:
        self._host = host
        self._packets = packets

    def receive(self, local: Endpoint, remote: Endpoint, data: bytes) -> None:
        if len(self._packets) < 2_000:
            self._packets.append(data)
        self._host.receive(local, remote, data)


class Fuzzer:
    """Attacks a member, a root and a controller with packets from those who have their keys.

    `hostile_roots` also lets the root and the controller send mutated packets to the member; after
    that nothing is promised of it but that it lives.
    """

    def __init__(self, seed: int, *, hostile_roots: bool) -> None:
        self.chance = random.Random(f"fuzz {seed}")
        self.world = World(f"fuzz {seed}", Shape(members=3, behind_router=0.0, with_ipv6=0.0))
        self.hostile_roots = hostile_roots
        self.findings = Findings()
        wire: list[bytes] = recorded_datagrams()
        world = self.world
        world.start_members()
        world.run_until(world.are_all_joined, 20 * SECOND)
        self.victim, self.attacker, self.witness = world.members
        self.roots = world.roots
        for host in (self.victim, *self.roots, world.controller):
            host.machine.receiver = _as_receiver(_Ear(host, wire))
        self._bystanders = Probes(world.members, world.network_id)
        self._bystanders.add(self.attacker, self.victim, 4)
        self._bystanders.add(self.attacker, self.witness, 16)
        self._use_sockets()
        world.run(5 * SECOND)
        for host in world.hosts.values():
            host.machine.receiver = host
        self._wire = wire
        messages = recorded()
        self._links = [self._link(self.attacker, self.victim)]
        self._links += [self._link(self.attacker, root) for root in self.roots]
        self._links.append(self._link(self.attacker, world.controller))
        if hostile_roots:
            self._links.append(self._link(self.roots[0], self.victim))
            self._links.append(self._link(world.controller, self.victim))
        self._messages: list[list[Message]] = []
        for source, target, _ in self._links:
            own = transplanted(
                messages, world.network_id, source.identity.address, target.identity.address
            )
            self._messages.append([*own, *self._frames(source, target)])
        bodies = [message.payload for message in messages if message.payload]
        self._body = Mutator(self.chance, bodies)
        self._datagram = Mutator(self.chance, wire)
        config = self._config_dictionary()
        self._dictionary = Mutator(self.chance, [config])
        self._config = config

    # Setting the stage.

    def _use_sockets(self) -> None:
        """Open a listener and a connection, so that segments find somebody."""
        network, world = self.world.network_id, self.world
        server, client = self.victim.interface(network), self.attacker.interface(network)
        ip = self.victim.ip(network)
        assert server is not None
        assert client is not None
        assert ip is not None
        self._listener = server.listen(self.victim.now, None, 80)
        self._stream = client.connect(self.attacker.now, ip, 80)
        self.attacker.pump()
        world.run(2 * SECOND)
        self._stream.write(self.attacker.now, bytes(100_000))
        self.attacker.pump()

    def _link(self, source: Host, target: Host) -> tuple[Host, Host, PeerKeys]:
        return source, target, PeerKeys(source.identity.agree(target.identity))

    def _frames(self, source: Host, target: Host) -> list[Message]:
        """Return frames as the source's own stack makes them: TCP, UDP, ICMP and ARP."""
        network = self.world.network_id
        ips = [host.ip(network, size) for host in (source, target) for size in (4, 16)]
        if None in ips:
            return []
        found = []
        for size, ethertype in ((4, b"\x08\x00"), (16, b"\x86\xdd")):
            here, there = source.ip(network, size), target.ip(network, size)
            assert here is not None
            assert there is not None
            for protocol, body in _upper_layers():
                packet = _ip_packet(here, there, protocol, body)
                payload = network.packed + ethertype + packet
                payload = with_checksums(Verb.FRAME, payload)
                found.append(
                    Message(source.identity.address, target.identity.address, Verb.FRAME, payload)
                )
        return found * 4

    def _config_dictionary(self) -> bytes:
        member = self.victim.node.members[self.world.network_id] if self.victim.node else None
        assert member is not None
        raw = self.victim.config_of(self.world.network_id)
        assert raw is not None
        return raw

    # Attacking.

    def run(self, packets: int, stop: Callable[[], bool] = lambda: False) -> Findings:
        """Send so many mutated packets, and let time go on between them."""
        findings = self.findings
        began = time.monotonic()
        goal = findings.packets + packets
        while findings.packets < goal and not findings.failures and not stop():
            started = time.monotonic()
            for _ in range(STEP_PACKETS):
                self._attack()
            self._live()
            if time.monotonic() - started > HANG_S:
                findings.failures.append(f"hang: {time.monotonic() - started:.1f} s")
            if findings.packets % CHECK_PACKETS < STEP_PACKETS:
                self._check()
        findings.seconds += time.monotonic() - began
        self._check()
        for host in self.world.hosts.values():
            findings.drops.update(host.tracer.counts)
            host.tracer.counts.clear()
        return findings

    def _attack(self) -> None:
        self.findings.packets += 1
        dice = self.chance.random()
        number = int(self.chance.random() * len(self._links))
        source, target, keys = self._links[number]
        if dice < 0.15:
            datagrams = [self._datagram.mutate(self.chance.choice(self._wire))]
        elif dice < 0.18 and self.hostile_roots:
            datagrams = self._signed_config(keys, source, target)
        else:
            datagrams = self._forge(
                keys, source, target, self.chance.choice(self._messages[number])
            )
        for data in datagrams:
            self._deliver(target, source, data)

    def _deliver(self, target: Host, source: Host, data: bytes) -> None:
        """Hand over one datagram; what it does to the target must not raise."""
        remote = Endpoint(source.machine.ips[0], PORT)
        if self.chance.random() < 0.02:
            remote = Endpoint(self.chance.randbytes(4), self.chance.randrange(65536))
        try:
            if target.node is not None:
                target.node.receive(target.now, Datagram(0, remote, data))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
            self._report(error, target, data)

    def _live(self) -> None:
        """Let everybody answer, and time go on."""
        try:
            for host in self.world.hosts.values():
                host.pump()
            self.world.run(STEP_US)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
            self._report(error, self.victim, b"")

    def _report(self, error: Exception, target: Host, data: bytes) -> None:
        places = traceback.extract_tb(error.__traceback__)[-6:]
        lines = " < ".join(f"{Path(p.filename).name}:{p.lineno}" for p in reversed(places))
        self.findings.failures.append(
            f"{type(error).__name__} at {lines}: {error}; packet {self.findings.packets}"
            f" to {target.name}: {data.hex()}"
        )

    def _forge(self, keys: PeerKeys, source: Host, target: Host, message: Message) -> list[bytes]:
        """Change what a message says, and seal it with a good key."""
        verb, payload = message.verb, self._body.mutate(message.payload)
        if verb in (Verb.OK, Verb.ERROR) and self.chance.random() < 0.8:
            payload = self._as_answer(target, payload)
        if verb in (Verb.FRAME, Verb.EXT_FRAME) and self.chance.random() < 0.8:
            payload = with_checksums(verb, payload)
        if self.chance.random() < 0.05:
            verb = self.chance.choice(_VERBS)
        elif self.chance.random() < 0.02:
            verb = self.chance.randrange(32)
        self.findings.forged[verb] += 1
        return self._sealed(keys, source, target, verb, payload)

    def _sealed(
        self, keys: PeerKeys, source: Host, target: Host, verb: int, payload: bytes
    ) -> list[bytes]:
        if self.chance.random() < 0.05:
            smaller = compress(payload) if self.chance.random() < 0.5 else None
            verb, payload = verb | COMPRESSED, payload if smaller is None else smaller
        suite = SUITE_POLY1305 if verb == Verb.HELLO else self.chance.choice(_SUITES)
        addresses = target.identity.address.packed + source.identity.address.packed
        packet_id, body = self.chance.randbytes(8), bytes((verb,)) + payload
        split = len(body) > 1_300 or self.chance.random() < 0.05
        packet = seal(keys, suite, packet_id, addresses, body, fragmented=split)
        if not split:
            return [packet]
        step = 30 + int(self.chance.random() * 1_400)
        datagrams = cut(packet, max(step, len(packet) // 15 + 32))
        if self.chance.random() < 0.3:
            self.chance.shuffle(datagrams)
        if self.chance.random() < 0.3:
            spoiled = int(self.chance.random() * len(datagrams))
            datagrams[spoiled] = self._datagram.mutate(datagrams[spoiled])
        if self.chance.random() < 0.1:
            datagrams.pop()
        return datagrams

    def _as_answer(self, target: Host, payload: bytes) -> bytes:
        """Let an answer refer to something that the target really asked."""
        if target.node is None:
            return payload
        expected = target.node.switch.expected_packets(64)
        if not expected:
            return payload
        packet_id = self.chance.choice(expected)
        return payload[:1] + packet_id.to_bytes(8, "big") + payload[9:]

    def _signed_config(self, keys: PeerKeys, source: Host, target: Host) -> list[bytes]:
        """Send a mutated configuration, signed by the controller as it must be."""
        network = self.world.network_id
        data = self._dictionary.mutate(self._config)
        now_ms = self.world.controller.now // 1000
        dictionary = Dictionary.parse(data)
        if self.chance.random() < 0.7:
            dictionary.set_uint("r", self.chance.randrange(1 << 16))
            dictionary.set_uint("ts", now_ms)
        chunk = ConfigChunk.split(network, dictionary.encode(), self.chance.getrandbits(63) + 1)
        datagrams = []
        for piece in chunk:
            w = Writer()
            piece.signed_by(self.world.controller.identity).encode(w)
            datagrams += self._sealed(keys, source, target, Verb.NETWORK_CONFIG, w.getvalue())
        return datagrams

    def _check(self) -> None:
        total = 0
        for host in (self.victim, *self.roots, self.world.controller):
            if host.node is not None:
                self.findings.failures += [
                    f"{host.name}: {words}" for words in overfull(host.node, PLAIN_LIMIT)
                ]
                total += held(host.node)
        self.findings.held.append(total)

    # Afterwards.

    def still_serves(self) -> bool:
        """Tell whether, when the attack is over, somebody else still talks to the victim."""
        pair = self._bystanders.add(self.witness, self.victim, 4)
        self.world.run(30 * SECOND)
        return bool(pair.answers)


def _as_receiver(ear: _Ear) -> Receiver:
    return ear


def _ip_packet(here: bytes, there: bytes, protocol: int, body: bytes) -> bytes:
    if len(here) == 4:
        head = b"\x45\x00" + (20 + len(body)).to_bytes(2, "big") + bytes(4)
        return head + bytes((64, protocol)) + bytes(2) + here + there + body
    protocol = 58 if protocol == 1 else protocol
    head = b"\x60\x00\x00\x00" + len(body).to_bytes(2, "big") + bytes((protocol, 64))
    return head + here + there + body


def _upper_layers() -> list[tuple[int, bytes]]:
    """Return a TCP segment of each kind, a UDP datagram, and messages of ICMP."""
    found = []
    for flags in (0x02, 0x10, 0x18, 0x11, 0x04, 0x14, 0x12, 0x29):
        for port in (80, 7):
            head = (1234).to_bytes(2, "big") + port.to_bytes(2, "big") + bytes(8)
            options = bytes.fromhex(
                "020405b40402080a0000000100000000010303070101050a0000000100000002"
            )
            words = 5 + len(options) // 4
            tcp = head + bytes((words << 4, flags)) + b"\xff\xff" + bytes(4) + options + b"data"
            found.append((6, tcp))
    found.append((17, b"\x04\xd2\x00\x07\x00\x09" + bytes(2) + b"?"))
    for kind, code in (
        (8, 0),
        (0, 0),
        (3, 3),
        (3, 4),
        (11, 0),
        (128, 0),
        (135, 0),
        (136, 0),
        (2, 0),
    ):
        found.append((1, bytes((kind, code)) + bytes(2) + bytes(40)))
    return found


def fuzz_decoders(seed: int, count: int) -> Findings:
    """Give mutated files and messages to decoders that stand alone."""
    chance = random.Random(f"decoders {seed}")
    findings = Findings()
    world = World(f"decoders {seed}", Shape(members=1, behind_router=0.0))
    planet = world.planet.serialize()
    dictionary = Dictionary()
    dictionary.set_text("name", "a=b\nc")
    dictionary.set_uint("r", 17)
    record = world.controller.identity
    w = Writer()
    record.encode(w)
    samples: list[tuple[bytes, Callable[[bytes], object]]] = [
        (planet, WorldFile.parse),
        (dictionary.encode(), Dictionary.parse),
        (w.getvalue(), lambda data: type(record).decode(Reader(data))),
        (NetworkId(1 << 40).packed * 4, lambda data: NetworkId.decode(Reader(data))),
    ]
    mutator = Mutator(chance, [sample for sample, _ in samples])
    began = time.monotonic()
    for number in range(count):
        sample, decode = samples[number % len(samples)]
        data = mutator.mutate(sample)
        try:
            decode(data)
        except DecodeError:
            pass
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
            findings.failures.append(f"{type(error).__name__}: {error}: {data.hex()}")
        findings.packets += 1
    findings.seconds = time.monotonic() - began
    return findings
