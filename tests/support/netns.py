"""Network namespaces on one bridge: machines for processes that need real sockets.

Every name carries the process id of its maker: what a killed run left is swept by the next one.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

_COUNTER = itertools.count(1)
_NAME = re.compile(r"^zt(\d+)[a-z]\d+-")
_ENTRY_SECONDS = 10.0

Stream = int | IO[bytes] | None


class Unavailable(Exception):
    """This machine lacks something that the run needs; the message says what."""


def check_rights() -> None:
    """Raise Unavailable unless namespaces can be made here."""
    if sys.platform != "linux":
        raise Unavailable("network namespaces exist on Linux only")
    if os.geteuid() != 0:
        raise Unavailable("network namespaces need root")
    if shutil.which("ip") is None:
        raise Unavailable("the program `ip` (iproute2) is missing")


@dataclass(frozen=True, slots=True)
class Machine:
    """A namespace with one interface, `eth0`, on the bridge of its `Lan`."""

    name: str
    address: str
    wrap: tuple[str, ...]

    def run(
        self,
        argv: Sequence[str],
        *,
        seconds: float,
        data: bytes | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command to its end; its output is in the answer, whatever its code."""
        return subprocess.run(
            [*self.wrap, *argv],
            input=data,
            stdin=subprocess.DEVNULL if data is None else None,
            capture_output=True,
            timeout=seconds,
            env=env,
            check=False,
        )

    def popen(
        self,
        argv: Sequence[str],
        *,
        stdin: Stream = subprocess.DEVNULL,
        stdout: Stream = subprocess.PIPE,
        stderr: Stream = subprocess.PIPE,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a command; `ip netns exec` becomes it, so signals reach the command itself."""
        return subprocess.Popen(
            [*self.wrap, *argv], stdin=stdin, stdout=stdout, stderr=stderr, env=env
        )

    def sent_bytes(self) -> int:
        """Return how much has left by its interface."""
        told = self.run(["ip", "-j", "-s", "link", "show", "eth0"], seconds=_ENTRY_SECONDS)
        return int(json.loads(told.stdout)[0]["stats64"]["tx"]["bytes"])

    def command(self, *argv: str) -> None:
        """Run a short administrative command that must succeed, such as `iptables`."""
        if shutil.which(argv[0]) is None:
            raise Unavailable(f"the program `{argv[0]}` is missing")
        _call(*self.wrap, *argv)


@dataclass(slots=True)
class Lan:
    """Machines on one bridge, 10.66.0.0/24, without a way out."""

    prefix: str
    switch: str
    machines: list[Machine] = field(default_factory=list)

    def machine(self, label: str) -> Machine:
        """Add a machine; addresses count up from 10.66.0.1."""
        number = len(self.machines) + 1
        name = f"{self.prefix}-{label}"
        address = f"10.66.0.{number}"
        port = f"p{number}"
        _call("ip", "netns", "add", name)
        machine = Machine(name, address, ("ip", "netns", "exec", name))
        self.machines.append(machine)
        _call(
            *("ip", "-n", self.switch, "link", "add", port, "mtu", "1500", "type", "veth"),
            *("peer", "name", "eth0", "netns", name),
        )
        _call("ip", "-n", self.switch, "link", "set", port, "master", "br0", "up")
        _call("ip", "-n", name, "link", "set", "lo", "up")
        _call("ip", "-n", name, "link", "set", "eth0", "up")
        _call("ip", "-n", name, "address", "add", f"{address}/24", "dev", "eth0")
        _call("ip", "-n", name, "route", "add", "default", "dev", "eth0")
        return machine

    def behind_nat(self, label: str, *, symmetric: bool = False) -> Machine:
        """Add a machine in a private network behind a router of its own that masquerades.

        The router keeps the port where it can, as most do; a symmetric one takes a random port for
        each destination.
        """
        router = self.machine(f"{label}r")
        number = len(self.machines) + 1
        name = f"{self.prefix}-{label}"
        _call("ip", "netns", "add", name)
        inside = Machine(name, f"192.168.{number}.2", ("ip", "netns", "exec", name))
        self.machines.append(inside)
        _call(
            *("ip", "-n", router.name, "link", "add", "lan0", "mtu", "1500", "type", "veth"),
            *("peer", "name", "eth0", "netns", name),
        )
        gateway = f"192.168.{number}.1"
        _call("ip", "-n", router.name, "address", "add", f"{gateway}/24", "dev", "lan0")
        _call("ip", "-n", router.name, "link", "set", "lan0", "up")
        _call("ip", "-n", name, "link", "set", "lo", "up")
        _call("ip", "-n", name, "link", "set", "eth0", "up")
        _call("ip", "-n", name, "address", "add", f"{inside.address}/24", "dev", "eth0")
        _call("ip", "-n", name, "route", "add", "default", "via", gateway)
        router.command("sysctl", "-qw", "net.ipv4.ip_forward=1")
        # Strangers' packets do not get in: only what a mapping lets through.
        for rule in (
            "-P FORWARD DROP",
            "-A INPUT -i eth0 -j DROP",
            "-A FORWARD -i lan0 -j ACCEPT",
            "-A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
        ):
            router.command("iptables", *rule.split())
        masquerade = ("-t", "nat", "-A", "POSTROUTING", "-o", "eth0", "-j", "MASQUERADE")
        router.command("iptables", *masquerade, *(("--random-fully",) if symmetric else ()))
        return inside

    def router_of(self, inside: Machine) -> Machine:
        """Return the router before a machine that was made by `behind_nat`."""
        return next(one for one in self.machines if one.name == f"{inside.name}r")


@contextmanager
def lan() -> Iterator[Lan]:
    """Make a bridge; at the end kill what still runs in its machines and remove them."""
    check_rights()
    _sweep()
    prefix = f"zt{os.getpid()}n{next(_COUNTER)}"
    made = Lan(prefix, f"{prefix}-switch")
    try:
        _call("ip", "netns", "add", made.switch)
        _call("ip", "-n", made.switch, "link", "add", "br0", "type", "bridge")
        _call("ip", "-n", made.switch, "link", "set", "br0", "up")
        yield made
    finally:
        for machine in made.machines:
            _remove(machine.name)
        _remove(made.switch)


def _call(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, timeout=_ENTRY_SECONDS, check=False)
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip()
        raise Unavailable(f"`{' '.join(argv)}` failed: {words}")


def _remove(name: str) -> None:
    """Kill the processes inside a namespace of ours, then delete it."""
    listed = subprocess.run(
        ["ip", "netns", "pids", name], capture_output=True, timeout=_ENTRY_SECONDS, check=False
    )
    for pid in listed.stdout.split():
        subprocess.run(["kill", "-9", pid], capture_output=True, check=False)
    subprocess.run(
        ["ip", "netns", "del", name], capture_output=True, timeout=_ENTRY_SECONDS, check=False
    )


def _sweep() -> None:
    """Remove the namespaces whose maker is gone."""
    folder = Path("/run/netns")
    if not folder.is_dir():
        return
    for entry in folder.iterdir():
        match = _NAME.match(entry.name)
        if match is not None and not Path("/proc", match.group(1)).exists():
            _remove(entry.name)
