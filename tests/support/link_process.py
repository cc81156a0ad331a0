"""The process of a link emulator: carries frames between two interfaces, seeded, and spoils them.

    python -m tests.support.link_process carry LEFT RIGHT SEED | plain INTERFACE...

`carry` reads one JSON command a line and answers each with the counts of both directions; it ends
with its input. `plain` switches offloads off: every packet gets its own frame and a checksum.
`tests.support.link_emulator` starts both.
"""

from __future__ import annotations

import array
import dataclasses
import fcntl
import heapq
import itertools
import json
import os
import random
import select
import socket
import struct
import sys
import time
from collections import Counter
from dataclasses import dataclass
from typing import Final

_ALL: Final = 3  # ETH_P_ALL
_SOL_PACKET: Final = 263
_PACKET_STATISTICS: Final = 6
_PACKET_IGNORE_OUTGOING: Final = 23
_SO_RCVBUFFORCE: Final = 33
_SIOCETHTOOL: Final = 0x8946
_OFFLOADS: Final = (0x17, 0x1F, 0x24, 0x2C)  # tx checksum, TSO, GSO, GRO
_BUFFER: Final = 64 << 20
_FRAMES_PER_TURN: Final = 64
_ORDER: Final = itertools.count()
_IPV4, _IPV6 = b"\x08\x00", b"\x86\xdd"


@dataclass(frozen=True, slots=True)
class Way:
    """What happens to frames in one direction; shares are from 0 to 1.

    The delay is uniform in `delay_ms` plus and minus `jitter_ms`, so that frames overtake each
    other; `reorder` of them are held back by `reorder_ms` more. With `rate_mbit` there is a queue
    of `queue_bytes`, and what does not fit is dropped. Packets above `mtu` are dropped, and their
    sender is told by ICMP unless the way is `silent`. Nothing passes while it is `down`.
    """

    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    loss: float = 0.0
    duplicate: float = 0.0
    corrupt: float = 0.0
    reorder: float = 0.0
    reorder_ms: float = 10.0
    rate_mbit: float = 0.0
    queue_bytes: int = 256_000
    mtu: int = 0
    silent: bool = False
    down: bool = False


class _Direction:
    """The frames from one interface to the other."""

    def __init__(self, source: socket.socket, sink: socket.socket, seed: str) -> None:
        self.source = source
        self.sink = sink
        self.way = Way()
        self.counts: Counter[str] = Counter()
        self._random = random.Random(seed)
        self._free_at = 0.0  # when the last queued byte will have left

    def receive(self, now: float, heap: list[tuple[float, int, _Direction, bytes]]) -> bool:
        """Take what has come; return whether there may be more."""
        for _ in range(_FRAMES_PER_TURN):
            try:
                frame = self.source.recv(65536)
            except BlockingIOError:
                return False
            for due, data in self._schedule(now, frame):
                if due <= now:
                    self.send(data)
                else:
                    heapq.heappush(heap, (due, next(_ORDER), self, data))
        return True

    def send(self, frame: bytes) -> None:
        try:
            self.sink.send(frame)
        except OSError:
            self.counts["unsendable"] += 1
            return
        self.counts["passed"] += 1
        self.counts["bytes"] += len(frame)

    def _schedule(self, now: float, frame: bytes) -> list[tuple[float, bytes]]:
        """Decide about a frame: when it arrives, how often, and as what."""
        way, chance, counts = self.way, self._random.random, self.counts
        counts["came"] += 1
        if way.down or (way.loss and chance() < way.loss):
            counts["lost"] += 1
            return []
        if way.mtu and len(frame) - 14 > way.mtu:
            counts["too_big"] += 1
            if not way.silent:
                self._tell_too_big(frame)
            return []
        if way.rate_mbit:
            rate = way.rate_mbit * 125_000.0
            self._free_at = max(self._free_at, now)
            if (self._free_at - now) * rate + len(frame) > way.queue_bytes:
                counts["overflowed"] += 1
                return []
            self._free_at += len(frame) / rate
            start = self._free_at
        else:
            start = now
        if way.corrupt and chance() < way.corrupt:
            counts["corrupted"] += 1
            frame = self._spoiled(frame)
        copies = 1
        if way.duplicate and chance() < way.duplicate:
            counts["duplicated"] += 1
            copies = 2
        return [(start + self._delay(), frame) for _ in range(copies)]

    def _delay(self) -> float:
        way = self.way
        delay = way.delay_ms
        if way.jitter_ms:
            delay += self._random.uniform(-way.jitter_ms, way.jitter_ms)
        if way.reorder and self._random.random() < way.reorder:
            self.counts["held_back"] += 1
            delay += way.reorder_ms
        return max(delay, 0.0) / 1e3

    def _spoiled(self, frame: bytes) -> bytes:
        """Flip one bit behind the Ethernet header."""
        bit = self._random.randrange(14 * 8, len(frame) * 8)
        spoiled = bytearray(frame)
        spoiled[bit // 8] ^= 1 << bit % 8
        return bytes(spoiled)

    def _tell_too_big(self, frame: bytes) -> None:
        """Answer with ICMP, in the name of the destination."""
        packet = frame[14:]
        if frame[12:14] == _IPV4 and packet[6] & 0x40:
            quoted = packet[: (packet[0] & 15) * 4 + 8]
            body = _icmp(struct.pack(">BBHHH", 3, 4, 0, 0, self.way.mtu) + quoted, b"")
            header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, 1, 0)
            header += packet[16:20] + packet[12:16]
            header = header[:10] + _checksum(header) + header[12:]
        elif frame[12:14] == _IPV6:
            addresses = packet[24:40] + packet[8:24]
            message = struct.pack(">BBHI", 2, 0, 0, self.way.mtu) + packet[:1232]
            body = _icmp(message, addresses + struct.pack(">II", len(message), 58))
            header = struct.pack(">IHBB", 6 << 28, len(body), 58, 64) + addresses
        else:
            return
        self.source.send(frame[6:12] + frame[:6] + frame[12:14] + header + body)


