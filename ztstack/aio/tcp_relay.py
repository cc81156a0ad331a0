"""A way out where UDP is blocked: datagrams through a TCP relay (vl1 section 6.16)."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import struct
from collections.abc import Callable
from enum import Enum
from typing import Final, NamedTuple

from ztstack.aio.udp import Receiver
from ztstack.aio.upstream_proxy import UpstreamProxy, open_through
from ztstack.base.datagram import ALL_SOCKETS, Datagram
from ztstack.base.endpoint import Endpoint, Scope
from ztstack.base.errors import DecodeError, InvalidConfig
from ztstack.base.timers import SECOND, earliest
from ztstack.wire.planet import official_planet
from ztstack.wire.world import World

DEFAULT_RELAY: Final = Endpoint(bytes((204, 80, 128, 1)), 443)
SILENCE_US: Final = 60 * SECOND
"""UDP that was heard before is given up after this silence."""
FIRST_SILENCE_US: Final = 3 * SECOND
"""UDP that was never heard since the start or a change of addresses is given up sooner: a command
cannot wait a minute. Stock nodes wait 60 s in this case too."""
ONGOING_US: Final = 60 * SECOND
"""Only who sends again within this time has something to say. Stock nodes also let 2.5 s pass
between two such sends, so that they do not connect too often; here the pauses below see to it."""
FIRST_PAUSE_US: Final = 5 * SECOND // 2
LONGEST_PAUSE_US: Final = 60 * SECOND
CONNECT_US: Final = 10 * SECOND
ANSWER_US: Final = 30 * SECOND
"""A connection that takes datagrams and gives none for so long is dead."""
QUEUE_BYTES: Final = 64 << 10
SHORTEST: Final = 16
LONGEST: Final = 2047
"""Relays carry datagrams of no other sizes."""
GREETING: Final = bytes.fromhex("170303 0004 01 0e 0001")
"""The first message: version 1.14.0, revision 1."""

RECORD: Final = b"\x17\x03\x03"
HEAD: Final = struct.Struct("!3sH")
TO_IPV4: Final = struct.Struct("!3sHB4sH")
_ADDRESS_BYTES: Final = {4: 4, 6: 16}
_NO_ADDRESS: Final = 0
_GREETING_BYTES: Final = 4
_READ_BYTES: Final = 65536
_READS_PER_WAKEUP: Final = 8
_WRITE_EARLY_BYTES: Final = 16 << 10


def choose_relay(relay: Endpoint | None, world: World, *, forced: bool) -> Endpoint | None:
    """Return the relay that is to be used under a planet; InvalidConfig if a forced one lacks."""
    if forced and relay is None:
        raise InvalidConfig("a relay is forced, and none is named")
    if relay == DEFAULT_RELAY and not forced and world.id != official_planet().id:
        return None
    return relay


class State(Enum):
    """What a relay client does with its connection."""

    OFF = "off"
    CONNECTING = "connecting"
    OPEN = "open"


class Arrived(NamedTuple):
    """Datagrams from one source, `step` bytes each; the last may be shorter."""

    remote: Endpoint
    data: bytes
    step: int


class RelayClient:
    """Decides when the relay is used and what it gets; knows no sockets.

    Its owner makes a connection for each new `attempt` as long as `state` is not OFF, writes
    `output` to it, and tells what becomes of it.
    """

    def __init__(self, now: int, server: Endpoint, *, forced: bool = False) -> None:
        self.server = server
        self.forced = forced
        self.state = State.OFF
        self.attempt = 0
        self.output = bytearray()
        self.dropped = 0
        self.trouble = ""
        self._input = bytearray()
        # A relay with a private address is one's own and leads to what is beside it.
        self._scopes = frozenset((Scope.GLOBAL, server.scope))
        self._started = now
        self._heard_at: int | None = None
        self._sent_at: int | None = None
        self._pause = FIRST_PAUSE_US
        self._not_before = self._attempt_at = now
        self._give_up_at: int | None = None
        self._opened_at = now
        self._asked_at: int | None = None

    # What the node sends and hears.

    def offer(self, now: int, datagram: Datagram) -> bool:
        """Take a copy if the relay is in use; True if UDP is not to be used."""
        heard = self._heard_at
        if not self.forced and heard is not None and now - heard < SILENCE_US:
            return False
        remote = datagram.remote
        if remote.is_ipv4 and not datagram.ttl and remote.scope in self._scopes:
            self._take(now, datagram)
        return self.forced

    def _take(self, now: int, datagram: Datagram) -> None:
        step = datagram.segment or len(datagram.data)
        if step < SHORTEST:
            return
        if self.state is State.OFF and self._is_wanted(now) and now >= self._not_before:
            self._connect(now)
        self._sent_at = now
        if self.state is State.OFF:
            return
        if self.state is State.OPEN and self._asked_at is None:
            self._asked_at = now
        data, remote, out = datagram.data, datagram.remote, self.output
        for start in range(0, len(data), step):
            piece = data[start : start + step]
            size = len(piece)
            if not SHORTEST <= size <= LONGEST or len(out) >= QUEUE_BYTES:
                self.dropped += 1
                continue
            out += TO_IPV4.pack(RECORD, 7 + size, 4, remote.ip, remote.port)
            out += piece

    def _is_wanted(self, now: int) -> bool:
        if self.forced:
            return True
        if self._sent_at is None or now - self._sent_at > ONGOING_US:
            return False
        if self._heard_at is None:
            return now - self._started >= FIRST_SILENCE_US
        return now - self._heard_at >= SILENCE_US

    def heard(self, now: int, remote: Endpoint, size: int) -> None:
        """Note that UDP works: a datagram came by itself."""
        heard = self._heard_at
        if self.state is State.OFF and heard is not None and now - heard < SECOND:
            return
        if size < SHORTEST or remote.scope not in self._scopes:
            return
        self._heard_at = now
        if not self.forced and self.state is not State.OFF:
            # Stock nodes look every few seconds whether UDP was heard in the last 30 s.
            self._leave()

    def restart(self, now: int) -> None:
        """Begin anew: addresses changed, or the machine slept."""
        self._started = self._not_before = now
        self._heard_at = None
        self._pause = FIRST_PAUSE_US
        self._leave()

    # The connection.

    def _connect(self, now: int) -> None:
        self.state = State.CONNECTING
        self.attempt += 1
        self._attempt_at = now
        self._give_up_at = now + CONNECT_US
        self._input.clear()
        self.output[:] = GREETING

    def _leave(self) -> None:
        self.state = State.OFF
        self._give_up_at = self._asked_at = None
        self.output.clear()
        self._input.clear()

    def connected(self, now: int) -> None:
        if self.state is State.CONNECTING:
            self.state = State.OPEN
            self.trouble = ""
            self._give_up_at = None
            self._opened_at = now
            # What waited is on its way now.
            self._asked_at = now if len(self.output) > len(GREETING) else None

    def lost(self, now: int, trouble: str) -> None:
        """Know that the connection failed or ended; attempts keep a growing distance."""
        if self.state is State.OFF:
            return
        if self.state is State.OPEN and now - self._opened_at >= LONGEST_PAUSE_US:
            self._pause = FIRST_PAUSE_US
        self._not_before = self._attempt_at + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE_US)
        self.trouble = trouble
        self._leave()

    def sent(self, count: int) -> None:
        """Know that so many bytes of `output` were written."""
        del self.output[:count]

    def receive(self, now: int, data: bytes | memoryview) -> list[Arrived]:
        """Take bytes from the connection; return the datagrams in them."""
        if self.state is not State.OPEN:
            return []
        self._asked_at = None
        self._input += data
        whole = bytes(self._input)
        pieces: list[tuple[Endpoint, bytes]] = []
        at = 0
        try:
            while len(whole) - at >= HEAD.size:
                record, size = HEAD.unpack_from(whole, at)
                if record != RECORD:
                    raise DecodeError("not a record of a relay")
                end = at + HEAD.size + size
                if end > len(whole):
                    break
                piece = _decode(whole[at + HEAD.size : end])
                if piece is not None:
                    pieces.append(piece)
                at = end
        except DecodeError as error:
            self.lost(now, f"sent nonsense: {error}")
        else:
            del self._input[:at]
        return _trains(pieces)

    # Time.

    def handle_timer(self, now: int) -> None:
        if self._give_up_at is not None and now >= self._give_up_at:
            self.lost(now, f"did not answer in {CONNECT_US // SECOND} s")
        elif self._asked_at is not None and now - self._asked_at >= ANSWER_US:
            self.lost(now, "fell silent")

    def next_timer(self) -> int | None:
        answer = None if self._asked_at is None else self._asked_at + ANSWER_US
        return earliest(self._give_up_at, answer)


def _decode(payload: bytes) -> tuple[Endpoint, bytes] | None:
    """Return the source and the datagram of a record, None if there is nothing to deliver."""
    if len(payload) == _GREETING_BYTES:
        return None
    if not payload:
        raise DecodeError("an empty record")
    kind = payload[0]
    if kind == _NO_ADDRESS:
        return None
    ip_bytes = _ADDRESS_BYTES.get(kind)
    if ip_bytes is None:
        raise DecodeError(f"an address of type {kind}")
    if len(payload) < 3 + ip_bytes:
        raise DecodeError(f"an address cut short, {len(payload)} bytes")
    port = int.from_bytes(payload[1 + ip_bytes : 3 + ip_bytes], "big")
    data = payload[3 + ip_bytes :]
    return (Endpoint.of(payload[1 : 1 + ip_bytes], port), data) if port and data else None


def _trains(pieces: list[tuple[Endpoint, bytes]]) -> list[Arrived]:
    """Join neighbours of one source and size: they are opened together."""
    trains: list[Arrived] = []
    first = 0
    while first < len(pieces):
        remote, data = pieces[first]
        step, last = len(data), first + 1
        while last < len(pieces) and pieces[last][0] == remote:
            size = len(pieces[last][1])
            if size > step:
                break
            last += 1
            if size < step:
                break
        trains.append(Arrived(remote, b"".join(data for _, data in pieces[first:last]), step))
        first = last
    return trains


class TcpRelay:
    """The connection of a relay client on an event loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        client: RelayClient,
        receiver: Receiver,
        now: Callable[[], int],
        proxy: UpstreamProxy | None = None,
    ) -> None:
        self.client = client
        self._proxy = proxy
        self._asking: asyncio.Task[None] | None = None
        self.on_connected: Callable[[], None] = lambda: None
        self._loop = loop
        self._receiver = receiver
        self._now = now
        self._sock: socket.socket | None = None
        self._attempt = 0
        self._is_watched = False
        self._buffer = bytearray(_READ_BYTES)

    def send(self, now: int, datagram: Datagram) -> bool:
        """Give a datagram to the relay if it is in use; True if UDP is not to be used."""
        alone = self.client.offer(now, datagram)
        if len(self.client.output) >= _WRITE_EARLY_BYTES:
            self.flush()
        return alone

    def flush(self) -> None:
        """Make the connection what the client wants it to be, and write what waits."""
        client = self.client
        if (self._sock is not None or self._asking is not None) and (
            client.state is State.OFF or self._attempt != client.attempt
        ):
            self._close()
        if self._sock is None and self._asking is None and client.state is State.CONNECTING:
            self._open()
        if client.state is State.OPEN and client.output and not self._is_watched:
            self._write()

    def close(self) -> None:
        self.flush()
        self._close()

    def _open(self) -> None:
        client = self.client
        server = client.server
        self._attempt = client.attempt
        if self._proxy is not None:
            self._asking = self._loop.create_task(self._open_through(self._proxy))
            return
        family = socket.AF_INET if server.is_ipv4 else socket.AF_INET6
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:
            client.lost(self._now(), _words(error.errno))
            return
        self._sock = sock
        sock.setblocking(False)  # noqa: FBT003
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = sock.connect_ex((server.host, server.port))
        if code in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
            self._watch()
        else:
            self._fail(_words(code))

    async def _open_through(self, proxy: UpstreamProxy) -> None:
        """Have a proxy make the connection; the client's own limit of time holds."""
        try:
            sock = await open_through(proxy, self.client.server)
        except OSError as error:
            self._asking = None
            words = error.strerror or str(error)
            self._fail(f"is not reached through {proxy}: {words}")
            return
        self._asking = None
        self._sock = sock
        self._opened()

    def _fail(self, trouble: str) -> None:
        self.client.lost(self._now(), trouble)
        self._close()

    def _close(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            self._asking = None
        if self._sock is None:
            return
        self._unwatch()
        self._loop.remove_reader(self._sock.fileno())
        self._sock.close()
        self._sock = None

    def _watch(self) -> None:
        assert self._sock is not None
        self._is_watched = True
        self._loop.add_writer(self._sock.fileno(), self._writable)

    def _unwatch(self) -> None:
        if self._is_watched and self._sock is not None:
            self._loop.remove_writer(self._sock.fileno())
        self._is_watched = False

    def _writable(self) -> None:
        assert self._sock is not None
        self._unwatch()
        if self.client.state is State.CONNECTING:
            code = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                self._fail(_words(code))
                return
            self._opened()
        else:
            self._write()

    def _opened(self) -> None:
        assert self._sock is not None
        self.client.connected(self._now())
        self._loop.add_reader(self._sock.fileno(), self._readable)
        self._write()
        self.on_connected()

    def _write(self) -> None:
        output = self.client.output
        while output and self._sock is not None:
            try:
                self.client.sent(self._sock.send(output))
            except (BlockingIOError, InterruptedError):
                self._watch()
                return
            except OSError as error:
                self._fail(_words(error.errno))

    def _readable(self) -> None:
        try:
            for _ in range(_READS_PER_WAKEUP):
                if self._sock is None or not self._read(self._sock):
                    break
        finally:
            self.flush()
            self._receiver.drained()

    def _read(self, sock: socket.socket) -> bool:
        """Read once; False if there is nothing more to read now."""
        try:
            size = sock.recv_into(self._buffer)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            self._fail(_words(error.errno))
            return False
        if not size:
            self._fail("closed the connection")
            return False
        for arrived in self.client.receive(self._now(), memoryview(self._buffer)[:size]):
            view = memoryview(arrived.data)
            self._receiver.received(ALL_SOCKETS, arrived.remote, view, arrived.step)
        return size == len(self._buffer)


def _words(code: int | None) -> str:
    return os.strerror(code).lower() if code else "failed"
