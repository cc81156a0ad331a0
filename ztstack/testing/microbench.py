"""How fast the parts are on this machine: cryptography, codecs, TCP between two nodes in memory."""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from ztstack.aio.entropy import SystemEntropy
from ztstack.base.frame import Burst, FrameBatch
from ztstack.base.mac import Mac
from ztstack.base.trace import CountingTracer
from ztstack.crypto import curve25519
from ztstack.ip.interface import Interface
from ztstack.vl1.armor import PeerKeys, open_packet, seal
from ztstack.wire.header import SUITE_AES, SUITE_SALSA2012, decode_header
from ztstack.wire.planet import official_planet
from ztstack.wire.world import World

EACH_S: Final = 0.25
STREAM_BYTES: Final = 50_000_000
_BODY: Final = 1400
_ADDRESSES: Final = bytes(range(1, 11))
_KEY_BYTES: Final = 64
_MTU: Final = 2800
_BURST: Final = 22
_STEP_US: Final = 100
_PORT: Final = 80
_PIECE: Final = 1 << 18
_SLOT: Final = 28
"""What VL1 leaves free before each packet of a burst."""


@dataclass(frozen=True, slots=True)
class Measure:
    """How fast one thing is."""

    name: str
    value: float
    unit: str


def measures() -> Iterator[Measure]:
    """Measure one thing after the other."""
    # The data path loads it with its first burst; what comes before that is not what counts here.
    importlib.import_module("numpy")
    keys, body = PeerKeys(os.urandom(48)), os.urandom(_BODY)
    numbers = SystemEntropy()
    for name, suite in (("AES-GMAC-SIV", SUITE_AES), ("Salsa20/12-Poly1305", SUITE_SALSA2012)):
        packet = seal(keys, suite, numbers.take(8), _ADDRESSES, body)
        sealing = _rate(partial(seal, keys, suite, numbers.take(8), _ADDRESSES, body))
        yield Measure(f"{name} seal", sealing * _BODY / 1e6, "MB/s")
        opening = _rate(partial(open_packet, keys, packet))
        yield Measure(f"{name} open", opening * _BODY / 1e6, "MB/s")
    private, other = os.urandom(_KEY_BYTES), os.urandom(_KEY_BYTES)
    public = curve25519.public_key(private)
    peer = curve25519.public_key(other)
    yield Measure("key agreement", _rate(lambda: curve25519.agree(private, peer)), "a second")
    signature = curve25519.sign(private, public, body)
    yield Measure("sign", _rate(lambda: curve25519.sign(private, public, body)), "a second")
    verifying = _rate(lambda: curve25519.verify(public, body, signature))
    yield Measure("verify", verifying, "a second")
    root = official_planet().roots[0].identity
    yield Measure("identity check", 1000 / _rate(root.validate), "ms")
    packet = seal(keys, SUITE_AES, numbers.take(8), _ADDRESSES, body)
    yield Measure("packet head decode", _rate(lambda: decode_header(packet)), "a second")
    planet = official_planet().serialize()
    yield Measure("planet decode", _rate(lambda: World.parse(planet)), "a second")
    yield Measure("TCP over a wire in memory", STREAM_BYTES / _stream_s() / 1e6, "MB/s")


def _stream_s() -> float:
    """Return how long a stream between two interfaces takes, in real time."""
    hosts = [Interface(0, Mac(2 + n), _MTU, SystemEntropy(), CountingTracer()) for n in range(2)]
    for number, host in enumerate(hosts):
        host.set_addresses(0, [(bytes((10, 0, 0, 1 + number)), 24)])
    now = 1_000_000
    listener = hosts[1].listen(now, None, _PORT)
    sender = hosts[0].connect(now, bytes((10, 0, 0, 2)), _PORT)
    receiver, rest, count = None, memoryview(bytes(STREAM_BYTES)), 0
    begin = time.perf_counter()
    while count < STREAM_BYTES:
        now += _STEP_US
        if sender.is_established and rest:
            rest = rest[sender.write(now, rest[:_PIECE]) :]
        if receiver is None:
            receiver = listener.accept()
        else:
            count += sum(map(len, receiver.read(now, 1 << 20)))
        for host, other, mac in ((hosts[0], hosts[1], Mac(2)), (hosts[1], hosts[0], Mac(3))):
            due = host.next_timer()
            if due is not None and due <= now:
                host.handle_timer(now)
            for batch in host.take_frames(now, _BURST):
                other.receive_burst(now, mac, batch.ethertype, _burst(batch))
        for host in hosts:
            host.flush(now)
    return time.perf_counter() - begin


def _burst(batch: FrameBatch) -> Burst:
    """Lay packets side by side as VL1 does."""
    lengths = [len(header) + len(body) for header, body in batch.packets]
    stride = (_SLOT + max(lengths) + 3) // 4 * 4
    arena = bytearray(stride * len(lengths))
    rows = []
    for number, (header, body) in enumerate(batch.packets):
        row = number * stride + _SLOT
        arena[row : row + len(header)] = header
        arena[row + len(header) : row + len(header) + len(body)] = body
        rows.append(row)
    return Burst(arena, stride, rows, lengths)


def _rate(action: Callable[[], object]) -> float:
    """Return how often a second something can be done; the first time does not count."""
    action()
    count, begin = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - begin) < EACH_S:
        action()
        count += 1
    return count / elapsed
