"""A private root and a controller in processes of their own, and a network that admits."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.support.process import World
from ztcli.exit_codes import ExitCode

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def free_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def test_identity(world: World) -> None:
    made = world.run("identity", "new", "--state", "one")
    assert made.returncode == 0, made.stderr
    node = made.stdout.decode().strip()
    shown = world.run("identity", "show", "--state", "one").stdout.decode()
    assert shown.startswith(f"{node}:0:")
    assert len(shown.strip().split(":")) == 3
    checked = world.run("identity", "validate", "-", stdin=shown.encode())
    assert checked.stdout.decode() == f"{node} valid\n"
    assert world.run("identity", "new", "--state", "one").returncode == ExitCode.USAGE
    broken = shown.replace(node, "0000000001")
    assert (
        world.run("identity", "validate", "-", stdin=broken.encode()).returncode
        == ExitCode.BAD_IDENTITY
    )
    assert world.run("identity", "show", "--state", "two").returncode == ExitCode.BAD_IDENTITY


def test_root_controller_and_authorisation(world: World) -> None:
    port = free_udp_port()
    assert world.run("identity", "new", "--state", "root").returncode == 0
    made = world.run(
        "planet", "make", "--root", f"root/identity.public@127.0.0.1:{port}",
        "--sign-with", "root", "-o", "planet",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert f"127.0.0.1/{port}" in world.run("planet", "show", "planet").stdout.decode()
    with (
        world.running("root", "run", "--state", "root", "--planet", "planet") as root,
        world.running("controller", "run", "--state", "controller", "--planet", "planet") as run,
    ):
        root.wait_ready()
        run.wait_ready()
        control = ("--state", "controller")
        created = world.run(
            "network", "create", *control, "--name", "office", "--pool", "10.20.0.0/24"
        )
        network = created.stdout.decode().strip()
        assert len(network) == 16, created.stderr
        listed = world.run("network", "list", *control).stdout.decode()
        assert f"{network}\toffice\tprivate" in listed

        join = ("--state", "member", "--planet", "planet", "-n", network, "join", "--once")
        denied = world.run(*join)
        assert denied.returncode == ExitCode.ACCESS_DENIED, denied.stderr
        node = world.run("identity", "show", "--state", "member").stdout.decode()[:10]
        assert node in denied.stderr.decode()
        assert f"{node}\tno" in world.run("network", "members", *control, network).stdout.decode()

        assert world.run("network", "authorize", *control, network, node).returncode == 0
        joined = world.run(*join)
        assert joined.returncode == 0, joined.stderr
        assert b"  10.20.0." in joined.stdout

        assert world.run("network", "deauthorize", *control, network, node).returncode == 0
        again = world.run(*join, "--join-timeout", "20s")
        assert again.returncode in (ExitCode.ACCESS_DENIED, ExitCode.OK)


def test_nobody_answers(world: World) -> None:
    assert world.run("identity", "new", "--state", "root").returncode == 0
    root = f"root/identity.public@127.0.0.1:{free_udp_port()}"
    world.run("planet", "make", "--root", root, "--sign-with", "root", "-o", "planet")
    done = world.run("--planet", "planet", "-n", "8056c2e21c000001", "join", "--once")
    assert done.returncode == ExitCode.OFFLINE, done.stderr


def test_wrong_planet(world: World) -> None:
    (world.folder / "planet").write_bytes(b"no planet")
    done = world.run("--planet", "planet", "-n", "8056c2e21c000001", "join", "--once")
    assert done.returncode == ExitCode.USAGE, done.stderr
