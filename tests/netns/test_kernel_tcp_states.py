"""Our TCP and the kernel's led into each state, step by step: resets, ends that meet, ICMP."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.link_emulator import LinkEmulator, Way, direct_link
from tests.support.netns import Lan, Machine, lan
from tests.support.peers import required
from tests.support.scripted import Scripted

pytestmark = pytest.mark.timeout(60)

LOST, GOOD = Way(down=True), Way()


@dataclass(slots=True)
class World:
    """A host of ours and the kernel with a link between them, on which "there" leads to us."""

    network: Lan
    link: LinkEmulator
    ours: Scripted
    kernel: Scripted
    port: int = 7200

    @property
    def machine(self) -> Machine:
        """The kernel's."""
        return self.network.machines[0]

    def from_us(self, way: Way) -> None:
        self.link.change(back=way)

    def from_kernel(self, way: Way) -> None:
        self.link.change(there=way)

    def open(self, *, by_kernel: bool = True) -> None:
        """Open the connection "a"."""
        if by_kernel:
            self.ours("listen", self.port)
            self.kernel("connect", "a", self.link.right, self.port)
            self.ours("accept", "a", self.port)
        else:
            self.kernel("listen", self.port)
            self.ours("connect", "a", self.link.left, self.port)
            self.kernel("accept", "a", self.port)
        # A byte each way: both know that it is open.
        self.ours("until", "a", "ESTABLISHED")
        self.kernel("until", "a", "ESTABLISHED")
        self.ours("write", "a", "!")
        assert self.kernel("read", "a", 1) == "!"
        self.kernel("write", "a", "!")
        assert self.ours("read", "a", 1) == "!"

    def enter(self, state: str) -> None:
        """Lead us into a state that is not SYN-SENT, SYN-RECEIVED or TIME-WAIT.

        Where the kernel must not know of it our end of the stream is lost.
        """
        self.open()
        if state in ("CLOSE_WAIT", "LAST_ACK"):
            self.kernel("shutdown", "a")
            self.ours("until", "a", "CLOSE_WAIT")
            self.kernel("until", "a", "FIN_WAIT_2")
        if state in ("FIN_WAIT_1", "CLOSING", "LAST_ACK"):
            self.from_us(LOST)
        if state not in ("ESTABLISHED", "CLOSE_WAIT"):
            self.ours("shutdown", "a")
        if state == "CLOSING":
            self.ours("until", "a", "FIN_WAIT_1")
            self.kernel("shutdown", "a")
        self.ours("until", "a", state)

    def lead(self, state: str) -> None:
        """Lead the kernel into a state, as `enter` does with us."""
        self.open()
        if state in ("CLOSE_WAIT", "LAST_ACK"):
            self.ours("shutdown", "a")
            self.kernel("until", "a", "CLOSE_WAIT")
            self.ours("until", "a", "FIN_WAIT_2")
        if state in ("FIN_WAIT_1", "CLOSING", "LAST_ACK"):
            self.from_kernel(LOST)
        if state not in ("ESTABLISHED", "CLOSE_WAIT"):
            self.kernel("shutdown", "a")
        if state == "CLOSING":
            self.kernel("until", "a", "FIN_WAIT_1")
            self.ours("shutdown", "a")
        self.kernel("until", "a", state)


@pytest.fixture(scope="module")
def started() -> Iterator[World]:
    with required(), lan() as network:
        left, right = network.machine("kernel"), network.machine("ours")
        for limit in ("ipv4/icmp_ratelimit", "ipv6/icmp/ratelimit"):
            left.command("sh", "-c", f"echo 0 > /proc/sys/net/{limit}")
        with direct_link(network, left, right, 1, GOOD, bare=True) as link:
            ours, kernel = Scripted.ours(right), Scripted.kernel(left)
            try:
                yield World(network, link, ours, kernel)
            finally:
                ours.stop()
                kernel.stop()


@pytest.fixture
def world(started: World) -> World:
    started.link.change(GOOD, GOOD)
    started.port += 1
    return started


# Resets of the kernel.


def test_the_kernel_refuses(world: World) -> None:
    world.ours("connect", "a", world.link.left, world.port)
    assert world.ours("until", "a", "CLOSED") == ["SYN_SENT", "CLOSED"]
    assert world.ours("error", "a") == ["ConnectRefused", 111]


