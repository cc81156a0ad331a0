"""UDP sockets of both families: batches where the kernel has them, plain calls elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
import sys
from collections import deque
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Final, Protocol

from ztstack.aio.recvmmsg import Batch
from ztstack.base.datagram import ALL_SOCKETS, Datagram
from ztstack.base.endpoint import Endpoint
from ztstack.base.errors import InvalidConfig, PortInUse

# Linux's numbers; the socket module does not name them on every version.
SOL_UDP: Final = 17
UDP_SEGMENT: Final = 103
UDP_GRO: Final = 104
SO_RCVBUFFORCE: Final = 33
BUFFER_BYTES: Final = 8 << 20
RECEIVES_PER_WAKEUP: Final = 16
PLAIN_RECEIVES_PER_WAKEUP: Final = 64
SINGLES_PER_WAKEUP: Final = 64
SINGLES_BEFORE_BATCH: Final = 4
"""Where so many came one by one in a wake-up, more may be waiting, and are taken together."""
PILE_BYTES: Final = 1 << 17
QUEUE_LIMIT: Final = 512
_NAMES_LIMIT: Final = 4096
_ANCILLARY_BYTES: Final = 64
_TRUNCATED: Final = int(socket.MSG_TRUNC | socket.MSG_CTRUNC)  # an operator of flags is slow
_NO_SEGMENTATION: Final = (errno.EINVAL, errno.EIO, errno.ENOPROTOOPT, errno.EOPNOTSUPP)
_LATER: Final = (errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS)


class Receiver(Protocol):
    """Who gets what arrives."""

    def received(self, number: int, remote: Endpoint, view: memoryview, step: int) -> None:
        """Take datagrams of `step` bytes, the last perhaps shorter; the view dies afterwards."""

    def received_pile(self, number: int, remote: Endpoint, datagrams: Sequence[memoryview]) -> None:
        """Take datagrams of any length that came one by one; the views die afterwards."""

    def drained(self) -> None:
        """Know that this wake-up is over."""


class WireTap(Protocol):
    """Sees what crosses the sockets, and keeps no view of it."""

    def sent(self, local: Endpoint, datagram: Datagram) -> None: ...

    def received(self, local: Endpoint, remote: Endpoint, view: memoryview, step: int) -> None: ...


class UdpSocket:
    """One bound socket: its number, its family and what the kernel can do for it."""

    __slots__ = (
        "can_segment",
        "device",
        "expects_many",
        "family",
        "gro",
        "local",
        "number",
        "queue",
        "sock",
    )

    def __init__(self, number: int, bind: Endpoint, device: str = "") -> None:
        self.number = number
        self.device = device
        self.family = socket.AF_INET if bind.is_ipv4 else socket.AF_INET6
        self.sock = socket.socket(self.family, socket.SOCK_DGRAM)
        self.queue: deque[Datagram] = deque()
        try:
            self._configure(bind)
        except OSError as error:
            self.sock.close()
            if error.errno == errno.EADDRINUSE:
                raise PortInUse(
                    errno.EADDRINUSE, f"UDP port {bind.port} of {bind.host} is in use"
                ) from None
            raise InvalidConfig(f"cannot bind UDP {bind}: {error.strerror}") from error
        name = self.sock.getsockname()
        self.local = Endpoint(bind.ip, name[1])
        self.can_segment = sys.platform == "linux"
        self.expects_many = False
        """Whether many came one by one a moment ago."""

    def _configure(self, bind: Endpoint) -> None:
        sock = self.sock
        sock.setblocking(False)  # noqa: FBT003
        if self.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if sys.platform == "win32":
            # Otherwise an ICMP answer to one peer makes the next receive fail (SIO_UDP_CONNRESET).
            sock.ioctl(0x9800000C, False)  # noqa: FBT003
        for option, buffer in ((SO_RCVBUFFORCE, "force"), (socket.SO_RCVBUF, "receive")):
            if buffer == "force" and sys.platform != "linux":
                continue
            try:
                sock.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
                break
            except OSError:
                continue
        with contextlib.suppress(OSError):  # The system's own limit stays.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
        self.gro = False
        if sys.platform == "linux":
            try:
                sock.setsockopt(SOL_UDP, UDP_GRO, 1)
                self.gro = True
            except OSError:
                pass  # An old kernel: single datagrams.
        if self.device and sys.platform == "linux":
            # An address alone does not say by which interface its datagrams leave. Old kernels
            # allow it to the administrator only; the address has to do then.
            with contextlib.suppress(PermissionError):
                name = self.device.encode() + b"\0"
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name)
        sock.bind((bind.host, bind.port))

    def close(self) -> None:
        self.queue.clear()
        self.sock.close()


class UdpSockets:
    """All UDP sockets of a node on one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, receiver: Receiver) -> None:
        self._loop = loop
        self._receiver = receiver
        self._sockets: list[UdpSocket] = []
        self._buffer = bytearray(PILE_BYTES + 65536)
        self._view = memoryview(self._buffer)
        self._remotes: dict[tuple[str, int], Endpoint] = {}
        # The same by the names that the system gives to a batch.
        self._raw_remotes: dict[bytes, Endpoint] = {}
        self._names: dict[Endpoint, tuple[str, int]] = {}
        self._waiting: set[int] = set()
        self.expects_one = False
        """Whether what comes next will come alone, as nothing was there a moment ago."""
        self.on_writable: Callable[[], None] = lambda: None
        self.tap: WireTap | None = None
        self.sent = 0
        self.dropped = 0

    def open(self, bind: Endpoint, device: str = "") -> UdpSocket:
        """Bind one more socket, to an interface too; PortInUse or InvalidConfig if that fails."""
        sock = UdpSocket(len(self._sockets), bind, device)
        self._sockets.append(sock)
        self._loop.add_reader(sock.sock.fileno(), self._readable, sock)
        return sock

    @property
    def sockets(self) -> list[UdpSocket]:
        return list(self._sockets)

    @property
    def is_blocked(self) -> bool:
        """Something waits until a socket takes data again."""
        return bool(self._waiting)

    def close(self) -> None:
        for sock in self._sockets:
            self._loop.remove_reader(sock.sock.fileno())
            if sock.number in self._waiting:
                self._loop.remove_writer(sock.sock.fileno())
            sock.close()
        self._sockets.clear()
        self._waiting.clear()

    def _readable(self, sock: UdpSocket) -> None:
        try:
            if sock.expects_many and self._batch is not None:
                self._receive_many(sock, self._batch)
            elif sock.gro:
                self._receive_trains(sock)
            else:
                self._receive_plain(sock)
        finally:
            self._receiver.drained()

    def _receive_trains(self, sock: UdpSocket) -> None:
        """Drain a socket with UDP_GRO; measured by tests/bench/stream.py and others.py.

        Datagrams of one sender that come one by one are passed on together.
        """
        receive, view = sock.sock.recvmsg_into, self._view
        pile: list[memoryview] = []
        at = trains = 0
        is_alone, self.expects_one = self.expects_one, False
        before: tuple[str, int] | None = None
        while trains < RECEIVES_PER_WAKEUP and len(pile) < SINGLES_PER_WAKEUP:
            try:
                size, ancillary, flags, name = receive([view[at:]], _ANCILLARY_BYTES)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                trains += 1
                continue  # An ICMP error that belongs to an earlier send.
            if flags & _TRUNCATED or not size:
                trains += 1
                continue
            step = size
            for level, kind, data in ancillary:
                if level == SOL_UDP and kind == UDP_GRO:
                    step = struct.unpack("i", data[:4])[0]
            if pile and (step != size or name != before):
                assert before is not None
                self._pass_pile(sock, self._endpoint(before), pile)
                trains += 1
                view[:size] = view[at : at + size]
                pile, at = [], 0
            if step != size:
                trains += 1
                self._pass(sock, self._endpoint(name), view[:size], step)
                continue
            pile.append(view[at : at + size])
            at += size
            before = name
            if at > PILE_BYTES or is_alone:
                break
            if len(pile) == SINGLES_BEFORE_BATCH and self._batch is not None:
                self._pass_pile(sock, self._endpoint(name), pile)
                self._receive_many(sock, self._batch)
                return
        if pile:
            assert before is not None
            self._pass_pile(sock, self._endpoint(before), pile)

    def _receive_many(self, sock: UdpSocket, batch: Batch) -> None:
        """Take what comes one by one with one call, as long as it does."""
        singles = 0
        try:
            runs = batch.receive(sock.sock.fileno())
        except OSError:
            # The socket is still readable, and is drained one by one from now on.
            self._batch, runs = None, []
        for run in runs:
            remote = self._raw_remotes.get(run.name) or self._learn(batch, run.name)
            if run.step:
                self._pass(sock, remote, run.datagrams[0], run.step)
            else:
                singles += len(run.datagrams)
                self._pass_pile(sock, remote, run.datagrams)
        sock.expects_many = singles >= SINGLES_BEFORE_BATCH

    @cached_property
    def _batch(self) -> Batch | None:
        """Room for many datagrams at once; None where the system cannot fill it."""
        try:
            return Batch(SOL_UDP, UDP_GRO)
        except OSError:
            return None

    def _learn(self, batch: Batch, raw: bytes) -> Endpoint:
        if len(self._raw_remotes) >= _NAMES_LIMIT:
            self._raw_remotes.clear()
        known = self._raw_remotes[raw] = self._endpoint(batch.name_of(raw))
        return known

    def _pass_pile(self, sock: UdpSocket, remote: Endpoint, pile: list[memoryview]) -> None:
        if len(pile) == 1:
            self._pass(sock, remote, pile[0], len(pile[0]))
            return
        if self.tap is not None:
            for datagram in pile:
                self.tap.received(sock.local, remote, datagram, len(datagram))
        self._receiver.received_pile(sock.number, remote, pile)

    def _pass(self, sock: UdpSocket, remote: Endpoint, view: memoryview, step: int) -> None:
        if self.tap is not None:
            self.tap.received(sock.local, remote, view, step)
        self._receiver.received(sock.number, remote, view, step)

    def _receive_plain(self, sock: UdpSocket) -> None:
        for _ in range(PLAIN_RECEIVES_PER_WAKEUP):
            try:
                size, name = sock.sock.recvfrom_into(self._buffer)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                continue
            if size:
                remote = self._endpoint(name)
                self._pass(sock, remote, self._view[:size], size)

    def _endpoint(self, name: tuple[str, int]) -> Endpoint:
        key = (name[0], name[1])
        known = self._remotes.get(key)
        if known is None:
            host = key[0].partition("%")[0]
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            known = Endpoint.of(socket.inet_pton(family, host), key[1])
            if len(self._remotes) >= _NAMES_LIMIT:
                self._remotes.clear()
            self._remotes[key] = known
        return known

    def _name(self, remote: Endpoint) -> tuple[str, int]:
        if len(self._names) >= _NAMES_LIMIT:
            self._names.clear()
        name = self._names[remote] = (remote.host, remote.port)
        return name

    def send(self, datagram: Datagram) -> None:
        """Send, or keep for the moment when the socket takes data again."""
        if datagram.socket != ALL_SOCKETS:
            if 0 <= datagram.socket < len(self._sockets):
                self._send_or_queue(self._sockets[datagram.socket], datagram)
            return
        family = socket.AF_INET if datagram.remote.is_ipv4 else socket.AF_INET6
        for sock in self._sockets:
            if sock.family == family:
                self._send_or_queue(sock, datagram)

    def _send_or_queue(self, sock: UdpSocket, datagram: Datagram) -> None:
        if not sock.queue and self._send(sock, datagram):
            if self.tap is not None:
                self.tap.sent(sock.local, datagram)
            return
        if len(sock.queue) >= QUEUE_LIMIT:
            self.dropped += 1
            return
        sock.queue.append(datagram)
        if sock.number not in self._waiting:
            self._waiting.add(sock.number)
            self._loop.add_writer(sock.sock.fileno(), self._writable, sock)

    def _writable(self, sock: UdpSocket) -> None:
        while sock.queue:
            if not self._send(sock, sock.queue[0]):
                return
            datagram = sock.queue.popleft()
            if self.tap is not None:
                self.tap.sent(sock.local, datagram)
        self._waiting.discard(sock.number)
        self._loop.remove_writer(sock.sock.fileno())
        self.on_writable()

    def _send(self, sock: UdpSocket, datagram: Datagram) -> bool:
        """Return False if the socket's buffer is full."""
        data, segment = datagram.data, datagram.segment
        name = self._names.get(datagram.remote) or self._name(datagram.remote)
        self.sent += 1
        if datagram.ttl:
            return self._send_with_ttl(sock, datagram, name)
        if not segment or segment >= len(data):
            return self._send_plain(sock, data, name)
        if sock.can_segment:
            ancillary = [(SOL_UDP, UDP_SEGMENT, struct.pack("H", segment))]
            try:
                sock.sock.sendmsg([data], ancillary, 0, name)
            except OSError as error:
                if error.errno in _LATER:
                    return False
                if error.errno in _NO_SEGMENTATION:
                    sock.can_segment = False
                elif error.errno not in (errno.EMSGSIZE, errno.ECONNREFUSED):
                    return True
            else:
                return True
        whole = True
        for start in range(0, len(data), segment):
            # A full buffer in mid-train loses the rest of it, as a full queue in a router would.
            whole = self._send_plain(sock, data[start : start + segment], name) and whole
        return True

    def _send_plain(self, sock: UdpSocket, data: bytes, name: tuple[str, int]) -> bool:
        for _ in range(2):
            try:
                sock.sock.sendto(data, name)
            except ConnectionRefusedError:
                continue  # The answer to an earlier datagram; this one was not sent.
            except OSError as error:
                return error.errno not in _LATER
            return True
        return True

    def _send_with_ttl(self, sock: UdpSocket, datagram: Datagram, name: tuple[str, int]) -> bool:
        if sock.family != socket.AF_INET:
            return self._send_plain(sock, datagram.data, name)
        usual = sock.sock.getsockopt(socket.IPPROTO_IP, socket.IP_TTL)
        sock.sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, datagram.ttl)
        try:
            return self._send_plain(sock, datagram.data, name)
        finally:
            sock.sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, usual)
