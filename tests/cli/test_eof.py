"""The ends of both directions: what netcat, socat and curl do differently, row by row.

Every row runs with `zt call` on one side; those in which a listener's part is another also
with `zt listen --tcp`.
"""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass

import pytest

from tests.support.cli import Result, Zt, free_port, open_pipe, peer, receive_all
from tests.support.os_engine import OsEngine, reset
from ztcli.engine import Engine, Stream
from ztcli.environment import Environment
from ztcli.exit_codes import ExitCode
from ztcli.options import Settings
from ztstack.base.errors import NameNotResolved

Behaviour = Callable[[socket.socket], None]

_PROCESS = """
import sys
import ztcli.app
from tests.support.cli import os_engine

ztcli.app.make_engine = os_engine
ztcli.app.main()
"""
BOUND_BYTES = 16_000_000
"""A megabyte of ours, and what the system's two socket buffers and a pipe may hold."""


def late_answer(connection: socket.socket) -> None:
    got = receive_all(connection)
    time.sleep(0.3)
    connection.sendall(b"got " + got)


def greeting(connection: socket.socket) -> None:
    connection.sendall(b"greeting")


def greeting_and_reset(connection: socket.socket) -> None:
    connection.sendall(b"greeting")
    time.sleep(0.2)
    reset(connection)


def silence(connection: socket.socket) -> None:
    with suppress(ConnectionResetError):
        receive_all(connection)


def end_at_once(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_WR)
    assert receive_all(connection) == b""


def end_first(connection: socket.socket) -> None:
    connection.sendall(b"greeting")
    connection.shutdown(socket.SHUT_WR)
    assert receive_all(connection) == b"hi"


@dataclass(frozen=True, slots=True)
class Row:
    """One situation; a `stdin` of None is a pipe that stays open and says nothing."""

    id: str
    behaviour: Behaviour
    stdin: bytes | None
    code: int
    stdout: bytes
    options: tuple[str, ...] = ()


ROWS = [
    Row("M3-answer-after-our-end", late_answer, b"hi", 0, b"got hi"),
    Row("M4-peer-ends-stdin-open", greeting, None, 0, b"greeting"),
    Row("M5-reset", greeting_and_reset, None, ExitCode.CONNECTION_LOST, b"greeting"),
    Row("M5-reset-after-our-end", greeting_and_reset, b"", ExitCode.CONNECTION_LOST, b"greeting"),
    Row("M5b-idle", silence, None, ExitCode.TIMED_OUT, b"", ("--idle-timeout", "300ms")),
    Row("peer-ends-first", end_first, b"hi", 0, b"greeting"),
    Row("both-end-empty", end_at_once, b"", 0, b""),
    Row("no-stdin", greeting, None, 0, b"greeting", ("--no-stdin",)),
]


def check(row: Row, result: Result) -> None:
    assert (result.code, result.stdout) == (row.code, row.stdout)
    told = [line for line in result.stderr.splitlines() if line.startswith("zt: ")]
    assert len(told) == (1 if row.code else 0)
    if row.code:
        assert f"[ZT-E{row.code:03}]" in told[0]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_call(zt: Zt, row: Row) -> None:
    with ExitStack() as stack:
        port = stack.enter_context(peer(row.behaviour))
        stdin = stack.enter_context(open_pipe()) if row.stdin is None else row.stdin
        result = zt("call", "127.0.0.1", str(port), *row.options, stdin=stdin)
    check(row, result)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_listen(zt: Zt, row: Row) -> None:
    with ExitStack() as stack:
        stdin = stack.enter_context(open_pipe()) if row.stdin is None else row.stdin
        arguments = ["listen", "0", "--tcp", *row.options]
        running = stack.enter_context(zt.background(*arguments, stdin=stdin))
        with socket.create_connection(("127.0.0.1", running.port), 10) as connection:
            row.behaviour(connection)
        result = running.wait()
    check(row, result)


def test_refused(zt: Zt) -> None:
    """M1: one line and 7, not silence."""
    result = zt("call", "127.0.0.1", str(free_port()))
    assert (result.code, result.stdout) == (ExitCode.CANNOT_CONNECT, b"")
    assert result.stderr.count("\n") == 1


class _Nameless(OsEngine):
    """A network that knows no name."""

    async def connect(
        self,
        host: str,
        port: int,
        timeout: float | None,
        *,
        family: int = 0,
        source: str | None = None,
        source_port: int = 0,
    ) -> Stream:
        raise NameNotResolved(f"{host}: there is no such name")


def test_name_is_unknown(zt: Zt) -> None:
    """M2."""

    def factory(env: Environment, settings: Settings) -> Engine:
        del env, settings
        return _Nameless()

    zt.factory = factory
    result = zt("call", "nobody", "80")
    assert (result.code, result.stdout) == (ExitCode.NOT_RESOLVED, b"")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("mode", ["call", "listen"])
