"""Every spelling of the multipath options, and every wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest

from ztcli.exit_codes import UsageProblem
from ztcli.multipath import Multipath
from ztcli.options import Common, settings

HOME = Path("/nowhere/zt")


def found(**options: object) -> Multipath | None:
    return settings(Common(**options), HOME).multipath  # type: ignore[arg-type]


def test_none_of_them() -> None:
    assert found() is None
    assert found(multipath=False) is None


def test_the_defaults_are_left_to_the_node() -> None:
    assert found(multipath=True) == Multipath()


@pytest.mark.parametrize(
    ("spellings", "policy"),
    [
        ("off", "off"),
        ("active-backup activebackup", "active-backup"),
        ("broadcast", "broadcast"),
        ("balance-rr balance-roundrobin balance-round-robin roundrobin rr", "balance-rr"),
        ("balance-xor xor", "balance-xor"),
        ("balance-aware aware", "balance-aware"),
    ],
)
def test_policies(spellings: str, policy: str) -> None:
    for text in spellings.split():
        for written in (text, text.upper(), f" {text} "):
            assert found(mp_bond=written) == Multipath(policy)


@pytest.mark.parametrize(
    ("sockets", "ports", "expected"),
    [
        ("1", None, (0,)),
        ("8", None, (0,) * 8),
        ("02", None, (0, 0)),
        (None, "9993", (9993,)),
        (None, "9993,,9994", (9993, 9994)),
        (None, " 1 , 2 ,", (1, 2)),
        (None, "0,0", (0, 0)),
        ("2", "9993,0", (9993, 0)),
        (None, "1,2,3,4,5,6,7,65535", (1, 2, 3, 4, 5, 6, 7, 65535)),
    ],
)
def test_ports(sockets: str | None, ports: str | None, expected: tuple[int, ...]) -> None:
    assert found(mp_udp_sockets=sockets, mp_udp_ports=ports) == Multipath(ports=expected)


@pytest.mark.parametrize(("text", "value"), [("true", True), (" FALSE ", False)])
def test_warm_up(text: str, value: bool) -> None:
    assert found(mp_warmup_root=text) == Multipath(warmup_root=value)


def test_addresses() -> None:
    assert found(mp_bind="10.0.0.1, FD00::01") == Multipath(bind=("10.0.0.1", "fd00::1"))


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"mp_bond": ""}, "balance-aware"),
        ({"mp_bond": "none"}, "active-backup"),
        ({"mp_bond": "balance"}, "not 'balance'"),
        ({"mp_udp_sockets": "0"}, "1 to 8"),
        ({"mp_udp_sockets": "9"}, "1 to 8"),
        ({"mp_udp_sockets": "+1"}, "1 to 8"),
        ({"mp_udp_sockets": "²"}, "1 to 8"),
        ({"mp_udp_sockets": "two"}, "1 to 8"),
        ({"mp_udp_sockets": ""}, "1 to 8"),
        ({"mp_udp_ports": ""}, "P1,P2"),
        ({"mp_udp_ports": ",,"}, "P1,P2"),
        ({"mp_udp_ports": "+1"}, "65535"),
        ({"mp_udp_ports": "65536"}, "65535"),
        ({"mp_udp_ports": "9993,9993"}, "twice"),
        ({"mp_udp_ports": "1,2,3,4,5,6,7,8,9"}, "9 ports"),
        ({"mp_udp_ports": "1,2", "mp_udp_sockets": "3"}, "2 ports for 3 sockets"),
        ({"mp_udp_ports": "1,2", "mp_udp_sockets": "1"}, "2 ports for 1 sockets"),
        ({"mp_warmup_root": "1"}, "true or false"),
        ({"mp_warmup_root": "yes"}, "true or false"),
        ({"mp_bind": "eth0"}, "IP,IP"),
        ({"mp_bind": "10.0.0.1,"}, "IP,IP"),
        ({"mp_bind": "0.0.0.0"}, "no address of one interface"),
        ({"mp_bind": "10.0.0.1,10.0.0.1"}, "twice"),
        ({"mp_bind": "10.0.0.1", "bind_udp": ["10.0.0.2:1"]}, "choose"),
        ({"mp_udp_sockets": "2", "bind_udp": ["10.0.0.2:1"]}, "choose"),
        ({"multipath": True, "relay": "tcp://10.0.0.1:443"}, "choose"),
        ({"multipath": True, "stack": "overlay"}, "managed stack"),
        ({"mp_bond": "wrong", "stack": "overlay"}, "not 'wrong'"),
    ],
)
def test_refused(options: dict[str, object], word: str) -> None:
    with pytest.raises(UsageProblem, match=word):
        found(**options)
