"""The kernel's TCP as a peer.

    python kernel_peer.py connect HOST PORT COUNT | serve PORT COUNT READY     [options]

Sends COUNT bytes while it reads to the end, and prints one JSON line about both. It imports nothing
of the project.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import socket
import struct
import sys
import threading
import time
from pathlib import Path

_SIOCOUTQ = 0x5411
LIMIT_S = 60.0
SLOWEST = 100_000
"""Bytes per second below which a transfer is given up."""


def exchange(sock: socket.socket, options: argparse.Namespace) -> dict[str, object]:
    count, pause_after = options.count, options.pause_after
    block = hashlib.shake_256(b"kernel").digest(1 << 16)
    data = (block * (count // len(block) + 1))[:count]
    sock.settimeout(LIMIT_S + count / SLOWEST)

    def send() -> None:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send)
    sender.start()
    if options.read_late:
        wait_until_acknowledged(sock, sender)
    began = time.monotonic()
    received, digest = 0, hashlib.sha256()
    while piece := sock.recv(options.read):
        received += len(piece)
        digest.update(piece)
        if received >= pause_after > 0:
            time.sleep(1.0)
            pause_after = 0
    seconds = time.monotonic() - began
    sender.join()
    sock.close()
    return {
        "sent_sha256": hashlib.sha256(data).hexdigest(),
        "received": received,
        "received_sha256": digest.hexdigest(),
        "seconds": seconds,
    }


def wait_until_acknowledged(sock: socket.socket, sender: threading.Thread) -> None:
    """Wait until the peer has all that is sent, our end of the stream apart."""
    deadline = time.monotonic() + LIMIT_S
    while sender.is_alive() or struct.unpack("i", fcntl.ioctl(sock, _SIOCOUTQ, bytes(4)))[0] > 1:
        if time.monotonic() > deadline:
            raise TimeoutError("what was sent is not acknowledged")
        time.sleep(0.01)


def prepare(sock: socket.socket, options: argparse.Namespace) -> None:
    if options.buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, options.buffer)
    if options.window:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_WINDOW_CLAMP, options.window)
    if options.congestion:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, options.congestion.encode())


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    modes = parser.add_subparsers(dest="mode", required=True)
    connect = modes.add_parser("connect")
    connect.add_argument("host")
    serve = modes.add_parser("serve")
    for mode in (connect, serve):
        mode.add_argument("port", type=int)
        mode.add_argument("count", type=int)
        mode.add_argument("--read", type=int, default=1 << 18, help="bytes of one read")
        mode.add_argument("--pause-after", type=int, default=0, help="read nothing for a second")
        mode.add_argument("--read-late", action="store_true", help="when all sent has arrived")
        mode.add_argument("--buffer", type=int, default=0, help="SO_RCVBUF")
        mode.add_argument("--window", type=int, default=0, help="TCP_WINDOW_CLAMP")
        mode.add_argument("--congestion", help="TCP_CONGESTION")
    serve.add_argument("ready", type=Path)
    return parser.parse_args()


def main() -> int:
    options = parsed()
    if options.mode == "connect":
        family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            prepare(sock, options)
            sock.settimeout(LIMIT_S)
            sock.connect((options.host, options.port))
            result = exchange(sock, options)
    else:
        with socket.create_server(
            ("::", options.port), family=socket.AF_INET6, dualstack_ipv6=True
        ) as server:
            prepare(server, options)
            options.ready.touch()
            server.settimeout(LIMIT_S)
            sock, _ = server.accept()
            result = exchange(sock, options)
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
