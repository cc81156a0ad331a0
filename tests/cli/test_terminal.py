"""Commands whose stdout is a terminal: what peers may not do to it, and the meter beside it."""

from __future__ import annotations

import json
import os
import pty
import socket
import threading
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cli import Zt, peer, receive_all
from ztcli.exit_codes import ExitCode

WICKED = b"\x1b]0;owned\x07 caf\xc3\xa9\r\n"
SHOWN = "^[]0;owned^G café\r\n".encode()
BINARY = b"GIF89a\x00\x01"


class Terminal:
    """A terminal and what was written to it."""

    def __init__(self) -> None:
        self.outside, self.inside = pty.openpty()
        tty.setraw(self.inside)

    def close(self) -> None:
        os.close(self.outside)
        os.close(self.inside)

    def shown(self) -> bytes:
        os.write(self.inside, b"\0end\0")
        found = b""
        while not found.endswith(b"\0end\0"):
            found += os.read(self.outside, 65536)
        return found[:-5]


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    made = Terminal()
    yield made
    made.close()


def says(data: bytes) -> object:
    def behaviour(connection: socket.socket) -> None:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        receive_all(connection)

    return behaviour


def answers(body: bytes) -> object:
    def behaviour(connection: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(65536)
        connection.sendall(b"HTTP/1.0 200 OK\r\nX-Name: a\r\n\r\n" + body)

    return behaviour


def run(zt: Zt, terminal: Terminal, *arguments: str) -> tuple[int, bytes, str]:
    stdin = os.open(os.devnull, os.O_RDONLY)
    try:
        code, stderr = zt.run(arguments, stdin, terminal.inside)
    finally:
        os.close(stdin)
    return code, terminal.shown(), stderr


@pytest.mark.parametrize(("more", "shown"), [([], SHOWN), (["--raw"], WICKED)])
def test_a_stream_on_a_terminal(zt: Zt, terminal: Terminal, more: list[str], shown: bytes) -> None:
    with peer(says(WICKED)) as port:  # type: ignore[arg-type]
        assert run(zt, terminal, "call", "127.0.0.1", str(port), *more) == (0, shown, "")


def test_a_stream_elsewhere_is_as_it_came(zt: Zt) -> None:
    with peer(says(WICKED)) as port:  # type: ignore[arg-type]
        assert zt("call", "127.0.0.1", str(port)).stdout == WICKED


@pytest.mark.parametrize(
    ("body", "more", "code", "shown"),
    [
        (WICKED, [], 0, SHOWN),
        (WICKED, ["--raw"], 0, WICKED),
        (WICKED, ["-o", "-"], 0, WICKED),
        (WICKED, ["-i"], 0, b"HTTP/1.0 200 OK\r\nX-Name: a\r\n\r\n" + SHOWN),
        (BINARY, [], ExitCode.CANNOT_WRITE, b""),
        (BINARY, ["-o", "-"], 0, BINARY),
    ],
)
def test_a_body_on_a_terminal(
    zt: Zt, terminal: Terminal, body: bytes, more: list[str], code: int, shown: bytes
) -> None:
    with peer(answers(body)) as port:  # type: ignore[arg-type]
        result = run(zt, terminal, "call", f"http://127.0.0.1:{port}/", *more)
    assert result[:2] == (code, shown)
    assert bool(code) == ("-o - writes it there anyway" in result[2])


def test_a_file_is_no_terminal(zt: Zt, terminal: Terminal, tmp_path: Path) -> None:
    path = tmp_path / "file"
    with peer(answers(BINARY)) as port:  # type: ignore[arg-type]
        url = f"http://127.0.0.1:{port}/"
        assert run(zt, terminal, "call", url, "-o", str(path)) == (0, b"", "")
    assert path.read_bytes() == BINARY


@pytest.mark.parametrize(("more", "shown"), [([], SHOWN[:-2]), (["--raw"], WICKED[:-2])])
def test_datagrams_on_a_terminal(
    zt: Zt, terminal: Terminal, more: list[str], shown: bytes, tmp_path: Path
) -> None:
    ready = tmp_path / "ready"
    arguments = ["-q", "udp-listen", "0", "--once", "--ready-file", str(ready), *more]
    taken: list[tuple[int, bytes, str]] = []
    thread = threading.Thread(target=lambda: taken.append(run(zt, terminal, *arguments)))
    thread.start()
    while not ready.exists():
        thread.join(0.01)
        assert thread.is_alive() or ready.exists()
    port = json.loads(ready.read_text())["port"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(WICKED[:-2], ("127.0.0.1", port))
    thread.join(15)
    ((code, got, _),) = taken
    assert (code, got) == (0, shown if more else shown + b"\n")
