"""What a running node and those who ride on it say to each other over a Unix socket.

A message is one letter, four bytes of length, and so many bytes. A rider opens a connection for
each thing it asks: the first message is the request, the next the answer; what follows depends.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import json
import os
import struct
import sys
import tempfile
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final

from ztcli.boundary import code_of, words_of
from ztcli.environment import Environment
from ztcli.exit_codes import CommandError, ExitCode
from ztcli.options import Settings

POINTER: Final = "control.sock"
"""The name in the state directory under which the socket is found, wherever it really is."""
DATA_BYTES: Final = 256 * 1024
MAX_BYTES: Final = 1 << 20
_HEAD: Final = struct.Struct(">cI")
_LENGTH: Final = struct.Struct(">H")
# What the shortest of the systems takes is 103 bytes and an end.
_LONGEST_PATH: Final = 100

Values = dict[str, Any]


class Kind(Enum):
    """What a message is."""

    REQUEST = b"Q"
    ANSWER = b"A"
    FAILURE = b"F"
    DATA = b"D"
    END = b"E"
    CLOSE = b"C"
    DATAGRAM = b"U"
    GROUP = b"G"
    LOST = b"L"
    """The other side is gone; never on the wire."""


_KINDS: Final = {kind.value: kind for kind in Kind if kind is not Kind.LOST}


class TimedOut(CommandError, TimeoutError):
    """Something took too long, at the node that others ride on."""


class Refused(CommandError, ConnectionRefusedError):
    """A connection was refused."""


class Reset(CommandError, ConnectionResetError):
    """A connection was lost."""


class Failed(CommandError, OSError):
    """Something else that an operating system would have said too."""


_CLASSES: Final = {
    "TimeoutError": TimedOut,
    "ConnectionRefusedError": Refused,
    "ConnectionResetError": Reset,
    "OSError": Failed,
}


def encode_failure(error: BaseException) -> bytes:
    """Turn an exception into what a rider raises in its place."""
    code = code_of(error)
    message, hint = words_of(error, code)
    kinds = [kind.__name__ for kind in type(error).__mro__]
    kind = next((name for name in _CLASSES if name in kinds), "")
    return json.dumps({"code": int(code), "message": message, "hint": hint, "kind": kind}).encode()


def decode_failure(data: bytes) -> CommandError:
    found = json.loads(data)
    kind = _CLASSES.get(str(found["kind"]), CommandError)
    return kind(str(found["message"]), ExitCode(int(found["code"])), str(found["hint"]))


def lost() -> Reset:
    return Reset("the process that runs the node is gone", ExitCode.CONNECTION_LOST)


AGENT: Final = "zt agent"
"""What the node of an agent says that it is there for."""


class Channel:
    """One connection between a rider and the node."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._head: tuple[Kind, int] | None = None

    async def send(self, kind: Kind, data: bytes | bytearray | memoryview = b"") -> None:
        self._writer.write(_HEAD.pack(kind.value, len(data)))
        if data:
            self._writer.write(bytes(data))
        await self._writer.drain()

    async def send_json(self, kind: Kind, values: Values) -> None:
        await self.send(kind, json.dumps(values).encode())

    async def receive(self) -> tuple[Kind, bytes]:
        """Return the next message; LOST at the end. Nothing is lost when this is cancelled."""
        try:
            if self._head is None:
                letter, length = _HEAD.unpack(await self._reader.readexactly(_HEAD.size))
                if letter not in _KINDS or length > MAX_BYTES:
                    return Kind.LOST, b""
                self._head = _KINDS[letter], length
            kind, length = self._head
            data = await self._reader.readexactly(length) if length else b""
        except (asyncio.IncompleteReadError, OSError):
            return Kind.LOST, b""
        self._head = None
        return kind, data

    async def answer(self) -> Values:
        """Return the answer to a request, or raise what it failed for."""
        kind, data = await self.receive()
        if kind is Kind.FAILURE:
            raise decode_failure(data)
        if kind is not Kind.ANSWER:
            raise lost()
        found: Values = json.loads(data)
        return found

    def peer_uid(self) -> int | None:
        """Return whose process is at the other end, where the system tells."""
        import socket

        option = getattr(socket, "SO_PEERCRED", None)
        sock = self._writer.get_extra_info("socket")
        if sock is None or option is None:
            return None
        # What uvloop has in place of a socket has no options.
        with socket.socket(fileno=os.dup(sock.fileno())) as real:
            size = struct.calcsize("3i")
            _, uid, _ = struct.unpack("3i", real.getsockopt(socket.SOL_SOCKET, option, size))
        return int(uid)

    def close(self) -> None:
        with contextlib.suppress(OSError, RuntimeError):
            self._writer.close()

    async def finish(self) -> None:
        """Close once the other side has taken everything."""
        self.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


