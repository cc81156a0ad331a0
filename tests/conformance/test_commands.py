"""The same command lines on every stack: listen, call, udp, expose, forward."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.conformance.conftest import plant
from tests.support.cli import free_port, receive_all
from tests.support.process import World
from ztcli.exit_codes import ExitCode

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]
BOTH = pytest.mark.parametrize("stack", ["managed", "overlay"], indirect=True)
"""For what need not be run again under the other names of managed."""
FAR_UDP = free_port()


@dataclass(slots=True)
class Stack:
    """One stack by name, and what its commands need beside their own arguments."""

    name: str
    world: World
    shared: list[str] = field(default_factory=list)

    @property
    def is_overlay(self) -> bool:
        return self.name == "overlay"

    def far(self) -> list[str]:
        state = ["--state", str(self.world.folder / self._kind / "far")]
        return [*self.shared, *state, *(["--udp-port", str(FAR_UDP)] if self.is_overlay else [])]

    def near(self, ready: dict[str, Any] | None = None) -> list[str]:
        state = ["--state", str(self.world.folder / self._kind / "near")]
        told = [*self.shared, *state]
        if self.is_overlay and ready is not None:
            told += ["--peer", f"{ready['node']}@127.0.0.1:{FAR_UDP}"]
        return told

    @property
    def _kind(self) -> str:
        return "overlay" if self.is_overlay else "managed"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("commands"))
    plant(world.folder)
    with world.running("lab", "up", "--state", str(world.folder / "lab")) as running:
        ready = running.wait_ready()
        world.variables = {"LAB_NETWORK": ready["network"], "LAB_PLANET": ready["planet"]}
        yield world


@pytest.fixture(params=["managed", "zerotier", "libzt", "overlay"])
def stack(request: pytest.FixtureRequest, world: World) -> Stack:
    shared = ["--stack", request.param]
    if request.param == "overlay":
        return Stack(request.param, world, [*shared, "-n", "0xCAFE2001"])
    network, planet = world.variables["LAB_NETWORK"], world.variables["LAB_PLANET"]
    return Stack(request.param, world, [*shared, "-n", network, "--planet", planet])


@contextmanager
def backwards() -> Iterator[int]:
    """Answer one connection after its end, with what it said, reversed."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)

        def serve() -> None:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(30)
                connection.sendall(receive_all(connection)[::-1])

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(server.getsockname()[1])
    thread.join(10)


def host_of(ready: dict[str, Any]) -> str:
    """Return the first address in the ready record of any command."""
    if "exposes" in ready:
        found: str = ready["exposes"][0]["urls"][0].split("://")[1].rsplit(":", 1)[0]
        return found
    return str(ready["addresses"][0])


def test_listen_and_call(stack: Stack) -> None:
    data = os.urandom(1_000_000)
    with stack.world.running("listen", "7777", "--tcp", *stack.far()) as running:
        ready = running.wait_ready()
        done = stack.world.run("call", *stack.near(ready), host_of(ready), "7777", stdin=data)
        assert (done.returncode, done.stdout) == (0, b""), done.stderr
        assert running.wait() == 0, running.stderr
        assert running.stdout == data


@BOTH
def test_expose(stack: Stack) -> None:
    data = os.urandom(1_000_000)
    with (
        backwards() as target,
        stack.world.running(
            "expose", f"8080:127.0.0.1:{target}", f"8081:127.0.0.1:{free_port()}", *stack.far()
        ) as running,
    ):
        ready = running.wait_ready()
        host = host_of(ready)
        done = stack.world.run("call", *stack.near(ready), host, "8080", stdin=data)
        assert done.returncode == 0, done.stderr
        assert done.stdout == data[::-1]
        line = f"Expose: http://{host}:8080/ -> 127.0.0.1:{target}\n"
        assert running.stdout.decode().startswith(line)
        # Nobody is behind the other port, and whoever calls is told so.
        other = stack.world.run("call", *stack.near(ready), "--recv-only", host, "8081")
        assert other.returncode == ExitCode.CONNECTION_LOST, other.stderr
        assert running.stop() == ExitCode.TERMINATED


@BOTH
def test_forward(stack: Stack) -> None:
    data = os.urandom(1_000_000)
    with stack.world.running("listen", "7", "--echo", "-k", *stack.far()) as running:
        ready = running.wait_ready()
        spec = f"0:{host_of(ready)}:7"
        with stack.world.running("forward", spec, *stack.near(ready)) as forwarding:
            port = forwarding.wait_ready()["port"]
            with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
                sending = threading.Thread(target=send, args=(connection, data))
                sending.start()
                assert receive_all(connection) == data
                sending.join(10)
            line = f"Forward: 127.0.0.1:{port} -> {host_of(ready)}:7\n"
            assert forwarding.stdout.decode() == line


def send(connection: socket.socket, data: bytes) -> None:
    connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)


@BOTH
def test_datagrams(stack: Stack) -> None:
    with stack.world.running("udp-listen", "9000", *stack.far()) as running:
        ready = running.wait_ready()
        to = f"{host_of(ready)}:9000"
        arguments = ("--to", to, "--data", "ping", "--wait", "10s")
        done = stack.world.run("udp-send", *stack.near(ready), *arguments)
        assert (done.returncode, done.stdout) == (0, b"pong\n"), done.stderr
        with stack.world.running("forward", f"0:{to}/udp", *stack.near(ready)) as forwarding:
            port = forwarding.wait_ready()["port"]
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.settimeout(20)
                sock.sendto(b"ping", ("127.0.0.1", port))
                assert sock.recv(100) == b"pong"


@BOTH
def test_exit_codes(stack: Stack) -> None:
    with stack.world.running("listen", "80", "--mode", "http", *stack.far()) as running:
        ready = running.wait_ready()
        host = host_of(ready)
        for arguments, code in (
            ((host, "81"), ExitCode.CANNOT_CONNECT),
            (("nobody-has-this-name", "80"), ExitCode.NOT_RESOLVED),
            (("--url", f"http://{host}:80/"), ExitCode.OK),
        ):
            done = stack.world.run("call", *stack.near(ready), *arguments)
            assert done.returncode == code, done.stderr
        with socket.create_server(("127.0.0.1", 0)) as busy:
            spec = f"{busy.getsockname()[1]}:{host}:80"
            used = stack.world.run("forward", spec, *stack.near(ready))
        assert used.returncode == ExitCode.PORT_IN_USE
