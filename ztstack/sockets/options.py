"""Socket options of a TCP connection, by the numbers that the system's sockets have for them."""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from collections.abc import Callable
from typing import Final

from ztstack.ip.tcp.connection import KEEPALIVE_INTERVAL_US, KEEPALIVE_PROBES, Connection
from ztstack.sockets.carrier import Carrier

KEEPALIVE_IDLE_S: Final = 7200
"""What RFC 1122 asks for, and kernels take, unless told otherwise."""
_MOST: Final = 0x7FFFFFFF
_INT: Final = struct.Struct("=i")
_LINGER: Final = struct.Struct("ii")
_SHORT_LINGER: Final = struct.Struct("HH")
"""Windows has two short numbers there."""

Value = int | bytes | bytearray | memoryview
Option = tuple[int, int]


def _number(name: str, default: int) -> int:
    """Return the number of an option of TCP that not every system's module has."""
    found = getattr(socket, name, default)
    assert isinstance(found, int)
    return found


NODELAY: Final = socket.IPPROTO_TCP, socket.TCP_NODELAY
KEEPALIVE: Final = socket.SOL_SOCKET, socket.SO_KEEPALIVE
LINGER: Final = socket.SOL_SOCKET, socket.SO_LINGER
# macOS calls the first one TCP_KEEPALIVE; the numbers behind are Linux's.
IDLE: Final = (
    socket.IPPROTO_TCP,
    _number("TCP_KEEPALIVE" if sys.platform == "darwin" else "TCP_KEEPIDLE", 4),
)
INTERVAL: Final = socket.IPPROTO_TCP, _number("TCP_KEEPINTVL", 5)
COUNT: Final = socket.IPPROTO_TCP, _number("TCP_KEEPCNT", 6)
USER_TIMEOUT: Final = socket.IPPROTO_TCP, _number("TCP_USER_TIMEOUT", 18)


