"""Two `zt` nodes with two cables: every bonding policy under load, and when cables fail.

What an idle machine reaches is measured by `tests/bench/bonding_cables.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from tests.support import bond_cases as cases
from tests.support.bond_cases import nodes, throughput, uneven
from tests.support.bond_hosts import Bonded, bonded
from tests.support.peers import required

pytestmark = pytest.mark.timeout(120)

FILE_BYTES: Final = 12_000_000
"""The transfer during which a cable is pulled; the bench sends 100 MB."""
TRIES: Final = 5
"""Others use this machine too: what can be had in one of so many is what it can do."""
NOISE_S: Final = 0.25
"""What a busy machine may add to a gap between two datagrams that are 10 ms apart."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bonded]:
    with required(), bonded(tmp_path_factory.mktemp("bonded")) as made:
        for cable in made.cables:
            cable.shape(cases.RATE_MBIT)
        yield made


@pytest.fixture(scope="module")
def one_cable(world: Bonded) -> cases.OnePath:
    return cases.one_path(world)


def test_off_uses_one_path(one_cable: cases.OnePath) -> None:
    assert one_cable.rate > cases.RATE_MBIT * 125_000 * 0.7
    assert one_cable.other_part < 0.01


@pytest.mark.parametrize("policy", ["balance-rr", "balance-aware"])
def test_one_stream_over_two_cables(world: Bonded, one_cable: cases.OnePath, policy: str) -> None:
    with nodes(world, policy) as pair:
        rates = (throughput(pair, start=2.0) for _ in range(TRIES))
        assert any(rate >= 1.25 * one_cable.rate for rate in rates)


def test_uneven_links(world: Bonded) -> None:
    """Both together carry 50 Mbit/s, a quarter more than the better one."""
    with uneven(world) as links, nodes(links, "balance-aware") as pair:
        better = cases.better_alone(pair)
        ones = (throughput(pair, start=2.0) for _ in range(TRIES))
        assert any(one >= 0.8 * better for one in ones)
        many = (throughput(pair, 16) for _ in range(TRIES))
        assert any(one >= better for one in many)


def test_pulled_cable_in_a_transfer(world: Bonded) -> None:
    """The one in use is pulled; what was on its way is sent again, and all arrives."""
    transfer = cases.pulled_in_a_transfer(world, FILE_BYTES)
    assert transfer.is_intact
    assert transfer.stall_s < 0.5


def test_idle_link_dies(world: Bonded) -> None:
    heard = cases.idle_cable_dies(world)
    assert (heard.lost, heard.twice) == (0, 0)
    assert heard.stall_s < NOISE_S


def test_one_direction_dies(world: Bonded) -> None:
    assert cases.one_direction_dies(world).silence_s < 1.0


def test_all_direct_links_die(world: Bonded) -> None:
    """Whatever the policy, the root carries on."""
    heard = cases.all_cables_die(world)
    assert heard.silence_s < 2.0
    assert heard.twice == 0


def test_broadcast_over_a_lossy_cable(world: Bonded) -> None:
    heard = cases.broadcast_over_a_lossy_cable(world)
    assert (heard.lost, heard.twice) == (0, 0)


def test_flows_keep_to_their_paths(world: Bonded) -> None:
    """64 flows are shared evenly; each keeps to its cable."""
    sharing = cases.many_flows(world)
    assert sharing.unevenness <= 0.2
    assert sharing.strayed < 0.1
