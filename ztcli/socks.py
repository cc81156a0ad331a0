"""The SOCKS messages of a proxy: version 5 (RFC 1928 and 1929) and 4 with names (4a)."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from ztcli.exit_codes import CommandError, ExitCode

Take = Callable[[int], Awaitable[bytes]]
"""Returns exactly so many bytes of what the client says."""

VERSION_4: Final = 4
VERSION_5: Final = 5
_AUTH_VERSION: Final = 1
_NO_AUTH: Final = 0
_PASSWORD: Final = 2
_NO_METHOD: Final = 0xFF
_IPV4: Final = 1
_NAME: Final = 3
_IPV6: Final = 4
_GRANTED_4: Final = 90
_REJECTED_4: Final = 91
_MAX_TEXT: Final = 255
_PORT: Final = struct.Struct(">H")


class Command(IntEnum):
    """What a client asks for."""

    CONNECT = 1
    BIND = 2
    UDP_ASSOCIATE = 3


class Outcome(IntEnum):
    """How it ended, in the numbers of version 5."""

    OK = 0
    FAILED = 1
    NOT_ALLOWED = 2
    HOST_UNREACHABLE = 4
    REFUSED = 5
    NO_SUCH_COMMAND = 7
    NO_SUCH_ADDRESS_TYPE = 8


@dataclass(frozen=True, slots=True)
class Request:
    """What a client wants to reach; `command` is a number of Command or one we do not know."""

    version: int
    command: int
    host: str
    port: int


class NotSocks(CommandError):
    """The client does not speak as it should."""

    def __init__(self, what: str) -> None:
        super().__init__(f"not SOCKS: {what}", ExitCode.CONNECTION_LOST)


class UnknownAddress(NotSocks):
    """The client names a kind of address that does not exist."""


# Version 5: methods, password, request.


def choose_method(offered: bytes, *, password: bool) -> int | None:
    """Return the method to use, or None if none of those offered will do."""
    wanted = _PASSWORD if password else _NO_AUTH
    return wanted if wanted in offered else None


async def read_methods(take: Take) -> bytes:
    """Read the methods that a client offers, after the version."""
    return await take((await take(1))[0])


def method_answer(method: int | None) -> bytes:
    return bytes((VERSION_5, _NO_METHOD if method is None else method))


async def read_password(take: Take) -> tuple[str, str]:
    """Read a user and a password."""
    if (await take(1))[0] != _AUTH_VERSION:
        raise NotSocks("an unknown way to log in")
    user = await take((await take(1))[0])
    password = await take((await take(1))[0])
    return user.decode("utf-8", "replace"), password.decode("utf-8", "replace")


def password_answer(*, accepted: bool) -> bytes:
    return bytes((_AUTH_VERSION, 0 if accepted else 1))


async def read_request(take: Take) -> Request:
    """Read a request of version 5."""
    version, command, _ = await take(3)
    if version != VERSION_5:
        raise NotSocks(f"a request of version {version}")
    host = await _read_host(take)
    (port,) = _PORT.unpack(await take(2))
    return Request(VERSION_5, command, host, port)


async def _read_host(take: Take) -> str:
    kind = (await take(1))[0]
    if kind == _IPV4:
        return str(ipaddress.IPv4Address(await take(4)))
    if kind == _IPV6:
        return str(ipaddress.IPv6Address(await take(16)))
    if kind == _NAME:
        return _name(await take((await take(1))[0]))
    raise UnknownAddress(f"an address of kind {kind}")


def _name(data: bytes) -> str:
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError:
        raise NotSocks("a name that is not ASCII") from None
    if not text or not text.isprintable():
        raise NotSocks("an empty or unprintable name")
    return text


def answer(outcome: Outcome, host: str = "", port: int = 0) -> bytes:
    """Return the answer of version 5; `host` is where we sit on the other side."""
    return bytes((VERSION_5, outcome, 0)) + _address(host, port)


def _address(host: str, port: int) -> bytes:
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        ip, port = ipaddress.IPv4Address(0), 0  # What has no address in numbers is not told.
    kind = _IPV4 if ip.version == 4 else _IPV6
    return bytes((kind,)) + ip.packed + _PORT.pack(port)


# Version 4.


async def read_request_4(take: Take) -> Request:
    """Read a request of version 4, after the version; the user it names is not asked."""
    command = (await take(1))[0]
    (port,) = _PORT.unpack(await take(2))
    ip = await take(4)
    await _read_text(take)
    if ip[:3] == b"\0\0\0" and ip[3]:
        return Request(VERSION_4, command, _name(await _read_text(take)), port)
    return Request(VERSION_4, command, str(ipaddress.IPv4Address(ip)), port)


async def _read_text(take: Take) -> bytes:
    found = bytearray()
    while (byte := await take(1)) != b"\0":
        found += byte
        if len(found) > _MAX_TEXT:
            raise NotSocks("a text without an end")
    return bytes(found)


def answer_4(outcome: Outcome) -> bytes:
    code = _GRANTED_4 if outcome is Outcome.OK else _REJECTED_4
    return bytes((0, code, 0, 0, 0, 0, 0, 0))


# Datagrams.


def open_datagram(data: bytes) -> tuple[str, int, bytes] | None:
    """Return target and content of a client's datagram; None for what is not to be sent on.

    Fragments are among those: RFC 1928 lets a proxy drop them, and nobody sends any.
    """
    if len(data) < 5 or data[2]:
        return None
    kind = data[3]
    begin, length = (5, data[4]) if kind == _NAME else (4, {_IPV4: 4, _IPV6: 16}.get(kind, 0))
    end = begin + length
    if not length or len(data) < end + 2:
        return None
    raw = data[begin:end]
    if kind == _NAME:
        try:
            host = _name(raw)
        except NotSocks:
            return None
    else:
        host = str(ipaddress.ip_address(raw))
    (port,) = _PORT.unpack_from(data, end)
    return (host, port, data[end + 2 :]) if port else None


def wrap_datagram(data: bytes, host: str, port: int) -> bytes:
    """Return a datagram for a client, with its sender."""
    return b"\0\0\0" + _address(host, port) + data
