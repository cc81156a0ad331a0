"""Programs that others wrote, on both sides: ssh, scp, rsync, git, curl and redis-cli.

Each command runs on one machine and its server on another; `zt` is all that joins them. What ssh
carries has 100 MB, what the others do 10 or ZT_BULK_MB.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest

from tests.support.netns import Machine
from tests.support.peers import required
from tests.support.real_servers import (
    HTTP_PORT,
    REDIS_PORT,
    SSH_PORT,
    Servers,
    program,
    servers,
)
from tests.support.site import Site, site
from tests.support.zt_process import Zt, environment

pytestmark = pytest.mark.timeout(180)

SIZE: Final = int(os.environ.get("ZT_BULK_MB", "10")) * 1_000_000
SSH_SIZE: Final = 100_000_000
LIMIT: Final = 120.0


@dataclass(frozen=True, slots=True)
class There:
    """The servers' machine as the other one sees it, and what leads there."""

    machine: Machine
    zt: Zt
    ip: str
    servers: Servers
    ports: dict[int, int]
    proxy: int
    scratch: Path

    def run(self, *argv: str, data: bytes | None = None, **more: str) -> bytes:
        """Run a program of the caller's machine that must succeed; return its output."""
        done = self.machine.run(
            [program(argv[0]), *argv[1:]],
            seconds=LIMIT,
            data=data,
            env={**self.environment(), **more},
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def environment(self) -> dict[str, str]:
        return {**environment(), "HOME": str(self.scratch)}

    def ssh(self, way: str) -> list[str]:
        """Return ssh with what leads it to its server; `user` says who is asked there."""
        through = {
            "stdio": shlex.join(self.zt.argv("call", "--stdio", "%h", "%p")),
            "proxy": f"{program('nc')} -X 5 -x 127.0.0.1:{self.proxy} %h %p",
            "forward": "none",
        }
        options = {
            "ProxyCommand": through[way],
            "IdentityFile": self.servers.key,
            "StrictHostKeyChecking": "accept-new",
            "UserKnownHostsFile": self.scratch / "known_hosts",
            "IdentitiesOnly": "yes",
            "BatchMode": "yes",
            "Port": self.ports[SSH_PORT] if way == "forward" else SSH_PORT,
        }
        return ["ssh", *(f"-o{name}={value}" for name, value in options.items())]

    def user(self, way: str) -> str:
        return f"root@{'127.0.0.1' if way == 'forward' else self.ip}"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with required(), site(tmp_path_factory.mktemp("site")) as made:
        yield made


@pytest.fixture(scope="module")
def there(world: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[There]:
    network = world.create_network()
    left, right = world.node("left", network), world.node("right", network)
    proxy, caller = (world.node(name, network, right.machine) for name in ("proxy", "caller"))
    scratch = tmp_path_factory.mktemp("scratch")
    inner = (SSH_PORT, HTTP_PORT, REDIS_PORT)
    with required(), servers(left.machine, tmp_path_factory.mktemp("servers")) as running:
        exposing = left.start("expose", *(f"{port}:127.0.0.1:{port}" for port in inner))
        hosts = [urlsplit(url).hostname for url in exposing.ready()["exposes"][0]["urls"]]
        ip = next(host for host in hosts if host is not None and ":" not in host)
        forwarding = right.start("forward", *(f"0:{ip}:{port}" for port in inner))
        ports = [one["port"] for one in forwarding.ready()["forwards"]]
        proxying = proxy.start("proxy", "--listen", "0")
        yield There(
            right.machine,
            caller,
            ip,
            running,
            dict(zip(inner, ports, strict=True)),
            proxying.ready()["port"],
            scratch,
        )
        world.stop_nodes()


@pytest.fixture(scope="module")
def payload(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("payload") / "bulk"
    file.write_bytes(hashlib.shake_256(b"real servers").digest(SIZE))
    return file


def same(left: Path, right: Path) -> bool:
    return hashlib.sha256(left.read_bytes()).digest() == hashlib.sha256(right.read_bytes()).digest()


WAYS: Final = pytest.mark.parametrize("way", ["stdio", "proxy", "forward"])


@WAYS
def test_ssh(there: There, way: str) -> None:
    data = hashlib.shake_256(way.encode()).digest(SSH_SIZE)
    digest = hashlib.sha256(data).hexdigest()
    file = there.scratch / "ssh"
    told = there.run(*there.ssh(way), there.user(way), f"tee {file} | sha256sum", data=data)
    assert told.split()[0].decode() == digest
    back = there.run(*there.ssh(way), there.user(way), f"cat {file}")
    assert hashlib.sha256(back).hexdigest() == digest


def test_the_exit_code_of_a_remote_command(there: There) -> None:
    done = there.machine.run(
        [*there.ssh("stdio"), there.user("stdio"), "exit 3"],
        seconds=LIMIT,
        env=there.environment(),
    )
    assert done.returncode == 3, done.stderr.decode()


def test_zt_ssh(there: There, payload: Path) -> None:
    data = payload.read_bytes()
    options = there.ssh("stdio")[2:]  # All but ssh and its ProxyCommand.
    done = there.machine.run(
        [*there.zt.argv("ssh"), *options, f"root@{there.ip}", "sha256sum; exit 4"],
        seconds=LIMIT,
        data=data,
        env=there.environment(),
    )
    assert done.returncode == 4, done.stderr.decode()
    assert done.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()


def test_zt_run(there: There, payload: Path) -> None:
    (there.servers.root / "run").write_bytes(payload.read_bytes())
    url = f"http://{there.ip}:{HTTP_PORT}/run"
    done = there.zt.run("run", "--", program("curl"), "-sSf", url, seconds=LIMIT)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == payload.read_bytes()


@WAYS
def test_scp(there: There, payload: Path, way: str) -> None:
    words = there.ssh(way)[1:]
    up, down = there.servers.root / f"scp-{way}", there.scratch / f"scp-{way}"
    there.run("scp", "-q", *words, str(payload), f"{there.user(way)}:{up}")
    there.run("scp", "-q", *words, f"{there.user(way)}:{up}", str(down))
    assert same(up, payload)
    assert same(down, payload)


@WAYS
def test_rsync(there: There, payload: Path, way: str) -> None:
    up, down = there.servers.root / f"rsync-{way}", there.scratch / f"rsync-{way}"
    there.run("rsync", "-e", shlex.join(there.ssh(way)), str(payload), f"{there.user(way)}:{up}")
    there.run("rsync", "-e", shlex.join(there.ssh(way)), f"{there.user(way)}:{up}", str(down))
    assert same(up, payload)
    assert same(down, payload)


@pytest.fixture(scope="module")
def tree(there: There, payload: Path) -> Path:
    """A repository with one large commit, in which `bare.git` beside it is not yet known."""
    made = there.scratch / "tree"
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.net", "-c", "gc.auto=0")
    there.run("git", "init", "-q", str(made))
    (made / "bulk").write_bytes(payload.read_bytes())
    there.run("git", "-C", str(made), "add", "bulk")
    there.run("git", "-C", str(made), *identity, "commit", "-qm", "bulk")
    return made


@WAYS
def test_git(there: There, payload: Path, tree: Path, way: str) -> None:
    bare, again = (there.scratch / f"{name}-{way}" for name in ("bare", "again"))
    there.run("git", "init", "-q", "--bare", str(bare))
    url, ssh = f"{there.user(way)}:{bare}", shlex.join(there.ssh(way))
    push = ("push", "-q", url, "HEAD:refs/heads/main")
    there.run("git", "-C", str(tree), *push, GIT_SSH_COMMAND=ssh)
    there.run("git", "clone", "-q", "--branch", "main", url, str(again), GIT_SSH_COMMAND=ssh)
    assert same(again / "bulk", payload)


def test_git_by_http(there: There, payload: Path, tree: Path) -> None:
    """The proxy of git's own settings, and nginx as a server of plain files."""
    bare, again = there.servers.root / "bare.git", there.scratch / "again-http"
    there.run("git", "clone", "-q", "--bare", str(tree), str(bare))
    there.run("git", "-C", str(bare), "update-server-info")
    proxy = f"http.proxy=socks5h://127.0.0.1:{there.proxy}"
    url = f"http://{there.ip}:{HTTP_PORT}/bare.git"
    there.run("git", "-c", proxy, "clone", "-q", url, str(again))
    assert same(again / "bulk", payload)


@pytest.mark.parametrize("way", ["forward", "socks5h", "socks4a", "http"])
def test_curl(there: There, payload: Path, way: str) -> None:
    down = there.scratch / f"curl-{way}"
    name = f"put-{way}"
    if way == "forward":
        url, options = f"http://127.0.0.1:{there.ports[HTTP_PORT]}/{name}", ["--noproxy", "*"]
    else:
        proxy = f"{way}://127.0.0.1:{there.proxy}"
        url, options = f"http://{there.ip}:{HTTP_PORT}/{name}", ["--proxy", proxy]
    there.run("curl", "-sSf", *options, "-T", str(payload), url)
    there.run("curl", "-sSf", *options, "-o", str(down), url)
    assert same(there.servers.root / name, payload)
    assert same(down, payload)


def test_zt_call_speaks_with_nginx(there: There, payload: Path) -> None:
    (there.servers.root / "served").write_bytes(payload.read_bytes())
    done = there.zt.run("call", f"http://{there.ip}:{HTTP_PORT}/served", seconds=LIMIT)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == payload.read_bytes()
    missing = there.zt.run("call", "-f", f"http://{there.ip}:{HTTP_PORT}/nothing")
    assert (missing.returncode, missing.stdout) == (22, b"")


def test_redis(there: There, payload: Path) -> None:
    port = str(there.ports[REDIS_PORT])
    value = payload.read_bytes()[:1_000_000].hex().encode()
    assert there.run("redis-cli", "-p", port, "-x", "SET", "bulk", data=value) == b"OK\n"
    assert there.run("redis-cli", "-p", port, "GET", "bulk").rstrip(b"\n") == value
    commands = b"".join(b"INCR counter\n" for _ in range(1000))
    answers = there.run("redis-cli", "-p", port, data=commands)
    assert answers.split() == [str(number).encode() for number in range(1, 1001)]


def test_connections_at_the_same_time(there: There) -> None:
    port = str(there.ports[REDIS_PORT])
    command = [*there.machine.wrap, sys.executable, "-c", _MANY, port]
    done = subprocess.run(command, capture_output=True, timeout=LIMIT, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == b"1000\n"


_MANY: Final = """
import socket, sys
many = [socket.create_connection(("127.0.0.1", int(sys.argv[1]))) for _ in range(50)]
for turn in range(20):
    for number, one in enumerate(many):
        one.sendall(b"PING %d-%d\\r\\n" % (number, turn))
pongs = 0
for number, one in enumerate(many):
    reader = one.makefile("rb")
    for turn in range(20):
        reader.readline()
        pongs += reader.readline().rstrip() == b"%d-%d" % (number, turn)
print(pongs)
"""
