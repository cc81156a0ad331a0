"""Through a proxy to a relay: what is said to it, and every way in which it can refuse."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from ztstack.aio.upstream_proxy import HEAD_LIMIT, ProxyRefused, UpstreamProxy, open_through
from ztstack.base.endpoint import Endpoint
from ztstack.base.errors import InvalidConfig

TARGET = Endpoint.parse("192.0.2.7/443")
TARGET_6 = Endpoint.parse("[2001:db8::7]:443")
SOCKS_OK = b"\x05\x00\x00\x01" + bytes(6)
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def exchanged(
    scheme: str, steps: list[tuple[int, bytes]], target: Endpoint = TARGET, **who: str
) -> tuple[bytes, bytes]:
    """Return what a proxy heard, and what the connection gave afterwards.

    The proxy takes so many bytes (-1: a head of HTTP), says what is listed, and goes on.
    """
    heard = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for count, answer in steps:
            if count < 0:
                heard.extend(await reader.readuntil(b"\r\n\r\n"))
            else:
                heard.extend(await reader.readexactly(count))
            writer.write(answer)
        writer.close()

    async def main() -> bytes:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            sock = await open_through(UpstreamProxy(scheme, "127.0.0.1", port, **who), target)
            with sock:
                return await asyncio.get_running_loop().sock_recv(sock, 100)

    after = asyncio.run(main())
    return bytes(heard), after


def test_http() -> None:
    # What the relay says at once is not the proxy's.
    heard, after = exchanged("http", [(-1, b"HTTP/1.1 200 Fine\r\nVia: x\r\n\r\nearly")])
    assert heard == b"CONNECT 192.0.2.7:443 HTTP/1.1\r\nHost: 192.0.2.7:443\r\n\r\n"
    assert after == b"early"


def test_http_with_a_password() -> None:
    heard, _ = exchanged(
        "http", [(-1, b"HTTP/1.0 200\r\n\r\n")], TARGET_6, user="me", password="a:b"
    )
    assert b"CONNECT [2001:db8::7]:443 HTTP/1.1\r\n" in heard
    assert b"\r\nProxy-Authorization: Basic bWU6YTpi\r\n" in heard


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_socks(scheme: str) -> None:
    heard, after = exchanged(scheme, [(3, b"\x05\x00"), (10, SOCKS_OK + b"early")])
    assert heard == b"\x05\x01\x00" + b"\x05\x01\x00\x01\xc0\x00\x02\x07\x01\xbb"
    assert after == b"early"


@pytest.mark.parametrize(
    "answer", [b"\x05\x00\x00\x04" + bytes(18), b"\x05\x00\x00\x03\x05proxy\x00\x00"]
)
def test_socks_with_a_password(answer: bytes) -> None:
    steps = [(4, b"\x05\x02"), (9, b"\x01\x00"), (22, answer + b"early")]
    heard, after = exchanged("socks5", steps, TARGET_6, user="me", password="word")
    assert heard[4:13] == b"\x01\x02me\x04word"
    assert heard[13:] == b"\x05\x01\x00\x04" + TARGET_6.ip + b"\x01\xbb"
    assert after == b"early"


@pytest.mark.parametrize(
    ("scheme", "steps", "words"),
    [
        ("http", [(-1, b"HTTP/1.1 407 Who are you\r\n\r\n")], "407 Who are you"),
        ("http", [(-1, b"SSH-2.0-x\r\n\r\n")], "does not speak HTTP"),
        ("http", [(-1, b"HTTP/1.1\r\n\r\n")], "does not speak HTTP"),
        ("http", [(-1, b"x" * (HEAD_LIMIT + 1))], "no end"),
        ("http", [(-1, b"HTTP/1.1 200 Fine\r\n")], "closed"),
        ("socks5", [(3, b"HT")], "does not speak SOCKS5"),
        ("socks5", [(3, b"\x05\xff")], "wants a login"),
        ("socks5", [(3, b"\x05\x02")], "wants a login"),
        ("socks5", [(3, b"\x05\x00"), (10, b"\x05\x05\x00\x01" + bytes(6))], "refused"),
        ("socks5", [(3, b"\x05\x00"), (10, b"\x05\x77\x00\x01" + bytes(6))], "119"),
        ("socks5", [(3, b"\x05\x00"), (10, b"\x05")], "closed"),
        ("socks5", [(3, b"")], "closed"),
    ],
)
def test_refusals(scheme: str, steps: list[tuple[int, bytes]], words: str) -> None:
    with pytest.raises(ProxyRefused, match=words):
        exchanged(scheme, steps)


def test_a_wrong_password() -> None:
    with pytest.raises(ProxyRefused, match="name and password"):
        exchanged("socks5", [(4, b"\x05\x02"), (9, b"\x01\x01")], user="me", password="word")


def test_passwords_are_not_shown() -> None:
    proxy = UpstreamProxy("http", "proxy", 8080, "me", "word")
    assert "word" not in f"{proxy} {proxy!r}"


@pytest.mark.parametrize(
    "values", [("ftp", "a", 1), ("http", "", 1), ("http", "a", 0), ("socks5", "a", 1, "u" * 256)]
)
def test_what_is_no_proxy(values: tuple[str, str, int]) -> None:
    with pytest.raises(InvalidConfig):
        UpstreamProxy(*values)
