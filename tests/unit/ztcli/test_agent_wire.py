"""The words between a running node and its riders, and where the socket is."""

from __future__ import annotations

import asyncio
import errno
import socket
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from tests.support.cli import os_engine
from ztcli import agent_wire
from ztcli.agent_wire import Channel, Kind, decode_failure, encode_failure
from ztcli.environment import Environment
from ztcli.exit_codes import CommandError, ExitCode, UsageProblem
from ztstack.base.errors import (
    ConnectRefused,
    ConnectReset,
    NameNotResolved,
    NoAnswer,
    PortInUse,
)


def over_channel(body: Callable[[Channel, socket.socket], Awaitable[None]]) -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            reader, writer = await asyncio.open_unix_connection(sock=ours)
            channel = Channel(reader, writer)
            async with asyncio.timeout(10):
                await body(channel, theirs)
            channel.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (ConnectRefused("no"), ConnectionRefusedError, ExitCode.CANNOT_CONNECT),
        (ConnectReset("gone"), ConnectionResetError, ExitCode.CONNECTION_LOST),
        (NoAnswer("silence"), TimeoutError, ExitCode.TIMED_OUT),
        (TimeoutError("late"), TimeoutError, ExitCode.TIMED_OUT),
        (NameNotResolved("who"), OSError, ExitCode.NOT_RESOLVED),
        (PortInUse(errno.EADDRINUSE, "port 80 is in use"), OSError, ExitCode.PORT_IN_USE),
        (UsageProblem("what", "this"), CommandError, ExitCode.USAGE),
        (LookupError("a bug"), CommandError, ExitCode.INTERNAL),
    ],
)
def test_a_failure_is_the_same_failure_on_the_other_side(
    error: Exception, kind: type[Exception], code: ExitCode
) -> None:
    found = decode_failure(encode_failure(error))
    assert isinstance(found, kind)
    assert found.code is code
    assert str(getattr(error, "strerror", None) or error) in str(found)
    assert found.hint == getattr(error, "hint", found.hint)


def test_a_message_survives_who_waits_for_it() -> None:
    async def body(channel: Channel, peer: socket.socket) -> None:
        message = b"D" + (5).to_bytes(4, "big") + b"12345"
        for end in (3, 7):
            peer.sendall(message[end - 3 if end == 3 else 3 : end])
            waiting = asyncio.ensure_future(channel.receive())
            await asyncio.sleep(0.01)
            assert not waiting.done()
            waiting.cancel()
            await asyncio.wait((waiting,))
        peer.sendall(message[7:])
        assert await channel.receive() == (Kind.DATA, b"12345")

    over_channel(body)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"D\0",
        b"D\0\0\0\x05123",
        b"?\0\0\0\0",
        b"D" + (agent_wire.MAX_BYTES + 1).to_bytes(4, "big"),
    ],
)
def test_what_is_no_message_ends_it(data: bytes) -> None:
    async def body(channel: Channel, peer: socket.socket) -> None:
        peer.sendall(data)
        peer.shutdown(socket.SHUT_WR)
        assert await channel.receive() == (Kind.LOST, b"")

    over_channel(body)


def test_a_datagram_keeps_its_bytes() -> None:
    values, data = {"host": "10.0.0.1", "port": 53}, bytes(range(256))
    assert agent_wire.unpack_datagram(agent_wire.pack_datagram(values, data)) == (values, data)


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder whose path is short, as that of a home is."""
    with tempfile.TemporaryDirectory(prefix="zt") as folder:
        yield Path(folder)


def place(folder: Path, state: Path, **variables: str) -> agent_wire.Place:
    env = Environment(variables=variables, home=folder, engine_factory=os_engine)
    return agent_wire.place_of(env, state)


def test_the_socket_of_a_profile_is_where_the_session_keeps_such_things(home: Path) -> None:
    runtime = home / "run"
    runtime.mkdir()
    state = home / ".local" / "state" / "zt" / "ci"
    found = place(home, state, XDG_RUNTIME_DIR=str(runtime))
    assert found == agent_wire.Place(runtime / "zt" / "ci.sock", state / "control.sock")
    # Another state of the same name has a socket of its own.
    other = home / "ci"
    assert place(home, other, XDG_RUNTIME_DIR=str(runtime)).bound == other / "control.sock"
    assert place(home, state).bound == state / "control.sock"


def test_a_path_that_is_too_long_has_a_short_name(home: Path) -> None:
    runtime = home / "run"
    runtime.mkdir()
    state = home.joinpath(*["long"] * 30)
    found = place(home, state, XDG_RUNTIME_DIR=str(runtime))
    assert found.pointer == state / "control.sock"
    assert len(str(found.bound)) <= 100
    assert found.bound != place(home, state / "x", XDG_RUNTIME_DIR=str(runtime)).bound


def test_the_pointer_leads_to_the_socket(tmp_path: Path) -> None:
    assert agent_wire.bound_path(tmp_path) is None
    (tmp_path / "control.sock").symlink_to("/somewhere/else.sock")
    assert agent_wire.bound_path(tmp_path) == Path("/somewhere/else.sock")