async def ask(path: Path, what: str, values: Values | None = None) -> Values | None:
    """Ask the process behind a socket for something; None if there is none."""
    channel = await open_channel(path)
    if channel is None:
        return None
    try:
        await channel.send_json(Kind.REQUEST, {"do": what, **(values or {})})
        kind, data = await channel.receive()
    except OSError:
        return None
    finally:
        channel.close()
    if kind is Kind.FAILURE:
        raise decode_failure(data)
    found: Values | None = json.loads(data) if kind is Kind.ANSWER else None
    return found


def pack_datagram(values: Values, data: bytes) -> bytes:
    about = json.dumps(values).encode()
    return _LENGTH.pack(len(about)) + about + data


def unpack_datagram(message: bytes) -> tuple[Values, bytes]:
    (length,) = _LENGTH.unpack_from(message)
    end = _LENGTH.size + length
    values: Values = json.loads(message[_LENGTH.size : end])
    return values, message[end:]


def node_settings(settings: Settings) -> Values:
    """Return what only the process that runs a node decides, under the names of the options."""
    multipath = settings.multipath
    return {
        "--bind-udp": [list(one) for one in settings.bind],
        "--relay": "off" if settings.relay_off else list(settings.relay or ()),
        "--upstream-proxy": str(settings.upstream_proxy or ""),
        "--root-hint": [list(one) for one in settings.hints],
        "--moon": [list(one) for one in settings.moons],
        "--multipath and --mp-*": str(multipath) if multipath is not None else "",
        "--port-mapping": settings.port_mapping,
        "--pcap": str(settings.pcap or ""),
        "--pcap-wire": str(settings.pcap_wire or ""),
    }


def planet_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# Where the socket is.


@dataclass(frozen=True, slots=True)
class Place:
    """The path that is bound, and the name in the state directory that leads to it."""

    bound: Path
    pointer: Path


def place_of(env: Environment, state: Path) -> Place:
    """Return where the node of a state directory is to be reached."""
    state = state.absolute()
    pointer = state / POINTER
    runtime = env.variables.get("XDG_RUNTIME_DIR", "")
    base = Path(runtime) / "zt" if runtime and Path(runtime).is_dir() else None
    if base is not None and state == env.state_folder(state.name).absolute():
        named = base / f"{state.name}.sock"
        if _fits(named):
            return Place(named, pointer)
    if _fits(pointer):
        return Place(pointer, pointer)
    name = hashlib.sha256(os.fsencode(state)).hexdigest()[:32] + ".sock"
    if base is None or not _fits(base / name):
        base = Path(tempfile.gettempdir()) / f"zt-{os.getuid()}"
    return Place(base / name, pointer)


def _fits(path: Path) -> bool:
    return len(os.fsencode(path)) <= _LONGEST_PATH


def bound_path(state: Path) -> Path | None:
    """Return the socket that the state directory points to; None if there is none."""
    pointer = state.absolute() / POINTER
    if pointer.is_symlink():
        return pointer.readlink()
    return pointer if pointer.exists() else None


def is_supported() -> bool:
    return sys.platform != "win32"


async def open_channel(path: Path) -> Channel | None:
    """Connect to a node; None if nobody listens there any more."""
    if sys.platform == "win32":
        return None
    try:
        reader, writer = await asyncio.open_unix_connection(str(path), limit=DATA_BYTES)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ECONNREFUSED, errno.ECONNRESET, errno.ENOTDIR):
            return None
        raise
    return Channel(reader, writer)
