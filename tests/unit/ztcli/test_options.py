"""The options that every command takes, together."""

from __future__ import annotations

from pathlib import Path

import pytest

from ztcli.exit_codes import UsageProblem
from ztcli.options import Common, foreign, settings

HOME = Path("/nowhere/zt")


def test_defaults() -> None:
    found = settings(Common(), HOME)
    assert (found.state, found.stack, found.join_timeout) == (HOME, "managed", 60.0)
    assert found.total_timeout(90.0) == 90.0


def test_later_options_win_and_counts_add_up() -> None:
    before = Common(network=["8056c2e21c000001"], json=True, quiet=1, timeout="5s")
    merged = before.merged(Common(timeout="off", quiet=1))
    found = settings(merged, HOME)
    assert found.networks == ("8056c2e21c000001",)
    assert found.json
    assert found.quiet == 2
    assert found.total_timeout(90.0) is None


def test_lists_are_separated_by_commas() -> None:
    found = settings(Common(network=["8056c2e21c000001,8056c2e21c000002"]), HOME)
    assert found.networks == ("8056c2e21c000001", "8056c2e21c000002")


def test_ephemeral_has_no_state() -> None:
    assert settings(Common(ephemeral=True), HOME).state is None


def test_relay() -> None:
    forced = settings(Common(relay="tcp://10.0.0.1:443"), HOME)
    assert (forced.relay, forced.relay_off) == (("10.0.0.1", 443), False)
    off = settings(Common(relay="off"), HOME)
    assert (off.relay, off.relay_off) == (None, True)
    auto = settings(Common(relay="auto"), HOME)
    assert (auto.relay, auto.relay_off) == (None, False)


def test_relay_of_the_overlay() -> None:
    with pytest.raises(UsageProblem, match="belongs to the managed stack"):
        settings(Common(stack="overlay", relay="tcp://10.0.0.1:443"), HOME)


def test_overlay() -> None:
    common = Common(
        stack="Overlay",
        transport="OSUDP",
        udp_port="49001",
        advertise="127.0.0.1",
        peer=["a1b2c3d4e5@127.0.0.1:1"],
        map_ip=["10.0.0.1=a1b2c3d4e5"],
    )
    found = settings(common, HOME)
    assert found.is_overlay
    assert (found.udp_port, found.advertise) == (49001, ("127.0.0.1", 0))
    assert found.addresses == (("10.0.0.1", 0xA1B2C3D4E5),)


def test_the_environment_speaks_for_both_stacks() -> None:
    common = Common(stack="overlay", network=["cafe2001"], planet="mine", transport="inmem")
    with pytest.raises(UsageProblem, match="--planet belongs to the managed stack"):
        settings(common, HOME)
    assert "planet" in foreign(common)
    assert settings(common.without(foreign(common)), HOME).planet is None
    with pytest.raises(UsageProblem, match="--transport belongs to --stack overlay"):
        settings(Common(transport="inmem"), HOME)
