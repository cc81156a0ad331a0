"""Runs `zt` in this process: descriptors for streams, a thread for what stays."""

from __future__ import annotations

import io
import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs

from tests.support.os_engine import OsEngine
from ztcli.app import run
from ztcli.engine import Engine
from ztcli.engines import make_engine
from ztcli.environment import Environment
from ztcli.options import Settings
from ztcli.schema import EVENTS, RECORDS, schema

Factory = Callable[[Environment, Settings], Engine]


@dataclass(frozen=True, slots=True)
class Result:
    """What one run left behind."""

    code: int
    stdout: bytes
    stderr: str


def os_engine(env: Environment, settings: Settings) -> Engine:
    return OsEngine()


def failing(failure: BaseException) -> Factory:
    """Return a factory of engines whose join fails."""

    def factory(env: Environment, settings: Settings) -> Engine:
        return OsEngine(failure)

    return factory


@cache
def _validator() -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(schema())


def check_records(output: bytes) -> None:
    """Every record is as `zt schema` says; what is no record was printed on demand."""
    for line in output.splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and "v" in record:
            kind = record.get("event") if record["type"] == "event" else record["type"]
            assert kind in (EVENTS if record["type"] == "event" else RECORDS), record
            assert _validator().is_valid(record), record


class Zt:
    """Runs commands with a home of their own."""

    def __init__(
        self, home: Path, factory: Factory = os_engine, variables: Mapping[str, str] | None = None
    ) -> None:
        self.home = home
        self.factory = factory
        self.variables = dict(variables or {})

    def __call__(self, *arguments: str, stdin: bytes | int = b"") -> Result:
        """Run a command to its end; `stdin` is its content or a descriptor."""
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as taken:
            descriptor = stdin if isinstance(stdin, int) else given.fileno()
            if isinstance(stdin, bytes):
                given.write(stdin)
                given.seek(0)
            code, stderr = self.run(arguments, descriptor, taken.fileno())
            taken.seek(0)
            result = Result(code, taken.read(), stderr)
            if "--json" in arguments:
                check_records(result.stdout)
            return result

    def run(self, arguments: Sequence[str], stdin: int, stdout: int) -> tuple[int, str]:
        stderr = io.StringIO()
        env = Environment(
            variables=self.variables,
            home=self.home,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            engine_factory=self.factory,
            handle_signals=False,
        )
        code = run(arguments, env)
        return code, stderr.getvalue()

    @contextmanager
    def background(self, *arguments: str, stdin: bytes | int = b"") -> Iterator[Background]:
        """Run a command in a thread until it is ready; the block's end waits for its end."""
        running = Background(self, arguments, stdin)
        try:
            yield running
        finally:
            running.wait()


class Background:
    """A command that runs in a thread; it has a ready file of its own."""

    def __init__(self, zt: Zt, arguments: Sequence[str], stdin: bytes | int) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._ready = Path(self._folder.name) / "ready"
        self._zt = zt
        self._arguments = [*arguments, "--ready-file", str(self._ready)]
        if "--timeout" not in arguments:
            self._arguments += ["--timeout", "8s"]
        self._stdin = stdin
        self.result: Result | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self.ready = self._wait_ready()

    @property
    def port(self) -> int:
        return int(self.ready["port"])

    def _run(self) -> None:
        self.result = self._zt(*self._arguments, stdin=self._stdin)

    def _wait_ready(self) -> dict[str, Any]:
        for _ in range(1000):
            if self._ready.exists():
                found: dict[str, Any] = json.loads(self._ready.read_text())
                return found
            if self.result is not None:
                raise AssertionError(f"it ended before it was ready: {self.result}")
            time.sleep(0.01)
        raise AssertionError("it was not ready in time")

    def wait(self) -> Result:
        self._thread.join(10)
        self._folder.cleanup()
        assert self.result is not None
        return self.result


@contextmanager
def peer(behaviour: Callable[[socket.socket], None]) -> Iterator[int]:
    """Serve one connection of the operating system; yields the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)

        def serve() -> None:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            connection.settimeout(10)
            with connection, suppress(ConnectionError):
                behaviour(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield int(server.getsockname()[1])
        finally:
            thread.join(10)


@contextmanager
def open_pipe() -> Iterator[int]:
    """Yield the reading end of a pipe whose writing end stays open."""
    reading, writing = os.pipe()
    try:
        yield reading
    finally:
        os.close(writing)
        os.close(reading)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def receive_all(connection: socket.socket) -> bytes:
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


__all__ = [
    "Background",
    "Factory",
    "Result",
    "Zt",
    "failing",
    "free_port",
    "make_engine",
    "open_pipe",
    "os_engine",
    "peer",
    "receive_all",
]
