"""Peers that end a connection in the ways that programs do.

    python -m tests.support.eof_peer serve PORT             (one port for each way, counted up)
    python -m tests.support.eof_peer connect PORT WAY

`serve` serves 127.0.0.1 for ever; `connect` is the same peer as a client.
"""

from __future__ import annotations

import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

Behaviour = Callable[[socket.socket], None]
_RESET: Final = struct.pack("ii", 1, 0)
SIZE: Final = 300_000


def receive_all(connection: socket.socket) -> bytes:
    pieces = []
    while piece := connection.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


def late_answer(connection: socket.socket) -> None:
    got = receive_all(connection)
    time.sleep(0.3)
    connection.sendall(b"got " + got)


def greeting(connection: socket.socket) -> None:
    connection.sendall(b"greeting")


def greeting_and_reset(connection: socket.socket) -> None:
    """Reset, but not before what was said had the time to be sent again twice."""
    connection.sendall(b"greeting")
    time.sleep(2.5)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


def reset_after_the_end(connection: socket.socket) -> None:
    receive_all(connection)
    greeting_and_reset(connection)


def silence(connection: socket.socket) -> None:
    with suppress(ConnectionResetError):
        receive_all(connection)


def end_at_once(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_WR)
    receive_all(connection)


def end_first(connection: socket.socket) -> None:
    connection.sendall(b"greeting")
    connection.shutdown(socket.SHUT_WR)
    receive_all(connection)


def much(connection: socket.socket) -> None:
    connection.sendall(receive_all(connection)[::-1])


WAYS: Final[dict[str, Behaviour]] = {
    way.__name__: way
    for way in (
        late_answer,
        greeting,
        greeting_and_reset,
        reset_after_the_end,
        silence,
        end_at_once,
        end_first,
        much,
    )
}


def _serve(server: socket.socket, way: Behaviour) -> None:
    while True:
        connection, _ = server.accept()
        threading.Thread(target=_finish, args=(connection, way), daemon=True).start()


def _finish(connection: socket.socket, way: Behaviour) -> None:
    with connection, suppress(ConnectionError):
        way(connection)


def main() -> None:
    what, port, *rest = sys.argv[1:]
    if what == "connect":
        _finish(socket.create_connection(("127.0.0.1", int(port)), 60), WAYS[rest[0]])
        return
    for number, way in enumerate(WAYS.values()):
        server = socket.create_server(("127.0.0.1", int(port) + number))
        threading.Thread(target=_serve, args=(server, way), daemon=True).start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    threading.Event().wait()


if __name__ == "__main__":
    main()
