"""The official library on our controller: what it is given, what it hears of, what it loses."""

from __future__ import annotations

import ipaddress
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support import libzt
from tests.support.libzt_node import LibztNode, libzt_node
from tests.support.peers import required
from tests.support.site import POOL, Site, site
from tests.support.zt_process import ProcessFailure, Zt, wait_until
from ztcli.exit_codes import ExitCode
from ztstack.base.address import Address
from ztstack.base.network_id import NetworkId
from ztstack.controller.ipam import rfc4193, sixplane

pytestmark = pytest.mark.timeout(240)

VERSION: Final = "1.8.4"
OK: Final = 1
PUSH_SECONDS: Final = 3.0
REFRESH_SECONDS: Final = 100.0
"""The library asks for its configuration each minute: so late may it hear that it is in again."""


@dataclass(frozen=True, slots=True)
class Member:
    """The library as a member of a network."""

    node: LibztNode
    name: str
    network: str

    def state(self) -> dict[str, Any]:
        return self.node.result(self.node.begin("network", network=self.network))

    def expected(self) -> set[str]:
        """Return the two IPv6 addresses that follow from its own."""
        network, address = NetworkId.parse(self.network), Address.parse(self.name)
        packed = (rfc4193(network, address), sixplane(network, address))
        return {str(ipaddress.ip_address(ip)) for ip in packed}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with required(), site(tmp_path_factory.mktemp("site")) as made:
        libzt.library(VERSION)  # a download must not count as time for joining
        yield made


def create(world: Site, *options: str) -> str:
    wanted = ("--pool", POOL, "--pool", "fd77:1::/64", "--6plane", *options)
    return world.controller.text("network", "create", *wanted)


@pytest.fixture(scope="module")
def member(world: Site) -> Iterator[Member]:
    """Let the library into a private network, after it was denied."""
    network = create(world)
    machine = world.lan.machine("zmember")
    with libzt_node(VERSION, machine, world.folder / "zmember", world.planet, network) as node:
        name = node.expect("node", 30.0)["id"]
        node.expect("online", 60.0)
        wait_until(
            "the controller hears of the library",
            lambda: name in world.controller.text("network", "members", network),
            30.0,
        )
        assert f"{name}\tno" in world.controller.text("network", "members", network)
        world.controller.text("network", "authorize", network, name)
        node.address(60.0)
        yield Member(node, name, network)


@pytest.fixture(autouse=True)
def stop_nodes(world: Site) -> Iterator[None]:
    yield
    world.stop_nodes()


def let_in(world: Site, member: Member, label: str) -> Zt:
    """Return a node of ours in the same network."""
    made = world.node(label, member.network)
    world.controller.text("network", "authorize", member.network, made.node_id())
    return made


def within(seconds: float, what: str, ask: Callable[[], bool]) -> float:
    began = time.monotonic()
    wait_until(what, ask, seconds)
    return time.monotonic() - began


def plain(addresses: list[str]) -> set[str]:
    """Return addresses without prefixes and in one notation."""
    return {str(ipaddress.ip_address(text.partition("/")[0])) for text in addresses}


def test_a_private_network_gives_all_kinds_of_addresses(member: Member) -> None:
    state = member.state()
    assert (state["status"], state["mtu"]) == (OK, 2800)
    addresses = plain(state["addresses"])
    assert addresses >= member.expected()
    others = [ipaddress.ip_address(text) for text in addresses - member.expected()]
    assert sorted(ip.version for ip in others) == [4, 6]
    for ip in others:
        assert ip in ipaddress.ip_network(POOL if ip.version == 4 else "fd77:1::/64")


def test_a_public_network_lets_in_without_asking(world: Site) -> None:
    network = create(world, "--public")
    machine = world.lan.machine("zpublic")
    with libzt_node(VERSION, machine, world.folder / "zpublic", world.planet, network) as node:
        member = Member(node, node.expect("node", 30.0)["id"], network)
        address = node.address()
        assert plain(member.state()["addresses"]) >= {address, *member.expected()}


def test_a_change_is_there_at_once(world: Site, member: Member) -> None:
    before = member.state()
    assert "10.200.0.0" not in str(before["routes"])
    world.controller.text(
        "network", "set", member.network, "--mtu", "1400",
        "--route", POOL, "--route", "fd77:1::/64", "--route", "10.200.0.0/16,10.147.20.254",
    )  # fmt: skip

    def is_there() -> bool:
        state = member.state()
        routes = [(target.partition("/")[0], via) for target, via in state["routes"]]
        return state["mtu"] == 1400 and ("10.200.0.0", "10.147.20.254") in routes

    within(PUSH_SECONDS, "the new route and MTU", is_there)
    assert plain(member.state()["addresses"]) == plain(before["addresses"])


