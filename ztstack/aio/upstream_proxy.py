"""A proxy on the way to a TCP relay: SOCKS5 (RFC 1928, 1929) or HTTP CONNECT (RFC 9110)."""

from __future__ import annotations

import asyncio
import base64
import socket
import struct
from dataclasses import dataclass, field
from typing import Final

from ztstack.base.endpoint import Endpoint
from ztstack.base.errors import InvalidConfig

SCHEMES: Final = ("http", "socks5", "socks5h")
HEAD_LIMIT: Final = 16 << 10
_REFUSALS: Final = {
    1: "a failure of its own",
    2: "not allowed by its rules",
    3: "the network is unreachable",
    4: "the host is unreachable",
    5: "the connection was refused",
    6: "no answer came in time",
    7: "it does not connect for others",
    8: "not for this kind of address",
}
_NO_AUTH, _PASSWORD, _NONE_FITS = 0, 2, 0xFF
_ADDRESS_BYTES: Final = {1: 4, 4: 16}
_LONGEST_WORD: Final = 255


@dataclass(frozen=True, slots=True)
class UpstreamProxy:
    """Where a proxy is, and who we are there."""

    scheme: str
    host: str
    port: int
    user: str = ""
    password: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES:
            raise InvalidConfig(f"a proxy is {', '.join(SCHEMES)}, not {self.scheme!r}")
        if not self.host or not 0 < self.port <= 0xFFFF:
            raise InvalidConfig("a proxy has a host and a port")
        if max(len(self.user.encode()), len(self.password.encode())) > _LONGEST_WORD:
            raise InvalidConfig(f"a proxy takes names and passwords of {_LONGEST_WORD} bytes")

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"


class ProxyRefused(OSError):
    """The proxy does not lead on; the words say why."""


async def open_through(proxy: UpstreamProxy, target: Endpoint) -> socket.socket:
    """Return a connection to `target` that the proxy leads on; an OSError says what is wrong."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(proxy.host, proxy.port, type=socket.SOCK_STREAM)
    family, kind, number, _, address = found[0]
    sock = socket.socket(family, kind, number)
    try:
        sock.setblocking(False)  # noqa: FBT003 - how the loop wants it
        await loop.sock_connect(sock, address)
        if proxy.scheme == "http":
            await _by_http(loop, sock, proxy, target)
        else:
            await _by_socks(loop, sock, proxy, target)
    except BaseException:
        sock.close()
        raise
    return sock


async def _by_http(
    loop: asyncio.AbstractEventLoop, sock: socket.socket, proxy: UpstreamProxy, target: Endpoint
) -> None:
    host = target.host if target.is_ipv4 else f"[{target.host}]"
    place = f"{host}:{target.port}"
    lines = [f"CONNECT {place} HTTP/1.1", f"Host: {place}"]
    if proxy.user:
        word = base64.b64encode(f"{proxy.user}:{proxy.password}".encode()).decode()
        lines.append(f"Proxy-Authorization: Basic {word}")
    await loop.sock_sendall(sock, ("\r\n".join(lines) + "\r\n\r\n").encode())
    head = bytearray()
    while not head.endswith(b"\r\n\r\n"):
        # One by one: what follows the head is no longer the proxy's.
        head += await _exactly(loop, sock, 1)
        if len(head) > HEAD_LIMIT:
            raise ProxyRefused("the answer has no end")
    words = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
    if not words[0].startswith("HTTP/1.") or len(words) < 2 or not words[1].isdigit():
        raise ProxyRefused("it does not speak HTTP")
    if not 200 <= int(words[1]) < 300:
        raise ProxyRefused(f"it answers {' '.join(words[1:])}")


async def _by_socks(
    loop: asyncio.AbstractEventLoop, sock: socket.socket, proxy: UpstreamProxy, target: Endpoint
) -> None:
    methods = bytes((_NO_AUTH, _PASSWORD)) if proxy.user else bytes((_NO_AUTH,))
    await loop.sock_sendall(sock, bytes((5, len(methods))) + methods)
    version, method = await _exactly(loop, sock, 2)
    if version != 5:
        raise ProxyRefused("it does not speak SOCKS5")
    if method == _NONE_FITS or method not in methods:
        raise ProxyRefused("it wants another kind of login" if proxy.user else "it wants a login")
    if method == _PASSWORD:
        user, password = proxy.user.encode(), proxy.password.encode()
        words = bytes((1, len(user))) + user + bytes((len(password),)) + password
        await loop.sock_sendall(sock, words)
        _, status = await _exactly(loop, sock, 2)
        if status:
            raise ProxyRefused("it does not take this name and password")
    kind = 1 if target.is_ipv4 else 4
    request = bytes((5, 1, 0, kind)) + target.ip + struct.pack("!H", target.port)
    await loop.sock_sendall(sock, request)
    _, status, _, kind = await _exactly(loop, sock, 4)
    if status:
        raise ProxyRefused(_REFUSALS.get(status, f"it answers {status}"))
    size = _ADDRESS_BYTES.get(kind)
    if size is None:
        size = (await _exactly(loop, sock, 1))[0]
    await _exactly(loop, sock, size + 2)


async def _exactly(loop: asyncio.AbstractEventLoop, sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = await loop.sock_recv(sock, count - len(data))
        if not part:
            raise ProxyRefused("it closed the connection")
        data += part
    return data