def test_reader_goes_away(zt: Zt, mode: str) -> None:
    """M7: 141 and not a word, and the peer is reset."""
    reading, writing = os.pipe()
    os.close(reading)
    outcome: list[str] = []

    def flood(connection: socket.socket) -> None:
        try:
            while True:
                connection.sendall(b"x" * 65536)
        except (ConnectionResetError, BrokenPipeError):
            outcome.append("reset")

    try:
        with ExitStack() as stack:
            stdin = stack.enter_context(open_pipe())
            if mode == "call":
                port = stack.enter_context(peer(flood))
                code, stderr = zt.run(["call", "127.0.0.1", str(port)], stdin, writing)
            else:
                port = free_port()
                caller = threading.Thread(target=_flood_when_open, args=(port, flood))
                caller.start()
                code, stderr = zt.run(["-q", "listen", str(port), "--tcp"], stdin, writing)
                caller.join(10)
    finally:
        os.close(writing)
    assert (code, stderr, outcome) == (ExitCode.OUTPUT_CLOSED, "", ["reset"])


def _flood_when_open(port: int, flood: Behaviour) -> None:
    for _ in range(1000):
        try:
            connection = socket.create_connection(("127.0.0.1", port), 10)
        except ConnectionRefusedError:
            time.sleep(0.01)
            continue
        with connection:
            flood(connection)
        return


@pytest.mark.parametrize("redirection", ["<&-", "</dev/null"])
def test_no_stdin_at_all(redirection: str) -> None:
    """M8: a closed stdin is one at its end, and what the peer says still arrives."""
    with peer(late_answer) as port:
        command = f'exec "$0" -c "$1" call 127.0.0.1 {port} {redirection}'
        done = subprocess.run(
            ["/bin/sh", "-c", command, sys.executable, _PROCESS],
            capture_output=True,
            timeout=20,
            check=False,
        )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"got ", b"")


def test_unknown_option(zt: Zt) -> None:
    assert zt("call", "--no-such-thing", "127.0.0.1", "1").code == ExitCode.USAGE


def test_port_in_use(zt: Zt) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        result = zt("listen", str(server.getsockname()[1]), "--tcp")
    assert result.code == ExitCode.PORT_IN_USE


def test_keep_sending(zt: Zt) -> None:
    """Rule 2: --keep-sending waits for stdin though the peer has ended."""
    reading, writing = os.pipe()
    received = []

    def end_then_read(connection: socket.socket) -> None:
        connection.shutdown(socket.SHUT_WR)
        os.write(writing, b"late ")
        time.sleep(1.3)  # Longer than an input without the option is watched.
        os.write(writing, b"later")
        os.close(writing)
        received.append(receive_all(connection))

    with peer(end_then_read) as port:
        result = zt("call", "127.0.0.1", str(port), "--keep-sending", stdin=reading)
    os.close(reading)
    assert (result.code, received) == (0, [b"late later"])


def test_no_shutdown(zt: Zt) -> None:
    """Rule 1, the exception: the input ends and the peer is not told."""
    ended_early = []

    def listen_a_while(connection: socket.socket) -> None:
        assert connection.recv(100) == b"hi"
        connection.settimeout(0.3)
        try:
            ended_early.append(connection.recv(1) == b"")
        except TimeoutError:
            ended_early.append(False)

    with peer(listen_a_while) as port:
        result = zt("call", "127.0.0.1", str(port), "--no-shutdown", stdin=b"hi")
    assert (result.code, ended_early) == (0, [False])


def test_back_pressure(zt: Zt) -> None:
    """Rule 8: a peer that does not read stops us from reading; nothing is lost."""
    total = 4 * BOUND_BYTES
    block = os.urandom(1 << 20)
    reading, writing = os.pipe()
    taken = [0]
    wanted = hashlib.sha256()
    got = hashlib.sha256()
    held = []

    def feed() -> None:
        while taken[0] < total:
            taken[0] += os.write(writing, block)
            wanted.update(block)
        os.close(writing)

    def slow(connection: socket.socket) -> None:
        before = -1
        while before != taken[0]:
            before = taken[0]
            time.sleep(0.4)
        held.append(before)
        while part := connection.recv(1 << 20):
            got.update(part)

    feeder = threading.Thread(target=feed, daemon=True)
    with peer(slow) as port:
        feeder.start()
        result = zt("call", "127.0.0.1", str(port), stdin=reading)
    feeder.join(10)
    os.close(reading)
    assert result.code == 0
    assert held[0] < BOUND_BYTES
    assert got.digest() == wanted.digest()