def test_the_kernel_resets_what_is_half_open(world: World) -> None:
    world.ours("listen", world.port)
    world.from_us(LOST)
    world.kernel("connect", "a", world.link.right, world.port)
    world.ours("half_open", world.port, 1)
    # The kernel forgets it; our answer, said again, is for nobody.
    world.kernel("close", "a")
    world.from_us(GOOD)
    world.ours("half_open", world.port, 0)
    world.kernel("connect", "a", world.link.right, world.port)
    world.ours("accept", "a", world.port)
    assert world.ours("until", "a", "ESTABLISHED") == ["ESTABLISHED"]


@pytest.mark.parametrize(
    ("state", "error"),
    [
        ("ESTABLISHED", "ConnectReset"),
        ("FIN_WAIT_1", "ConnectReset"),
        ("FIN_WAIT_2", "ConnectReset"),
        ("CLOSE_WAIT", "ConnectReset"),
        # Everything was read and written by then (RFC 9293 section 3.10.7.4).
        ("CLOSING", "NoneType"),
        ("LAST_ACK", "NoneType"),
    ],
)
def test_the_kernel_resets(world: World, state: str, error: str) -> None:
    world.enter(state)
    world.kernel("reset", "a")
    assert world.ours("until", "a", "CLOSED")[-2:] == [state, "CLOSED"]
    assert world.ours("error", "a")[0] == error


def test_the_kernel_resets_what_waits(world: World) -> None:
    """The kernel's end comes again, and our answer to it is refused."""
    world.open()
    world.ours("shutdown", "a")
    world.ours("until", "a", "FIN_WAIT_2")
    world.from_us(LOST)
    world.kernel("shutdown", "a")
    world.ours("until", "a", "TIME_WAIT")
    rule = ("INPUT", "-i", "wan1", "-p", "tcp", "-j", "REJECT", "--reject-with", "tcp-reset")
    world.machine.command("iptables", "-A", *rule)
    try:
        world.from_us(GOOD)
        assert world.ours("until", "a", "CLOSED")[-2:] == ["TIME_WAIT", "CLOSED"]
    finally:
        world.machine.command("iptables", "-D", *rule)
    assert world.ours("error", "a")[0] == "NoneType"


# Resets of ours.


def test_we_refuse(world: World) -> None:
    world.kernel("connect", "a", world.link.right, world.port)
    assert world.kernel("error", "a") == "ECONNREFUSED"


def test_we_reset_what_is_half_open_at_the_kernel(world: World) -> None:
    world.kernel("listen", world.port)
    world.from_kernel(LOST)
    world.ours("connect", "a", world.link.left, world.port)
    world.kernel("half_open", world.port, 1)
    world.ours("abort", "a")
    world.from_kernel(GOOD)
    world.kernel("half_open", world.port, 0)


@pytest.mark.parametrize(
    ("state", "error"),
    [
        ("ESTABLISHED", "ECONNRESET"),
        ("FIN_WAIT_1", "ECONNRESET"),
        ("FIN_WAIT_2", "ECONNRESET"),
        # Behind our end it has read everything already.
        ("CLOSE_WAIT", "EPIPE"),
        ("CLOSING", "ECONNRESET"),
        ("LAST_ACK", "ECONNRESET"),
    ],
)
def test_we_reset(world: World, state: str, error: str) -> None:
    world.lead(state)
    world.ours("abort", "a")
    world.kernel("until", "a", "CLOSED")
    assert world.kernel("error", "a") == error


# Ends and beginnings that meet.


def test_we_both_end_at_once(world: World) -> None:
    world.enter("CLOSING")
    world.from_us(GOOD)
    assert world.ours("until", "a", "TIME_WAIT")[1:] == ["FIN_WAIT_1", "CLOSING", "TIME_WAIT"]
    assert world.kernel("read", "a", 1) == ""
    assert world.ours("error", "a")[0] == "NoneType"


def test_both_end_at_once_as_the_kernel_sees_it(world: World) -> None:
    world.lead("CLOSING")
    world.from_kernel(GOOD)
    assert world.ours("until", "a", "TIME_WAIT")[-1] == "TIME_WAIT"
    assert world.kernel("read", "a", 1) == ""


