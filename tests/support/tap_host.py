"""Our IP host behind a TAP device, so that the kernel's TCP is its peer.

    python -m tests.support.tap_host serve PORT SEND | connect PORT SEND

The kernel has 10.99.0.1 and fd99::1, this host .2 and ::2. It reads to the end of the stream while
it sends SEND bytes, and prints one JSON line: what it sent and received, as counts and SHA-256.
Run it as root in a network namespace of its own.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import select
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from tests.support.switches import SeededEntropy
from ztstack.base.frame import Frame
from ztstack.base.mac import Mac
from ztstack.base.trace import CountingTracer
from ztstack.ip.interface import Interface
from ztstack.ip.tcp.connection import Connection

MAC: Final = Mac(0x020000000002)
MTU: Final = 1500
KERNEL: Final = (bytes((10, 99, 0, 1)), bytes.fromhex("fd99") + bytes(13) + b"\x01")
OURS: Final = (bytes((10, 99, 0, 2)), bytes.fromhex("fd99") + bytes(13) + b"\x02")
LIMIT_S: Final = 60.0
_TUNSETIFF: Final = 0x400454CA
_IFF_TAP_NO_PI: Final = 0x1002
_FRAMES_PER_WAKEUP: Final = 256
_BLOCK: Final = hashlib.shake_256(b"tap").digest(1 << 16)


def pattern(count: int) -> bytes:
    return (_BLOCK * (count // len(_BLOCK) + 1))[:count]


class TapHost:
    """An Interface whose Ethernet is a TAP device."""

    def __init__(self) -> None:
        self.descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        name = struct.pack("16sH22x", b"tap0", _IFF_TAP_NO_PI)
        fcntl.ioctl(self.descriptor, _TUNSETIFF, name)
        for command in (
            "link set lo up",
            f"link set tap0 mtu {MTU} up",
            "address add 10.99.0.1/24 dev tap0",
            "address add fd99::1/64 dev tap0 nodad",
        ):
            subprocess.run(["ip", *command.split()], check=True)
        self.tracer = CountingTracer()
        self.interface = Interface(self.now(), MAC, MTU, SeededEntropy(1), self.tracer)
        addresses = [(OURS[0], 24), (OURS[1], 64)]
        self.interface.set_addresses(self.now(), addresses)

    @staticmethod
    def now() -> int:
        return time.monotonic_ns() // 1000

    def turn(self) -> None:
        """Wait for frames or a timer, then send what there is."""
        due = self.interface.next_timer()
        wait = 0.05 if due is None else max(0.0, min((due - self.now()) / 1e6, 0.05))
        if not self.interface.has_output:
            select.select([self.descriptor], [], [], wait)
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

    def exchange(self, connection: Connection, count: int) -> dict[str, object]:
        """Send and receive at once, to the end of both directions."""
        data = memoryview(pattern(count))
        sent, received, digest = 0, 0, hashlib.sha256()
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            if sent < count:
                sent += connection.write(self.now(), data[sent : sent + (1 << 20)])
            if sent == count:
                connection.shutdown(self.now())
            for view in connection.read(self.now(), 1 << 20):
                received += len(view)
                digest.update(view)
            if connection.error is not None:
                return {"error": str(connection.error), "received": received}
            if connection.at_eof and connection.fin_acknowledged:
                break
            self.turn()
        for _ in range(20):
            self.turn()
        return {
            "sent_sha256": hashlib.sha256(data).hexdigest(),
            "received": received,
            "received_sha256": digest.hexdigest(),
            "drops": {reason.value: number for reason, number in self.tracer.counts.items()},
        }


def main() -> int:
    mode, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    family = int(sys.argv[4]) if len(sys.argv) > 4 else 4
    host = TapHost()
    connection: Connection | None = None
    if mode == "serve":
        listener = host.interface.listen(host.now(), None, port)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while connection is None:
            host.turn()
            connection = listener.accept()
    else:
        ready = Path(sys.argv[5])
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while not ready.exists():
            host.turn()
        ip = KERNEL[0] if family == 4 else KERNEL[1]
        connection = host.interface.connect(host.now(), ip, port)
        while not connection.is_established and connection.error is None:
            host.turn()
    sys.stdout.write(json.dumps(host.exchange(connection, count)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
