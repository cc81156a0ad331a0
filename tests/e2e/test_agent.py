"""One node for a state: other commands ride on it, by the installed zt in a real lab."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.process import Process, World
from tests.support.vl2 import ALICE, BOB
from tests.support.zt_process import wait_until
from ztcli.exit_codes import ExitCode
from ztstack.aio.storage import Storage

pytestmark = pytest.mark.timeout(90)

ME = ("--state", "agent")


@pytest.fixture(scope="module")
def address(lab: World) -> Iterator[str]:
    """An echo elsewhere in the network, whose node others may use too."""
    for name, identity in (("far", ALICE), ("agent", BOB)):
        storage = Storage(lab.folder / name)
        storage.open()
        storage.save_identity(identity)
        storage.close()
    with lab.running("--state", "far", "listen", "7", "--echo", "-k", "--grace", "100ms") as far:
        yield str(far.wait_ready()["addresses"][0])


def status_of(lab: World) -> dict[str, Any]:
    done = lab.run(*ME, "--json", "agent", "status")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture
def agent(lab: World, address: str) -> Iterator[dict[str, Any]]:
    assert address
    done = lab.run(*ME, "agent", "start", "--idle-timeout", "5m")
    assert done.returncode == 0, done.stderr
    try:
        yield status_of(lab)
    finally:
        lab.run(*ME, "agent", "stop")


def rides(done: subprocess.CompletedProcess[bytes], agent: dict[str, Any]) -> bool:
    return f"using the node of zt agent, pid {agent['pid']}" in done.stderr.decode()


def test_streams_ride(lab: World, address: str, agent: dict[str, Any]) -> None:
    data = os.urandom(3_000_000)
    done = lab.run(*ME, "--agent", "require", "-v", "call", address, "7", stdin=data)
    assert done.returncode == 0, done.stderr
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(data).digest()
    assert rides(done, agent)
    refused = lab.run(*ME, "call", address, "9")
    assert refused.returncode == ExitCode.CANNOT_CONNECT
    tested = lab.run(*ME, "call", "-z", address, "7-8")
    assert (tested.returncode, tested.stdout) == (0, b"7 open\n"), tested.stderr


def test_listeners_datagrams_and_questions_ride(
    lab: World, address: str, agent: dict[str, Any]
) -> None:
    with lab.running(*ME, "listen", "7070", "--tcp") as listening:
        own = listening.wait_ready()
        assert own["node"] == agent["node"]
        done = lab.run("--state", "far", "call", own["addresses"][0], "7070", stdin=b"to a rider")
        assert done.returncode == 0, done.stderr
        assert listening.wait() == 0, listening.stderr
        assert listening.stdout == b"to a rider"
    with lab.running(*ME, "udp-listen", "9000", "--count", "1") as udp:
        own_ip = udp.wait_ready()["addresses"][0]
        sent = lab.run(
            "--state", "far", "udp-send", "--to", f"{own_ip}:9000", "--data", "ping", "--wait", "5s"
        )
        assert (sent.returncode, sent.stdout) == (0, b"pong\n"), sent.stderr
    assert lab.run(*ME, "ip", "-4").stdout.decode().strip() == own_ip
    for words in (("ping", address, "-c", "1"), ("status",), ("peers",), ("netcheck",)):
        asked = lab.run(*ME, "-v", *words)
        assert asked.returncode == 0, asked.stderr
        assert rides(asked, agent)


def test_what_only_the_node_decides_is_refused(lab: World, agent: dict[str, Any]) -> None:
    for words in (("--pcap", "x.pcap"), ("--relay", "off"), ("--mp-bond", "rr")):
        done = lab.run(*ME, *words, "ip")
        assert done.returncode == ExitCode.STATE_IN_USE
        assert words[0].partition("-bond")[0] in done.stderr.decode()
        assert str(agent["pid"]) in done.stderr.decode()
    other = lab.folder / "far" / "identity.secret"
    done = lab.run(*ME, "--identity-file", str(other), "ip")
    assert done.returncode == ExitCode.STATE_IN_USE
    assert agent["node"] in done.stderr.decode()
    alone = lab.run(*ME, "--agent", "never", "ip")
    assert alone.returncode == ExitCode.STATE_IN_USE
    assert f"pid {agent['pid']}" in alone.stderr.decode()


def test_reload_joins_what_is_named_by_now(lab: World, agent: dict[str, Any]) -> None:
    adhoc = "ff00160016000000"
    reloaded = lab.run(*ME, "--json", "-n", adhoc, "agent", "reload")
    assert reloaded.returncode == 0, reloaded.stderr
    found = json.loads(reloaded.stdout)
    assert (found["pid"], found["networks"]) == (agent["pid"], [*agent["networks"], adhoc])
    left = lab.run(*ME, "leave", adhoc)
    assert left.returncode == 0, left.stderr
    assert status_of(lab)["networks"] == agent["networks"]
    assert lab.run(*ME, "leave", adhoc).returncode == ExitCode.USAGE
    fixed = lab.run(*ME, "agent", "reload", "--relay", "off")
    assert fixed.returncode == 0
    assert "--relay is not what the node runs with" in fixed.stderr.decode()


def test_how_much_it_says_is_chosen_while_it_runs(lab: World, agent: dict[str, Any]) -> None:
    before = lab.run(*ME, "agent", "log").stdout.decode()
    assert agent["node"] in before
    assert lab.run(*ME, "agent", "log", "--level", "loud").returncode == ExitCode.USAGE
    assert lab.run(*ME, "agent", "log", "--level", "debug").returncode == 0
    adhoc = "ff00160016000000"
    assert lab.run(*ME, "-n", adhoc, "agent", "reload").returncode == 0
    after = lab.run(*ME, "--json", "agent", "log")
    assert f"network {adhoc}: OK" in json.loads(after.stdout)["lines"]


def test_without_an_agent(lab: World) -> None:
    quiet = ("agent", "log", "--level", "debug")
    for words in (("--agent", "require", "ip"), ("agent", "status"), ("agent", "stop"), quiet):
        assert lab.run(*ME, *words).returncode == ExitCode.NO_AGENT


def test_start_twice_is_one_agent(lab: World, agent: dict[str, Any]) -> None:
    again = lab.run(*ME, "--json", "agent", "start")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["pid"] == agent["pid"]
    assert (lab.folder / "agent" / "control.sock").stat().st_mode & 0o777 == 0o600


@contextmanager
def waiting_call(lab: World, address: str) -> Iterator[Process]:
    """Run a call that has exchanged something and whose stdin stays open."""
    reading, writing = os.pipe()
    try:
        with lab.running(*ME, "call", address, "7", stdin=reading, ready=False) as call:
            os.write(writing, b"once")
            wait_until("the echo is there", lambda: call.stdout == b"once", 20.0)
            yield call
    finally:
        os.close(reading)
        os.close(writing)


def test_who_rides_is_told_when_the_node_dies(
    lab: World, address: str, agent: dict[str, Any]
) -> None:
    with waiting_call(lab, address) as call:
        os.kill(agent["pid"], signal.SIGKILL)
        assert call.wait() == ExitCode.CONNECTION_LOST, call.stderr
    # The socket that is left behind keeps nobody from going on.
    done = lab.run(*ME, "call", address, "7", stdin=b"again")
    assert (done.returncode, done.stdout) == (0, b"again"), done.stderr
    assert lab.run(*ME, "agent", "start").returncode == 0
    assert status_of(lab)["pid"] != agent["pid"]


def test_a_rider_that_is_killed_resets_its_connection(lab: World, agent: dict[str, Any]) -> None:
    with lab.running("--state", "far", "listen", "70", "--tcp", "--no-stdin") as sink:
        ip = str(sink.wait_ready()["addresses"][0])
        reading, writing = os.pipe()
        try:
            with lab.running(*ME, "call", ip, "70", stdin=reading, ready=False) as call:
                os.write(writing, b"half")
                wait_until("it is there", lambda: sink.stdout == b"half", 20.0)
                call.child.kill()
                assert sink.wait() == ExitCode.CONNECTION_LOST, sink.stderr
        finally:
            os.close(reading)
            os.close(writing)
    wait_until("nobody rides", lambda: status_of(lab)["riders"] == 0, 10.0)
    assert status_of(lab)["pid"] == agent["pid"]


def test_an_agent_that_nobody_needs_ends(lab: World, address: str) -> None:
    with lab.running(*ME, "agent", "run", "--idle-timeout", "400ms") as idle:
        path = idle.wait_ready()["socket"]
        assert address
        assert idle.wait() == 0, idle.stderr
        assert not os.path.lexists(path)


def test_short_commands_wait_for_each_other(lab: World, address: str) -> None:
    words = (*ME, "call", address, "7")
    reading, writing = os.pipe()
    os.close(writing)
    with (
        lab.running(*words, stdin=reading, ready=False) as one,
        lab.running(*words, stdin=reading, ready=False) as two,
    ):
        assert (one.wait(), two.wait()) == (0, 0), one.stderr + two.stderr
    os.close(reading)


STRANGER = """
import os, socket, sys
os.setgid(65534)
os.setuid(65534)
with socket.socket(socket.AF_UNIX) as sock:
    sock.settimeout(10)
    sock.connect(sys.argv[1])
    try:
        sock.sendall(b'Q' + (15).to_bytes(4, "big") + b'{"do": "about"}')
        print(sock.recv(1000))
    except (BrokenPipeError, ConnectionResetError):
        print(b"")