def connects(zt: Zt, address: str, port: int) -> bool:
    done = zt.run("call", "-z", address, str(port), "--connect-timeout", "4s")
    assert done.returncode in (0, ExitCode.CANNOT_CONNECT, ExitCode.TIMED_OUT), done.stderr
    return done.returncode == 0


def set_rules(world: Site, member: Member, folder: Path, text: str) -> None:
    path = folder / "rules"
    path.write_text(text)
    world.controller.text("network", "rules", member.network, str(path))


def test_a_rule_against_a_port_is_kept_by_us_both_ways(
    world: Site, member: Member, tmp_path: Path
) -> None:
    """`inbound` parts the duty: what comes in only the receiver may drop, what goes out the sender.

    So it is not the library that keeps these rules, but we.
    """
    set_rules(
        world, member, tmp_path,
        """
        drop chr inbound and ipprotocol tcp and dport 7101;
        drop not chr inbound and ipprotocol tcp and dport 7102;
        accept;
        """,
    )  # fmt: skip
    listener = let_in(world, member, "server").start("listen", "7101", "--tcp", "--echo")
    ip = next(text for text in listener.ready()["addresses"] if ":" not in text)
    blocked = member.node.begin("tcp-connect", ip=ip, port=7101, send=1000, seed=1)
    # Another port is open, so it is not the way that is missing.
    caller, address = let_in(world, member, "caller"), member.node.address()
    open_port = member.node.serve("tcp-serve", port=7103, send=1000, seed=3)
    done = caller.run("call", address, "7103", data=b"x")
    assert (done.returncode, len(done.stdout)) == (0, 1000), done.stderr
    member.node.result(open_port)
    with pytest.raises(ProcessFailure, match="no result"):
        member.node.result(blocked, 2.0)
    server = member.node.serve("tcp-serve", port=7102, send=1000, seed=2)
    assert not connects(caller, address, 7102)
    # Without the rule both go through, and the first by the library's own next try.
    set_rules(world, member, tmp_path, "accept;")
    assert member.node.result(blocked)["received"] == 1000
    done = caller.run("call", address, "7102", data=b"x" * 10)
    assert (done.returncode, len(done.stdout)) == (0, 1000), done.stderr
    assert member.node.result(server)["received"] == 10


def test_frames_to_groups_both_ways(world: Site, member: Member) -> None:
    """What either sends to all finds the other by asking who listens.

    The library hears and sends broadcasts; it has no call to join a group, and no way to one.
    """
    everybody = str(ipaddress.ip_network(POOL).broadcast_address)
    listener = let_in(world, member, "hearing").start("udp-listen", "7301", "--reply", "here")
    listener.ready()
    tag = member.node.begin("udp-send", ip=everybody, port=7301, text="all?", seconds=20.0)
    assert member.node.result(tag)["text"] == "here"
    served = member.node.serve("udp-serve", port=7302)
    caller = let_in(world, member, "calling")
    done = caller.run("udp-send", "--to", f"{everybody}:7302", "--data", "all", "--wait", "10s")
    assert (done.returncode, done.stdout) == (0, b"re:all\n"), done.stderr
    assert member.node.result(served)["texts"] == ["all"]
    # What the controller says of names is there with the next configuration, and shown.
    world.controller.text("network", "set", member.network, "--dns", "lab.test,10.147.20.9")

    def is_shown() -> bool:
        (shown,) = json.loads(caller.run("status", "--json").stdout)["networks"]
        return (shown["dns_domain"], shown["dns_servers"]) == ("lab.test", ["10.147.20.9"])

    within(10.0, "the DNS server is shown", is_shown)
    assert "dns      lab.test 10.147.20.9" in caller.run("status").stdout.decode()


def test_who_is_put_out_is_out(world: Site, member: Member) -> None:
    listener = let_in(world, member, "answering").start("udp-listen", "7201")
    ip = next(text for text in listener.ready()["addresses"] if ":" not in text)

    def is_answered(seconds: float) -> bool:
        tag = member.node.begin("udp-send", ip=ip, port=7201, text="ping", seconds=seconds)
        try:
            return bool(member.node.result(tag)["text"])
        except ProcessFailure as failure:
            if "no answer" not in str(failure):
                raise
            return False

    assert is_answered(20.0)
    world.controller.text("network", "deauthorize", member.network, member.name)
    within(10.0, "the library is cut off", lambda: not is_answered(1.0))
    assert not is_answered(3.0)
    world.controller.text("network", "authorize", member.network, member.name)
    within(REFRESH_SECONDS, "the library is in again", lambda: is_answered(1.0))
