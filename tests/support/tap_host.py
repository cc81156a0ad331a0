"""Our IP host behind a TAP device or an emulated link, so that the kernel's TCP is its peer.

    python -m tests.support.tap_host serve PORT SEND | connect PORT SEND     [options]

Behind the TAP the kernel has 10.99.0.1 and fd99::1, this host .2 and ::2; with `--wan 1` it is the
bare end of `direct_link(..., 1)` with 10.77.1.2 and fd77:1::2. It reads to the end of the stream
while it sends SEND bytes, and prints one JSON line: what it sent and received, as counts and
SHA-256. Run it as root in a namespace of its own.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import select
import socket
import struct
import subprocess
import sys
import time
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from tests.support.netns import Machine
from tests.support.switches import SeededEntropy
from ztstack.base.frame import Frame
from ztstack.base.mac import Mac
from ztstack.base.trace import CountingTracer
from ztstack.ip.interface import Interface
from ztstack.ip.tcp.connection import Connection

MAC: Final = Mac(0x020000000002)
MTU: Final = 1500
LIMIT_S: Final = 60.0
SLOWEST: Final = 100_000
"""Bytes per second below which a transfer is given up."""
_TUNSETIFF: Final = 0x400454CA
_IFF_TAP_NO_PI: Final = 0x1002
_ALL: Final = 3  # ETH_P_ALL
_FRAMES_PER_WAKEUP: Final = 256
_BLOCK: Final = hashlib.shake_256(b"tap").digest(1 << 16)


def pattern(count: int) -> bytes:
    return (_BLOCK * (count // len(_BLOCK) + 1))[:count]


def open_tap() -> int:
    """Make the device and give the kernel its addresses."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    name = struct.pack("16sH22x", b"tap0", _IFF_TAP_NO_PI)
    fcntl.ioctl(descriptor, _TUNSETIFF, name)
    for command in (
        "link set lo up",
        f"link set tap0 mtu {MTU} up",
        "address add 10.99.0.1/24 dev tap0",
        "address add fd99::1/64 dev tap0 nodad",
    ):
        subprocess.run(["ip", *command.split()], check=True)
    return descriptor


def open_wan(number: int) -> int:
    """Open the end of a link that has no address."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
    sock.bind((f"wan{number}", _ALL))
    return sock.detach()


def start(machine: Machine, *arguments: str) -> subprocess.Popen[bytes]:
    """Run this program on a machine and wait until its device is there."""
    process = subprocess.Popen(
        [*machine.wrap, sys.executable, "-m", "tests.support.tap_host", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    if line != b"ready\n":
        raise AssertionError(process.communicate(timeout=10)[1].decode())
    return process


class TapHost:
    """An Interface whose Ethernet is a TAP device or a link."""

    def __init__(self, wan: int = 0) -> None:
        self.descriptor = open_wan(wan) if wan else open_tap()
        four, six = (f"10.77.{wan}", f"fd77:{wan}") if wan else ("10.99.0", "fd99")
        self.kernel = {"4": f"{four}.1", "6": f"{six}::1"}
        self.tracer = CountingTracer()
        self.interface = Interface(self.now(), MAC, MTU, SeededEntropy(1), self.tracer)
        ours = (ip_address(f"{four}.2").packed, 24), (ip_address(f"{six}::2").packed, 64)
        self.interface.set_addresses(self.now(), list(ours))

    @staticmethod
    def now() -> int:
        return time.monotonic_ns() // 1000

    def turn(self, *also: int) -> None:
        """Wait for frames, a timer or other descriptors, then send what there is."""
        due = self.interface.next_timer()
        wait = 0.05 if due is None else max(0.0, min((due - self.now()) / 1e6, 0.05))
        if not self.interface.has_output:
            select.select([self.descriptor, *also], [], [], wait)
        for _ in range(_FRAMES_PER_WAKEUP):
            try:
                data = os.read(self.descriptor, 65536)
            except BlockingIOError:
                break
            frame = Frame(
                Mac(int.from_bytes(data[:6], "big")),
                Mac(int.from_bytes(data[6:12], "big")),
                int.from_bytes(data[12:14], "big"),
                data[14:],
            )
            self.interface.receive_frame(self.now(), frame)
        self.interface.flush(self.now())
        self.interface.handle_timer(self.now())
        for batch in self.interface.take_frames(self.now(), 64):
            head = batch.destination.packed + MAC.packed + batch.ethertype.to_bytes(2, "big")
            for header, body in batch.packets:
                os.write(self.descriptor, b"".join((head, header, body)))
        self.interface.take_events()

    def exchange(self, connection: Connection, options: argparse.Namespace) -> dict[str, object]:
        """Send and receive at once, to the end of both directions."""
        count, pause_after = options.count, options.pause_after
        data = memoryview(pattern(count))
        sent, received, digest = 0, 0, hashlib.sha256()
        read_at = 0.0
        if options.buffer:
            connection.received.bound(options.buffer)
        deadline = time.monotonic() + LIMIT_S + count / SLOWEST
        while time.monotonic() < deadline:
            if sent < count:
                sent += connection.write(self.now(), data[sent : sent + (1 << 20)])
            if sent == count:
                connection.shutdown(self.now())
            if time.monotonic() >= read_at:
                for _ in range(options.reads):
                    for view in connection.read(self.now(), options.read):
                        received += len(view)
                        digest.update(view)
                if received >= pause_after > 0:
                    read_at, pause_after = time.monotonic() + 1.0, 0
            if connection.error is not None:
                return {"error": str(connection.error), "received": received}
            if connection.at_eof and connection.fin_acknowledged:
                break
            self.turn()
        for _ in range(4):
            self.turn()
        return {
            "sent_sha256": hashlib.sha256(data).hexdigest(),
            "received": received,
            "received_sha256": digest.hexdigest(),
            "drops": {reason.value: number for reason, number in self.tracer.counts.items()},
        }


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=("serve", "connect"))
    parser.add_argument("port", type=int)
    parser.add_argument("count", type=int)
    parser.add_argument("--family", choices=("4", "6"), default="4")
    parser.add_argument("--ready", type=Path, help="connect: when this file is there")
    parser.add_argument("--wan", type=int, default=0)
    parser.add_argument("--read", type=int, default=1 << 20, help="bytes of one read")
    parser.add_argument("--reads", type=int, default=1, help="how many before frames are served")
    parser.add_argument("--buffer", type=int, default=0, help="what may wait to be read")
    parser.add_argument("--pause-after", type=int, default=0, help="read nothing for a second")
    return parser.parse_args()


def main() -> int:
    options = parsed()
    host = TapHost(options.wan)
    connection: Connection | None = None
    if options.mode == "serve":
        listener = host.interface.listen(host.now(), None, options.port)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while connection is None:
            host.turn()
            connection = listener.accept()
    else:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while not options.ready.exists():
            host.turn()
        ip = ip_address(host.kernel[options.family]).packed
        connection = host.interface.connect(host.now(), ip, options.port)
        while not connection.is_established and connection.error is None:
            host.turn()
    sys.stdout.write(json.dumps(host.exchange(connection, options)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
