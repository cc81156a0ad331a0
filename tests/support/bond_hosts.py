"""Two hosts with two cables between them and a hub that each reaches by a third way.

The hub's ports of the two are isolated from each other, so the cables are the only direct paths.
Each cable is an interface, `wan1` or `wan2`, shaped by the kernel.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from tests.support.link_emulator import LinkEmulator
from tests.support.netns import Machine
from tests.support.site import Site, site
from tests.support.zt_process import ProcessFailure, Running, Zt, environment

TCP_PORT: Final = 7001
UDP_PORT: Final = 7002
_MODULE: Final = (sys.executable, "-m", "tests.support.bond_traffic")
_TAGS: Final = itertools.count(1)

Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Cable:
    """A link between the two hosts; "there" is from the left one to the right one."""

    name: str
    left: Machine
    right: Machine

    def shape(self, rate_mbit: int) -> None:
        """Limit both ways, with a queue of 50 ms."""
        for machine in (self.left, self.right):
            machine.command(
                *("tc", "qdisc", "replace", "dev", self.name, "root", "tbf"),
                *("rate", f"{rate_mbit}mbit", "burst", "16kb", "latency", "50ms"),
            )

    def pull(self) -> None:
        """Take the plug out: both ends lose their carrier."""
        self.left.command("ip", "link", "set", self.name, "down")

    def plug(self) -> None:
        self.left.command("ip", "link", "set", self.name, "up")

    def drop(self, *, there: bool = True, back: bool = True, share: float = 1.0) -> None:
        """Lose a share of what arrives, or all, silently."""
        self._drop("-A", there=there, back=back, share=share)

    def heal(self, *, there: bool = True, back: bool = True, share: float = 1.0) -> None:
        """Undo a `drop` with the same values."""
        self._drop("-D", there=there, back=back, share=share)

    def _drop(self, action: str, *, there: bool, back: bool, share: float) -> None:
        chance = ("-m", "statistic", "--mode", "random", "--probability", str(share))
        rule = ("-i", self.name, *(chance if share < 1 else ()), "-j", "DROP")
        for machine, wanted in ((self.right, there), (self.left, back)):
            if wanted:
                machine.command("iptables", action, "INPUT", *rule)

    @contextmanager
    def dropping(
        self, *, there: bool = True, back: bool = True, share: float = 1.0
    ) -> Iterator[None]:
        self.drop(there=there, back=back, share=share)
        try:
            yield
        finally:
            self.heal(there=there, back=back, share=share)

    def single(self) -> None:
        """Have each datagram treated alone: a train is one packet for the kernel otherwise."""
        for machine in (self.left, self.right):
            machine.command("ip", "link", "set", "dev", self.name, "gso_max_segs", "1")

    def sent(self) -> int:
        """Return how many bytes the left host has sent on it."""
        return self._count("tx", "bytes")

    def packets(self) -> tuple[int, int]:
        """Return how many packets have left the left host, and arrived there."""
        return self._count("tx", "packets"), self._count("rx", "packets")

    def _count(self, way: str, unit: str) -> int:
        told = self.left.run(["ip", "-j", "-s", "link", "show", self.name], seconds=10.0)
        return int(json.loads(told.stdout)[0]["stats64"][way][unit])


class Program:
    """One end of the traffic: commands go in, and answers come out by their tags."""

    def __init__(self, machine: Machine, *arguments: str) -> None:
        self._process = machine.popen(
            [*_MODULE, *arguments], stdin=subprocess.PIPE, stderr=None, env=environment()
        )
        self._answers: dict[int, Values] = {}
        self._changed = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.result(0)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            values = json.loads(line)
            with self._changed:
                self._answers[values.pop("tag")] = values
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def begin(self, do: str, **values: object) -> int:
        assert self._process.stdin is not None
        tag = next(_TAGS)
        line = json.dumps({"do": do, "tag": tag, **values}) + "\n"
        self._process.stdin.write(line.encode())
        self._process.stdin.flush()
        return tag

    def result(self, tag: int, seconds: float = 60.0) -> Values:
        with self._changed:
            if not self._changed.wait_for(lambda: tag in self._answers or self._ended, seconds):
                raise ProcessFailure(f"the traffic's {tag} is not done in {seconds:.0f} s")
            if tag not in self._answers:
                raise ProcessFailure("the traffic's end has ended")
            values = self._answers.pop(tag)
        if "error" in values:
            raise ProcessFailure(f"traffic: {values['error']}")
        return values

    def do(self, do: str, **values: object) -> Values:
        return self.result(self.begin(do, **values))

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join(5.0)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()


@dataclass(slots=True)
class Pair:
    """Two running nodes, `zt forward` and `zt expose`, and the traffic behind them."""

    left: Running
    right: Running
    source: Program
    sink: Program
    tcp: int
    udp: int
    cables: tuple[Cable, Cable]

    def streams(self, **values: object) -> int:
        """Begin to send streams from the left to the right."""
        return self.source.begin("streams", port=self.tcp, **values)

    def datagrams(self, **values: object) -> int:
        return self.source.begin("datagrams", port=self.udp, **values)

    def taken(self) -> Values:
        """Return what the sink has got since it was asked last."""
        return self.sink.do("take")


@dataclass(slots=True)
class Bonded:
    """The hub, the two hosts and their cables."""

    site: Site
    left: Machine
    right: Machine
    cables: tuple[Cable, Cable]
    network: str
    nodes: dict[str, Zt] = field(default_factory=dict)

    def over(self, links: Sequence[LinkEmulator]) -> Bonded:
        """Return the same hosts with other cables, which already join them."""
        first, second = (
            replace(cable, name=link.interface)
            for cable, link in zip(self.cables, links, strict=True)
        )
        return replace(self, cables=(first, second))

    def node(self, label: str, machine: Machine) -> Zt:
        if label not in self.nodes:
            self.nodes[label] = self.site.node(label, self.network, machine)
        return self.nodes[label]

    @contextmanager
    def pair(self, *options: str, right: tuple[str, ...] | None = None) -> Iterator[Pair]:
        """Start both nodes with some options and stop them at the end."""
        a, b = self.node("left", self.left), self.node("right", self.right)
        with contextlib.ExitStack() as stack:
            stack.callback(self.site.stop_nodes)
            sink = Program(self.right, "sink", str(TCP_PORT), str(UDP_PORT))
            stack.callback(sink.stop)
            source = Program(self.left, "source")
            stack.callback(source.stop)
            theirs = options if right is None else right
            served = (f"{TCP_PORT}:127.0.0.1:{TCP_PORT}", f"{UDP_PORT}:127.0.0.1:{UDP_PORT}/udp")
            exposing = b.start(*theirs, "expose", *served)
            ready = exposing.ready()
            urls = ready["exposes"][0]["urls"]
            ip = next(urlsplit(url).hostname for url in urls if "[" not in url)
            forwarding = a.start(
                *options, "forward", f"0:{ip}:{TCP_PORT}", f"0:{ip}:{UDP_PORT}/udp"
            )
            tcp, udp = (one["port"] for one in forwarding.ready()["forwards"])
            yield Pair(forwarding, exposing, source, sink, tcp, udp, self.cables)


@contextmanager
def bonded(folder: Path) -> Iterator[Bonded]:
    """Start a hub, make two hosts and lay the cables."""
    with site(folder) as made:
        network = made.create_network()
        left, right = made.lan.machine("left"), made.lan.machine("right")
        switch = Machine(made.lan.switch, "", ("ip", "netns", "exec", made.lan.switch))
        for machine in (left, right):
            port = f"p{made.lan.machines.index(machine) + 1}"
            switch.command("ip", "link", "set", port, "type", "bridge_slave", "isolated", "on")
        cables = Cable("wan1", left, right), Cable("wan2", left, right)
        for number, cable in enumerate(cables, 1):
            _lay(cable, number)
        yield Bonded(made, left, right, cables, network)


def _lay(cable: Cable, number: int) -> None:
    cable.left.command(
        *("ip", "link", "add", cable.name, "mtu", "1500", "type", "veth"),
        *("peer", "name", cable.name, "netns", cable.right.name),
    )
    for digit, machine in enumerate((cable.left, cable.right), 1):
        machine.command("ip", "link", "set", cable.name, "addrgenmode", "none")
        machine.command("ip", "link", "set", cable.name, "up")
        machine.command("ip", "address", "add", f"10.77.{number}.{digit}/24", "dev", cable.name)
