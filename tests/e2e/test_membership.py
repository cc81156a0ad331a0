"""Membership and configuration of the installed zt: one lab with a controller of its own."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.support.process import ROOT, Process, World, command
from tests.support.site import known_identities, put_identity
from ztcli.exit_codes import ExitCode

pytestmark = pytest.mark.timeout(120)

SESSION = """
zt join --ephemeral --authorize --ready-file ready &
zt wait --for http=http://$server:8080/healthz --timeout 2m
zt call -f --retry 5 --retry-connrefused http://$server:8080/smoke
node=$(python3 -c 'import json; print(json.load(open("ready"))["node"])')
zt --state controller network members "$ZT_NETWORK" --json > during
kill -TERM %1; code=0; wait %1 || code=$?
zt --state controller network members "$ZT_NETWORK" --json > after
echo "$node $code"
"""


@dataclass(frozen=True, slots=True)
class Office:
    """A private network, who may let nodes in, and a server in it."""

    world: World
    network: str
    token: str
    address: str
    server: Process


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    lab = World(tmp_path_factory.mktemp("office"))
    identities = known_identities()
    for state in ("lab", "controller", "server", "worker"):
        put_identity(lab.folder / state, identities)
    with lab.running("lab", "up", "--state", str(lab.folder / "lab")) as running:
        lab.variables = {"ZT_PLANET": running.wait_ready()["planet"]}
        yield from opened(lab, identities)


def opened(lab: World, identities: Iterator[dict[str, str]]) -> Iterator[Office]:
    for name in ("join", "wait", "call"):
        known = next(identities)
        file = lab.folder / f"{name}.identity"
        file.touch(0o600)
        file.write_text(known["secret"])
    with lab.running("--state", "controller", "controller", "run", "--api-port", "0") as running:
        api = running.wait_ready()["api"]
        token_file = lab.folder / "controller" / "authtoken.secret"
        create = ("network", "create", "--pool", "10.147.30.0/24")
        made = lab.run("--state", "controller", *create)
        assert made.returncode == 0, made.stderr
        network = made.stdout.decode().strip()
        lab.variables |= {"ZT_NETWORK": network, "ZT_CONTROLLER": str(api)}
        letting_in = ("--authorize", "--token-file", str(token_file))
        server = ("--state", "server", "listen", "8080", "--mode", "http", *letting_in)
        with lab.running(*server) as listening:
            address = listening.wait_ready()["addresses"][0]
            yield Office(lab, network, token_file.read_text().strip(), address, listening)


def test_the_session_of_a_job(office: Office) -> None:
    """Each command lets itself in by the profile, and the member is gone when it has ended."""
    folder = office.world.folder
    config = folder / "ci.toml"
    config.write_text("[profile.ci]\nephemeral = true\nauthorize = true\n")
    places = folder / "bin"
    places.mkdir()
    # To look for an identity takes seconds, so each command has one that is known.
    zt = places / "zt"
    zt.write_text(
        '#!/bin/sh\ncase "$1" in --state) unset ZT_PROFILE;; '
        '*) export ZT_IDENTITY_SECRET="$(cat "$1.identity")";; esac\n'
        f'exec {shlex.join(command())} "$@"\n'
    )
    zt.chmod(0o755)
    done = subprocess.run(
        ["bash", "-euc", SESSION],
        cwd=folder,
        env={
            **office.world.environment(),
            "PATH": f"{places}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "ZT_CONFIG": str(config),
            "ZT_PROFILE": "ci",
            "ZT_TOKEN": office.token,
            "server": office.address,
        },
        capture_output=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    node, code = done.stdout.decode().splitlines()[-1].split()
    assert code == str(int(ExitCode.TERMINATED)), done.stderr
    assert node in members(folder / "during")
    # The server stays; whoever came for the session is forgotten.
    assert len(members(folder / "after")) == 1
    assert node not in members(folder / "after")
    assert not (folder / "ready").exists()


def members(file: Path) -> list[str]:
    return [member["address"] for member in json.loads(file.read_text())["members"]]


def test_a_network_by_its_name(office: Office) -> None:
    world, worker = office.world, ("--state", "worker")
    del world.variables["ZT_NETWORK"]
    try:
        refused = world.run(*worker, "join", f"office={office.network}", "--once")
        assert refused.returncode == ExitCode.ACCESS_DENIED, refused.stderr
        listed = world.run(*worker, "networks", "--json")
        assert networks(listed) == {"office": "REQUESTING_CONFIGURATION"}, listed.stderr

        world.variables["ZT_TOKEN"] = office.token
        joined = world.run(*worker, "join", "office", "--once", "--authorize")
        assert joined.returncode == 0, joined.stderr
        listed = world.run(*worker, "networks", "--json")
        assert networks(listed) == {"office": "OK"}
        assert json.loads(listed.stdout)["networks"][0]["addresses"][0].startswith("10.147.30.")

        started(office)
        left = world.run(*worker, "leave", "office")
        assert left.returncode == 0, left.stderr
        assert networks(world.run(*worker, "networks", "--json")) == {"office": "left"}
        busy = world.run("--state", "server", "leave", office.network)
        assert busy.returncode == ExitCode.STATE_IN_USE, busy.stderr
    finally:
        world.variables["ZT_NETWORK"] = office.network


def networks(done: subprocess.CompletedProcess[bytes]) -> dict[str, str]:
    found = json.loads(done.stdout)["networks"]
    return {network["alias"]: network["status"] for network in found}


def started(office: Office) -> None:
    """Everything of a file runs in one process, with hosts and networks by their names."""
    world = office.world
    config = world.folder / "up.toml"
    config.write_text(
        f'network = "office"\n[hosts]\nweb = "{office.address}"\n'
        '[[forward]]\nname = "web"\nspec = "0:web:8080"\n'
        '[[expose]]\nname = "back"\nport = "81:127.0.0.1:9"\n'
        '[proxy]\nlisten = "127.0.0.1:0"\n'
    )
    options = ("--state", "worker", "--config", str(config))
    with world.running(*options, "up", "--health", "0") as running:
        entries = {entry["name"]: entry for entry in running.wait_ready()["entries"]}
        assert set(entries) == {"web", "back", "proxy"}
        url = f"http://127.0.0.1:{entries['web']['port']}/"
        assert httpx.get(url, trust_env=False).text == "ok\n"
        proxy = entries["proxy"]["urls"][1]
        with httpx.Client(proxy=proxy, trust_env=False) as client:
            assert client.get("http://web:8080/").text == "ok\n"
        health = next(line for line in running.stderr.splitlines() if line.startswith("Health:"))
        assert httpx.get(health.split()[1], trust_env=False).text == "ok\n"
        assert running.stop() == ExitCode.TERMINATED, running.stderr
    waiting = world.run(*options, "wait", "--for", "peer=web", "--for", "tcp=web:8080")
    assert waiting.returncode == 0, waiting.stderr
