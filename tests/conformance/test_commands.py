"""The same command lines on every stack: listen, call, udp, expose, forward."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.conformance.conftest import plant
from tests.support.cli import free_port, open_pipe, receive_all
from tests.support.os_engine import reset
from tests.support.process import World
from ztcli.exit_codes import ExitCode

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]
BOTH = pytest.mark.parametrize("stack", ["managed", "overlay"], indirect=True)
"""For what need not be run again under the other names of managed."""
FAR_UDP = free_port()

Behaviour = Callable[[socket.socket], None]


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
def service(behaviour: Behaviour) -> Iterator[int]:
    """Serve one connection of the operating system, whenever it comes; yields the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)

        def serve() -> None:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection, suppress(ConnectionError):
                connection.settimeout(30)
                behaviour(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(server.getsockname()[1])
        if thread.is_alive():
            server.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def backwards(connection: socket.socket) -> None:
    connection.sendall(receive_all(connection)[::-1])


def late_answer(connection: socket.socket) -> None:
    got = receive_all(connection)
    time.sleep(0.2)
    connection.sendall(b"got " + got)


def greeting(connection: socket.socket) -> None:
    connection.sendall(b"greeting")


def greeting_and_reset(connection: socket.socket) -> None:
    connection.sendall(b"greeting")
    time.sleep(0.5)
    reset(connection)


def silence(connection: socket.socket) -> None:
    with suppress(ConnectionResetError):
        receive_all(connection)


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
        service(backwards) as target,
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
def test_ends(stack: Stack) -> None:
    """The rules about ends hold through a tunnel: who ends first, who breaks off, who is silent."""
    rows: tuple[tuple[Behaviour, bool, int, bytes, tuple[str, ...]], ...] = (
        (late_answer, False, 0, b"got hi", ()),
        (greeting, True, 0, b"greeting", ()),
        (greeting_and_reset, True, ExitCode.CONNECTION_LOST, b"greeting", ()),
        (silence, True, ExitCode.TIMED_OUT, b"", ("--idle-timeout", "300ms")),
    )
    with ExitStack() as servers:
        ports = [servers.enter_context(service(behaviour)) for behaviour, *_ in rows]
        specs = [f"{9000 + number}:127.0.0.1:{port}" for number, port in enumerate(ports)]
        with stack.world.running("expose", *specs, *stack.far()) as running:
            ready = running.wait_ready()
            for number, (_, is_open, code, stdout, options) in enumerate(rows):
                arguments = (
                    "call",
                    *stack.near(ready),
                    *options,
                    host_of(ready),
                    f"{9000 + number}",
                )
                if is_open:
                    with open_pipe() as stdin:
                        done = stack.world.run(*arguments, stdin=stdin)
                else:
                    done = stack.world.run(*arguments, stdin=b"hi")
                assert (done.returncode, done.stdout) == (code, stdout), done.stderr


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