def _icmp(message: bytes, pseudo_header: bytes) -> bytes:
    return message[:2] + _checksum(pseudo_header + message) + message[4:]


def _checksum(data: bytes) -> bytes:
    total: int = sum(struct.unpack(f">{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return (total ^ 0xFFFF).to_bytes(2, "big")


class _Carrier:
    """Both directions, their frames on the way, and the commands."""

    def __init__(self, left: str, right: str, seed: str) -> None:
        ends = [_open(left), _open(right)]
        self.directions = {
            "there": _Direction(ends[0], ends[1], f"{seed} there"),
            "back": _Direction(ends[1], ends[0], f"{seed} back"),
        }
        self._heap: list[tuple[float, int, _Direction, bytes]] = []
        self._commands = b""

    def run(self) -> None:
        sources = {one.source.fileno(): one for one in self.directions.values()}
        inputs, heap, more = [0, *sources], self._heap, False
        while True:
            wait = 0.0 if more else max(0.0, heap[0][0] - time.monotonic()) if heap else None
            readable, _, _ = select.select(inputs, [], [], wait)
            more = False
            if 0 in readable and not self._obey():
                return
            now = time.monotonic()
            for descriptor, direction in sources.items():
                if descriptor in readable:
                    more |= direction.receive(now, heap)
            now = time.monotonic()
            while heap and heap[0][0] <= now:
                _, _, direction, frame = heapq.heappop(heap)
                direction.send(frame)

    def _obey(self) -> bool:
        """Do what the lines of the input say; return whether there may be more of them."""
        data = os.read(0, 65536)
        *lines, self._commands = (self._commands + data).split(b"\n")
        for line in lines:
            for name, fields in json.loads(line).items():
                self.directions[name].way = Way(**fields)
            counts = {name: dict(one.counts) for name, one in self.directions.items()}
            for name, one in self.directions.items():
                statistics = one.source.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
                one.counts["overrun"] += struct.unpack("II", statistics)[1]
                counts[name]["overrun"] = one.counts["overrun"]
            sys.stdout.write(json.dumps(counts) + "\n")
            sys.stdout.flush()
        return bool(data)


def _open(interface: str) -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
    sock.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    sock.setblocking(False)
    sock.bind((interface, _ALL))
    return sock


def _switch_offloads_off(interface: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for command in _OFFLOADS:
            value = array.array("I", (command, 0))
            pointer, _ = value.buffer_info()
            fcntl.ioctl(sock, _SIOCETHTOOL, struct.pack("16sP16x", interface.encode(), pointer))


def command_of(there: Way | None, back: Way | None) -> bytes:
    """Return the line that sets the given directions and asks for counts."""
    given = {"there": there, "back": back}
    fields = {name: dataclasses.asdict(way) for name, way in given.items() if way is not None}
    return json.dumps(fields).encode() + b"\n"


def main() -> int:
    if sys.argv[1] == "plain":
        for interface in sys.argv[2:]:
            _switch_offloads_off(interface)
        return 0
    carrier = _Carrier(*sys.argv[2:5])
    sys.stdout.write("{}\n")
    sys.stdout.flush()
    carrier.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
