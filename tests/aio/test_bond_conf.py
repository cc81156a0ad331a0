"""The bonds of `local.conf`: an official file, and everything that is refused by name."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ztstack.aio.local_conf import parse_local_conf
from ztstack.base.address import Address
from ztstack.base.errors import InvalidConfig
from ztstack.bonding.settings import (
    BondPolicy,
    BondSettings,
    LinkSettings,
    Multipath,
    PolicySettings,
    QualitySettings,
    Reselect,
)

PEER = Address.parse("a1b2c3d4e5")
QUALITY = {
    "lat_max": 400,
    "pdv_max": 20.5,
    "plr_max": 0.05,
    "per_max": 0.01,
    "lat_weight": 0.5,
    "pdv_weight": 0.25,
    "plr_weight": 0.25,
    "per_weight": 0,
}
CUSTOM = {
    "basePolicy": "active-backup",
    "failoverInterval": 1000,
    "upDelay": 10,
    "downDelay": 20,
    "packetsPerLink": 8,
    "activeReselect": "better",
    "linkQuality": QUALITY,
    "links": {
        "eth0": {"mode": "primary", "capacity": 1000, "ipvPref": 46, "failoverTo": "eth1"},
        "eth1": {"mtu": 1280, "enabled": False},
    },
}


def parsed(settings: dict[str, Any]) -> BondSettings | None:
    return parse_local_conf(json.dumps({"settings": settings}).encode()).bonds


def test_an_official_file() -> None:
    found = parsed(
        {
            "primaryPort": 9993,
            "defaultBondingPolicy": "balance-xor",
            "policies": {"mine": CUSTOM},
            "peerSpecificBonds": {str(PEER): "mine", "0102030405": "broadcast"},
        }
    )
    assert found is not None
    assert found.default == PolicySettings(BondPolicy.BALANCE_XOR)
    assert found.of(Address.parse("0102030405")) == PolicySettings(BondPolicy.BROADCAST)
    assert found.of(Address.parse("0102030406")) == found.default
    assert found.of(PEER) == PolicySettings(
        policy=BondPolicy.ACTIVE_BACKUP,
        name="mine",
        failover_us=1_000_000,
        up_delay_us=10_000,
        down_delay_us=20_000,
        packets_per_link=8,
        reselect=Reselect.BETTER,
        quality=QualitySettings(400.0, 20.5, 0.05, 0.01, 0.5, 0.25, 0.25, 0.0),
        links={
            "eth0": LinkSettings(capacity=1000, ip_preference=46, failover_to="eth1"),
            "eth1": LinkSettings(is_primary=False, mtu=1280, enabled=False),
        },
    )


def test_a_policy_of_ones_own_is_the_default() -> None:
    found = parsed(
        {"policies": {"mine": {"basePolicy": "balance-rr"}}, "defaultBondingPolicy": "mine"}
    )
    assert found is not None
    assert found.default == PolicySettings(BondPolicy.BALANCE_RR, "mine")


def test_nothing_about_bonds() -> None:
    assert parsed({"primaryPort": 9993, "softwareUpdate": "disable"}) is None
    assert parsed({"defaultBondingPolicy": ""}) == BondSettings()
    assert parsed({"defaultBondingPolicy": "none"}) == BondSettings()


def test_what_a_caller_wants_counts_more() -> None:
    conf = BondSettings(
        PolicySettings(BondPolicy.BALANCE_RR, "mine"),
        {PEER: PolicySettings(BondPolicy.BROADCAST)},
        warmup_root=False,
    )
    assert Multipath().settings(None) == BondSettings()
    assert Multipath().settings(conf) == conf
    changed = Multipath(BondPolicy.BALANCE_XOR, warmup_root=True).settings(conf)
    assert changed == BondSettings(PolicySettings(BondPolicy.BALANCE_XOR), conf.peers)


def custom(**values: object) -> dict[str, Any]:
    return {"policies": {"mine": {"basePolicy": "balance-rr", **values}}}


def with_link(**values: object) -> dict[str, Any]:
    return custom(links={"eth0": values})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"defaultBondingPolicy": "fast"}, "defaultBondingPolicy is one of none"),
        ({"defaultBondingPolicy": "off"}, "not 'off'"),
        ({"defaultBondingPolicy": 5}, "defaultBondingPolicy is a text"),
        ({"defaultBondPolicy": "broadcast"}, "unknown: defaultBondPolicy"),
        ({"policy": {}}, "unknown: policy; known of bonds: defaultBondingPolicy"),
        ({"multipathMode": 2}, "unknown: multipathMode"),
        ({"policies": {"broadcast": {"basePolicy": "broadcast"}}}, "broadcast is built in"),
        ({"policies": {"mine": {}}}, "mine: basePolicy is one of"),
        ({"policies": {"mine": {"basePolicy": "mine"}}}, "mine: basePolicy is one of"),
        ({"policies": []}, "policies is to be an object"),
        ({"policies": {"mine": 7}}, "policies mine is to be an object"),
        ({"peerSpecificBonds": {str(PEER): "other"}}, f"peerSpecificBonds {PEER} is one of"),
        ({"peerSpecificBonds": {"nobody": "broadcast"}}, "nobody"),
        (custom(linkSelectMethod="always"), "policies mine: unknown: linkSelectMethod; known: act"),
        (custom(failoverInterval=-1), "failoverInterval"),
        (custom(failoverInterval="1s"), "failoverInterval"),
        (custom(upDelay=3_600_001), "upDelay is at most"),
        (custom(activeReselect="never"), "activeReselect is one of always, better"),
        (custom(linkQuality={**QUALITY, "lat_weight": 0.6}), "weights add up to 1.1"),
        (custom(linkQuality={**QUALITY, "lat_max": 0}), "lat_max is a number above 0"),
        (custom(linkQuality={**QUALITY, "more": 0}), "linkQuality: unknown: more"),
        (custom(linkQuality={"lat_max": 1}), "pdv_max is a number; all of them"),
        (custom(linkQuality={**QUALITY, "per_max": True}), "per_max is a number"),
        (custom(links={"": {}}), "name of an interface"),
        (with_link(speed=1000), "links eth0: unknown: speed"),
        (with_link(mode="backup"), "mode is primary or spare"),
        (with_link(ipvPref=5), "ipvPref is 0, 4, 6, 46 or 64"),
        (with_link(failoverTo="eth1"), "failoverTo is for links of mode primary"),
        (with_link(mode="primary", failoverTo="eth1"), "failoverTo names another link"),
        (with_link(mode="primary", failoverTo="eth0"), "failoverTo names another link"),
        (with_link(capacity=-1), "capacity"),
        (with_link(mtu=575), "mtu is 0 or from 576 to 10324, not 575"),
        (with_link(mtu=10_325), "not 10325"),
        (with_link(enabled="yes"), "enabled"),
    ],
)
def test_what_is_wrong_is_named(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidConfig) as raised:
        parsed(settings)
    assert words in str(raised.value)


def test_the_example_of_the_documentation() -> None:
    page = (Path(__file__).parents[2] / "docs" / "bonding.md").read_text("utf-8")
    (block,) = re.findall(r"^```json\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    found = parse_local_conf(block.encode()).bonds
    assert found is not None
    assert set(found.default.links) == {"eth0", "wlan0"}
