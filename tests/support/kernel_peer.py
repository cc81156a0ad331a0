"""The kernel's TCP as a peer.

    python kernel_peer.py connect HOST PORT COUNT | serve PORT COUNT READY

Sends COUNT bytes while it reads to the end, and prints one JSON line about both. It imports nothing
of the project.
"""

from __future__ import annotations

import hashlib
import json
import socket
import sys
import threading
from pathlib import Path

LIMIT_S = 60.0


def exchange(sock: socket.socket, count: int) -> dict[str, object]:
    block = hashlib.shake_256(b"kernel").digest(1 << 16)
    data = (block * (count // len(block) + 1))[:count]
    sock.settimeout(LIMIT_S)

    def send() -> None:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send)
    sender.start()
    received, digest = 0, hashlib.sha256()
    while piece := sock.recv(1 << 18):
        received += len(piece)
        digest.update(piece)
    sender.join()
    sock.close()
    return {
        "sent_sha256": hashlib.sha256(data).hexdigest(),
        "received": received,
        "received_sha256": digest.hexdigest(),
    }


def main() -> int:
    if sys.argv[1] == "connect":
        with socket.create_connection((sys.argv[2], int(sys.argv[3])), LIMIT_S) as sock:
            result = exchange(sock, int(sys.argv[4]))
    else:
        with socket.create_server(
            ("::", int(sys.argv[2])), family=socket.AF_INET6, dualstack_ipv6=True
        ) as server:
            Path(sys.argv[4]).touch()
            server.settimeout(LIMIT_S)
            sock, _ = server.accept()
            result = exchange(sock, int(sys.argv[3]))
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
