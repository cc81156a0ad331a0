"""A libzt node as a program: `python libzt_peer.py STUBS LIBRARY HOME PLANET NETWORK`.

It prints `{"event": "node"}`, `online`, `status` and `address` as they come, then takes one JSON
command a line from stdin, each with a "tag" that its `result` or `error` repeats. It imports
nothing of ours, because it is the official side of the exchange.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import random
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

AF_INET: Final = 2
STREAM: Final = 1
DGRAM: Final = 2
SHUT_WR: Final = 1
CHUNK: Final = 1 << 16
LIMIT_SECONDS: Final = 120
ONLINE_SECONDS: Final = 60
CONNECT_SECONDS: Final = 30
SOCKADDR: Final = struct.Struct("=BBH4s8s")  # as lwIP lays it out: with a length in front

Command = dict[str, Any]
_print_lock = threading.Lock()


def say(event: str, **values: object) -> None:
    with _print_lock:
        sys.stdout.write(json.dumps({"event": event, "at": round(time.time(), 3), **values}) + "\n")
        sys.stdout.flush()


class Failure(Exception):
    """The library said no; the message has its error number."""


class Peer:
    """The library, and the few calls of it that are used here."""

    def __init__(self, stubs: str, library: str) -> None:
        ctypes.CDLL(stubs, mode=ctypes.RTLD_GLOBAL)
        self._zts = ctypes.CDLL(library)
        self._errno = ctypes.c_int.in_dll(self._zts, "zts_errno")
        for name in ("zts_bsd_send", "zts_bsd_recv", "zts_bsd_sendto", "zts_bsd_recvfrom"):
            getattr(self._zts, name).restype = ctypes.c_ssize_t
        self._zts.zts_node_get_id.restype = ctypes.c_uint64

    def call(self, name: str, *arguments: object) -> int:
        """Call a function whose negative answer is a failure."""
        answer: int = getattr(self._zts, name)(*arguments)
        if answer < 0:
            raise Failure(f"{name} gave {answer}, errno {self._errno.value}")
        return answer

    def start(self, home: str, planet: str, network: int) -> None:
        """Start the node, wait until it is online, join, wait for an IPv4 address."""
        roots = Path(planet).read_bytes()
        self.call("zts_init_from_storage", home.encode())
        self.call("zts_init_set_roots", roots, len(roots))
        self.call("zts_init_allow_port_mapping", 0)
        self.call("zts_node_start")
        deadline = time.monotonic() + ONLINE_SECONDS
        node = self._until(deadline, "identity", self._node_id)
        say("node", id=f"{node:010x}")
        if network == 0:
            return
        self._until(deadline, "root", lambda: self.call("zts_node_is_online"))
        say("online")
        self.call("zts_net_join", ctypes.c_uint64(network))
        said = -1
        while not self.call("zts_addr_is_assigned", ctypes.c_uint64(network), AF_INET):
            status = self._zts.zts_net_get_status(ctypes.c_uint64(network))
            if status != said:
                said = status
                say("status", code=status)
            time.sleep(0.02)
        text = ctypes.create_string_buffer(64)
        self.call("zts_addr_get_str", ctypes.c_uint64(network), AF_INET, text, 64)
        say("address", address=text.value.decode())

    def _node_id(self) -> int:
        """Return the address, or 0 as long as the library answers with a negative number."""
        answer: int = self._zts.zts_node_get_id()
        return answer if answer < 1 << 40 else 0

    @staticmethod
    def _until(deadline: float, what: str, ask: Callable[[], int]) -> int:
        while True:
            answer = ask()
            if answer > 0:
                return answer
            if time.monotonic() > deadline:
                raise Failure(f"no {what} in {ONLINE_SECONDS} s")
            time.sleep(0.02)

    def socket(self, kind: int) -> int:
        descriptor = self.call("zts_bsd_socket", AF_INET, kind, 0)
        self.call("zts_set_recv_timeout", descriptor, LIMIT_SECONDS, 0)
        return descriptor

    def close(self, descriptor: int) -> None:
        self._zts.zts_bsd_close(descriptor)

    # Streams.

    def serve(self, command: Command) -> Command:
        listener = self.socket(STREAM)
        try:
            self.call("zts_bind", listener, b"0.0.0.0", ctypes.c_ushort(command["port"]))
            self.call("zts_listen", listener, 4)
            say("listening", tag=command["tag"])
            remote = ctypes.create_string_buffer(SOCKADDR.size)
            length = ctypes.c_uint32(SOCKADDR.size)
            accepted = self.call("zts_bsd_accept", listener, remote, ctypes.byref(length))
        finally:
            self.close(listener)
        self.call("zts_set_recv_timeout", accepted, LIMIT_SECONDS, 0)
        address = socket.inet_ntoa(SOCKADDR.unpack(remote.raw)[3])
        return {"remote": address, **self._exchange(accepted, command)}

    def connect(self, command: Command) -> Command:
        """Connect, if need be again: a socket of lwIP that failed once is of no more use."""
        place = self._place(command)
        deadline = time.monotonic() + CONNECT_SECONDS
        while True:
            descriptor = self.socket(STREAM)
            try:
                self.call("zts_bsd_connect", descriptor, place, len(place))
            except Failure as failure:
                self.close(descriptor)
                say("retry", tag=command["tag"], why=str(failure))
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.25)
            else:
                return self._exchange(descriptor, command)

    @staticmethod
    def _place(command: Command) -> bytes:
        address = socket.inet_aton(command["ip"])
        port = socket.htons(command["port"])
        return SOCKADDR.pack(SOCKADDR.size, AF_INET, port, address, bytes(8))

    def _exchange(self, descriptor: int, command: Command) -> Command:
        """Send and receive at once, each to its end; the digests of both ways are the result."""
        sent: Command = {}
        failures: list[Failure] = []

        def send() -> None:
            try:
                sent.update(self._send(descriptor, command))
            except Failure as failure:
                failures.append(failure)

        sender = threading.Thread(target=send, daemon=True)
        began = time.monotonic()
        sender.start()
        received = self._receive(descriptor)
        sender.join(LIMIT_SECONDS)
        seconds = round(time.monotonic() - began, 3)
        self.close(descriptor)
        if failures or sender.is_alive():
            raise failures[0] if failures else Failure("sending did not end")
        return {**received, **sent, "seconds": seconds}

    def _send(self, descriptor: int, command: Command) -> Command:
        data = random.Random(command.get("seed", 0)).randbytes(command.get("send", 0))
        at = 0
        while at < len(data):
            part = data[at : at + CHUNK]
            at += self.call("zts_bsd_send", descriptor, part, ctypes.c_size_t(len(part)), 0)
        self.call("zts_bsd_shutdown", descriptor, SHUT_WR)
        return {"sent": len(data), "sent_sha256": hashlib.sha256(data).hexdigest()}

    def _receive(self, descriptor: int) -> Command:
        digest, count = hashlib.sha256(), 0
        buffer = ctypes.create_string_buffer(CHUNK)
        while True:
            size = self.call("zts_bsd_recv", descriptor, buffer, ctypes.c_size_t(CHUNK), 0)
            if size == 0:
                return {"received": count, "received_sha256": digest.hexdigest()}
            digest.update(buffer.raw[:size])
            count += size

    # Datagrams.

    def udp_serve(self, command: Command) -> Command:
        """Send back so many datagrams, each with `re:` in front."""
        descriptor = self.socket(DGRAM)
        self.call("zts_bind", descriptor, b"0.0.0.0", ctypes.c_ushort(command["port"]))
        say("listening", tag=command["tag"])
        texts = []
        for _ in range(command.get("count", 1)):
            data, sender = self._receive_from(descriptor)
            texts.append(data.decode(errors="replace"))
            self._send_to(descriptor, b"re:" + data, sender)
        self.close(descriptor)
        return {"texts": texts}

    def udp_send(self, command: Command) -> Command:
        """Send a datagram and wait for the answer to it, asking again every second."""
        descriptor = self.socket(DGRAM)
        self.call("zts_set_recv_timeout", descriptor, 1, 0)
        place = self._place(command)
        for _ in range(20):
            self._send_to(descriptor, command["text"].encode(), place)
            try:
                data, _sender = self._receive_from(descriptor)
            except Failure:
                continue
            self.close(descriptor)
            return {"text": data.decode(errors="replace")}
        raise Failure("no answer in 20 tries")

    def _send_to(self, descriptor: int, data: bytes, place: bytes) -> None:
        size = ctypes.c_size_t(len(data))
        self.call("zts_bsd_sendto", descriptor, data, size, 0, place, len(place))

    def _receive_from(self, descriptor: int) -> tuple[bytes, bytes]:
        buffer = ctypes.create_string_buffer(CHUNK)
        place = ctypes.create_string_buffer(SOCKADDR.size)
        length = ctypes.c_uint32(SOCKADDR.size)
        size = self.call(
            *("zts_bsd_recvfrom", descriptor, buffer, ctypes.c_size_t(CHUNK), 0),
            *(place, ctypes.byref(length)),
        )
        return buffer.raw[:size], place.raw


def main(arguments: list[str]) -> int:
    stubs, library, home, planet, network = arguments
    peer = Peer(stubs, library)
    try:
        peer.start(home, planet, int(network, 16))
    except Failure as failure:
        say("fatal", why=str(failure))
        return 1
    table = {
        "tcp-serve": peer.serve,
        "tcp-connect": peer.connect,
        "udp-serve": peer.udp_serve,
        "udp-send": peer.udp_send,
    }

    def do(command: Command) -> None:
        try:
            say("result", tag=command["tag"], **table[command["do"]](command))
        except Failure as failure:
            say("error", tag=command["tag"], why=str(failure))

    for line in sys.stdin:
        threading.Thread(target=do, args=(json.loads(line),), daemon=True).start()
    peer.call("zts_node_stop")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
