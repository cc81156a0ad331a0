"""The installed zt over a real lab: streams, HTTP, UDP, names, ends."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time

import pytest

from tests.support.process import World, command
from tests.support.zt_process import wait_until
from ztcli.exit_codes import ExitCode

pytestmark = pytest.mark.timeout(120)


def ipv4(ready: dict[str, object]) -> str:
    addresses = ready["addresses"]
    assert isinstance(addresses, list)
    return str(addresses[0])


def test_variables_of_the_lab(lab: World) -> None:
    done = lab.run("lab", "up", "--state", str(lab.folder / "lab"), "--env")
    assert done.returncode == 0, done.stderr
    found = dict(shlex.split(line)[1].split("=", 1) for line in done.stdout.decode().splitlines())
    assert found == lab.variables


def test_join_once_and_ip(lab: World) -> None:
    first = lab.run("--state", "join", "join", "--once")
    assert first.returncode == 0, first.stderr
    lines = first.stdout.decode().splitlines()
    assert lines[0] == "State: join"
    address = lines[3].strip()
    again = lab.run("--state", "join", "ip", "-4")
    assert again.stdout.decode().strip() == address
    assert (lab.folder / "join" / "identity.secret").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("size", [0, 1, 1_000_000, 8_000_000])
def test_stream_one_way(lab: World, size: int) -> None:
    data = os.urandom(size)
    with lab.running("--state", "s1", "listen", "7777", "--tcp") as running:
        address = ipv4(running.wait_ready())
        done = lab.run("--state", "c1", "call", address, "7777", stdin=data)
        assert (done.returncode, done.stdout) == (0, b""), done.stderr
        assert running.wait() == 0, running.stderr
        assert running.stdout == data


def test_echo_both_ways(lab: World) -> None:
    data = os.urandom(2_000_000)
    with lab.running("--state", "s1", "listen", "7", "--echo", "-k") as running:
        address = ipv4(running.wait_ready())
        for content in (b"hello", data):
            done = lab.run("--state", "c1", "call", f"tcp://{address}:7", stdin=content)
            assert done.returncode == 0, done.stderr
            assert done.stdout == content


def test_greeting_while_stdin_stays_open(lab: World) -> None:
    reading, writing = os.pipe()
    try:
        with lab.running("--state", "s1", "listen", "17", "--sh", "echo hi", "--allow-any") as one:
            address = ipv4(one.wait_ready())
            arguments = ("--state", "c1", "call", address, "17")
            with lab.running(*arguments, stdin=reading, ready=False) as two:
                assert two.wait() == 0, two.stderr
                assert two.stdout == b"hi\n"
    finally:
        os.close(reading)
        os.close(writing)


def test_http(lab: World) -> None:
    with lab.running("--state", "s1", "listen", "8080", "--mode", "http") as running:
        address = ipv4(running.wait_ready())
        assert f"Listen: http://{address}:8080/" in running.stderr
        done = lab.run("--state", "c1", "call", f"http://{address}:8080/")
        assert (done.returncode, done.stdout, done.stderr) == (0, b"ok\n", b"")
        done = lab.run(
            "--state", "c1", "call", f"http://{address}:8080/x", "-o", "/dev/null", "-w", "%{path}"
        )
        assert done.stdout in (b"direct", b"relay")
        assert running.stop() == ExitCode.TERMINATED


def test_http_of_many_bytes(lab: World) -> None:
    with lab.running("--state", "s1", "listen", "8080", "--body-bytes", "5M") as running:
        address = ipv4(running.wait_ready())
        done = lab.run("--state", "c1", "call", f"http://{address}:8080/")
        assert done.returncode == 0, done.stderr
        assert done.stdout == b"a" * 5_000_000


def test_udp(lab: World) -> None:
    with lab.running("--state", "s1", "udp-listen", "9000") as running:
        to = f"{ipv4(running.wait_ready())}:9000"
        done = lab.run("--state", "c1", "udp-send", "--to", to, "--data", "ping", "--wait", "10s")
        assert (done.returncode, done.stdout) == (0, b"pong\n"), done.stderr
        assert lab.run("--state", "c1", "udp-send", "--to", to, stdin=b"bytes").returncode == 0
        deadline = time.monotonic() + 5
        while running.stdout != b"ping\nbytes\n" and time.monotonic() < deadline:
            time.sleep(0.05)
        assert running.stdout == b"ping\nbytes\n"


def test_nobody_listens(lab: World) -> None:
    with lab.running("--state", "s1", "join") as running:
        address = ipv4(running.wait_ready())
        done = lab.run("--state", "c1", "call", address, "4242")
        assert done.returncode == ExitCode.CANNOT_CONNECT
        assert b"[ZT-E007]" in done.stderr


def test_nobody_has_the_address(lab: World) -> None:
    done = lab.run("--state", "c1", "call", "10.147.20.250", "80", "--connect-timeout", "6s")
    assert done.returncode in (ExitCode.CANNOT_CONNECT, ExitCode.TIMED_OUT)


def test_state_in_use(lab: World) -> None:
    with lab.running("--state", "s1", "join") as running:
        running.wait_ready()
        done = lab.run("--state", "s1", "--agent", "never", "join", "--once")
        assert done.returncode == ExitCode.STATE_IN_USE
        assert str(running.child.pid).encode() in done.stderr


def test_killed_peer_is_no_success(lab: World) -> None:
    with lab.running("--state", "s1", "listen", "7777", "--tcp") as one:
        address = ipv4(one.wait_ready())
        reading, writing = os.pipe()
        try:
            arguments = ("--state", "c1", "call", address, "7777", "--idle-timeout", "4s")
            with lab.running(*arguments, stdin=reading, ready=False) as two:
                os.write(writing, b"some")
                deadline = time.monotonic() + 20
                while one.stdout != b"some" and time.monotonic() < deadline:
                    time.sleep(0.05)
                assert one.stdout == b"some", two.stderr
                one.child.kill()
                one.child.wait()
                assert two.wait() in (ExitCode.CONNECTION_LOST, ExitCode.TIMED_OUT)
        finally:
            os.close(reading)
            os.close(writing)


def test_interrupt(lab: World) -> None:
    with lab.running("--state", "s1", "join") as running:
        running.wait_ready()
        running.child.send_signal(signal.SIGINT)
        assert running.wait() == ExitCode.INTERRUPTED


def test_hangup_is_told_to_the_peer(lab: World) -> None:
    """As ssh ends its ProxyCommand, or a terminal that is closed."""
    with lab.running("--state", "s1", "listen", "7777", "--tcp", "--no-stdin") as one:
        address = ipv4(one.wait_ready())
        reading, writing = os.pipe()
        try:
            arguments = ("--state", "c1", "call", address, "7777")
            with lab.running(*arguments, stdin=reading, ready=False) as two:
                os.write(writing, b"some")
                wait_until("some arrived", lambda: one.stdout == b"some", 20)
                two.child.send_signal(signal.SIGHUP)
                assert two.wait() == ExitCode.HUNG_UP
                assert one.wait() == ExitCode.CONNECTION_LOST
        finally:
            os.close(reading)
            os.close(writing)


def test_status(lab: World) -> None:
    done = lab.run("--state", "c1", "status")
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode()
    assert "online   yes" in text
    assert f"network  {lab.variables['ZT_NETWORK']} lab OK 10.147.20." in text
    peers = lab.run("--state", "c1", "peers").stdout.decode()
    assert "\troot\t" in peers


def test_output_closed(lab: World) -> None:
    with lab.running("--state", "s1", "listen", "8080", "--body-bytes", "5M") as running:
        address = ipv4(running.wait_ready())
        reading, writing = os.pipe()
        os.close(reading)
        words = ["--state", "c1", "call", f"http://{address}:8080/"]
        done = subprocess.run(
            [*command(), *words],
            stdout=writing,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            env=lab.environment(),
            cwd=lab.folder,
            timeout=60,
            check=False,
        )
        os.close(writing)
        assert (done.returncode, done.stderr) == (ExitCode.OUTPUT_CLOSED, b"")
