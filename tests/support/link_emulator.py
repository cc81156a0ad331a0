"""Links with delay, loss and rates between the machines of a `Lan`, without the kernel's netem.

    with lan() as network:
        left, right = network.machine("a"), network.machine("b")
        with emulated_uplink(network, left, Way(delay_ms=20, loss=0.02)) as link: ...
        with direct_link(network, left, right, 1, Way(rate_mbit=80, delay_ms=5)) as link: ...

An uplink stands between one machine's `eth0` and the bridge, so it touches all that this machine
sends and gets. A direct link gives two machines one more interface each, `wan1` and so on.
`link.change(...)` alters it in flight; `link.counts()` tells what has happened to the frames.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from tests.support.link_process import Way, command_of
from tests.support.netns import Lan, Machine, Unavailable
from tests.support.zt_process import environment

__all__ = ["LinkEmulator", "Way", "direct_link", "emulated_uplink"]

Counts = dict[str, dict[str, int]]
_ANSWER_SECONDS: Final = 30.0
_MODULE: Final = (sys.executable, "-m", "tests.support.link_process")


@dataclass(slots=True)
class LinkEmulator:
    """A running link. "There" is from the left machine (of an uplink: the one that has it)."""

    process: subprocess.Popen[bytes]
    interface: str
    left: str
    right: str

    def change(self, there: Way | None = None, back: Way | None = None) -> Counts:
        """Set a direction or both from now on; frames on the way are left alone."""
        assert self.process.stdin is not None
        self.process.stdin.write(command_of(there, back))
        self.process.stdin.flush()
        return self.answer()

    def counts(self) -> Counts:
        """Return for "there" and "back" how many frames came, passed, were lost, and so on."""
        return self.change()

    def answer(self) -> Counts:
        """Wait for the line that follows the start and each command."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], _ANSWER_SECONDS)
        line = self.process.stdout.readline() if ready else b""
        if not line:
            raise Unavailable("the link emulator has ended or is stuck")
        counts: Counts = json.loads(line)
        return counts


@contextmanager
def emulated_uplink(
    lan: Lan, machine: Machine, there: Way, back: Way | None = None, *, seed: int = 1
) -> Iterator[LinkEmulator]:
    """Put an emulator between a machine and the bridge; both ways are alike unless told."""
    number = lan.machines.index(machine) + 1
    port, near, far = f"p{number}", f"q{number}", f"q{number}b"
    inside = ("ip", "-n", lan.switch)
    _call(*inside, "link", "add", near, "mtu", "1500", "type", "veth", "peer", "name", far)
    try:
        _call(*inside, "link", "set", port, "nomaster")
        for name in (port, near, far):
            _prepare(lan.switch, name)
        _call(*inside, "link", "set", far, "master", "br0")
        _make_plain(machine.name, "eth0")
        _make_plain(lan.switch, near, far, port)
        with _carried(lan, port, near, there, back, seed) as process:
            yield LinkEmulator(process, "eth0", machine.address, "")
    finally:
        _call(*inside, "link", "del", near)
        _call(*inside, "link", "set", port, "master", "br0")


@contextmanager
def direct_link(
    lan: Lan,
    left: Machine,
    right: Machine,
    number: int,
    there: Way,
    back: Way | None = None,
    *,
    mtu: int = 1500,
    seed: int = 1,
    bare: bool = False,
) -> Iterator[LinkEmulator]:
    """Join two machines by interfaces `wan<n>`: 10.77.<n>.1 and .2, fd77:<n>::1 and ::2.

    With `bare` the right one has no address, for a host of our own behind a packet socket.
    """
    name = f"wan{number}"
    ends = [(left, f"l{number}", 1), (right, f"r{number}", 2)]
    try:
        for machine, inner, digit in ends:
            _call(
                *("ip", "-n", lan.switch, "link", "add", inner, "mtu", str(mtu), "type", "veth"),
                *("peer", "name", name, "mtu", str(mtu), "netns", machine.name),
            )
            _prepare(lan.switch, inner)
            _make_plain(machine.name, name)
            if bare and machine is right:
                _prepare(machine.name, name)
                continue
            _call("ip", "-n", machine.name, "link", "set", name, "up")
            four, six = f"10.77.{number}.{digit}/24", f"fd77:{number}::{digit}/64"
            _call("ip", "-n", machine.name, "address", "add", four, "dev", name)
            _call("ip", "-n", machine.name, "address", "add", six, "dev", name, "nodad")
        _make_plain(lan.switch, *(inner for _, inner, _ in ends))
        with _carried(lan, ends[0][1], ends[1][1], there, back, seed) as process:
            yield LinkEmulator(process, name, f"10.77.{number}.1", f"10.77.{number}.2")
    finally:
        for _, inner, _ in ends:
            subprocess.run(
                ["ip", "-n", lan.switch, "link", "del", inner], capture_output=True, check=False
            )


@contextmanager
def _carried(
    lan: Lan, left: str, right: str, there: Way, back: Way | None, seed: int
) -> Iterator[subprocess.Popen[bytes]]:
    """Run the process between two interfaces of the switch's namespace."""
    process = subprocess.Popen(
        ["ip", "netns", "exec", lan.switch, *_MODULE, "carry", left, right, str(seed)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(),
    )
    try:
        link = LinkEmulator(process, "", "", "")
        link.answer()  # it is open
        link.change(there, there if back is None else back)
        yield process
        link.counts()  # it is still alive
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


def _prepare(namespace: str, interface: str) -> None:
    """Bring an interface up that has no address and says nothing by itself."""
    _call("ip", "-n", namespace, "link", "set", interface, "addrgenmode", "none")
    _call("ip", "-n", namespace, "link", "set", interface, "up")


def _make_plain(namespace: str, *interfaces: str) -> None:
    done = subprocess.run(
        ["ip", "netns", "exec", namespace, *_MODULE, "plain", *interfaces],
        capture_output=True,
        timeout=_ANSWER_SECONDS,
        env=environment(),
        check=False,
    )
    if done.returncode:
        raise Unavailable(f"offloads stay on: {done.stderr.decode(errors='replace')}")


def _call(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, timeout=_ANSWER_SECONDS, check=False)
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip()
        raise Unavailable(f"`{' '.join(argv)}` failed: {words}")
