"""An engine without a node of its own: it rides on one that another process runs."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from ztcli.agent_wire import (
    DATA_BYTES,
    Channel,
    Kind,
    Values,
    decode_failure,
    lost,
    node_settings,
    open_channel,
    pack_datagram,
    planet_hash,
    unpack_datagram,
)
from ztcli.engine import Datagrams, Listener, NetCheck, Pong, RootCheck, Stream
from ztcli.environment import Environment
from ztcli.exit_codes import CommandError, ExitCode, UsageProblem
from ztcli.options import Settings

MAX_WAITING: Final = 1024
"""Datagrams that nobody has asked for yet; older ones are dropped first."""


class AgentEngine:
    """Asks a running node for everything."""

    def __init__(self, env: Environment, settings: Settings, path: Path, about: Values) -> None:
        self._env = env
        self._settings = settings
        self._path = path
        self._about = about
        self._networks: list[str] = list(settings.networks) or list(about["networks"])
        self._addresses: list[str] = []
        self._channels: set[Channel] = set()
        check(env, settings, about)

    async def __aenter__(self) -> Self:
        if self._settings.verbose:
            about = self._about
            self._env.say(f"using the node of {about['command']}, pid {about['pid']}")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for channel in list(self._channels):
            channel.close()

    @property
    def node_id(self) -> str:
        return str(self._about["node"])

    @property
    def networks(self) -> list[str]:
        return list(self._networks)

    @property
    def extra_lines(self) -> list[str]:
        return []

    def addresses(self) -> list[str]:
        return list(self._addresses)

    async def join(self) -> None:
        if not self._networks:
            raise UsageProblem(
                "no network is named", "name one with -n NWID, or export ZT_NETWORK=NWID"
            )
        settings = self._settings
        found = await self.ask(
            "join",
            networks=self._networks,
            timeout=settings.join_timeout,
            wait_auth=settings.wait_auth,
        )
        self._addresses = list(found["addresses"])

    async def wait_online(self) -> None:
        await self.ask("online")

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
        channel, found = await self._begin(
            "connect",
            host=host,
            port=port,
            timeout=timeout,
            family=int(family),
            source=source,
            source_port=source_port,
        )
        return AgentStream(self, channel, found)

    async def listen(self, port: int, host: str | None = None) -> Listener:
        channel, found = await self._begin("listen", port=port, host=host)
        return AgentListener(self, channel, found)

    async def datagram(self, port: int = 0, host: str | None = None) -> Datagrams:
        channel, found = await self._begin("datagram", port=port, host=host)
        return AgentDatagrams(channel, found)

    async def ping(self, target: str, timeout: float | None, *, icmp: bool, size: int) -> Pong:
        found = await self.ask("ping", target=target, timeout=timeout, icmp=icmp, size=size)
        return Pong(**found)

    async def netcheck(self) -> NetCheck:
        found = await self.ask("netcheck")
        roots = tuple(
            RootCheck(**{**one, "seen_as": tuple(one["seen_as"])}) for one in found.pop("roots")
        )
        return NetCheck(**{**found, "external": tuple(found["external"]), "roots": roots})

    async def status(self) -> dict[str, object]:
        return await self.ask("status")

    # The other process.

    async def ask(self, what: str, **values: object) -> Values:
        """Ask for something that the answer is all of."""
        channel, found = await self._begin(what, **values)
        self.end(channel)
        return found

    async def begin_accept(self, listener: int) -> Stream:
        channel, found = await self._begin("accept", listener=listener)
        return AgentStream(self, channel, found)

    async def _begin(self, what: str, **values: object) -> tuple[Channel, Values]:
        channel = await open_channel(self._path)
        if channel is None:
            raise lost()
        self._channels.add(channel)
        try:
            await channel.send_json(Kind.REQUEST, {"do": what, **values})
            return channel, await channel.answer()
        except BaseException:
            self.end(channel)
            raise

    def end(self, channel: Channel) -> None:
        self._channels.discard(channel)
        channel.close()


class AgentStream:
    """A stream of a node in another process."""

    def __init__(self, engine: AgentEngine, channel: Channel, about: Values) -> None:
        self._engine = engine
        self._channel = channel
        self._number = about["stream"]
        self._rest = memoryview(b"")
        self._is_ended = False
        self._error: CommandError | None = None
        self.local = _name(about["local"])
        self.remote = _name(about["remote"])
        self.remote_name = str(about["remote_name"])
        self.network_name = str(about["network_name"])
        self.path = str(about["path"])

    async def receive(self, limit: int = DATA_BYTES) -> bytes:
        return b"".join(await self.receive_views(limit))

    async def receive_views(self, limit: int = DATA_BYTES) -> list[memoryview]:
        if not self._rest and not self._is_ended:
            await self._take()
        if self._error is not None:
            raise self._error
        part, self._rest = self._rest[:limit], self._rest[limit:]
        return [part] if part else []

    async def _take(self) -> None:
        kind, data = await self._channel.receive()
        match kind:
            case Kind.DATA:
                self._rest = memoryview(data)
            case Kind.END:
                self._is_ended = True
                self._see(data)
            case Kind.FAILURE:
                self._error = decode_failure(data)
            case _:
                self._error = lost()

    def _see(self, data: bytes) -> None:
        import json

        self.path = str(json.loads(data)["path"])

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data)
        while view:
            if self._error is not None:
                raise self._error
            await self._channel.send(Kind.DATA, view[:DATA_BYTES])
            view = view[DATA_BYTES:]

    async def send_eof(self) -> None:
        await self._channel.send(Kind.END)

    async def wait_sent(self, timeout: float | None = None) -> None:
        found = await self._engine.ask("sent", stream=self._number, timeout=timeout)
        self.path = str(found["path"])

    async def close(self) -> None:
        try:
            await self._channel.send(Kind.CLOSE)
            await self._channel.finish()
        except OSError:
            self._channel.close()
        self._engine.end(self._channel)

    def abort(self) -> None:
        # Who goes without a word resets the connection.
        self._engine.end(self._channel)


class AgentListener:
    """A listening port of a node in another process."""

    def __init__(self, engine: AgentEngine, channel: Channel, about: Values) -> None:
        self._engine = engine
        self._channel = channel
        self._number = int(about["listener"])
        self.port = int(about["port"])
        self.addresses = [_name(one) for one in about["addresses"]]

    async def accept(self) -> Stream:
        return await self._engine.begin_accept(self._number)

    def close(self) -> None:
        self._engine.end(self._channel)


class AgentDatagrams:
    """A UDP port of a node in another process."""

    def __init__(self, channel: Channel, about: Values) -> None:
        self._channel = channel
        self.local_port = int(about["port"])
        self.addresses = [_name(one) for one in about["addresses"]]
        self._waiting: asyncio.Queue[tuple[bytes, tuple[str, int], str] | CommandError]
        self._waiting = asyncio.Queue(MAX_WAITING)
        self._answers: asyncio.Queue[CommandError | None] = asyncio.Queue()
        self._asked = 0
        self._error: CommandError | None = None
        self._reading = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        while True:
            kind, data = await self._channel.receive()
            match kind:
                case Kind.DATAGRAM:
                    values, payload = unpack_datagram(data)
                    self._keep((payload, _name(values["source"]), str(values["node"])))
                case Kind.ANSWER:
                    self._answer(None)
                case Kind.FAILURE if self._asked:
                    self._answer(decode_failure(data))
                case Kind.FAILURE:
                    self._keep(decode_failure(data))
                case _:
                    self._error = lost()
                    self._keep(self._error)
                    self._answer(self._error)
                    return

    def _keep(self, item: tuple[bytes, tuple[str, int], str] | CommandError) -> None:
        if self._waiting.full():
            self._waiting.get_nowait()
        self._waiting.put_nowait(item)

    def _answer(self, error: CommandError | None) -> None:
        if self._asked:
            self._asked -= 1
            self._answers.put_nowait(error)

    async def send(self, data: bytes, host: str, port: int) -> None:
        if self._error is not None:
            raise self._error
        self._asked += 1
        message = pack_datagram({"host": host, "port": port}, data)
        await self._channel.send(Kind.DATAGRAM, message)
        error = await self._answers.get()
        if error is not None:
            raise error

    async def receive(self) -> tuple[bytes, tuple[str, int], str]:
        found = await self._waiting.get()
        if isinstance(found, CommandError):
            raise found
        return found

    def join_group(self, group: str) -> None:
        if not ipaddress.ip_address(group).is_multicast:
            raise UsageProblem(f"{group}: is not a multicast address")
        sending = asyncio.ensure_future(self._channel.send(Kind.GROUP, group.encode()))
        sending.add_done_callback(_ignored)

    def close(self) -> None:
        self._reading.cancel()
        self._channel.close()


def _ignored(sending: asyncio.Future[None]) -> None:
    if not sending.cancelled():
        sending.exception()


def _name(found: Sequence[object]) -> tuple[str, int]:
    return str(found[0]), int(str(found[1]))


def check(env: Environment, settings: Settings, about: Values) -> None:
    """Refuse settings that a node that runs already cannot follow."""
    holder = f"{about['command']}, pid {about['pid']}"
    hint = f"give it to {about['command']}, or stop that first"
    secret = env.variables.get("ZT_IDENTITY_SECRET", "")
    if settings.identity_file not in (None, "", "-"):
        try:
            secret = Path(str(settings.identity_file)).read_text("ascii", "replace")
        except OSError as error:
            name = settings.identity_file
            raise CommandError(f"{name}: {error.strerror}", ExitCode.BAD_IDENTITY) from error
    elif settings.identity_file == "-":
        raise _refused("--identity-file -", holder, hint)
    if secret and secret.strip().partition(":")[0] != about["node"]:
        raise CommandError(
            f"the node that runs ({holder}) has another identity: {about['node']}",
            ExitCode.STATE_IN_USE,
            "use a --state of its own",
        )
    if settings.planet is not None:
        try:
            planet = planet_hash(settings.planet)
        except OSError as error:
            raise CommandError(
                f"--planet {settings.planet}: {error.strerror}", ExitCode.CANNOT_READ
            ) from error
        if planet != about["planet"]:
            raise _refused("--planet", holder, hint)
    theirs = about["settings"]
    for name, value in node_settings(settings).items():
        if value and value != theirs[name]:
            raise _refused(name, holder, hint)


def _refused(option: str, holder: str, hint: str) -> CommandError:
    words = f"{option} is a matter of the node, and that runs already ({holder})"
    return CommandError(words, ExitCode.STATE_IN_USE, hint)
