"""The control socket of a running node: other commands of the same state ride on the node."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import stat
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from ztcli.agent_wire import (
    AGENT,
    DATA_BYTES,
    Channel,
    Kind,
    Place,
    Values,
    encode_failure,
    node_settings,
    open_channel,
    pack_datagram,
    place_of,
    planet_hash,
    unpack_datagram,
)
from ztcli.engine import Datagrams, Listener, Stream
from ztcli.engine_around import EngineAround
from ztcli.engine_stack import StackEngine
from ztcli.environment import Environment
from ztcli.exit_codes import CommandError, ExitCode
from ztcli.library_log import set_level
from ztcli.options import Settings

MAX_RIDERS: Final = 1024
ASK_S: Final = 10.0
"""How long a connection may be open before it asks for something."""
_PROTOCOL: Final = 1
_FOREVER_S: Final = 86_400.0


class ServingEngine(EngineAround):
    """A node on which other commands may ride."""

    def __init__(self, inner: StackEngine, env: Environment, settings: Settings) -> None:
        super().__init__(inner)
        self._stack = inner
        self._env = env
        self._settings = settings
        self._server: ControlServer | None = None

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        state = self._settings.state
        assert state is not None
        server = ControlServer(self._stack, self._settings, place_of(self._env, state))
        try:
            await server.start()
        except OSError as error:
            # The command can do its own work without riders.
            words = error.strerror or str(error)
            self._env.warn(self._settings, f"warning: no control socket: {words}")
        except BaseException:
            await super().__aexit__(None, None, None)
            raise
        else:
            self._server = server
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._server is not None:
                await self._server.stop()
        finally:
            await super().__aexit__(kind, error, trace)

    @property
    def server(self) -> ControlServer | None:
        return self._server


class ControlServer:
    """Answers riders; what one of them opened ends with its connection."""

    def __init__(self, engine: StackEngine, settings: Settings, place: Place) -> None:
        self._engine = engine
        self._settings = settings
        self.place = place
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._listeners: dict[int, Listener] = {}
        self._streams: dict[int, Stream] = {}
        self._numbers = count(1)
        self._planet = _planet_in_use(settings)
        self._started = time.time()
        self._last_seen = time.monotonic()
        self._table: dict[str, Callable[[Channel, Values], Awaitable[None]]] = {
            "about": self._about,
            "join": self._join,
            "online": self._online,
            "connect": self._connect,
            "sent": self._sent,
            "listen": self._listen,
            "accept": self._accept,
            "datagram": self._datagram,
            "ping": self._ping,
            "netcheck": self._netcheck,
            "status": self._status,
            "leave": self._leave,
            "level": self._level,
            "stop": self._stop,
        }

    async def unused(self, seconds: float | None) -> None:
        """Return when nobody has ridden for so long; never if that is None."""
        self._last_seen = time.monotonic()
        while True:
            idle_s = 0.0 if self._tasks else time.monotonic() - self._last_seen
            if seconds is not None and idle_s >= seconds:
                return
            await asyncio.sleep(seconds - idle_s if seconds is not None else _FOREVER_S)

    async def start(self) -> None:
        """Bind the socket; one that nobody listens on is a rest of a process that was killed."""
        bound, pointer = self.place.bound, self.place.pointer
        _make_folder(bound.parent)
        # The state is ours alone, so whatever still stands here is such a rest.
        if await open_channel(bound) is None:
            bound.unlink(missing_ok=True)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            before = os.umask(0o177)
            try:
                sock.bind(str(bound))
            finally:
                os.umask(before)
            if pointer != bound:
                pointer.unlink(missing_ok=True)
                pointer.symlink_to(bound)
            self._server = await asyncio.start_unix_server(
                self._connected, sock=sock, limit=DATA_BYTES
            )
        except BaseException:
            sock.close()
            raise

    async def stop(self) -> None:
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        self.place.bound.unlink(missing_ok=True)
        if self.place.pointer != self.place.bound:
            self.place.pointer.unlink(missing_ok=True)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        channel = Channel(reader, writer)
        if len(self._tasks) >= MAX_RIDERS or channel.peer_uid() not in (None, 0, os.getuid()):
            channel.close()
            return
        task = asyncio.ensure_future(self._serve(channel))
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._last_seen = time.monotonic()
        if not task.cancelled():
            task.exception()

    async def _serve(self, channel: Channel) -> None:
        try:
            async with asyncio.timeout(ASK_S):
                kind, data = await channel.receive()
            if kind is not Kind.REQUEST:
                return
            try:
                request = json.loads(data)
                answer = self._table[str(request["do"])]
            except (ValueError, KeyError, TypeError):
                raise CommandError(
                    "the process that runs the node does not know this", ExitCode.USAGE
                ) from None
            await answer(channel, request)
        except OSError as error:
            await _fail(channel, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the rider is told
            await _fail(channel, error)
        finally:
            await channel.finish()

    # Questions.

    async def _about(self, channel: Channel, request: Values) -> None:
        del request
        settings = self._settings
        values = {
            "protocol": _PROTOCOL,
            "pid": os.getpid(),
            "command": settings.serves,
            "node": self._engine.node_id,
            "networks": self._engine.networks,
            "planet": self._planet,
            "settings": node_settings(settings),
            "state": str(settings.state),
            "started": self._started,
            "riders": len(self._tasks) - 1,
        }
        await channel.send_json(Kind.ANSWER, values)

    async def _join(self, channel: Channel, request: Values) -> None:
        joining = asyncio.ensure_future(
            self._engine.join_more(request["networks"], request["timeout"], request["wait_auth"])
        )
        await _unless_gone(channel, joining)
        addresses = [ip for one in request["networks"] for ip in self._engine.addresses_of(one)]
        values = {"addresses": addresses, "networks": self._engine.networks}
        await channel.send_json(Kind.ANSWER, values)

    async def _online(self, channel: Channel, request: Values) -> None:
        del request
        await _unless_gone(channel, asyncio.ensure_future(self._engine.wait_online()))
        await channel.send_json(Kind.ANSWER, {})

    async def _ping(self, channel: Channel, request: Values) -> None:
        asking = asyncio.ensure_future(
            self._engine.ping(
                request["target"], request["timeout"], icmp=request["icmp"], size=request["size"]
            )
        )
        pong = await _unless_gone(channel, asking)
        await channel.send_json(Kind.ANSWER, asdict(pong))

    async def _netcheck(self, channel: Channel, request: Values) -> None:
        del request
        await channel.send_json(Kind.ANSWER, (await self._engine.netcheck()).values())

    async def _status(self, channel: Channel, request: Values) -> None:
        del request
        status = await self._engine.status()
        await channel.send(Kind.ANSWER, json.dumps(status, default=str).encode())

    async def _leave(self, channel: Channel, request: Values) -> None:
        if self._settings.serves != AGENT:
            raise CommandError(
                f"the network is in use by {self._settings.serves}, pid {os.getpid()}",
                ExitCode.STATE_IN_USE,
            )
        # What is kept, and not joined this time, is left too.
        self._engine.leave(request["network"])
        await channel.send_json(Kind.ANSWER, {})

    async def _level(self, channel: Channel, request: Values) -> None:
        set_level(str(request["level"]))
        await channel.send_json(Kind.ANSWER, {"level": request["level"]})

    async def _stop(self, channel: Channel, request: Values) -> None:
        del request
        await channel.send_json(Kind.ANSWER, {"pid": os.getpid()})
        os.kill(os.getpid(), signal.SIGTERM)

    # Streams.

    async def _connect(self, channel: Channel, request: Values) -> None:
        opening = asyncio.ensure_future(
            self._engine.connect(
                request["host"],
                request["port"],
                request["timeout"],
                family=request["family"],
                source=request["source"],
                source_port=request["source_port"],
            )
        )
        await self._carry(channel, await _unless_gone(channel, opening))

    async def _sent(self, channel: Channel, request: Values) -> None:
        """Wait until the peer has everything, our end of the stream included."""
        stream = self._streams.get(request["stream"])
        if stream is None:
            raise CommandError("the connection is over", ExitCode.CONNECTION_LOST)
        waiting = asyncio.ensure_future(stream.wait_sent(request["timeout"]))
        await _unless_gone(channel, waiting)
        await channel.send_json(Kind.ANSWER, {"path": stream.path})

    async def _carry(self, channel: Channel, stream: Stream) -> None:
        """Answer with a stream, and lead bytes both ways until the rider lets it go."""
        number = next(self._numbers)
        self._streams[number] = stream
        is_closed = False
        try:
            values = {
                "stream": number,
                "local": stream.local,
                "remote": stream.remote,
                "remote_name": stream.remote_name,
                "network_name": stream.network_name,
                "path": stream.path,
            }
            await channel.send_json(Kind.ANSWER, values)
            inward = asyncio.ensure_future(_from_network(channel, stream))
            try:
                is_closed = await _to_network(channel, stream)
            finally:
                inward.cancel()
                await asyncio.wait((inward,))
        finally:
            del self._streams[number]
            if is_closed:
                await stream.close()
            else:
                stream.abort()

    # Listeners.

    async def _listen(self, channel: Channel, request: Values) -> None:
        listener = await self._engine.listen(request["port"], request["host"])
        number = next(self._numbers)
        self._listeners[number] = listener
        try:
            values = {"listener": number, "port": listener.port, "addresses": listener.addresses}
            await channel.send_json(Kind.ANSWER, values)
            await _until_gone(channel)
        finally:
            del self._listeners[number]
            listener.close()

    async def _accept(self, channel: Channel, request: Values) -> None:
        listener = self._listeners.get(request["listener"])
        if listener is None:
            raise CommandError("the listener is closed", ExitCode.CONNECTION_LOST)
        accepting = asyncio.ensure_future(listener.accept())
        await self._carry(channel, await _unless_gone(channel, accepting))

    # Datagrams.

    async def _datagram(self, channel: Channel, request: Values) -> None:
        endpoint = await self._engine.datagram(request["port"], request["host"])
        try:
            values = {"port": endpoint.local_port, "addresses": endpoint.addresses}
            await channel.send_json(Kind.ANSWER, values)
            inward = asyncio.ensure_future(_datagrams_in(channel, endpoint))
            try:
                await _datagrams_out(channel, endpoint)
            finally:
                inward.cancel()
                await asyncio.wait((inward,))
        finally:
            endpoint.close()


async def _fail(channel: Channel, error: BaseException) -> None:
    with contextlib.suppress(OSError):
        await channel.send(Kind.FAILURE, encode_failure(error))


async def _until_gone(channel: Channel) -> None:
    while (await channel.receive())[0] is not Kind.LOST:
        pass


async def _unless_gone(channel: Channel, work: asyncio.Future[Any]) -> Any:  # noqa: ANN401
    """Return the result of some work, which ends when the rider goes away."""
    watch = asyncio.ensure_future(channel.receive())
    try:
        await asyncio.wait((work, watch), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise ConnectionResetError("the rider went away")
        return work.result()
    finally:
        for task in (work, watch):
            task.cancel()
        await asyncio.wait((work, watch))


async def _from_network(channel: Channel, stream: Stream) -> None:
    """Lead what arrives to the rider; how it ends is told."""
    try:
        while views := await stream.receive_views(DATA_BYTES):
            await channel.send(Kind.DATA, b"".join(views))
        await channel.send_json(Kind.END, {"path": stream.path})
    except OSError as error:
        await _fail(channel, error)


async def _to_network(channel: Channel, stream: Stream) -> bool:
    """Lead what the rider sends to the network; True if it closed the stream in good order."""
    while True:
        kind, data = await channel.receive()
        match kind:
            case Kind.DATA:
                await stream.send(data)
            case Kind.END:
                await stream.send_eof()
            case _:
                return kind is Kind.CLOSE


async def _datagrams_in(channel: Channel, endpoint: Datagrams) -> None:
    try:
        while True:
            data, source, node = await endpoint.receive()
            message = pack_datagram({"source": source, "node": node}, data)
            await channel.send(Kind.DATAGRAM, message)
    except OSError as error:
        await _fail(channel, error)


async def _datagrams_out(channel: Channel, endpoint: Datagrams) -> None:
    while True:
        kind, data = await channel.receive()
        try:
            if kind is Kind.DATAGRAM:
                values, payload = unpack_datagram(data)
                await endpoint.send(payload, values["host"], values["port"])
                await channel.send(Kind.ANSWER)
            elif kind is Kind.GROUP:
                endpoint.join_group(data.decode("ascii", "replace"))
            else:
                return
        except (OSError, ValueError, CommandError) as error:
            await _fail(channel, error)


def _planet_in_use(settings: Settings) -> str:
    """Return the hash of the file that names the roots; empty for the public ones."""
    state = settings.state
    named = [settings.planet] if settings.planet is not None else []
    kept = [state / "planet", state / "roots"] if state is not None else []
    found = next((path for path in (*named, *kept) if path.exists()), None)
    return planet_hash(found) if found is not None else ""


def _make_folder(folder: Path) -> None:
    """Make the folder of the socket, which nobody else may look into."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.stat()
    if status.st_uid not in (0, os.getuid()) or stat.S_IMODE(status.st_mode) & 0o022:
        raise CommandError(f"{folder}: others may write there", ExitCode.USAGE)
