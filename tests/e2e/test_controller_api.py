"""`zt controller run --api-port` as a process of its own: its HTTP interface, and its death."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.support.process import World
from tests.support.switches import known_identities
from ztcli.exit_codes import ExitCode
from ztstack.aio.storage import write_atomically

pytestmark = pytest.mark.timeout(120)

KILLS = 4


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Give the controller an identity, so that the first start need not look for one."""
    state = tmp_path / "controller"
    state.mkdir(mode=0o700)
    write_atomically(state / "identity.secret", known_identities()[0].secret_text().encode())
    return World(tmp_path)


def client(world: World, url: str) -> httpx.Client:
    token = (world.folder / "controller" / "authtoken.secret").read_text()
    headers = {"X-ZT1-Auth": token}
    return httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=20.0)


RUN = ("controller", "run", "--state", "controller", "--api-port", "0")


def test_a_controller_by_http(world: World) -> None:
    with world.running(*RUN) as running:
        url = running.wait_ready()["api"]
        token_file = str(Path("controller") / "authtoken.secret")
        where = ("--controller", url, "--token-file", token_file)
        made = world.run("network", "create", *where, "--name", "office")
        assert made.returncode == 0, made.stderr
        network = made.stdout.decode().strip()
        base = url.removesuffix("/controller")
        with client(world, base) as http:
            assert http.get(f"/controller/network/{network}").json()["name"] == "office"
            assert http.get("/status").json()["address"] == network[:10]
            http.post(f"/controller/network/{network}", json={"mtu": 1400})
        # By its own socket it says the same.
        listed = world.run("network", "list", "--state", "controller")
        assert f"{network}\toffice\tprivate\t1400" in listed.stdout.decode()
        assert running.stop() == ExitCode.TERMINATED
        assert "Traceback" not in running.stderr


def test_a_controller_that_is_killed_again_and_again(world: World) -> None:
    """What it has answered is there when it comes back, and it comes back each time."""
    network, member = "", "0123456789"
    for number in range(KILLS):
        with world.running(*RUN) as running:
            base = running.wait_ready()["api"].removesuffix("/controller")
            with client(world, base) as http:
                if not network:
                    network = http.post("/controller/network").json()["id"]
                path = f"/controller/network/{network}"
                if number:
                    assert http.get(path).json()["name"] == f"round {number - 1}"
                    told = http.get(f"{path}/member/{member}").json()
                    assert told["name"] == f"round {number - 1}"
                name = {"name": f"round {number}"}
                assert http.post(path, json=name).json()["revision"] == number + 2
                http.post(f"{path}/member/{member}", json=name).raise_for_status()
            running.child.kill()
            running.child.wait()
    stored = world.run("network", "show", "--state", "controller", network)
    assert f"Name: round {KILLS - 1}" in stored.stdout.decode()
