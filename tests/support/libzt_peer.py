"""A libzt node as a program: `python libzt_peer.py STUBS LIBRARY HOME PLANET NETWORK PORT`.

It prints `{"event": "node"}`, `online`, `status` and `address` as they come, then takes one JSON
command a line from stdin, each with a "tag" that its `result` or `error` repeats. With a PORT for
its UDP socket, which is 0 for any, it also prints `peer` whenever the library's paths to one change
(version 1.8.4 only). It imports nothing of ours, because it is the official side of the exchange.
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
UDP_SECONDS: Final = 20
SOCKADDR: Final = struct.Struct("=BBH4s8s")  # as lwIP lays it out: with a length in front

# What the library says of a peer: 240 to 244, in its order.
PEER_EVENTS: Final = ("direct", "relay", "unreachable", "path-discovered", "path-dead")
FIRST_PEER_EVENT: Final = 240
CALLBACKS_RUNNING: Final = 8
PEER_AT: Final = 40  # where the message, a struct of pointers, has the one to the peer
# The peer is copied as the core has it, and then the paths are written as the library's header
# has them, so that both layouts are in force at once.
COUNT_AT: Final = 80
PATHS_AT: Final = 40
PATH_SIZE: Final = 120

Command = dict[str, Any]
_print_lock = threading.Lock()


def say(event: str, **values: object) -> None:
    with _print_lock:
        sys.stdout.write(json.dumps({"event": event, "at": round(time.time(), 3), **values}) + "\n")
        sys.stdout.flush()


class Failure(Exception):
    """The library said no; the message has its error number."""


_Handler = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)


class PeerEvents:
    """What the library takes for an object of C++ with one virtual method; it tells of peers."""

    def __init__(self) -> None:
        # Whatever the library may call or read has to live as long as this.
        self._method = _Handler(self._told)
        method = ctypes.cast(self._method, ctypes.c_void_p)
        self._methods = (ctypes.c_void_p * 3)(method, method, method)
        self.object = (ctypes.c_void_p * 1)(ctypes.addressof(self._methods))

    @staticmethod
    def _told(_this: int, message: int) -> None:
        number = ctypes.c_int16.from_address(message).value - FIRST_PEER_EVENT
        peer = ctypes.c_void_p.from_address(message + PEER_AT).value
        if not 0 <= number < len(PEER_EVENTS) or peer is None:
            return
        address = ctypes.c_uint64.from_address(peer).value
        count = ctypes.c_uint32.from_address(peer + COUNT_AT).value
        paths = []
        for at in range(peer + PATHS_AT, peer + PATHS_AT + count * PATH_SIZE, PATH_SIZE):
            _, family, port, ip, _ = SOCKADDR.unpack(ctypes.string_at(at, SOCKADDR.size))
            if family == AF_INET:
                paths.append(f"{socket.inet_ntoa(ip)}:{socket.ntohs(port)}")
        say("peer", id=f"{address:010x}", what=PEER_EVENTS[number], count=count, paths=paths)


class Peer:
    """The library, and the few calls of it that are used here."""

    def __init__(self, stubs: str, library: str) -> None:
        ctypes.CDLL(stubs, mode=ctypes.RTLD_GLOBAL)
        self._zts = ctypes.CDLL(library)
        self._errno = ctypes.c_int.in_dll(self._zts, "zts_errno")
        for name in ("zts_bsd_send", "zts_bsd_recv", "zts_bsd_sendto", "zts_bsd_recvfrom"):
            getattr(self._zts, name).restype = ctypes.c_ssize_t
        self._zts.zts_node_get_id.restype = ctypes.c_uint64
        self._peer_events = PeerEvents()

    def call(self, name: str, *arguments: object) -> int:
        """Call a function whose negative answer is a failure."""
        answer: int = getattr(self._zts, name)(*arguments)
        if answer < 0:
            raise Failure(f"{name} gave {answer}, errno {self._errno.value}")
        return answer

    def start(self, home: str, planet: str, network: int, port: int) -> None:
        """Start the node, wait until it is online, join, wait for an IPv4 address."""
        roots = Path(planet).read_bytes()
        self.call("zts_init_from_storage", home.encode())
        self.call("zts_init_set_roots", roots, len(roots))
        self.call("zts_init_allow_port_mapping", 0)
        if port:
            self.call("zts_init_set_port", ctypes.c_ushort(port))
            self.call("zts_init_allow_secondary_port", 0)
            self.call("zts_init_set_event_handler", self._peer_events.object)
            # The library starts the thread that tells before it sets this, on which it ends.
            state = ctypes.c_uint8.in_dll(self._zts, "_ZN8ZeroTier13service_stateE")
            state.value |= CALLBACKS_RUNNING
        self.call("zts_node_start")
        deadline = time.monotonic() + ONLINE_SECONDS
        node = self._until(deadline, "identity", self._node_id)
        say("node", id=f"{node:010x}")
        if network == 0:
            return
        # Asked for before it is online, the network comes with the first answers of a root, else
        # five seconds later.
        self.call("zts_net_join", ctypes.c_uint64(network))
        self._until(deadline, "root", lambda: self.call("zts_node_is_online"))
        say("online")
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

    def network(self, command: Command) -> Command:
        """Tell what the library has of a network: status, MTU, addresses, routes."""
        network = ctypes.c_uint64(int(command["network"], 16))
        text, via = (ctypes.create_string_buffer(64) for _ in range(2))
        number = ctypes.c_uint16()
        addresses, routes = [], []
        self.call("zts_core_lock_obtain")
        try:
            for index in range(self._zts.zts_core_query_addr_count(network)):
                self.call("zts_core_query_addr", network, index, text, len(text))
                addresses.append(text.value.decode())
            for index in range(self._zts.zts_core_query_route_count(network)):
                ends = (ctypes.byref(number), ctypes.byref(number))
                self.call("zts_core_query_route", network, index, text, via, len(text), *ends)
                routes.append([text.value.decode(), via.value.decode()])
        finally:
            self._zts.zts_core_lock_release()
        return {
            "status": self._zts.zts_net_get_status(network),
            "mtu": self._zts.zts_net_get_mtu(network),
            "addresses": addresses,
            "routes": routes,
        }

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
        view = memoryview(buffer)
        while True:
            size = self.call("zts_bsd_recv", descriptor, buffer, ctypes.c_size_t(CHUNK), 0)
            if size == 0:
                return {"received": count, "received_sha256": digest.hexdigest()}
            digest.update(view[:size])
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
        """Send a datagram and wait for the answer to it, asking again every second or oftener."""
        descriptor = self.socket(DGRAM)
        wait_ms = command.get("wait_ms", 1000)
        self.call("zts_set_recv_timeout", descriptor, wait_ms // 1000, wait_ms % 1000 * 1000)
        place = self._place(command)
        began = time.monotonic()
        limit = command.get("seconds", UDP_SECONDS)
        while time.monotonic() - began < limit:
            self._send_to(descriptor, command["text"].encode(), place)
            try:
                data, _sender = self._receive_from(descriptor)
            except Failure:
                continue
            self.close(descriptor)
            seconds = round(time.monotonic() - began, 3)
            return {"text": data.decode(errors="replace"), "seconds": seconds}
        raise Failure(f"no answer in {limit} s")

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
    stubs, library, home, planet, network, port = arguments
    peer = Peer(stubs, library)
    try:
        peer.start(home, planet, int(network, 16), int(port))
    except Failure as failure:
        say("fatal", why=str(failure))
        return 1
    table = {
        "tcp-serve": peer.serve,
        "tcp-connect": peer.connect,
        "udp-serve": peer.udp_serve,
        "udp-send": peer.udp_send,
        "network": peer.network,
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