def test_both_open_at_once(world: World) -> None:
    """Two SYNs cross; should ours come first, the kernel's reset for it is held back."""
    rule = ("OUTPUT", "-o", "wan1", "-p", "tcp", "--tcp-flags", "RST", "RST", "-j", "DROP")
    world.machine.command("iptables", "-A", *rule)
    slow = Way(delay_ms=300.0)
    try:
        world.link.change(slow, slow)
        world.ours("connect", "a", world.link.left, world.port, world.port + 1000)
        world.kernel("connect", "a", world.link.right, world.port + 1000, world.port)
        seen = world.ours("until", "a", "ESTABLISHED")
        world.kernel("until", "a", "ESTABLISHED")
    finally:
        world.machine.command("iptables", "-D", *rule)
    assert seen == ["SYN_SENT", "SYN_RECEIVED", "ESTABLISHED"]
    world.link.change(GOOD, GOOD)
    world.kernel("write", "a", "hello")
    assert world.ours("read", "a", 5) == "hello"
    world.ours("write", "a", "you")
    assert world.kernel("read", "a", 3) == "you"


@pytest.mark.parametrize("by_kernel", [True, False])
def test_half_close_both_ways(world: World, by_kernel: bool) -> None:
    """Who has ended goes on to hear the other."""
    world.open(by_kernel=by_kernel)
    first, second = (world.kernel, world.ours) if by_kernel else (world.ours, world.kernel)
    first("write", "a", "last words")
    first("shutdown", "a")
    assert second("read", "a", 100) == "last words"
    first("until", "a", "FIN_WAIT_2")
    second("until", "a", "CLOSE_WAIT")
    second("write", "a", "an answer")
    assert first("read", "a", 9) == "an answer"
    second("shutdown", "a")
    assert first("read", "a", 1) == ""
    second("until", "a", "CLOSED")


def test_urgent_data_is_data(world: World) -> None:
    """The pointer is not looked at: nothing is lost, and nothing is early (RFC 6093)."""
    world.open()
    world.kernel("write", "a", "one")
    world.kernel("urgent", "a", "!")
    world.kernel("write", "a", "two")
    world.kernel("urgent", "a", "and three?")
    world.kernel("shutdown", "a")
    assert world.ours("read", "a", 100) == "one!twoand three?"
    world.ours("until", "a", "CLOSE_WAIT")


# ICMP, both ways, and large datagrams.


@pytest.mark.parametrize(
    ("reject", "kind", "code"),
    [
        ("icmp-port-unreachable", "ConnectRefused", 111),
        ("icmp-host-unreachable", "Unreachable", 113),
        ("icmp-net-unreachable", "NetworkUnreachable", 101),
        ("icmp-admin-prohibited", "Unreachable", 113),
        ("icmp6-port-unreachable", "ConnectRefused", 111),
        ("icmp6-addr-unreachable", "Unreachable", 113),
        ("icmp6-no-route", "NetworkUnreachable", 101),
    ],
)
def test_what_routers_say(world: World, reject: str, kind: str, code: int) -> None:
    six = reject.startswith("icmp6")
    program, host = ("ip6tables", "fd77:1::1") if six else ("iptables", world.link.left)
    for protocol in ("tcp", "udp"):
        rule = ("INPUT", "-i", "wan1", "-p", protocol, "-j", "REJECT", "--reject-with", reject)
        world.machine.command(program, "-A", *rule)
    try:
        world.ours("connect", "a", host, world.port)
        world.ours("until", "a", "CLOSED")
        assert world.ours("error", "a") == [kind, code]
        world.ours("bind", "u", world.port)
        world.ours("send", "u", 10, host, world.port)
        assert world.ours("complaint", "u") == [kind, code]
    finally:
        world.machine.command(program, "-F", "INPUT")


def test_a_closed_port_of_the_kernel_is_reported(world: World) -> None:
    world.ours("bind", "u", world.port)
    world.ours("send", "u", 10, world.link.left, world.port)
    assert world.ours("complaint", "u") == ["ConnectRefused", 111]


@pytest.mark.parametrize("size", [0, 1472, 1473, 65_507])
def test_datagrams_of_every_length(world: World, size: int) -> None:
    world.kernel("bind", "u", world.port)
    world.ours("bind", "u", world.port)
    world.ours("send", "u", size, world.link.left, world.port)
    assert world.kernel("echo", "u") == size
    assert world.ours("receive", "u") == size
