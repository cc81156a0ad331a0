"""Accepts streams for a command: who may come in, how many at once, how it all ends."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from ztcli import parsing
from ztcli.boundary import code_of
from ztcli.engine import Listener, Stream
from ztcli.environment import Environment
from ztcli.exit_codes import CommandError, ExitCode, OutputClosed, UsageProblem
from ztcli.names import Names

Handler = Callable[[Stream], Awaitable[None]]
GRACE_S: Final = 5.0
_FATAL: Final = (ExitCode.CANNOT_WRITE, ExitCode.CANNOT_READ, ExitCode.INTERNAL)


class Guard:
    """Tells who may come in: node ids, addresses and subnets."""

    def __init__(self, allow: list[str], deny: list[str], names: Names | None = None) -> None:
        known = names or Names()
        self._allow = [_matcher(known.host(text)) for text in allow]
        self._deny = [_matcher(known.host(text)) for text in deny]

    def admits(self, address: str, node: str) -> bool:
        if any(matches(address, node) for matches in self._deny):
            return False
        return not self._allow or any(matches(address, node) for matches in self._allow)


def _matcher(text: str) -> Callable[[str, str], bool]:
    if ":" not in text and "." not in text and "/" not in text:
        wanted = f"{parsing.node_id(text):010x}"
        return lambda _, node: node == wanted
    try:
        subnet = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise UsageProblem(
            f"a peer is a node id, an IP address or a subnet, not {text!r}"
        ) from None
    return lambda address, _: ipaddress.ip_address(address) in subnet


@dataclass(frozen=True, slots=True)
class Limits:
    """How connections are taken: `count` None means for ever."""

    count: int | None = 1
    at_once: int = 1
    max_conns: int = 100
    grace: float | None = GRACE_S


class Server:
    """Hands every admitted connection to a handler."""

    def __init__(
        self, env: Environment, listener: Listener, guard: Guard, limits: Limits, *, quiet: bool
    ) -> None:
        self._env = env
        self._listener = listener
        self._guard = guard
        self._limits = limits
        self._quiet = quiet
        self._gate = asyncio.Semaphore(limits.at_once)
        self._running: set[asyncio.Task[None]] = set()
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self, handler: Handler) -> None:
        """Serve until the count is reached; with a single connection its failure is ours."""
        accepting = asyncio.create_task(self._accept(handler))
        try:
            await asyncio.wait((accepting, self._failed), return_when=asyncio.FIRST_COMPLETED)
            if self._failed.done():
                self._failed.result()
            accepting.result()
        except asyncio.CancelledError:
            self._listener.close()
            await self._let_finish(self._limits.grace)
            raise
        finally:
            self._listener.close()
            accepting.cancel()
            self._failed.cancel()
            await asyncio.wait((accepting,))
            for task in self._running:
                task.cancel()
            if self._running:
                await asyncio.wait(self._running)

    async def _accept(self, handler: Handler) -> None:
        taken = 0
        while self._limits.count is None or taken < self._limits.count:
            stream = await self._listener.accept()
            address, _ = stream.remote
            if not self._guard.admits(address, stream.remote_name):
                stream.abort()
                self._say(f"denied: {address} {stream.remote_name}".rstrip())
                continue
            if len(self._running) >= self._limits.max_conns:
                stream.abort()
                self._say(f"too many connections: {address} was turned away")
                continue
            taken += 1
            task = asyncio.create_task(self._serve(handler, stream))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        self._listener.close()
        while self._running:
            await asyncio.wait(self._running)

    async def _serve(self, handler: Handler, stream: Stream) -> None:
        try:
            async with self._gate:
                await handler(stream)
        except asyncio.CancelledError:
            stream.abort()
            raise
        except Exception as error:  # noqa: BLE001 - told here or where `run` was called
            stream.abort()
            cause = innermost(error)
            single = self._limits.count == 1
            if single or isinstance(cause, OutputClosed) or code_of(cause) in _FATAL:
                if not self._failed.done():
                    self._failed.set_exception(cause)
                return
            host, port = stream.remote
            self._say(f"{host}:{port}: {cause}")

    async def _let_finish(self, limit: float | None) -> None:
        if self._running and limit is not None and self._limits.count is None:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait(self._running, timeout=limit)

    def _say(self, line: str) -> None:
        if not self._quiet:
            self._env.say(line)


def innermost(error: Exception) -> Exception:
    """Return the cause that a group of tasks failed for."""
    while isinstance(error, ExceptionGroup):
        known = [one for one in error.exceptions if code_of(one) is not ExitCode.INTERNAL]
        error = (known or error.exceptions)[0]
    return error


def link(scheme: str, address: str, port: int) -> str:
    """Return an address as a URL."""
    host = f"[{address}]" if ":" in address else address
    return f"{scheme}://{host}:{port}" + ("/" if scheme.startswith("http") else "")


def ordered(addresses: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Return addresses with IPv4 first: they are what people type."""
    return sorted(addresses, key=lambda item: ":" in item[0])


def need_address(addresses: list[tuple[str, int]]) -> None:
    if not addresses:
        raise CommandError("there is no address to listen on", ExitCode.NETWORK_NOT_FOUND)
