from __future__ import annotations

import json
from pathlib import Path

import pytest

from ztcli import names
from ztcli.exit_codes import UsageProblem
from ztcli.names import Names

NWID = "8056c2e21c000001"
OTHER = "8056c2e21c000002"


def test_a_network_by_name_or_id() -> None:
    known = Names(networks={"lab": NWID, "cafe": OTHER})
    assert known.network("lab") == (NWID, False)
    assert known.network(" cafe ") == (OTHER, False)  # A name wins over what could be digits.
    assert known.network(NWID.upper()) == (NWID, False)
    assert known.network("17") == ("0000000000000011", True)
    assert known.alias(OTHER) == "cafe"
    assert known.alias("0" * 16) == ""


def test_an_unknown_name_says_how_to_give_it() -> None:
    with pytest.raises(UsageProblem, match="office: no network") as refused:
        Names().network("office")
    assert "zt join office=NWID" in refused.value.hint
    with pytest.raises(UsageProblem, match="sixteen hexadecimal digits"):
        Names().network("80 56")


@pytest.mark.parametrize("text", ["", "1a", "0x1", "a b", "a.b", NWID, "lab=", "x" * 64])
def test_no_name_for_a_network(text: str) -> None:
    with pytest.raises(UsageProblem):
        names.check_alias(text)


@pytest.mark.parametrize("text", ["", "10.1.2.3", "fd00::1", "a1b2c3d4e5", "a1b2c3d4e5.zt", "a b"])
def test_no_name_for_a_host(text: str) -> None:
    with pytest.raises(UsageProblem):
        names.check_host(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("10.1.2.3", "10.1.2.3"), ("FD00:0::1", "fd00::1"), ("A1B2C3D4E5", "a1b2c3d4e5")],
)
def test_addresses_of_hosts(text: str, expected: str) -> None:
    assert names.check_address(text) == expected


def test_no_address_of_a_host() -> None:
    with pytest.raises(UsageProblem, match="an IP address or a node id"):
        names.check_address("db.example")


def test_hosts_are_found_whatever_their_case() -> None:
    known = Names().with_host("DB", "10.1.2.3")
    assert known.host("Db") == "10.1.2.3"
    assert known.host("web") == "web"
    assert known.without_host("dB") == Names()


def test_over_prefers_the_first() -> None:
    first = Names({"lab": NWID}, {"db": "10.0.0.1"})
    second = Names({"lab": OTHER, "home": OTHER}, {"web": "10.0.0.2"}, (NWID,))
    both = first.over(second)
    assert both.networks == {"lab": NWID, "home": OTHER}
    assert both.hosts == {"db": "10.0.0.1", "web": "10.0.0.2"}
    assert both.left == (NWID,)


def test_named_network() -> None:
    known = Names({"lab": NWID})
    assert names.named_network("lab", known) == ("", NWID, False)
    assert names.named_network(f"home={OTHER}", known) == ("home", OTHER, False)
    assert names.named_network("again=lab", known) == ("again", NWID, False)
    with pytest.raises(UsageProblem):
        names.named_network(f"={OTHER}", known)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert names.load(state) == Names()
    kept = Names().with_network("lab", NWID).with_host("db", "10.1.2.3").with_left(OTHER)
    names.save(state, kept)
    assert names.load(state) == kept
    assert (state / names.FILE).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in state.iterdir()] == [names.FILE]
    names.save(state, kept.without_network(NWID).without_network(OTHER))
    assert names.load(state) == Names(hosts={"db": "10.1.2.3"})


def test_a_file_of_somebody_else(tmp_path: Path) -> None:
    file = tmp_path / names.FILE
    data = {"networks": {"lab": 1, "bad": "x", "ok": NWID}, "hosts": [], "left": [NWID, 2, "y"]}
    file.write_text(json.dumps(data))
    assert names.load(tmp_path) == Names({"ok": NWID}, {}, (NWID,))
    for text in ("{", "[]"):
        file.write_text(text)
        with pytest.raises(UsageProblem, match=names.FILE):
            names.load(tmp_path)
