"""Two or more interfaces on one Ethernet segment, for the tests of this folder."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Callable

from ztstack.base.frame import Burst, Frame
from ztstack.base.mac import Mac
from ztstack.base.trace import ListTracer
from ztstack.ip.interface import Interface

STEP_US = 100


def ip(text: str) -> bytes:
    return ipaddress.ip_address(text).packed


class SeededEntropy:
    """The same random bytes in each run."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._count = 0

    def take(self, length: int) -> bytes:
        self._count += 1
        return hashlib.shake_128(b"%d %d" % (self._seed, self._count)).digest(length)


class Host:
    """An interface with its drops and all frames that it sent."""

    def __init__(self, number: int, addresses: list[str], mtu: int = 2800) -> None:
        self.tracer = ListTracer()
        self.mac = Mac(0x02_00_00_00_00_00 | number)
        self.interface = Interface(0, self.mac, mtu, SeededEntropy(number), self.tracer)
        self.sent: list[Frame] = []
        prefixes = [ipaddress.ip_interface(text) for text in addresses]
        self.interface.set_addresses(
            0, [(prefix.ip.packed, prefix.network.prefixlen) for prefix in prefixes]
        )


class Wire:
    """Carries frames between hosts in steps of virtual time, in bursts if it can."""

    def __init__(self, *hosts: Host, bursts: bool = True) -> None:
        self.hosts = hosts
        self.now = 1_000_000
        self.bursts = bursts
        self.loses: Callable[[Frame], bool] = lambda frame: False

    def step(self) -> bool:
        """Carry what is there; tell whether there was anything."""
        moved = False
        self.now += STEP_US
        for host in self.hosts:
            due = host.interface.next_timer()
            if due is not None and due <= self.now:
                host.interface.handle_timer(self.now)
            for batch in host.interface.take_frames(self.now, 22):
                moved = True
                frames = [
                    Frame(batch.destination, host.mac, batch.ethertype, header + bytes(body))
                    for header, body in batch.packets
                ]
                host.sent.extend(frames)
                self._carry(host, [frame for frame in frames if not self.loses(frame)])
        for host in self.hosts:
            host.interface.flush(self.now)
        return moved or any(host.interface.has_output for host in self.hosts)

    def settle(self) -> None:
        """Carry until nothing moves."""
        for _ in range(10_000):
            if not self.step():
                return
        raise AssertionError("the wire never comes to rest")

    def wait(self, duration_us: int) -> None:
        """Let time pass, from timer to timer."""
        end = self.now + duration_us
        self.settle()
        while True:
            timers = [host.interface.next_timer() for host in self.hosts]
            due = min((at for at in timers if at is not None), default=end)
            if due > end:
                break
            self.now = max(self.now, due)
            self.settle()
            if self.now >= end:
                break
        self.now = max(self.now, end)

    def _carry(self, sender: Host, frames: list[Frame]) -> None:
        if not frames:
            return
        for host in self.hosts:
            if host is sender:
                continue
            if frames[0].destination == host.mac and self.bursts:
                host.interface.receive_burst(
                    self.now, sender.mac, frames[0].ethertype, burst_of(frames)
                )
            elif frames[0].destination == host.mac or frames[0].destination.is_multicast:
                for frame in frames:
                    host.interface.receive_frame(self.now, frame)


def burst_of(frames: list[Frame]) -> Burst:
    """Lay payloads side by side as VL1 does: 28 bytes before each, zeros behind."""
    lengths = [len(frame.payload) for frame in frames]
    stride = (28 + max(lengths) + 3) // 4 * 4
    arena = bytearray(stride * len(frames))
    rows = []
    for number, frame in enumerate(frames):
        row = number * stride + 28
        arena[row : row + len(frame.payload)] = frame.payload
        rows.append(row)
    return Burst(arena, stride, rows, lengths)
