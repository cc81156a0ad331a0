"""Frames from strangers, random and mutated, thrown at one node that keeps its state.

`python -m tests.overlay.hostile 1000000 [SEED]` throws many and prints what became of them; it
fails if anything was raised, or if the second half of the frames made the process grow.
"""

from __future__ import annotations

import asyncio
import random
import resource
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from overlay import Node, NodeConfig
from overlay.discovery import MAX_WAITING
from overlay.messages import (
    QUESTION_BYTES,
    Datagram,
    Kind,
    Place,
    encode_place,
    frame_head,
)
from overlay.peers import MAX_ASKED, MAX_PEERS
from overlay.tcp import address_of
from ztstack.ip.packets.tcp import Flags, TcpSegment

NETWORK = 0xCAFE2001
TARGET = 0xA1B2C3D4E5
TURN = 64
MAX_GROWTH_KIB = 4096
"""What an allocator may still take for the same tables."""


@dataclass(slots=True)
class Sent:
    """A transport that only counts."""

    frames: int = 0
    size: int = 0
    locals: tuple[Place, ...] = (("127.0.0.1", 9),)
    is_loopback: bool = True

    def send(self, frame: bytes, place: Place) -> None:
        self.frames += 1
        self.size += len(frame)

    async def stop(self) -> None:
        """Do nothing: there is no socket."""


@dataclass(slots=True)
class Report:
    """What became of the frames."""

    frames: int
    seconds: float
    answers: int
    drops: dict[str, int] = field(default_factory=dict)
    peers: int = 0
    connections: int = 0
    growth_kib: int = 0
    errors: list[str] = field(default_factory=list)


class Stranger:
    """Makes frames."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def frame(self) -> bytes:
        choice = self.random.random()
        if choice < 0.15:
            return self.random.randbytes(self.random.randrange(120))
        frame = bytearray(self._whole())
        if choice < 0.6:
            for _ in range(self.random.randrange(1, 6)):
                self._mutate(frame)
        return bytes(frame)

    def _mutate(self, frame: bytearray) -> None:
        what = self.random.randrange(4)
        if what == 0 and frame:
            frame[self.random.randrange(len(frame))] = self.random.randrange(256)
        elif what == 1:
            del frame[self.random.randrange(len(frame) + 1) :]
        elif what == 2:
            frame += self.random.randbytes(self.random.randrange(40))
        elif frame:
            at = self.random.randrange(len(frame))
            frame[at : at + 4] = self.random.randbytes(4)

    def _whole(self) -> bytes:
        source = self.random.choice((0xB1B2C3D4E5, self.random.randrange(1, 1 << 40)))
        kind = self.random.choice(list(Kind))
        version = self.random.choice((1, 2, 2, 2))
        head = frame_head(kind, NETWORK, source, TARGET, version)
        return head + self._payload(kind, source)

    def _payload(self, kind: Kind, source: int) -> bytes:
        place = encode_place(self.place())
        match kind:
            case Kind.HELLO:
                return (self.random.randbytes(8) + place).ljust(QUESTION_BYTES, b"\0")
            case Kind.HELLO_REPLY:
                return self.random.randbytes(8) + place
            case Kind.DATAGRAM:
                port = self.random.choice((9000, self.random.randrange(65536)))
                return Datagram(self.random.randrange(65536), port, bytes(20)).encode()
            case Kind.TCP:
                return self._segment(source)
            case Kind.FIND:
                return self.random.randbytes(5).ljust(QUESTION_BYTES, b"\0")
            case Kind.FOUND:
                return self.random.randbytes(5) + place

    def _segment(self, source: int) -> bytes:
        flags = self.random.choice(
            (Flags.SYN, Flags.SYN, Flags.ACK, Flags.SYN | Flags.ACK, Flags.RST, Flags.FIN)
        )
        data = self.random.randbytes(self.random.choice((0, 0, 30)))
        segment = TcpSegment(
            source_port=self.random.randrange(65536),
            destination_port=self.random.choice((80, self.random.randrange(65536))),
            sequence=self.random.getrandbits(32),
            acknowledgement=self.random.getrandbits(32),
            flags=flags,
            window=self.random.randrange(65536),
            payload=data,
            mss=self.random.choice((None, self.random.randrange(65536))),
        )
        return segment.encode(address_of(NETWORK, source), address_of(NETWORK, TARGET)) + data

    def place(self) -> Place:
        if self.random.random() < 0.3:
            return f"fd00::{self.random.randrange(1, 65536):x}", self.random.randrange(1, 65536)
        return f"10.0.{self.random.randrange(256)}.{self.random.randrange(1, 255)}", 9993


async def assault(count: int, seed: int, state: Path) -> Report:
    """Throw `count` frames; errors on the loop are as bad as those that come back."""
    errors: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: errors.append(repr(context)))
    stranger = Stranger(seed)
    node = Node(NodeConfig((NETWORK,), TARGET, state))
    await node.start()
    assert node._transport is not None
    await node._transport.stop()
    sent = Sent()
    node._transport = sent  # type: ignore[assignment] # all that a node needs of one
    await node.listen(80)
    await node.datagram(9000)
    half = 0
    start = time.monotonic()
    for number in range(count):
        node._received(stranger.frame(), stranger.place())
        if number % TURN == 0:
            await asyncio.sleep(0)
        if number == count // 2:
            half = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    await asyncio.sleep(0)
    seconds = time.monotonic() - start
    growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - half
    discovery, tcp = node._discovery, node._tcp
    assert discovery is not None
    assert tcp is not None
    assert len(discovery.peers._heard) <= MAX_PEERS
    assert len(discovery.peers._asked) <= MAX_ASKED
    assert len(discovery._found) + len(discovery._echoes) <= MAX_WAITING
    report = Report(
        count,
        seconds,
        sent.frames,
        node.status().drops,
        len(discovery.peers),
        len(tcp.host._connections),
        growth,
        errors,
    )
    await node.stop()
    return report


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    with tempfile.TemporaryDirectory() as folder:
        report = asyncio.run(assault(count, seed, Path(folder)))
    sys.stdout.write(f"{report}\n{report.frames / report.seconds:.0f} frames a second\n")
    sys.exit(bool(report.errors) or report.growth_kib > MAX_GROWTH_KIB)


if __name__ == "__main__":
    main()
