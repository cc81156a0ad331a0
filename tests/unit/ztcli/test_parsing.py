"""Text of arguments to values."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ztcli import parsing
from ztcli.exit_codes import UsageProblem
from ztcli.parsing import OverlayPeer, Place, Target


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("500ms", 0.5),
        ("5s", 5.0),
        ("2m", 120.0),
        ("1h", 3600.0),
        ("1.5", 1.5),
        ("0", None),
        ("off", None),
    ],
)
def test_duration(text: str, value: float | None) -> None:
    assert parsing.duration(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("64k", 64000), ("10M", 10_000_000), ("4Ki", 4096), ("1Gi", 1 << 30)],
)
def test_size(text: str, value: int) -> None:
    assert parsing.size(text) == value


@pytest.mark.parametrize(
    ("text", "value", "is_decimal"),
    [
        ("8056c2e21c000001", 0x8056C2E21C000001, False),
        ("1000000000000001", 0x1000000000000001, False),
        ("0xCAFE2001", 0xCAFE2001, False),
        ("cafe", 0xCAFE, False),
        ("12345", 12345, True),
    ],
)
def test_network(text: str, value: int, is_decimal: bool) -> None:
    assert parsing.network(text) == (value, is_decimal)


@pytest.mark.parametrize(
    ("text", "value"),
    [("a1b2c3d4e5", 0xA1B2C3D4E5), ("0x10", 16), ("1234567890", 0x1234567890), ("123", 123)],
)
def test_node_id(text: str, value: int) -> None:
    assert parsing.node_id(text) == value


def test_ports() -> None:
    assert parsing.ports("20-22,443") == (20, 21, 22, 443)


@pytest.mark.parametrize(
    ("text", "value"),
    [("db:80", ("db", 80)), ("10.0.0.1:1", ("10.0.0.1", 1)), ("[fd00::1]:22", ("fd00::1", 22))],
)
def test_host_port(text: str, value: tuple[str, int]) -> None:
    assert parsing.host_port(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10.0.0.1", ("10.0.0.1", 0)),
        ("10.0.0.1:9", ("10.0.0.1", 9)),
        ("fd00::1", ("fd00::1", 0)),
        ("[fd00::1]", ("fd00::1", 0)),
        ("[fd00::1]:9", ("fd00::1", 9)),
    ],
)
def test_physical(text: str, value: tuple[str, int]) -> None:
    assert parsing.physical(text) == value


@pytest.mark.parametrize(
    ("words", "target"),
    [
        (("db", "22"), Target("tcp", "db", (22,))),
        (("fd00::1", "22"), Target("tcp", "fd00::1", (22,))),
        (("[fd00::1]", "22"), Target("tcp", "fd00::1", (22,))),
        (("db:22",), Target("tcp", "db", (22,))),
        (("tcp://db:22",), Target("tcp", "db", (22,))),
        (("tls://[fd00::1]:22/",), Target("tls", "fd00::1", (22,))),
        (("http://db/x",), Target("http", "db", (80,), "http://db/x")),
        (("https://u@db:1?q",), Target("https", "db", (1,), "https://u@db:1?q")),
        (("HTTP://[fd00::1]/",), Target("http", "fd00::1", (80,), "HTTP://[fd00::1]/")),
    ],
)
def test_target(words: tuple[str, ...], target: Target) -> None:
    assert parsing.target(*words) == target


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("80", Place("", None, 80)),
        ("0", Place("", None, 0)),
        (":80", Place("", None, 80)),
        ("10.0.0.1:80", Place("", "10.0.0.1", 80)),
        ("tcp://0.0.0.0:80", Place("tcp", None, 80)),
        ("http://[fd00::1]:80/", Place("http", "fd00::1", 80)),
        ("http://80", Place("http", None, 80)),
    ],
)
def test_place(text: str, place: Place) -> None:
    assert parsing.place(text) == place


def test_overlay() -> None:
    peer = parsing.overlay_peer("a1b2c3d4e5@127.0.0.1:49001")
    assert peer == OverlayPeer(0xA1B2C3D4E5, "127.0.0.1", 49001)
    assert parsing.ip_mapping("10.9.0.1=a1b2c3d4e5") == ("10.9.0.1", 0xA1B2C3D4E5)


def test_identity_at() -> None:
    assert parsing.identity_at("root/identity.public@192.0.2.1:9993") == (
        "root/identity.public",
        "192.0.2.1",
        9993,
    )


@pytest.mark.parametrize("name", ["managed", "zerotier", "LIBZT"])
def test_names_of_the_managed_stack(name: str) -> None:
    assert parsing.stack(name) == "managed"
    assert parsing.stack("overlay") == "overlay"


@pytest.mark.parametrize("text", ["rr", "RoundRobin", "balance-round-robin"])
def test_bond_policy(text: str) -> None:
    assert parsing.bond_policy(text) == "balance-rr"


def test_header() -> None:
    assert parsing.header("X-A:  b:c ") == ("X-A", "b:c")


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parsing.duration, "soon"),
        (parsing.duration, "-1s"),
        (parsing.size, "1T"),
        (parsing.size, "x"),
        (parsing.network, ""),
        (parsing.network, "xyz"),
        (parsing.network, "0"),
        (parsing.network, "1" + "0" * 16 + "a"),
        (parsing.node_id, "0"),
        (parsing.node_id, "not"),
        (parsing.node_id, "aaaaaaaaaaa"),
        (parsing.port, "0"),
        (parsing.port, "65536"),
        (parsing.port, "٣"),
        (parsing.ports, "30-20"),
        (parsing.ports, "1,,2"),
        (parsing.host_port, "db"),
        (parsing.host_port, ":80"),
        (parsing.host_port, "fd00::1:80"),
        (parsing.target, "ftp://db/"),
        (parsing.target, "http://"),
        (parsing.target, "tcp://db"),
        (parsing.place, "db"),
        (parsing.place, "tls://80"),
        (parsing.overlay_peer, "127.0.0.1:9"),
        (parsing.ip_mapping, "10.0.0.1"),
        (parsing.identity_at, "@1.2.3.4:5"),
        (parsing.stack, "none"),
        (parsing.bond_policy, "none at all"),
        (parsing.udp_ports, "1,x"),
        (parsing.header, "no colon"),
        (parsing.header, "a: b\r\nc: d"),
    ],
)
def test_refused(parse: Callable[[str], object], text: str) -> None:
    with pytest.raises(UsageProblem):
        parse(text)


def test_url_and_port_are_too_much() -> None:
    with pytest.raises(UsageProblem):
        parsing.target("http://db/", "80")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("auto", None),
        ("OFF", None),
        ("tcp://relay.example:443", ("relay.example", 443)),
        ("TCP://[2001:db8::1]:443/", ("2001:db8::1", 443)),
    ],
)
def test_relay(text: str, value: tuple[str, int] | None) -> None:
    assert parsing.relay(text) == value


@pytest.mark.parametrize("text", ["yes", "tcp://relay.example", "udp://h:1", "h:443", "tcp://h:0"])
def test_bad_relay(text: str) -> None:
    with pytest.raises(UsageProblem):
        parsing.relay(text)
