"""The ends of both directions over a real network that loses one datagram in twenty.

The same rows as in tests/cli/test_eof.py; the peers are plain programs behind `zt expose` and
`zt forward`, so that each end, half-close and reset crosses three pumps.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest

from tests.support.eof_peer import SIZE, WAYS
from tests.support.peers import required
from tests.support.site import Site, site
from tests.support.zt_process import Zt, environment, wait_until
from ztcli.exit_codes import ExitCode

pytestmark = pytest.mark.timeout(120)

PORT: Final = 7300
LIMIT: Final = 90.0
MUCH: Final = hashlib.shake_256(b"ends").digest(SIZE)
PEER: Final = (sys.executable, "-m", "tests.support.eof_peer")
LOSS: Final = ("INPUT", "-p", "udp", "-m", "statistic", "--mode", "random", "--probability", "0.05")


@dataclass(frozen=True, slots=True)
class Row:
    """One situation; a `stdin` of None is a pipe that stays open and says nothing."""

    id: str
    way: str
    stdin: bytes | None
    code: int
    stdout: bytes
    options: tuple[str, ...] = ()


ROWS: Final = (
    Row("M3-answer-after-our-end", "late_answer", b"hi", 0, b"got hi"),
    Row("M4-peer-ends-stdin-open", "greeting", None, 0, b"greeting"),
    Row("M5-reset", "greeting_and_reset", None, ExitCode.CONNECTION_LOST, b"greeting"),
    Row(
        "M5-reset-after-our-end", "reset_after_the_end", b"", ExitCode.CONNECTION_LOST, b"greeting"
    ),
    Row("M5b-idle", "silence", None, ExitCode.TIMED_OUT, b"", ("--idle-timeout", "2s")),
    Row("peer-ends-first", "end_first", b"hi", 0, b"greeting"),
    Row("both-end-empty", "end_at_once", b"", 0, b""),
    Row("no-stdin", "greeting", None, 0, b"greeting", ("--no-stdin",)),
    Row("much-both-ways", "much", MUCH, 0, MUCH[::-1]),
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with required(), site(tmp_path_factory.mktemp("site")) as made:
        yield made


@dataclass(frozen=True, slots=True)
class Two:
    """Two machines that lose packets; on the first the peers are exposed, from PORT on."""

    server: Zt
    client: Zt
    forwarder: Zt
    network: str
    ip: str
    ready: Path


@pytest.fixture(scope="module")
def two(world: Site) -> Iterator[Two]:
    network = world.create_network()
    server, client = world.node("server", network), world.node("client", network)
    forwarder = world.node("forwarder", network, client.machine)
    argv = (*PEER, "serve", str(PORT))
    peers = server.machine.popen(argv, env=environment())
    try:
        assert peers.stdout is not None
        assert peers.stdout.readline() == b"ready\n"
        exposing = server.start(
            "expose", *(f"{PORT + number}:127.0.0.1:{PORT + number}" for number in range(len(WAYS)))
        )
        hosts = [urlsplit(url).hostname for url in exposing.ready()["exposes"][0]["urls"]]
        ip = next(host for host in hosts if host is not None and ":" not in host)
        with required():
            for zt in (server, client):
                zt.machine.command("iptables", "-A", *LOSS, "-j", "DROP")
        yield Two(server, client, forwarder, network, ip, world.folder / "listener.ready")
    finally:
        peers.kill()
        peers.communicate()
        world.stop_nodes()


@contextmanager
def given(data: bytes | None) -> Iterator[int]:
    """Give a descriptor to read `data` from, or one that stays open and silent."""
    reading, writing = os.pipe()
    try:
        if data is None:
            yield reading
            return
        child = subprocess.Popen(
            [sys.executable, "-c", "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())"],
            stdin=subprocess.PIPE,
            stdout=writing,
        )
        os.close(writing)
        writing = -1
        assert child.stdin is not None
        child.stdin.write(data)
        child.stdin.close()
        yield reading
        child.wait()
    finally:
        os.close(reading)
        if writing >= 0:
            os.close(writing)


def check(row: Row, code: int, stdout: bytes, stderr: str) -> None:
    assert (code, stdout) == (row.code, row.stdout), stderr
    told = [line for line in stderr.splitlines() if line.startswith("zt: ")]
    assert len(told) == (1 if row.code else 0), stderr


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_call(two: Two, row: Row) -> None:
    port = PORT + list(WAYS).index(row.way)
    with given(row.stdin) as stdin:
        process = two.client.machine.popen(
            two.client.argv("call", two.ip, str(port), *row.options),
            stdin=stdin,
            env=environment(),
        )
        stdout, stderr = process.communicate(timeout=LIMIT)
    check(row, process.returncode, stdout, stderr.decode())


# Whoever resets without hearing from the listener cannot know that it was accepted at all.
LISTENING: Final = tuple(row for row in ROWS if "reset" not in row.way)


@pytest.mark.parametrize("row", LISTENING, ids=lambda row: row.id)
def test_listen(world: Site, two: Two, row: Row) -> None:
    """The listener's part of each row; its peer comes through `zt forward`."""
    listener = world.node("listener", two.network, two.server.machine)
    argv = listener.argv(
        *("listen", str(PORT), "--tcp", *row.options, "--ready-file", str(two.ready))
    )
    two.ready.unlink(missing_ok=True)
    with given(row.stdin) as stdin:
        process = two.server.machine.popen(argv, stdin=stdin, env=environment())
        try:
            wait_until("the listener is ready", two.ready.exists, LIMIT)
            addresses = json.loads(two.ready.read_text())["addresses"]
            ip = next(text for text in addresses if ":" not in text)
            forwarding = two.forwarder.start("forward", f"0:{ip}:{PORT}")
            local = forwarding.ready()["forwards"][0]["port"]
            done = two.client.machine.run(
                [*PEER, "connect", str(local), row.way], seconds=LIMIT, env=environment()
            )
            assert done.returncode == 0, done.stderr.decode()
            stdout, stderr = process.communicate(timeout=LIMIT)
            forwarding.stop()
        finally:
            process.kill()
            process.communicate()
    check(row, process.returncode, stdout, stderr.decode())