"""


def test_another_user_gets_nothing(lab: World, agent: dict[str, Any]) -> None:
    """The modes keep others out, and so does the check behind them."""
    folders = [lab.folder / "agent", *(lab.folder / "agent").parents]
    path = Path(agent["socket"])
    before = [(folder, folder.stat().st_mode) for folder in folders]
    for folder, mode in before:
        if not mode & 0o001:
            folder.chmod(mode | 0o001)
    path.chmod(0o666)
    try:
        done = subprocess.run(
            [sys.executable, "-c", STRANGER, str(path)],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    finally:
        for folder, mode in before:
            folder.chmod(mode)
        path.chmod(0o600)
    assert done.stdout == "b''\n"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(str(path))
        sock.sendall(b"Q" + (15).to_bytes(4, "big") + b'{"do": "about"}')
        assert sock.recv(1000)[:1] == b"A"


def test_the_second_call_is_quick(lab: World, address: str, agent: dict[str, Any]) -> None:
    """No time is asserted here, only what makes it quick: the stack is not even loaded."""
    script = (
        "import sys\n"
        "from ztcli.app import run\n"
        "from ztcli.engines import make_engine\n"
        "from ztcli.environment import Environment\n"
        "code = run(sys.argv[1:], Environment.of_process(make_engine))\n"
        "loaded = {'ztstack', 'cryptography', 'nacl', 'httpx'} & set(sys.modules)\n"
        "print(sorted(loaded), file=sys.stderr)\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *ME, "call", address, "7"],
        input=b"quick",
        capture_output=True,
        env=lab.environment(),
        cwd=lab.folder,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, b"quick"), done.stderr
    assert done.stderr.decode().splitlines()[-1] == "[]"
    assert agent["pid"]