class ConnectionSocket:
    """What a program may ask of the socket under a connection: names and options, no bytes.

    TCP_NODELAY (on unless switched off, as asyncio has it), SO_KEEPALIVE with TCP_KEEPIDLE,
    TCP_KEEPINTVL and TCP_KEEPCNT, TCP_USER_TIMEOUT (milliseconds), SO_LINGER (on with zero seconds:
    `close` is a reset), SO_RCVBUF and SO_SNDBUF (from then on they do not grow further). All others
    are OSError ENOPROTOOPT.
    """

    type = socket.SOCK_STREAM
    proto = socket.IPPROTO_TCP

    def __init__(self, carrier: Carrier, connection: Connection) -> None:
        self._carrier = carrier
        self._connection = connection
        self.family = socket.AF_INET if len(connection.local.ip) == 4 else socket.AF_INET6
        self._linger = (0, 0)
        self._idle_s = KEEPALIVE_IDLE_S
        self._interval_s = KEEPALIVE_INTERVAL_US // 1_000_000
        self._count = KEEPALIVE_PROBES
        self._setters: dict[Option, Callable[[int], None]] = {
            NODELAY: self._set_nodelay,
            KEEPALIVE: self._set_keepalive,
            IDLE: self._set_idle,
            INTERVAL: self._set_interval,
            COUNT: self._set_count,
            USER_TIMEOUT: self._set_user_timeout,
            (socket.SOL_SOCKET, socket.SO_RCVBUF): connection.received.bound,
            (socket.SOL_SOCKET, socket.SO_SNDBUF): connection.buffer.bound,
        }
        self._getters: dict[Option, Callable[[], int]] = {
            NODELAY: lambda: int(connection.nodelay),
            KEEPALIVE: lambda: int(connection.keepalive is not None),
            IDLE: lambda: self._idle_s,
            INTERVAL: lambda: self._interval_s,
            COUNT: lambda: self._count,
            USER_TIMEOUT: lambda: connection.user_timeout_us // 1000,
            (socket.SOL_SOCKET, socket.SO_RCVBUF): lambda: connection.received.limit,
            (socket.SOL_SOCKET, socket.SO_SNDBUF): lambda: connection.buffer.limit,
            (socket.SOL_SOCKET, socket.SO_TYPE): lambda: int(self.type),
            (socket.SOL_SOCKET, socket.SO_ERROR): self._error,
        }

    @property
    def resets_on_close(self) -> bool:
        return self._linger[0] != 0 and self._linger[1] == 0

    # Options.

    def setsockopt(self, level: int, option: int, value: Value) -> None:
        """Set an option; OSError EINVAL for a value that it cannot have."""
        self._check_running()
        if (level, option) == LINGER:
            self._linger = _linger_of(value)
            return
        setter = self._setters.get((level, option))
        if setter is None:
            raise _unknown(level, option)
        setter(value if isinstance(value, int) else _int_of(bytes(value)))

    def getsockopt(self, level: int, option: int, size: int = 0) -> int | bytes:
        """Return an option as a number, or with a `size` as bytes; SO_LINGER is bytes only."""
        self._check_running()
        if (level, option) == LINGER:
            if size < _LINGER.size:
                raise OSError(errno.EINVAL, f"SO_LINGER has {_LINGER.size} bytes, not {size}")
            return _LINGER.pack(*self._linger)
        getter = self._getters.get((level, option))
        if getter is None:
            raise _unknown(level, option)
        value = getter()
        return _INT.pack(value)[:size] if size else value

    def _check_running(self) -> None:
        if not self._carrier.is_running:
            raise OSError(errno.EBADF, "the node was stopped")

    def _now(self) -> int:
        return self._carrier.driver.now()

    def _set_nodelay(self, value: int) -> None:
        self._connection.set_nodelay(self._now(), bool(value))
        self._carrier.driver.pump_soon()

    def _set_keepalive(self, value: int) -> None:
        idle_us = self._idle_s * 1_000_000 if value else 0
        interval_us = self._interval_s * 1_000_000
        self._connection.set_keepalive(self._now(), idle_us, interval_us, self._count)
        self._carrier.driver.pump_soon()

    def _set_idle(self, value: int) -> None:
        self._idle_s = _within(value, 32_767)
        self._keep()

    def _set_interval(self, value: int) -> None:
        self._interval_s = _within(value, 32_767)
        self._keep()

    def _set_count(self, value: int) -> None:
        self._count = _within(value, 127)
        self._keep()

    def _keep(self) -> None:
        """Let a new number count from now on, if the peer is asked at all."""
        if self._connection.keepalive is not None:
            self._set_keepalive(1)

    def _set_user_timeout(self, value: int) -> None:
        if not 0 <= value <= _MOST:
            raise OSError(errno.EINVAL, f"a timeout is 0 to {_MOST} ms, not {value}")
        self._connection.set_user_timeout(self._now(), value * 1000)

    def _error(self) -> int:
        found = self._connection.error
        return (found.errno or errno.EIO) if isinstance(found, OSError) else 0

    # Names, and what else a socket is asked.

    def getsockname(self) -> tuple[str, int]:
        local = self._connection.local
        return local.host, local.port

    def getpeername(self) -> tuple[str, int]:
        remote = self._connection.remote
        return remote.host, remote.port

    def fileno(self) -> int:
        """Return -1: the system knows nothing of this connection."""
        return -1

    def gettimeout(self) -> float:
        return 0.0

    def settimeout(self, timeout: float | None) -> None:
        """Take 0 only, as asyncio's own sockets do."""
        if timeout != 0:
            raise ValueError("a socket of a transport does not block")

    def setblocking(self, flag: bool) -> None:  # noqa: FBT001 - as the socket module has it
        self.settimeout(None if flag else 0)


def _unknown(level: int, option: int) -> OSError:
    return OSError(
        errno.ENOPROTOOPT, f"{os.strerror(errno.ENOPROTOOPT)}: option {option} of level {level}"
    )


def _within(value: int, most: int) -> int:
    if not 1 <= value <= most:
        raise OSError(errno.EINVAL, f"the option is 1 to {most}, not {value}")
    return value


def _int_of(data: bytes) -> int:
    if len(data) < _INT.size:
        raise OSError(errno.EINVAL, f"an option has {_INT.size} bytes, not {len(data)}")
    value: int = _INT.unpack_from(data)[0]
    return value


def _linger_of(value: Value) -> tuple[int, int]:
    """Return whether `close` lingers, and how many seconds."""
    if isinstance(value, int):
        raise OSError(errno.EINVAL, "SO_LINGER is two numbers: struct.pack('ii', 1, 0)")
    for form in (_LINGER, _SHORT_LINGER):
        if len(value) == form.size:
            on, seconds = form.unpack(value)
            return on, seconds
    raise OSError(errno.EINVAL, f"SO_LINGER has {_LINGER.size} bytes, not {len(value)}")
