"""`zt` where shells, scripts and containers start it: any stdin, any terminal, no rights."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.peers import missing, required
from tests.support.process import World, command
from tests.support.site import known_identities, put_identity
from tests.support.terminal import terminal
from ztcli.exit_codes import ExitCode

pytestmark = pytest.mark.timeout(90)

ECHO, GREETING = 7, 8
LIMIT = 40.0


@dataclass(frozen=True, slots=True)
class Peers:
    """A node that echoes on one port and greets on another, and a node to ride on."""

    lab: World
    ip: str

    def bash(self, script: str, **options: object) -> subprocess.CompletedProcess[bytes]:
        """Run a script in which `$zt` is the command and `$ip` the peer."""
        done: subprocess.CompletedProcess[bytes] = subprocess.run(
            ["bash", "-c", script],
            capture_output=True,
            env=self.environment(),
            cwd=self.lab.folder,
            timeout=LIMIT,
            check=False,
            **options,  # type: ignore[call-overload] # stdin and preexec_fn
        )
        return done

    def environment(self) -> dict[str, str]:
        return {
            **self.lab.environment(),
            "zt": shlex.join(command()),
            "ip": self.ip,
            "ZT_STATE": str(self.lab.folder / "client"),
        }


@pytest.fixture(scope="module")
def peers(lab: World) -> Iterator[Peers]:
    folder, identities = lab.folder, known_identities()
    for name in ("server", "client", "alone"):
        put_identity(folder / name, identities)
    server = ("--state", str(folder / "server"))
    listening = ("--tcp", "-k", "--parallel", "--allow-any")
    greeting = ("--sh", "printf greeting")
    with lab.running("listen", str(ECHO), *server, "--tcp", "-k", "--parallel", "--echo") as one:
        addresses = one.wait_ready()["addresses"]
        with (
            lab.running("listen", str(GREETING), *server, *listening, *greeting) as two,
            lab.running("agent", "run", "--state", str(folder / "client")) as client,
        ):
            for process in (two, client):
                process.wait_ready()
            yield Peers(lab, next(ip for ip in addresses if ":" not in ip))


def test_stdin_is_closed(peers: Peers) -> None:
    done = peers.bash(f"$zt call $ip {GREETING} <&-")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"greeting", b"")


def test_stdin_is_empty(peers: Peers) -> None:
    done = peers.bash(f"$zt call $ip {ECHO} </dev/null")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_stdin_never_ends(peers: Peers) -> None:
    reading, writing = os.pipe()
    try:
        done = peers.bash(f"$zt call $ip {GREETING}", stdin=reading)
    finally:
        os.close(reading)
        os.close(writing)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"greeting", b"")


def test_stdout_is_closed(peers: Peers) -> None:
    done = peers.bash(f"echo hi | $zt call $ip {ECHO} >&-")
    assert done.returncode == ExitCode.CANNOT_WRITE
    assert done.stderr.startswith(b"zt: ")


def test_every_descriptor_is_closed(peers: Peers) -> None:
    done = peers.bash(f"$zt call $ip {GREETING} <&- >&- 2>&-")
    assert done.returncode == ExitCode.CANNOT_WRITE


def test_reader_goes_away(peers: Peers) -> None:
    script = f"head -c 100000 /dev/zero | $zt call $ip {ECHO} | head -c 1 >/dev/null"
    done = peers.bash(f"{script}; echo ${{PIPESTATUS[1]}}")
    assert (done.stdout, done.stderr) == (b"%d\n" % ExitCode.OUTPUT_CLOSED, b"")


def test_like_a_command_of_sshd(peers: Peers) -> None:
    """Stdin is a socket, there is no terminal, and no profile was read."""
    ours, theirs = socket.socketpair()
    environment = {"PATH": os.defpath, "HOME": str(peers.lab.folder), **peers.lab.variables}
    words = [*command(), "--state", str(peers.lab.folder / "client"), "call", peers.ip, str(ECHO)]
    with ours:
        with theirs:
            child = subprocess.Popen(
                ["sh", "-c", shlex.join(words)],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.PIPE,
                env=environment,
                start_new_session=True,
            )
        ours.settimeout(LIMIT)
        ours.sendall(b"hello")
        ours.shutdown(socket.SHUT_WR)
        received = b""
        while part := ours.recv(100):
            received += part
        _, told = child.communicate(timeout=LIMIT)
    assert (received, child.returncode, told) == (b"hello", 0, b"")


def test_the_session_ends(peers: Peers) -> None:
    """What sshd's connection leaves behind ends by SIGHUP."""
    words = [*command(), "call", peers.ip, str(ECHO)]
    reading, writing = os.pipe()
    with subprocess.Popen(
        words,
        stdin=reading,
        stdout=subprocess.PIPE,
        env=peers.environment(),
        start_new_session=True,
    ) as child:
        os.close(reading)
        os.write(writing, b"x")
        assert child.stdout is not None
        assert child.stdout.read(1) == b"x"
        child.send_signal(signal.SIGHUP)
        assert child.wait(LIMIT) == ExitCode.HUNG_UP
    os.close(writing)


