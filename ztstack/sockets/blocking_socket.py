"""Sockets that block: for threads what the streams are for coroutines."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import socket
import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import IO, Any, Literal, Self, TypeVar, cast, overload

from ztstack.base.errors import Closed
from ztstack.sockets.background import Background
from ztstack.sockets.datagram import DatagramEndpoint
from ztstack.sockets.duplex import Duplex
from ztstack.sockets.listener import Listener
from ztstack.sockets.options import ConnectionSocket

Bytes = bytes | bytearray | memoryview
Name = tuple[str, int]
T = TypeVar("T")

_TextMode = Literal["", "r", "w", "rw", "wr"]
_BinaryMode = Literal["b", "rb", "br", "wb", "bw", "rwb", "rbw", "wrb", "wbr", "brw", "bwr"]


class _Blocking(ABC):
    """What every socket of a blocking node has: a timeout, and an end."""

    type = socket.SOCK_STREAM
    proto = socket.IPPROTO_TCP

    def __init__(self, loop: Background) -> None:
        self._loop = loop
        self._timeout: float | None = None
        self._closed = False

    def settimeout(self, timeout: float | None) -> None:
        """Let operations take `timeout` seconds; None is for ever, 0 is not to wait at all."""
        if timeout is not None and timeout < 0:
            raise ValueError("a timeout is not negative")
        self._timeout = timeout

    def gettimeout(self) -> float | None:
        return self._timeout

    def setblocking(self, flag: bool) -> None:  # noqa: FBT001 - as the socket module has it
        self._timeout = None if flag else 0.0

    def getblocking(self) -> bool:
        return self._timeout != 0

    def _run(self, work: Callable[[], Coroutine[object, object, T]]) -> T:
        """Run one operation within the timeout; raises as a socket would."""
        self._check_open()
        timeout = self._timeout

        async def limited() -> T:
            async with asyncio.timeout(timeout):
                return await work()

        try:
            return self._loop.run(limited())
        except TimeoutError:
            if timeout == 0:
                raise BlockingIOError(errno.EAGAIN, "the operation would block") from None
            raise
        except Closed as error:
            raise OSError(errno.EBADF, str(error)) from None

    def _check_open(self) -> None:
        if self._closed:
            raise OSError(errno.EBADF, "the socket is closed")

    def fileno(self) -> int:
        """Return -1: there is no descriptor, and nothing to select on."""
        return -1

    @abstractmethod
    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class Socket(_Blocking):
    """A TCP connection with the methods of `socket.socket`, and `start_tls`.

    `send` and `sendall` return when the data is in the send buffer. Operations raise TimeoutError
    (BlockingIOError with a timeout of 0) and the kinds of ConnectionError that a socket raises.
    """

    def __init__(self, loop: Background, stream: Duplex) -> None:
        super().__init__(loop)
        self._stream = stream
        self._files = 0
        self._wants_close = False
        self._receives = True
        info = stream.writer.get_extra_info
        self._names: tuple[Name, Name] = info("sockname"), info("peername")
        self.family = socket.AF_INET6 if ":" in self._names[0][0] else socket.AF_INET

    # What it is.

    def getsockname(self) -> Name:
        return self._names[0]

    def getpeername(self) -> Name:
        return self._names[1]

    @property
    def is_readable(self) -> bool:
        """Whether an idle connection came to its end; never blocks."""
        return self._closed or self._stream.is_readable

    def setsockopt(self, level: int, option: int, value: Bytes | int) -> None:
        """Set one of ConnectionSocket's options; OSError ENOPROTOOPT for others, EINVAL."""

        async def change() -> None:
            self._options.setsockopt(level, option, value)

        self._run(change)

    def getsockopt(self, level: int, option: int, size: int = 0) -> int | bytes:
        """Return one of ConnectionSocket's options as a number, or with a `size` as bytes."""

        async def ask() -> int | bytes:
            return self._options.getsockopt(level, option, size)

        return self._run(ask)

    @property
    def _options(self) -> ConnectionSocket:
        found: ConnectionSocket = self._stream.writer.get_extra_info("socket")
        return found

    # Receiving.

    def recv(self, size: int) -> bytes:
        """Return 1 to `size` bytes, b"" at the end of the stream."""
        self._check_open()
        if not self._receives or size <= 0:
            return b""
        return self._run(lambda: self._stream.receive(size))

    def recv_into(self, buffer: bytearray | memoryview, size: int = 0) -> int:
        """Put bytes into a buffer and return how many, 0 at the end of the stream."""
        view = memoryview(buffer).cast("B")
        data = self.recv(size or len(view))
        view[: len(data)] = data
        return len(data)

    # Sending.

    def send(self, data: Bytes) -> int:
        """Send all of `data`, and return its length."""
        self.sendall(data)
        return memoryview(data).nbytes

    def sendall(self, data: Bytes) -> None:
        try:
            self._run(lambda: self._stream.send(data))
        except RuntimeError as error:
            raise BrokenPipeError(errno.EPIPE, str(error)) from None

    def shutdown(self, how: int) -> None:
        """End one direction (socket.SHUT_RD, SHUT_WR) or both; TLS can only be closed."""
        if how not in (socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR):
            raise OSError(errno.EINVAL, f"no way to shut down: {how}")
        self._check_open()
        if how in (socket.SHUT_RD, socket.SHUT_RDWR):
            self._receives = False
        if how in (socket.SHUT_WR, socket.SHUT_RDWR):
            if not self._stream.writer.can_write_eof():
                raise OSError(errno.EOPNOTSUPP, "TLS has no half-closed connections")
            self._run(self._write_eof)

    async def _write_eof(self) -> None:
        self._stream.writer.write_eof()

    # TLS.

    def start_tls(
        self,
        context: ssl.SSLContext,
        *,
        server_hostname: str | None = None,
        server_side: bool = False,
    ) -> Self:
        """Go on under TLS and return this socket; raises ssl.SSLError."""
        self._run(
            lambda: self._stream.start_tls(
                context, server_hostname=server_hostname, server_side=server_side
            )
        )
        return self

    @property
    def ssl_object(self) -> ssl.SSLObject | None:
        """What TLS knows of the peer, None without TLS."""
        found: ssl.SSLObject | None = self._stream.writer.get_extra_info("ssl_object")
        return found

    def getpeercert(self, binary_form: bool = False) -> Any:  # noqa: ANN401, FBT001, FBT002 - as ssl has it
        """Return the peer's certificate as `ssl.SSLSocket.getpeercert`, None without TLS."""
        found = self.ssl_object
        return found.getpeercert(binary_form) if found is not None else None

    def selected_alpn_protocol(self) -> str | None:
        found = self.ssl_object
        return found.selected_alpn_protocol() if found is not None else None

    # Files and the end.

    @overload
    def makefile(
        self,
        mode: _TextMode = "r",
        buffering: int | None = None,
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> io.TextIOWrapper: ...

    @overload
    def makefile(
        self,
        mode: _BinaryMode,
        buffering: int | None = None,
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> IO[bytes]: ...

    def makefile(
        self,
        mode: str = "r",
        buffering: int | None = None,
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> IO[str] | IO[bytes]:
        """Return a file over this socket, as `socket.socket.makefile`.

        The connection is closed when the socket and all its files are.
        """
        if not set(mode) <= {"r", "w", "b"}:
            raise ValueError(f"a mode is made of r, w and b, not {mode!r}")
        self._check_open()
        reads, writes = "r" in mode or "w" not in mode, "w" in mode
        raw = _Raw(self, reads=reads, writes=writes)
        self._files += 1
        if buffering == 0:
            if "b" not in mode:
                raise ValueError("only binary files can be unbuffered")
            return cast("IO[bytes]", raw)
        size = buffering if buffering is not None and buffering > 0 else io.DEFAULT_BUFFER_SIZE
        binary: Any
        if reads and writes:
            binary = io.BufferedRWPair(raw, raw, size)
        elif reads:
            binary = io.BufferedReader(raw, size)
        else:
            binary = io.BufferedWriter(raw, size)
        if "b" in mode:
            return cast("IO[bytes]", binary)
        return io.TextIOWrapper(binary, encoding, errors, newline)

    def file_closed(self) -> None:
        self._files -= 1
        if self._wants_close and not self._files:
            self._close()

    def close(self) -> None:
        """Close; what was sent still goes out. Files made of this socket keep it open."""
        self._wants_close = True
        if not self._files:
            self._close()

    def _close(self) -> None:
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(Closed):  # The node may have been stopped before.
            self._loop.run(self._end())

    async def _end(self) -> None:
        self._stream.close()


class _Raw(io.RawIOBase):
    """The file below the buffers of `makefile`."""

    def __init__(self, sock: Socket, *, reads: bool, writes: bool) -> None:
        self._sock = sock
        self._reads = reads
        self._writes = writes

    def readable(self) -> bool:
        return self._reads

    def writable(self) -> bool:
        return self._writes

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - any writable buffer
        return self._sock.recv_into(buffer)

    def write(self, data: Any) -> int:  # noqa: ANN401 - any buffer
        return self._sock.send(data)

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._sock.file_closed()


class ServerSocket(_Blocking):
    """A listening TCP port."""

    def __init__(
        self, loop: Background, listener: Listener, wrap: Callable[[Listener], AcceptedStream]
    ) -> None:
        super().__init__(loop)
        self._listener = listener
        self._wrap = wrap

    @property
    def port(self) -> int:
        return self._listener.port

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Every address and port on which a connection can arrive now."""
        return self._listener.addresses

    def getsockname(self) -> Name:
        return self.addresses[0]

    def accept(self) -> tuple[Socket, Name]:
        """Wait for a connection; return it and the peer's address."""
        made = Socket(self._loop, self._run(lambda: self._wrap(self._listener)))
        return made, made.getpeername()

    def close(self) -> None:
        """Stop listening; accepted sockets live on, and a waiting `accept` fails."""
        if not self._closed:
            self._closed = True
            with contextlib.suppress(Closed):
                self._loop.run(_close(self._listener))


AcceptedStream = Coroutine[object, object, Duplex]


class DatagramSocket(_Blocking):
    """A UDP port."""

    type = socket.SOCK_DGRAM
    proto = socket.IPPROTO_UDP

    def __init__(self, loop: Background, endpoint: DatagramEndpoint) -> None:
        super().__init__(loop)
        self._endpoint = endpoint
        self._peer: tuple[str, int] | None = None

    @property
    def port(self) -> int:
        return self._endpoint.local_port

    @property
    def addresses(self) -> list[tuple[str, int]]:
        return self._endpoint.addresses

    def getsockname(self) -> Name:
        return self.addresses[0]

    def connect(self, address: tuple[str, int]) -> None:
        """Send to this IP address and port from now on, and hear nobody else."""
        self._check_open()
        self._peer = address[:2]

    def sendto(self, data: Bytes, address: Name) -> int:
        """Send one datagram; raises NameNotResolved, Unreachable, InvalidConfig if it is long."""
        self._run(lambda: self._endpoint.send(bytes(data), address[0], address[1]))
        return len(data)

    def send(self, data: Bytes) -> int:
        if self._peer is None:
            raise OSError(errno.EDESTADDRREQ, "the socket is not connected")
        return self.sendto(data, self._peer)

    def recvfrom(self, size: int) -> tuple[bytes, Name]:
        """Return a datagram, cut to `size` bytes, and its sender.

        Raises what ICMP said of an earlier `sendto`: ConnectRefused, Unreachable.
        """
        return self._run(lambda: self._receive(size))

    async def _receive(self, size: int) -> tuple[bytes, Name]:
        while True:
            data, remote, _ = await self._endpoint.receive()
            if self._peer in (None, remote):
                return data[:size], remote

    def recv(self, size: int) -> bytes:
        return self.recvfrom(size)[0]

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            with contextlib.suppress(Closed):
                self._loop.run(_close(self._endpoint))


async def _close(opened: Listener | DatagramEndpoint) -> None:
    opened.close()
