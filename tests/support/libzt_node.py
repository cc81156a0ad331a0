"""The test's end of a libzt peer: starts `libzt_peer.py` and speaks JSON lines with it."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.support import libzt
from tests.support.netns import Machine
from tests.support.zt_process import ProcessFailure

_SCRIPT: Final = Path(__file__).with_name("libzt_peer.py")
Event = dict[str, Any]


def bytes_of(seed: int, count: int) -> bytes:
    """Return the bytes that the peer sends for the same seed."""
    return random.Random(seed).randbytes(count)


class LibztNode:
    """A running peer; events are kept in the order of their arrival."""

    def __init__(self, process: subprocess.Popen[bytes], errors: Path) -> None:
        self._process = process
        self._errors = errors
        self._tags = itertools.count(1)
        self._events: list[Event] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if not line.startswith(b"{"):
                continue  # The library itself prints now and then.
            with self._changed:
                self._events.append(json.loads(line))
                self._changed.notify_all()
        with self._changed:
            self._events.append({"event": "end"})
            self._changed.notify_all()

    def expect(self, event: str, seconds: float, tag: int | None = None) -> Event:
        """Wait for an event; `fatal`, `error` of the same tag, and the end are failures."""
        deadline = time.monotonic() + seconds
        seen = 0
        with self._changed:
            while True:
                for one in self._events[seen:]:
                    if one.get("tag") == tag and one["event"] == event:
                        return one
                    if one["event"] in ("fatal", "end") or (
                        one["event"] == "error" and one["tag"] == tag
                    ):
                        raise ProcessFailure(f"libzt, waiting for {event}: {one} {self._words()}")
                seen = len(self._events)
                rest = deadline - time.monotonic()
                if rest <= 0 or not self._changed.wait(rest):
                    raise ProcessFailure(f"libzt: no {event} in {seconds:.0f} s: {self._events}")

    def address(self, seconds: float = 60.0) -> str:
        """Wait for the managed IPv4 address."""
        address: str = self.expect("address", seconds)["address"]
        return address

    def wait_path(self, node: str, path: str, seconds: float) -> float:
        """Wait until the library has a path to a node; return how long it took."""
        began = time.monotonic()
        with self._changed:
            while not any(
                one["event"] == "peer" and one["id"] == node and path in one["paths"]
                for one in self._events
            ):
                rest = began + seconds - time.monotonic()
                if rest <= 0 or not self._changed.wait(rest):
                    peers = [one for one in self._events if one["event"] == "peer"]
                    raise ProcessFailure(f"libzt: no path {path} in {seconds:.0f} s: {peers}")
        return time.monotonic() - began

    def paths(self, node: str) -> list[str]:
        """Return the paths to a node when the library last spoke of it."""
        with self._changed:
            told = [one for one in self._events if one["event"] == "peer" and one["id"] == node]
        found: list[str] = told[-1]["paths"] if told else []
        return found

    def begin(self, do: str, **values: object) -> int:
        """Send a command and return its tag."""
        assert self._process.stdin is not None
        tag = next(self._tags)
        line = json.dumps({"do": do, "tag": tag, **values}) + "\n"
        try:
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            raise ProcessFailure(f"libzt is gone: {self._words()}") from None
        return tag

    def _words(self) -> str:
        """Return how the process ended, if it has, and what it said last."""
        return f"{self._process.poll()} {self._errors.read_text(errors='replace')[-1000:]}"

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def serve(self, do: str, **values: object) -> int:
        """Start a server of one exchange and wait until it listens."""
        tag = self.begin(do, **values)
        self.expect("listening", 20.0, tag)
        return tag

    def result(self, tag: int, seconds: float = 120.0) -> Event:
        return self.expect("result", seconds, tag)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join(5.0)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                # What it did not read any more is nobody's.
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


@contextmanager
def libzt_node(
    version: str, machine: Machine, home: Path, planet: Path, network: str, port: int = 0
) -> Iterator[LibztNode]:
    """Start a node of the official library and kill it at the end; with `port`, hear of peers."""
    found = libzt.library(version)
    home.mkdir(parents=True, exist_ok=True)
    paths = (found.stubs, found.library, home, planet)
    errors = home.with_suffix(".err")
    with errors.open("wb") as stderr:
        process = machine.popen(
            [sys.executable, str(_SCRIPT), *(str(path) for path in paths), network, str(port)],
            stdin=subprocess.PIPE,
            stderr=stderr,
        )
    node = LibztNode(process, errors)
    try:
        yield node
    finally:
        node.kill()