def test_a_person_types(peers: Peers) -> None:
    words = [*command(), "call", peers.ip, str(ECHO)]
    with required(), terminal(peers.lab.folder, words, peers.environment()) as pane:
        pane.type("hello", "Enter")
        pane.wait("the line comes back", lambda lines: lines[:2] == ["hello", "hello"])
        pane.type("you", "Enter")
        pane.wait("so does the next", lambda lines: lines[2:4] == ["you", "you"])
        pane.type("C-d")
        pane.wait("the end of the input ends both", lambda lines: "rc=0" in lines)


def test_a_person_interrupts(peers: Peers) -> None:
    words = [*command(), "call", peers.ip, str(ECHO)]
    with required(), terminal(peers.lab.folder, words, peers.environment()) as pane:
        pane.type("hello", "Enter")
        pane.wait("the line comes back", lambda lines: lines[:2] == ["hello", "hello"])
        pane.type("C-c")
        pane.wait("the code", lambda lines: any("rc=130" in line for line in lines))


def test_a_person_waits(peers: Peers) -> None:
    """The stage is shown after a second on one line, and is gone at the end."""
    alone = ("--state", str(peers.lab.folder / "alone"), "-n", "8056c2e21c000001")
    words = [*command(), *alone, "call", peers.ip, str(ECHO)]
    with required(), terminal(peers.lab.folder, words, peers.environment()) as pane:
        pane.wait("a stage", lambda lines: any("controller" in line for line in lines))
        assert sum(1 for line in pane.lines if line) == 1
        pane.type("C-c")
        pane.wait("the code", lambda lines: any(line.endswith("rc=130") for line in lines))
        assert not any("controller" in line for line in pane.lines)


def test_a_person_watches(peers: Peers) -> None:
    words = [*command(), "status", "--watch"]
    with required(), terminal(peers.lab.folder, words, peers.environment()) as pane:
        network = peers.lab.variables["ZT_NETWORK"]
        pane.wait("the network", lambda lines: any(network in line for line in lines))
        pane.type("C-c")
        pane.wait("the code", lambda lines: any("rc=" in line for line in lines))


READ_ONLY = """
set -e
mount --make-rprivate /
mount -o remount,bind,ro /
mount -t tmpfs -o mode=1777 tmpfs {home}
exec unshare --user --map-user=65532 --map-group=65532 \\
    setpriv --no-new-privs --bounding-set -all --inh-caps -all sh -c {command}
"""


def test_a_container_without_rights(peers: Peers, tmp_path: Path) -> None:
    """A user without capabilities, a file system that cannot be written, a home in memory."""
    call = [*command(), "--ephemeral", "call", peers.ip, str(ECHO)]
    told = "id -u; grep CapEff /proc/self/status; touch /proof 2>/dev/null || echo read-only"
    script = READ_ONLY.format(
        home=shlex.quote(str(tmp_path)),
        command=shlex.quote(f"{told}; echo hi | {shlex.join(call)}"),
    )
    environment = {
        **peers.lab.environment(),
        "HOME": str(tmp_path),
        "XDG_STATE_HOME": "",
        "ZT_IDENTITY_SECRET": (peers.lab.folder / "alone" / "identity.secret").read_text(),
    }
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script],
        capture_output=True,
        env=environment,
        cwd="/",
        timeout=60,
        check=False,
    )
    if done.returncode and b"unshare" in done.stderr:
        missing(f"no namespaces here: {done.stderr.decode()}")
    lines = done.stdout.decode().splitlines()
    assert lines == ["65532", "CapEff:\t0000000000000000", "read-only", "hi"], done.stderr
    assert done.returncode == 0
